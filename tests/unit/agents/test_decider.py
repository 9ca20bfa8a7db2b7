"""The shell of PADS writes states into its journal as it grows and goes on from the newest after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.agents import pads_script

from qts_agents import graph
from qts_agents.awake import AWAKE_S, awake
from qts_agents.cause import Cause
from qts_agents.decider import DeciderShell
from qts_agents.metrics import Metrics
from qts_agents.pads import journal, kept, records
from qts_agents.pads.actions import Ask, Publish, Record
from qts_agents.pads.replay import replay
from qts_agents.round_notes import RoundNotes
from qts_cli import decisions
from qts_core.errors import LocalError
from qts_core.roster import BY_WIRE
from qts_core.telemetry import Tracing, sampled, span_id
from qts_messaging import examples
from qts_messaging.bus import Reply
from qts_messaging.messages import DecisionRequest, DecisionResponse, PerformanceFeedback, SystemCommand


def shell(folder: Path, exporter: SpanExporter | None = None) -> DeciderShell:
    """Return the shell around a bus that carries nothing and a compute that runs at once."""
    clock, tracing = iter(range(10**9, 10**18, 10**9)), Tracing("pads", 0.0, exporter, Resource.create({}))

    async def compute(work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    async def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    def ignore(*_: Any, **__: Any) -> None:
        return None

    context: Any = SimpleNamespace(
        system=pads_script.system(),
        place=SimpleNamespace(state=folder, system_name="x"),
        compute=compute,
        bus=SimpleNamespace(publish=nothing, send=nothing, recall=nothing, peers=dict),
        log=SimpleNamespace(info=ignore, warning=ignore, error=ignore),
        health=SimpleNamespace(troubles={}, draining=False),
        now_ns=lambda: next(clock),
        tracing=tracing,
        notes=RoundNotes(tracing),
        clock=SimpleNamespace(monotonic_ns=lambda: next(clock)),
        metrics=Metrics(),
    )
    made = DeciderShell(context)
    made._inlet.window = ignore  # type: ignore[method-assign,assignment]
    made._measure = ignore  # type: ignore[method-assign]
    return made


def test_a_long_journal_is_read_from_its_newest_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after many bars, the next process reads a part of the journal and is what the first one was."""
    monkeypatch.setattr(journal, "UNREAD", 60_000)
    closes = pads_script.walk(420, 1, 3)

    async def live(made: DeciderShell, first: int, last: int) -> None:
        await made.begin()
        for seq in range(first, last):
            await made._on_bar(pads_script.update(closes, seq), None)

    first, second = shell(tmp_path), shell(tmp_path)
    asyncio.run(live(first, 0, 400))
    folder = tmp_path / "journal"
    heads = [e for e in journal.entries(folder) if e.kind == "header"]
    assert len(heads) > 2
    assert [bool(records.body(e, records.Header).state) for e in heads] == [False] + [True] * (len(heads) - 1)
    asyncio.run(live(second, 400, 401))
    asyncio.run(live(first, 400, 401))
    whole = sum(file.stat().st_size for file in folder.iterdir())
    assert 0 < second._journal.unread < whole / 2
    desks = [made.pads._desk for made in (first, second)]
    assert [d.bars for d in desks if d is not None] == [401, 401]
    assert kept.save(second.pads)[:100] == kept.save(first.pads)[:100]
    for made in (first, second):
        asyncio.run(made.finish())


