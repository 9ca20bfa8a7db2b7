"""Every override in play: the real agents over markets made by hand, told by the journal that people read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.agents.evaluation import made_markets as made

from qts_agents.evaluation.track import play
from qts_agents.pads.journal import JournalWriter, entries
from qts_agents.pads.replay import replay
from qts_cli.decisions import events
from qts_core.spec import SYSTEM

COSTS = {"fee": 0.00005, "spread": 0.00005}
HUNDREDFOLD = {"margin_leverage": 100.0}  # liquidated half a percent from the entry


def lived(folder: Path, market: tuple[made.F8, made.F8], bars: int, **settings: Any) -> Path:
    """Let the agents decide on `bars` bars of a market; return the folder of the journal."""
    path = made.written(folder, *market)
    replayed = {"source": "replay", "replay": {"path": str(path), "speed": 0.0}, **COSTS}
    writer = JournalWriter(folder / "journal")
    try:
        play(msgspec.convert({"market": replayed, **settings}, SYSTEM), bars, keep=writer.append)
    finally:
        writer.close()
    return folder / "journal"


def rows(journal: Path) -> dict[str, dict[str, Any]]:
    """Return what was decided on the symbol by the time of the bar."""
    return {event["asof"]: event["symbols"]["MADE"] for event in events(entries(journal))}


def forced(decided: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the overrides by the time of the bar, but for forecasts that have run out."""
    return {at: row["override"] for at, row in decided.items() if row["override"] not in ("", "horizon")}


@pytest.mark.parametrize(
    ("market", "bars", "pads", "at", "override", "action", "reason"),
    [
        (made.crash, 65, {}, 59, "tail", "EXIT", "OVERRIDE"),
        (made.whale, 45, {}, 39, "whale", "BUY", "OVERRIDE"),
        (made.dry, 75, {}, 69, "alert", "DECREASE", "OVERRIDE"),
        (made.bleed, 75, HUNDREDFOLD, 69, "liquidation", "DECREASE", "OVERRIDE"),
        # what it forecasts against, the pool leans with: its profits from such moves are what lets flash speak
        (made.spike, 115, {}, 109, "flash", "HOLD", "POOL_CONTRADICTS"),
    ],
)
def test_an_override_speaks_at_the_bar_that_calls_for_it(
    tmp_path: Path,
    market: Callable[[], tuple[made.F8, made.F8]],
    bars: int,
    pads: dict[str, Any],
    at: int,
    override: str,
    action: str,
    reason: str,
) -> None:
    """It is named once, at its bar, and the journal replays byte for byte."""
    journal = lived(tmp_path, market(), bars, pads=pads)
    decided = rows(journal)
    assert forced(decided) == {made.live(at): override}
    row = decided[made.live(at)]
    assert (row["action"], row["reason"]) == (action, reason)
    if action in ("EXIT", "DECREASE"):
        assert row["size"] < 0.0
    told = replay(journal)
    assert told.rounds == told.equal == len(decided)


def test_a_calm_market_calls_for_none(tmp_path: Path) -> None:
    """Margined as closely as the bleeding one; positions are taken, and end with their forecasts."""
    decided = rows(lived(tmp_path, made.calm(), 200, pads=HUNDREDFOLD))
    assert len(decided) == 21
    assert forced(decided) == {}
    assert "BUY" in {row["action"] for row in decided.values()}
    assert "horizon" in {row["override"] for row in decided.values()}


def test_without_margin_a_slow_loss_calls_for_none(tmp_path: Path) -> None:
    """The same bleeding market, paid in full: the board leaves it of its own accord."""
    decided = rows(lived(tmp_path, made.bleed(), 75))
    assert forced(decided) == {}
    assert decided[made.live(69)]["reason"] == "DECIDED"


def test_what_is_not_reduced_in_time_is_liquidated(tmp_path: Path) -> None:
    """DECREASE leaves half of it; some bars later that is liquidated, so by the next round nothing is held."""
    decided = rows(lived(tmp_path, made.bleed(), 85, pads=HUNDREDFOLD))
    before, after = decided[made.live(69)], decided[made.live(79)]
    assert before["liquidation_risk"] > 0.7
    assert before["size"] == pytest.approx(-0.5 * before["exposure"], abs=1e-6)
    assert (after["exposure"], after["liquidation_risk"]) == (0.0, 0.0)
