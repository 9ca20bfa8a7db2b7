"""What a voter learned survives its process: kept whole, refused when it is of no use, never learned twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.property import markets

from qts_agents import keepsake
from qts_agents.agent import DEADLINE
from qts_agents.amos.agent import Amos
from qts_agents.amos.state import VERSION as AMOS_VERSION
from qts_agents.columns import array
from qts_agents.health import Health
from qts_agents.quasar.agent import Quasar
from qts_agents.quasar.tape import History
from qts_agents.voters import VoterShell
from qts_core.errors import ConfigError, LocalError
from qts_core.roster import BY_NAME
from qts_core.sections import AmosSettings, QuasarSettings
from qts_core.spec import SYSTEM
from qts_messaging.messages import DecisionResponse, SystemCommand


def test_what_is_kept_is_recalled(tmp_path: Path) -> None:
    """Byte for byte; the file is private and nothing else is left in the folder."""
    path = tmp_path / "state" / "quasar.state"
    kept = keepsake.Kept("shape", 2, 40, b"learned")
    keepsake.keep(path, keepsake.Kept("shape", 2, 39, b"before"))
    keepsake.keep(path, kept)
    assert keepsake.recall(path) == kept
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["quasar.state"]


def changed(raw: bytes) -> bytes:
    """Return what was kept with one byte of the state itself changed: it decodes as before."""
    return raw.replace(b"learned", b"burned!")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda _: b"", "damaged, as its 0 bytes"),
        (lambda _: bytes(range(200)), "damaged, as its 200 bytes"),
        (lambda raw: raw[:-3], "damaged"),
        (changed, "damaged"),
    ],
)
def test_what_is_of_no_use_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes], words: str) -> None:
    """A torn or changed file is named; nothing there is no error."""
    path = tmp_path / "quasar.state"
    assert keepsake.recall(path) is None
    keepsake.keep(path, keepsake.Kept("other", 0, 1, b"learned"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match=words):
        keepsake.recall(path)


@pytest.mark.parametrize("content", [b"", bytes(range(200))])
def test_a_state_that_is_lost_is_told_in_the_status_and_its_file_is_kept(
    tmp_path: Path, content: bytes
) -> None:
    """One line of a log told it, and the next save put another file in its place.

    Degraded until the state learned anew can be read: nobody has anything to mend then, and the loss stays told.
    """
    tape, made = markets.eurusd(800, 460), shell(tmp_path)
    path = made._path
    path.parent.mkdir()
    path.write_bytes(content)
    made._remember()
    made._inlet.window = lambda: markets.window(tape, 400)  # type: ignore[method-assign]
    asyncio.run(made._on_bar(markets.update(tape, 400), None))
    health = made._context.health
    assert (health.state(), [*health.troubles], health.past) == ("degraded", ["forgot"], {})
    asyncio.run(made._keep())
    assert (health.state(), health.reasons()) == ("ready", [])
    told = health.past["forgot"]
    assert f"is lost; it learns anew from the bars that are still held: {path}: damaged" in told
    assert told.endswith(f"the file is kept as {tmp_path / 'quasar.state.bad'}")
    assert (tmp_path / "quasar.state.bad").read_bytes() == content
    assert keepsake.recall(path) is not None


@pytest.mark.parametrize("before", [True, False])
def test_a_voter_that_forgot_is_degraded_until_it_can_remember(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Before a first bar there is nothing to keep; and a disk that gives other bytes back has kept nothing."""
    tape, made = markets.eurusd(800, 460), shell(tmp_path)
    made._path.parent.mkdir()
    made._path.write_bytes(b"damaged")
    made._remember()
    if not before:
        made._inlet.window = lambda: markets.window(tape, 400)  # type: ignore[method-assign]
        asyncio.run(made._on_bar(markets.update(tape, 400), None))
        monkeypatch.setattr(keepsake, "replace_file", lambda path, raw: path.write_bytes(raw[:-1]))
    asyncio.run(made._keep())
    health = made._context.health
    assert (health.state(), health.past) == ("degraded", {})
    assert [*health.troubles] == (["forgot"] if before else ["forgot", "learned"])
    monkeypatch.undo()
    if not before:
        asyncio.run(made._keep())
        assert (health.state(), [*health.past]) == ("ready", ["forgot"])