def test_history_read_together_is_history_read_one_by_one(tmp_path: Path) -> None:
    """Bars of the snapshot go through PADS many at a time; state and journal are those of one at a time."""
    closes = pads_script.walk(420, 2, 5)
    history = [(pads_script.update(closes, seq, "snapshot"), None) for seq in range(400)]
    together, apart = shell(tmp_path / "a"), shell(tmp_path / "b")

    async def live(made: DeciderShell, at_once: int) -> None:
        await made.begin()
        for first in range(0, len(history), at_once):
            await made._on_history(history[first : first + at_once])  # type: ignore[arg-type]
        for seq in range(400, 404):
            await made._on_bar(pads_script.update(closes, seq), None)
        await made.finish()

    asyncio.run(live(together, 64))
    asyncio.run(live(apart, 1))
    assert together.pads._desk is not None
    assert together.pads._desk.bars == 404
    one, other = (graph.dump(each.pads._desk, kept.CODE, kept.KNOWN) for each in (together, apart))
    assert one == other
    written = [[entry.kind for entry in journal.entries(tmp_path / name / "journal")] for name in "ab"]
    assert written[0].count("bars") == 404
    assert written[0] == written[1]
    assert replay(tmp_path / "a" / "journal").first_difference is None


def test_the_journal_of_several_lives_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "UNREAD", 60_000)
    closes = pads_script.walk(420, 1, 4)

    async def live(made: DeciderShell, first: int, last: int) -> None:
        await made.begin()
        for seq in range(first, last):
            await made._on_bar(pads_script.update(closes, seq), None)
        await made.finish()

    for part in (0, 1, 2):
        asyncio.run(live(shell(tmp_path), 140 * part, 140 * (part + 1)))
    found = replay(tmp_path / "journal")
    assert found.first_difference is None
    assert found.rounds == found.equal > 30


def test_the_journal_says_how_long_each_stage_of_a_round_took(tmp_path: Path) -> None:
    """Behind each round stand its stages; a replay compares decisions, and a restart goes on over them."""
    closes, made = pads_script.walk(420, 1, 6), shell(tmp_path)
    bus: Any = made._context.bus

    async def gather(requests: Any, *_: Any, **__: Any) -> list[Any]:
        return [Reply(peer, None, "timeout") for peer in requests]

    bus.gather = gather
    made._context.metrics = Metrics()  # type: ignore[misc]

    async def live(one: DeciderShell, first: int, last: int) -> None:
        await one.begin()
        for seq in range(first, last):
            if seq == 340:
                await one._take(Cause(None, 0), one.pads.on_peers, frozenset({"qbmia", "quasar"}), 1)
            await one._on_bar(pads_script.update(closes, seq), None)
            await asyncio.gather(*one._rounds)
        await one.finish()

    asyncio.run(live(made, 0, 400))
    folder = tmp_path / "journal"
    told = list(decisions.events(journal.entries(folder)))
    stages = [tuple(event["stages_ms"]) for event in told]
    assert set(stages) == {("open", "publish"), ("open", "ask", "votes", "decide", "publish")}
    # the clock of this test goes on by a second each time that it is asked
    assert min(min(event["stages_ms"].values()) for event in told) >= 1000.0
    found = replay(folder)
    assert found.first_difference is None
    assert found.rounds == found.equal == len(told)
    again = shell(tmp_path)
    asyncio.run(live(again, 400, 401))
    assert again.pads._desk is not None
    assert again.pads._desk.bars == 401


def test_no_stage_is_shorter_than_nothing() -> None:
    """A clock that is set back in the middle of a round makes no negative time."""
    cause = Cause(None, 100).then("open", 130).then("ask", 110).then("votes", 150)
    assert cause.stages() == {"open": 30, "ask": 0, "votes": 40}


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
    """One answers another round, one is heard, one is late: each is counted as what it is."""
    made, counted = shell(tmp_path), []
    made.pads.on_peers(frozenset(made._context.system.voters()), 0)
    closes, asks = pads_script.walk(331), []
    for seq in range(331):
        bar = pads_script.update(closes, seq, "snapshot" if seq < 330 else "delta")
        asks += [a for a in made.pads.on_update(bar, None, seq * 10**9) if isinstance(a, Ask)]
    peers = list(asks[0].requests)

    def reply(peer: str, round_id: str) -> Any:
        said = DecisionResponse(round_id, opinion=pads_script.opinion(round_id, peer, [[0.4, 0.3, 0.3]]))
        return SimpleNamespace(peer=peer, envelope=SimpleNamespace(body=said, trace=None), reason="")

    async def gather(*_: Any, **__: Any) -> list[Any]:
        late = SimpleNamespace(peer=peers[2], envelope=None, reason="timeout")
        return [reply(peers[0], "another"), reply(peers[1], asks[0].round_id), late]

    def labels(*names: str) -> Any:
        return SimpleNamespace(inc=lambda: counted.append(names), observe=lambda _: None)

    context: Any = made._context
    context.bus.gather = gather
    context.metrics.votes = context.metrics.vote_latency = SimpleNamespace(labels=labels)
    asyncio.run(made._round(asks[0], Cause(None, 0)))
    assert counted == list(zip(peers, ("invalid", "used", "late"), strict=True))
    asyncio.run(made.finish())


