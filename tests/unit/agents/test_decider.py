"""The shell of PADS plays rounds: what is told when, who is asked, how a vote and a round are counted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.unit.agents import pads_script
from tests.unit.agents.decider_script import played, shell

from qts_agents.awake import AWAKE_S, awake
from qts_agents.bars_inlet import at_once
from qts_agents.cause import Cause
from qts_agents.decider import DeciderShell
from qts_agents.metrics import Metrics
from qts_agents.pads import journal, records
from qts_agents.pads.actions import Ask, Publish, Record
from qts_core.errors import LocalError
from qts_core.probes import Status
from qts_messaging import examples
from qts_messaging.heartbeat import PeerHealth
from qts_messaging.messages import (
    DecisionRequest,
    DecisionResponse,
    Envelope,
    PerformanceFeedback,
    RiskAlert,
    SystemCommand,
)


def asked(made: DeciderShell) -> Ask:
    """Return what a board with all voters ready asks at the first bar behind its history."""
    made.pads.on_peers(frozenset(made._context.system.voters()), 0)
    closes, asks = pads_script.walk(331), list[Ask]()
    for seq in range(331):
        bar = pads_script.update(closes, seq, "snapshot" if seq < 330 else "delta")
        asks += [a for a in made.pads.on_update(bar, None, seq * 10**9) if isinstance(a, Ask)]
    return asks[0]


async def test_the_last_bar_from_outside_says_that_none_is_awaited(tmp_path: Path) -> None:
    """An alert asks for it: a market that has ended is no feed that stalls."""
    made, told = shell(tmp_path), list[Any]()
    metrics = made._context.metrics
    metrics.begin(0.0, fed=False)

    async def take(*_: Any) -> None:
        told.append(metrics.registry.get_sample_value("qts_bars_from_outside"))

    made._inlet._take, made._inlet._gate = take, at_once
    for seq, ended in enumerate((False, True)):
        bar = pads_script.update(pads_script.walk(2), seq, "delta")
        await made._inlet._step(msgspec.structs.replace(bar, ended=ended), None)
    assert told == [1.0, 0.0]
    assert (metrics.registry.get_sample_value("qts_bar_last_timestamp_seconds") or 0.0) > 0.0


def test_a_status_tells_of_the_peers_that_run(tmp_path: Path) -> None:
    """The bus knows the address of an agent that is off; its silence is none, and no alert's."""
    made = shell(tmp_path)
    heard = {name: PeerHealth(40.0, "dead") for name in ("qbmia", "quasar", "quantum_amos", "market")}
    made._context.system = pads_script.system(enable_quantum_amos=False)
    made._context.bus.peers = lambda: heard
    status = Status(agent="pads")
    made.describe(status)
    assert set(status.peers) == {"qbmia", "quasar", "market"}


@pytest.mark.parametrize(
    ("in_step", "wanted"),
    [
        (False, ["record", "requests", "reset", "decided", "feedback"]),
        (True, ["record", "reset", "feedback", "requests", "decided"]),
    ],
)
def test_outcomes_are_told_after_the_round_that_they_came_with(
    tmp_path: Path, *, in_step: bool, wanted: list[str]
) -> None:
    """Voters learn from an outcome when they have voted; in step with the feed before, as in a replay."""
    made, said = shell(tmp_path), list[str]()
    made._conductor = made._conductor if in_step else None
    request = next(m for m in examples.messages() if isinstance(m, DecisionRequest))

    async def publish(message: Any, **_: Any) -> None:
        await asyncio.sleep(0)
        said.append("feedback" if isinstance(message, PerformanceFeedback) else "reset")

    async def gather(requests: Any, *_: Any, **__: Any) -> list[Any]:
        said.append("requests")
        for _turn in range(5):  # the votes take longer than storing a message
            await asyncio.sleep(0)
        return []

    def on_answers(*_: Any) -> list[Any]:
        said.append("decided")
        return []

    bus: Any = made._context.bus
    bus.publish, bus.gather = publish, gather
    made.pads.on_answers = on_answers  # type: ignore[method-assign]
    made._record = lambda *_: said.append("record")  # type: ignore[method-assign,assignment]
    reset = SystemCommand("reset")
    actions = [Publish(reset), Publish(examples.feedback()), Record(b""), Ask("r", {"qbmia": request}, 1.0)]

    async def live() -> None:
        await made._do(actions, Cause(None, 0))
        await asyncio.gather(*made._rounds)

    asyncio.run(live())
    assert said == wanted