def test_a_state_of_other_settings_is_left_without_a_complaint(tmp_path: Path) -> None:
    """Who changed them asked for it: the voter learns anew, and nothing is wrong with it."""
    made = shell(tmp_path)
    keepsake.keep(made._path, keepsake.Kept("other", 0, 1, b"learned"))
    before = made.agent.save()
    made._remember()
    assert (made.agent.save(), made._seen, made._context.health.troubles) == (before, (-1, -1), {})


def test_a_folder_that_cannot_be_written_is_a_local_error(tmp_path: Path) -> None:
    """The caller goes on without a file."""
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(LocalError):
        keepsake.keep(tmp_path / "state" / "quasar.state", keepsake.Kept("", 0, 0, b""))


def test_only_settings_that_shape_the_learning_count() -> None:
    """Another agent's constants or the board leave it alone; its own and the market do not."""
    plain = keepsake.shaped_by(SYSTEM(), "quasar")
    for same in (SYSTEM(quantum_amos=AmosSettings(shots=9)), SYSTEM(decision_interval=3.0)):
        assert keepsake.shaped_by(same, "quasar") == plain
    for other in (SYSTEM(quasar=QuasarSettings(discount=0.5)), SYSTEM(system_seed=1), SYSTEM(horizon_bars=9)):
        assert keepsake.shaped_by(other, "quasar") != plain