def test_a_round_without_a_vote_is_told_with_its_trace(tmp_path: Path) -> None:
    """Whose votes lack, why, and where to read on: what runbooks send a person to the log for."""
    made, said = shell(tmp_path), list[tuple[str, dict[str, Any]]]()
    context: Any = made._context
    context.log.warning = lambda event, **facts: said.append((event, facts))
    told, contexts = asyncio.run(_played(made, [(0, 0.1), (1, 0.1), (3, 0.1)]))
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
    made, closes = shell(tmp_path), pads_script.walk(331)
    del made._measure  # type: ignore[method-assign]
    context: Any = made._context
    context.metrics = Metrics()
    made._begun.set()
    made.pads.on_peers(frozenset(context.system.voters()), 0)
    asks: list[Ask] = []
    for seq in range(331):
        bar = pads_script.update(closes, seq, "snapshot" if seq < 330 else "delta")
        asks += [a for a in made.pads.on_update(bar, None, seq * 10**9) if isinstance(a, Ask)]
    ids = dict(zip(asks[0].requests, ("another", asks[0].round_id, asks[0].round_id), strict=True))

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
    await made._round(asks[0], Cause(None, 1))
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


async def _warm(made: DeciderShell, closes: Any) -> None:
    """Let the board begin with 330 bars of history and all voters ready."""
    await made.begin()
    made._begun.set()
    ready = frozenset(made._context.system.voters())
    await made._take(Cause(None, 0), made.pads.on_peers, ready, 0)
    history: Any = [(pads_script.update(closes, seq, "snapshot"), None) for seq in range(330)]
    await made._on_history(history)


async def _played(
    made: DeciderShell, rounds: Sequence[tuple[int, float]]
) -> tuple[list[DecisionResponse], list[bytes | None]]:
    """Play rounds with so many silent voters, each as long as given (s); return what was told, and how."""
    told, contexts, closes = list[DecisionResponse](), list[bytes | None](), pads_script.walk(380)
    context: Any = made._context
    now, left = [10**9], list(rounds)
    context.now_ns = context.clock.monotonic_ns = lambda: now[0]

    async def gather(requests: Any, *_: Any, trace: dict[str, bytes], **__: Any) -> list[Any]:
        silent, took_s = left.pop(0)
        now[0] += round(took_s * 1e9)
        replies = []
        for at, (peer, asked) in enumerate(requests.items()):
            said = pads_script.opinion(asked.round_id, peer, [[0.4, 0.3, 0.3]])
            body = DecisionResponse(asked.round_id, opinion=said)
            envelope = SimpleNamespace(trace=trace[peer], body=body) if at >= silent else None
            replies.append(
                SimpleNamespace(peer=peer, envelope=envelope, reason="" if envelope else "timeout")
            )
        return replies

    async def publish(message: Any, trace: bytes | None = None, **_: Any) -> None:
        if isinstance(message, DecisionResponse):
            told.append(message)
            contexts.append(trace)

    context.bus.gather, context.bus.publish = gather, publish
    await _warm(made, closes)
    for seq in range(330, 380):
        if left:
            await made._on_bar(pads_script.update(closes, seq), context.tracing.root("publish market"))
            await asyncio.gather(*made._rounds)
            now[0] += 10**9
    await made.finish()
    return told, contexts