def test_outcomes_are_told_where_the_round_fails(tmp_path: Path) -> None:
    """What was learned is not lost with a round that could not be played."""
    made, said = shell(tmp_path), list[Any]()
    made._conductor = None

    async def publish(message: Any, **_: Any) -> None:
        said.append(message)

    async def gather(*_: Any, **__: Any) -> list[Any]:
        raise RuntimeError("no round")

    bus: Any = made._context.bus
    bus.publish, bus.gather = publish, gather
    feedback = examples.feedback()

    async def live() -> list[Any]:
        await made._do([Publish(feedback), Ask("r", {}, 1.0)], Cause(None, 0))
        return await asyncio.gather(*made._rounds, return_exceptions=True)

    assert [str(failed) for failed in asyncio.run(live())] == ["no round"]
    assert said == [feedback]


@pytest.mark.parametrize("stepping", [True, False])
def test_no_timer_decides_while_voters_are_stepped(tmp_path: Path, *, stepping: bool) -> None:
    """A step may take longer than a feed is silent; the bar is on its way."""
    made, ticks = shell(tmp_path), list[int]()
    assert made._conductor is not None
    made._conductor.stepping = stepping
    made.pads.on_tick = lambda now_ns: ticks.append(now_ns) or []  # type: ignore[method-assign,func-returns-value]
    naps = iter((None, None))

    async def sleep(_: float) -> None:
        next(naps)

    clock: Any = made._context.clock
    clock.sleep = sleep

    async def live() -> None:
        await made.begin()
        with pytest.raises((RuntimeError, StopIteration)):
            await made._tick()

    asyncio.run(live())
    assert len(ticks) == (0 if stepping else 2)


def test_outcomes_are_told_at_once_where_no_round_opens(tmp_path: Path) -> None:
    """A draining board asks nobody, and what was learned is told all the same."""
    made, said = shell(tmp_path), list[Any]()
    made._conductor, made._context.health.draining = None, True

    async def publish(message: Any, **_: Any) -> None:
        said.append(message)

    bus: Any = made._context.bus
    bus.publish = publish
    feedback = examples.feedback()
    asyncio.run(made._do([Publish(feedback), Ask("r", {}, 1.0)], Cause(None, 0)))
    assert (said, made._rounds) == ([feedback], set())


@pytest.mark.parametrize("later_s", [0, 3600, -3600])
@pytest.mark.parametrize("expires_s", [0, 90_060])
def test_an_alert_is_judged_by_the_clock_of_pads(tmp_path: Path, later_s: int, expires_s: int) -> None:
    """Raised for a minute by a voter whose clock is beside ours: PADS is told its times by ours, 0 as 0."""
    made, told, second = shell(tmp_path), list[Any](), 10**9
    made._conductor = None
    made.pads.on_message = lambda *event: told.append(event) or []  # type: ignore[method-assign,func-returns-value]
    bus: Any = made._context.bus
    bus.offset_ns = {"qbmia": later_s * second}.__getitem__
    alert = RiskAlert("a", "illiquidity", 0.95, (), 90_000 * second, expires_s * second)
    asyncio.run(made._hear([Envelope(id=bytes(16), sender="qbmia", body=alert)]))
    (body, sender, _) = told[0]
    assert (sender, body.raised_ns) == ("qbmia", (90_000 + later_s) * second)
    assert body.expires_ns == (expires_s and expires_s + later_s) * second


async def test_who_waits_awake_for_the_store_is_told_what_it_says() -> None:
    """At once, later than the moment awake, and where it refuses; a wait that is given up is not left behind."""

    async def stored(after_s: float) -> None:
        await asyncio.sleep(after_s)
        raise LocalError("full")

    for after_s in (0.0, 3 * AWAKE_S):
        with pytest.raises(LocalError):
            await awake(stored(after_s))
    for turns in (1, 100):
        waiting = asyncio.create_task(stored(60.0))
        outer = asyncio.create_task(awake(waiting))
        for _ in range(turns):
            await asyncio.sleep(AWAKE_S / 20)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        await asyncio.sleep(0)
        assert waiting.cancelled()


