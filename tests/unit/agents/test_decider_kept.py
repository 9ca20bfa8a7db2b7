"""Rounds that went wrong or were slow are kept: their spans are written late, one round a second at most."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.agents import pads_script
from tests.unit.agents.decider_script import played, shell, warm

from qts_agents.pads.replay import replay
from qts_core.roster import BY_WIRE
from qts_core.telemetry import sampled, span_id
from qts_messaging.messages import DecisionResponse


async def test_rounds_that_went_wrong_or_were_slow_are_kept(tmp_path: Path) -> None:
    """The decision says so, PADS' spans are written late with their times, and the journal is what it was."""
    exporter = InMemorySpanExporter()
    made = shell(tmp_path, exporter)
    half = made._context.system.decision_timeout / 2
    rounds = [(0, half / 2), (0, half * 1.5), (1, half * 2), (0, half)]
    told, contexts = await played(made, rounds)
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
    told, _ = await played(made, [(1, 0.0)])
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
    await warm(made, closes)
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