async def test_rounds_that_went_wrong_or_were_slow_are_kept(tmp_path: Path) -> None:
    """The decision says so, PADS' spans are written late with their times, and the journal is what it was."""
    exporter = InMemorySpanExporter()
    made = shell(tmp_path, exporter)
    half = made._context.system.decision_timeout / 2
    played = [(0, half / 2), (0, half * 1.5), (1, half * 2), (0, half)]
    told, contexts = await _played(made, played)
    assert [each.trace_keep for each in told] == [False, True, True, False]
    assert not any(map(sampled, contexts))
    kept = made._context.notes.told().rounds
    assert [(each.round_id, each.why) for each in kept] == [
        (told[1].round_id, "slow"),
        (told[2].round_id, "expired"),
    ]
    asked = sum(part.stage.startswith("send requests") for part in kept[0].stages)
    assert asked == len(made._context.system.voters())
    (slow,) = [part for part in kept[0].stages if part.stage == "round"]
    assert (slow.duration_s, slow.error) == (half * 1.5, "")
    made._context.tracing.close()
    spans = exporter.get_finished_spans()
    assert {f"{s.context.trace_id:032x}" for s in spans} == {each.trace_id for each in kept}
    assert len(spans) == sum(len(each.stages) for each in kept)
    for each in kept:
        trace = bytes.fromhex(each.trace_id)
        ours = {s.context.span_id for s in spans if s.context.trace_id == int(each.trace_id, 16)}
        places = [("market", "publish market"), *((BY_WIRE[w].name, "send votes") for w in BY_WIRE)]
        others = {int.from_bytes(span_id(trace, *place)) for place in places}
        above = {s.parent.span_id for s in spans if s.context.trace_id == int(each.trace_id, 16)}
        assert above <= ours | others
    found = replay(tmp_path / "journal")
    assert (found.rounds, found.equal, found.first_difference) == (4, 4, None)
    count = made._context.metrics.registry.get_sample_value
    assert [count("qts_kept_rounds_total", {"reason": why}) for why in ("slow", "expired")] == [1.0, 1.0]


async def test_a_round_right_after_a_kept_one_is_counted_and_not_kept(tmp_path: Path) -> None:
    """However much goes wrong, one round a second is written at most."""
    made = shell(tmp_path)
    assert made._cap.take(10**18)
    told, _ = await _played(made, [(1, 0.0)])
    assert [each.trace_keep for each in told] == [False]
    assert made._context.notes.told().rounds == ()
    count = made._context.metrics.registry.get_sample_value
    assert count("qts_kept_rounds_over_cap_total", {"reason": "expired"}) == 1.0


async def test_a_round_that_a_tick_gave_up_is_kept_with_its_own_trace(tmp_path: Path) -> None:
    """PADS itself stood still beyond the deadline: what is kept is the round that the bar opened."""
    made, closes, told = shell(tmp_path), pads_script.walk(340), list[tuple[str, bytes | None]]()
    context: Any = made._context
    context.now_ns = context.clock.monotonic_ns = lambda: 10**9
    answers = asyncio.Event()

    async def gather(*_: Any, **__: Any) -> list[Any]:
        await answers.wait()
        return []

    async def publish(message: Any, trace: bytes | None = None, **_: Any) -> None:
        if isinstance(message, DecisionResponse):
            told.append((message.round_id, trace))

    context.bus.gather, context.bus.publish = gather, publish
    await _warm(made, closes)
    bar = context.tracing.root("publish market")
    await made._on_bar(pads_script.update(closes, 330), bar)
    await asyncio.sleep(0)
    await made._take(made._alone(10**9), made.pads.on_tick, 10**12)
    (kept,) = context.notes.told().rounds
    assert told == [(kept.round_id, bar)]
    assert (kept.trace_id, kept.why) == (bar[:16].hex(), "no_quorum")
    answers.set()
    await asyncio.gather(*made._rounds)
    (kept,) = context.notes.told().rounds
    assert [part.stage for part in kept.stages] == ["process market", "publish decisions", "round", "decide"]
    assert made._asked == {}
    await made.finish()