def test_a_vote_that_pads_refuses_is_counted_as_invalid(tmp_path: Path) -> None:
    """One answers another round, one is heard, one says nothing in time: each is counted as what it is."""
    made, counted = shell(tmp_path), []
    ask = asked(made)
    peers = list(ask.requests)

    def reply(peer: str, round_id: str) -> Any:
        said = DecisionResponse(round_id, opinion=pads_script.opinion(round_id, peer, [[0.4, 0.3, 0.3]]))
        return SimpleNamespace(peer=peer, envelope=SimpleNamespace(body=said, trace=None), reason="")

    async def gather(*_: Any, **__: Any) -> list[Any]:
        silent = SimpleNamespace(peer=peers[2], envelope=None, reason="timeout")
        return [reply(peers[0], "another"), reply(peers[1], ask.round_id), silent]

    def labels(*names: str) -> Any:
        return SimpleNamespace(inc=lambda: counted.append(names), observe=lambda _: None)

    context: Any = made._context
    context.bus.gather = gather
    context.metrics.votes = context.metrics.vote_latency = SimpleNamespace(labels=labels)
    asyncio.run(made._round(ask, Cause(None, 0)))
    assert counted == list(zip(peers, ("invalid", "used", "timeout"), strict=True))
    asyncio.run(made.finish())


def test_a_round_without_a_vote_is_told_with_its_trace(tmp_path: Path) -> None:
    """Whose votes lack, why, and where to read on: what runbooks send a person to the log for."""
    made, said = shell(tmp_path), list[tuple[str, dict[str, Any]]]()
    context: Any = made._context
    context.log.warning = lambda event, **facts: said.append((event, facts))
    told, contexts = asyncio.run(played(made, [(0, 0.1), (1, 0.1), (3, 0.1)]))
    assert [event for event, _ in said] == ["round_lacks_votes"] * 2
    one, three = (facts for _, facts in said)
    first, *others = made._context.system.voters()
    assert (one["outcome"], one["lacking"]) == ("expired", {first: "timeout"})
    assert three["outcome"] == "no_quorum"
    assert set(three["lacking"]) == {first, *others}
    ids = [(facts["round_id"], facts["trace_id"]) for _, facts in said]
    traces = [
        (message.round_id, (trace or b"")[:16].hex()) for message, trace in zip(told, contexts, strict=True)
    ]
    assert ids == traces[1:]


async def test_a_round_is_measured_under_the_name_that_its_record_has(tmp_path: Path) -> None:
    """Two good answers and one to another round: an error, in the journal and in the metric."""
    made = shell(tmp_path)
    del made._measure  # type: ignore[method-assign]
    context: Any = made._context
    context.metrics = Metrics()
    made._begun.set()
    ask = asked(made)
    ids = dict(zip(ask.requests, ("another", ask.round_id, ask.round_id), strict=True))

    async def gather(*_: Any, **__: Any) -> list[Any]:
        return [
            SimpleNamespace(
                peer=peer,
                reason="",
                envelope=SimpleNamespace(
                    trace=None,
                    body=DecisionResponse(each, opinion=pads_script.opinion(each, peer, [[0.4, 0.3, 0.3]])),
                ),
            )
            for peer, each in ids.items()
        ]

    context.bus.gather = gather
    await made._round(ask, Cause(None, 1))
    await asyncio.sleep(0)  # what is measured is measured after the decision is out
    told = context.metrics.registry.get_sample_value
    found = {
        o: told("qts_rounds_total", {"outcome": o}) for o in ("complete", "expired", "no_quorum", "error")
    }
    assert found == {"complete": 0.0, "expired": 0.0, "no_quorum": 0.0, "error": 1.0}
    assert told("qts_round_duration_seconds_count", {"outcome": "error"}) == 1.0
    rounds = [records.body(e, records.RoundBody) for e in journal.entries(tmp_path) if e.kind == "round"]
    assert [kept.outcome for kept in rounds] == ["error"]
    await made.finish()
