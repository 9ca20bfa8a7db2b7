"""The shell of PADS writes states into its journal as it grows and goes on from the newest after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agents import pads_script
from tests.unit.agents.decider_script import shell

from qts_agents import graph
from qts_agents.cause import Cause
from qts_agents.decider import DeciderShell
from qts_agents.metrics import Metrics
from qts_agents.pads import journal, kept, records
from qts_agents.pads.replay import replay
from qts_cli import decisions
from qts_messaging.bus import Reply
from qts_messaging.messages import MarketUpdate


async def _live(made: DeciderShell, closes: Any, first: int, last: int) -> None:
    """Begin, or go on, and live through bars."""
    await made.begin()
    for seq in range(first, last):
        await made._on_bar(pads_script.update(closes, seq), None)


def test_a_long_journal_is_read_from_its_newest_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after many bars, the next process reads a part of the journal and is what the first one was."""
    monkeypatch.setattr(journal, "UNREAD", 60_000)
    closes = pads_script.walk(420, 1, 3)

    first, second = shell(tmp_path), shell(tmp_path)
    asyncio.run(_live(first, closes, 0, 400))
    folder = tmp_path / "journal"
    heads = [e for e in journal.entries(folder) if e.kind == "header"]
    assert len(heads) > 2
    assert [bool(records.body(e, records.Header).state) for e in heads] == [False] + [True] * (len(heads) - 1)
    asyncio.run(_live(second, closes, 400, 401))
    asyncio.run(_live(first, closes, 400, 401))
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
        await _live(made, closes, first, last)
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


@pytest.mark.parametrize(
    ("lived", "stored", "awaited"),
    [
        (True, [], 0.0),  # the stream is lost, the journal is not
        (False, [{"ended": True}], 0.0),
        (True, [{"epoch": 2}], 1.0),  # the market went on meanwhile
        (False, [], 1.0),
    ],
)
def test_behind_the_last_bar_from_outside_none_is_awaited_after_a_restart(
    tmp_path: Path, *, lived: bool, stored: list[dict[str, Any]], awaited: float
) -> None:
    """An alert asks for it: who begins behind the end hears no last bar, and knows of it all the same."""
    closes = pads_script.walk(3)

    async def live(made: DeciderShell, *bars: MarketUpdate) -> None:
        made._conductor = None
        await made.begin()
        made._context.metrics.begin(0.0, fed=False)
        for bar in bars:
            await made._on_bar(bar, None)
        await made.finish()

    if lived:
        ends = pads_script.update(closes, 1, ended=True)
        asyncio.run(live(shell(tmp_path), pads_script.update(closes, 0), ends))
    made, bus = shell(tmp_path), [pads_script.update(closes, 2, "snapshot", **more) for more in stored]

    async def recall(_: int) -> list[MarketUpdate]:
        return bus

    made._context.bus.recall = recall  # type: ignore[method-assign,assignment]
    del made._inlet.window  # type: ignore[attr-defined]  # the real one
    asyncio.run(live(made))
    assert made._context.metrics.registry.get_sample_value("qts_bars_from_outside") == awaited


def test_no_stage_is_shorter_than_nothing() -> None:
    """A clock that is set back in the middle of a round makes no negative time."""
    cause = Cause(None, 100).then("open", 130).then("ask", 110).then("votes", 150)
    assert cause.stages() == {"open": 30, "ask": 0, "votes": 40}