def shell(folder: Path) -> VoterShell:
    """Return QUASAR's shell around nothing but a compute that runs at once."""

    async def compute(work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    quiet = SimpleNamespace(info=lambda *_, **__: None, warning=lambda *_, **__: None)
    context: Any = SimpleNamespace(
        workload=BY_NAME["quasar"],
        system=SYSTEM(),
        place=SimpleNamespace(state=folder),
        compute=compute,
        log=quiet,
        health=Health("quasar", warm=True, bound=True, caught_up=True),
        now_ns=lambda: 0,
        notes=SimpleNamespace(note=lambda *_: None),
    )
    return VoterShell(context)


@pytest.mark.parametrize("rounds", [True, False])
async def test_what_was_learned_is_kept_between_rounds(tmp_path: Path, monkeypatch, rounds: bool) -> None:
    """A question that comes while it is put together waits for it; without rounds it is kept all the same."""
    monkeypatch.setattr("qts_agents.voters.SAVE_S", 60.0 if rounds else 0.01)
    made, kept = shell(tmp_path), asyncio.Event()
    context: Any = made._context
    context.clock = SimpleNamespace(sleep=lambda _: asyncio.sleep(0))

    async def keep() -> None:
        kept.set()

    monkeypatch.setattr(made, "_keep", keep)
    saver = asyncio.create_task(made._save())
    if rounds:
        for _ in range(9):
            await asyncio.sleep(0)
        assert not kept.is_set()
        decided: Any = SimpleNamespace(body=DecisionResponse("r"), trace=None)
        await made._on_decision(decided)
    await asyncio.wait_for(kept.wait(), 10.0)
    saver.cancel()


def test_a_new_process_goes_on_and_learns_no_bar_twice(tmp_path: Path) -> None:
    """Killed after a save, fed its history again, it ends where one that was never killed ends."""
    tape = markets.eurusd(800, 460)

    def live(made: VoterShell, first: int, last: int, kind: str = "delta") -> None:
        for t in range(first, last):
            update = msgspec.structs.replace(markets.update(tape, t), kind=kind)
            made._inlet.window = lambda t=t: markets.window(tape, t)  # type: ignore[method-assign]
            asyncio.run(made._on_bar(update, None))

    whole, first, second = shell(tmp_path / "a"), shell(tmp_path / "b"), shell(tmp_path / "b")
    live(whole, 350, 450)
    live(first, 350, 420)
    asyncio.run(first._keep())
    second._remember()
    live(second, 380, 430, "snapshot")  # history that it knows in part
    live(second, 430, 450)
    assert second.agent.save() == whole.agent.save()
    live(second, 440, 441)  # a feed that begins again: nothing learned from its future is used
    fresh = Quasar(SYSTEM())
    window = markets.window(tape, 440)
    fresh.on_bars(markets.update(tape, 440), window, 0)
    assert second.agent.save() == fresh.save()


def test_history_lived_together_is_history_lived_one_by_one(tmp_path: Path) -> None:
    """A voter learns the same from bars of the snapshot, known ones and a new epoch among them."""
    tape = markets.eurusd(800, 460)

    def bar(t: int, epoch: int) -> Any:
        update = msgspec.structs.replace(markets.update(tape, t), kind="snapshot", epoch=epoch)
        return update, markets.window(tape, t)

    history = [bar(t, 0) for t in (*range(350, 400), *range(390, 410))] + [bar(t, 1) for t in range(350, 380)]
    together, apart = shell(tmp_path / "a"), shell(tmp_path / "b")
    asyncio.run(together._on_history(history))
    for each in history:
        asyncio.run(apart._on_history([each]))
    assert together._seen == apart._seen == (1, history[-1][0].seq)
    assert together.agent.save() == apart.agent.save() != Quasar(SYSTEM()).save()


def test_a_reset_that_a_voter_has_done_by_itself_is_not_done_again(tmp_path: Path) -> None:
    """PADS tells of the new epoch when the voter may have lived its history; a second word is another reset."""
    tape, made = markets.eurusd(800, 460), shell(tmp_path)

    def bar(t: int, epoch: int) -> Any:
        return msgspec.structs.replace(markets.update(tape, t), epoch=epoch), markets.window(tape, t)

    reset: Any = SimpleNamespace(body=SystemCommand("reset", {"epoch": "1"}), sender="pads")

    async def live() -> list[bytes]:
        made._begun.set()
        await made._on_history([bar(t, 0) for t in range(350, 400)] + [bar(t, 1) for t in range(350, 380)])
        lived = [made.agent.save()]
        for _ in range(2):
            await made._on_message(reset)
            lived.append(made.agent.save())
        return lived

    lived, told, again = asyncio.run(live())
    assert lived == told != again


@pytest.mark.parametrize(("later_ns", "late"), [(0, True), (10**9, False), (-(10**9), True)])
def test_a_deadline_is_by_the_clock_of_who_asked(tmp_path: Path, later_ns: int, late: bool) -> None:
    """Asked by a process whose clock is a second behind ours, what looks late to us is not."""
    tape, made = markets.eurusd(800, 460), shell(tmp_path)
    now_ns = 5 * 10**9
    said: list[Any] = []

    async def reply(_: Any, response: Any, **__: Any) -> None:
        said.append(response.opinion)

    context: Any = made._context
    context.bus = SimpleNamespace(offset_ns=lambda peer: later_ns, reply=reply)
    context.clock, context.now_ns = SimpleNamespace(monotonic_ns=lambda: 0), lambda: now_ns
    context.tracing = SimpleNamespace(child=lambda *_: None)
    context.health.draining = False
    made._window = lambda _: markets.window(tape, 400)  # type: ignore[method-assign,assignment]
    made._inlet.reached = lambda *_: asyncio.sleep(0)  # type: ignore[method-assign,assignment]
    asked = markets.request(tape.symbols, 400, deadline_ns=now_ns - 1)
    envelope: Any = SimpleNamespace(body=asked, deadline_ns=0, trace=None, sender="pads")
    asyncio.run(made._answer(envelope))
    assert bool((array(said[0].abstain) & DEADLINE).all()) is late


@pytest.mark.parametrize(("later_s", "patience_s"), [(0, 0.0), (1, 0.0), (2, 0.5), (5, 0.5)])
def test_a_bar_is_waited_for_by_the_clock_of_who_asked(
    tmp_path: Path, later_s: int, patience_s: float
) -> None:
    """A voter whose clock is ahead took each question for one that is over, and its bar for one that never comes."""
    tape, made = markets.eurusd(800, 460), shell(tmp_path)
    now_ns, waited = 5 * 10**9, []

    async def reached(_: int, seconds: float) -> None:
        waited.append(seconds)

    async def reply(*_: Any, **__: Any) -> None:
        pass

    context: Any = made._context
    context.bus = SimpleNamespace(offset_ns=lambda peer: later_s * 10**9, reply=reply)
    context.clock, context.now_ns = SimpleNamespace(monotonic_ns=lambda: 0), lambda: now_ns
    context.tracing = SimpleNamespace(child=lambda *_: None)
    context.health.draining = False
    made._window = lambda _: markets.window(tape, 400)  # type: ignore[method-assign,assignment]
    made._inlet.reached = reached  # type: ignore[method-assign,assignment]
    asked = markets.request(tape.symbols, 400)
    envelope: Any = SimpleNamespace(body=asked, deadline_ns=now_ns - 10**9, trace=None, sender="pads")
    asyncio.run(made._answer(envelope))
    assert waited == [patience_s]


def test_what_is_told_before_the_kept_state_is_loaded_is_not_lost(tmp_path: Path) -> None:
    """A reset that comes while the state is read counts: the state is forgotten, not the reset."""
    tape = markets.eurusd(800, 460)
    first, second = shell(tmp_path), shell(tmp_path)

    async def live(made: VoterShell) -> None:
        for t in range(350, 400):
            made._inlet.window = lambda t=t: markets.window(tape, t)  # type: ignore[method-assign]
            await made._on_bar(markets.update(tape, t), None)
        await made._keep()

    async def told_early(made: VoterShell) -> None:
        async def nothing() -> int:
            return 0

        made._inlet.backfill = nothing  # type: ignore[method-assign,assignment]
        reset: Any = SimpleNamespace(body=SystemCommand("reset", {"epoch": "0"}), sender="pads")
        telling = asyncio.create_task(made._on_message(reset))
        await asyncio.sleep(0)
        assert not telling.done()
        await made.begin()
        await telling

    asyncio.run(live(first))
    asyncio.run(told_early(second))
    assert first.agent.save() != Quasar(SYSTEM()).save()
    assert second.agent.save() == Quasar(SYSTEM()).save()


def test_a_kept_state_that_does_not_fit_is_forgotten_at_its_first_use(tmp_path: Path) -> None:
    """It decodes, but a part has another shape: the voter starts anew instead of failing at each start."""
    tape = markets.eurusd(800, 460)
    odd, fresh = shell(tmp_path), shell(tmp_path / "none")
    agent: Any = odd.agent
    agent._state.learner.history = History(("EURUSD",))
    agent._state.learner.history.code = np.zeros(3, np.int64)
    odd._seen = (0, 1)
    asyncio.run(odd._keep())
    next_life = shell(tmp_path)
    next_life._remember()
    for made in (next_life, fresh):
        made._inlet.window = lambda: markets.window(tape, 400)  # type: ignore[method-assign]
        asyncio.run(made._on_bar(markets.update(tape, 400), None))
    assert next_life.agent.save() == fresh.agent.save()
    assert "quasar.state: it does not fit (" in next_life._context.health.troubles["forgot"]
    assert (tmp_path / "quasar.state.bad").is_file()


def test_a_state_of_another_agent_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"version {AMOS_VERSION}"):
        Quasar(SYSTEM()).load(Amos(SYSTEM()).save())
