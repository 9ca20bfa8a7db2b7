"""Journal → events, table, plot: built from records as PADS writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.agents.pads_script import opinion

from qts_agents.agent import ACTION_NEEDS_POSITION, UNTRAINED
from qts_agents.columns import column
from qts_agents.pads.actions import Answer
from qts_agents.pads.journal import entries
from qts_agents.pads.records import Answers, encode, frame
from qts_cli.decisions import events
from qts_cli.plot import bands, figure
from qts_cli.prices import Prices
from qts_cli.rounds import abstention, stamp, votes
from qts_cli.tail import Tail
from qts_messaging.messages import MarketUpdate


def test_abstention_in_words() -> None:
    """Bits become words; an action that needs a position is no abstention."""
    assert abstention(UNTRAINED) == "untrained"
    assert abstention(ACTION_NEEDS_POSITION) == ""
    assert abstention(1 | 4) == "no data, gap"


def test_stamp() -> None:
    """Times are UTC; seconds and parts of one appear only when there are any, and no two bars share one."""
    assert stamp(1_483_228_800_000_000_000) == "2017-01-01 00:00"
    assert stamp(1_483_228_807_000_000_000) == "2017-01-01 00:00:07"
    assert stamp(1_483_228_807_100_000_000) == "2017-01-01 00:00:07.1"
    assert stamp(1_483_228_800_000_000_001) == "2017-01-01 00:00:00.000000001"


def test_tail_goes_on_behind_file_9999(tmp_path: Path) -> None:
    """By its number, as who wrote it and who replays it."""
    record = frame(encode("peers", 1, ["qbmia"]))
    tail = Tail(tmp_path)
    for name, now_s in (("9999", 1.0), ("10000", 2.0)):
        (tmp_path / f"{name}.qtsj").write_bytes(record)
        list(tail.read(now_s))
        assert tail.changed_s == now_s


def test_tail_waits_for_whole_records(tmp_path: Path) -> None:
    """A record that is half written is read when it is whole, and once."""
    record = frame(encode("peers", 1, ["qbmia"]))
    tail = Tail(tmp_path)
    assert list(tail.read(1.0)) == []
    file = tmp_path / "0001.qtsj"
    file.write_bytes(record + record[:5])
    assert list(tail.read(2.0)) == []
    assert tail.changed_s == 2.0
    assert list(tail.read(3.0)) == []
    assert tail.changed_s == 2.0
    with file.open("ab") as out:
        out.write(record[5:])
    assert list(tail.read(4.0)) == []
    assert tail.changed_s == 4.0
    (tmp_path / "0002.qtsj").write_bytes(record)
    assert list(tail.read(5.0)) == []
    assert tail.changed_s == 5.0


def test_tail_counts_live_and_past_bars(tmp_path: Path) -> None:
    """Bars of the past and live ones are counted apart."""

    def update(kind: str, bars: int) -> bytes:
        grid = column(np.ones((1, bars)))
        one = column(np.ones(1))
        body = MarketUpdate(
            seq=bars,
            kind=kind,
            source="replay",
            asof_ns=bars,
            bar_s=60.0,
            symbols=("A",),
            close_ns=column(np.arange(bars), "i8"),
            open=grid,
            high=grid,
            low=grid,
            close=grid,
            volume=grid,
            valid=column(np.ones((1, bars)), "u1"),
            spread=one,
            imbalance=one,
            depth=one,
            fee=0.0,
            spread_assumed=0.0,
            market_ret=column(np.zeros(bars)),
        )
        return bytes(frame(encode("bars", 1, body)))

    (tmp_path / "0001.qtsj").write_bytes(update("snapshot", 40) + update("delta", 1) + update("delta", 1))
    tail = Tail(tmp_path)
    assert list(tail.read(1.0)) == []
    assert (tail.backfilled, tail.bars) == (40, 2)
    assert list(events(entries(tmp_path))) == []


def test_an_opinion_that_was_refused_is_no_vote() -> None:
    """What PADS did not use is shown with the reason, not as if it counted."""
    said = opinion("r", "qbmia", [[0.5, 0.3, 0.2]])
    answers = Answers("r", (Answer("qbmia", said), Answer("quasar", said, "invalid: it answers round r")))
    told = votes(answers, ("A",))
    assert "symbols" in told["qbmia"]
    assert told["quasar"] == {"seat": "qstar", "missing": "invalid: it answers round r"}


def rounds() -> list[dict[str, Any]]:
    made = []
    for n, (phase, action) in enumerate([("growth", "BUY"), ("growth", "HOLD"), ("release", "EXIT")]):
        row = {
            "action": action,
            "reason": "DECIDED",
            "confidence": 0.5,
            "signal": 0.1,
            "size": 0.02,
            "p": [0.5, 0.3, 0.2],
            "shares": {"qar": 0.6, "qstar": 0.4},
        }
        vote = {"action": action, "confidence": 0.4, "p": [0.2 + 0.1 * n, 0.5, 0.3 - 0.1 * n]}
        votes = {
            "qbmia": {"seat": "qar", "symbols": {"A": vote}},
            "quasar": {"seat": "qstar", "symbols": {"A": {"abstains": "untrained"}}},
            "amos": {"seat": "antifragility", "missing": "timeout"},
        }
        made.append(
            {"asof": f"2020-01-0{n + 1} 00:00", "phase": phase, "symbols": {"A": row}, "votes": votes}
        )
    return made


def test_bands_touch() -> None:
    """Stretches of one phase begin where the last one ended."""
    assert bands(rounds()) == [
        ("growth", "2020-01-01 00:00", "2020-01-03 00:00"),
        ("release", "2020-01-03 00:00", "2020-01-03 00:00"),
    ]


def test_plot_contains_price_phases_decisions_opinions_and_confidence() -> None:
    """Every promised layer is a trace or a shape, and opinions have gaps where an agent was silent."""
    price = Prices([event["asof"] for event in rounds()], [1.0, None, 1.2])
    drawn = figure("A", rounds(), price)
    traces = {trace.name: trace for trace in drawn.data}
    wanted = {"close", "growth", "release", "BUY (1)", "HOLD (1)", "EXIT (1)", "qbmia", "quasar", "amos"}
    assert {*wanted, "board", "confidence"} == set(traces)
    assert [pytest.approx(-0.1), pytest.approx(0.1), pytest.approx(0.3)] == list(traces["qbmia"].y)
    assert list(traces["quasar"].y) == [None] * 3
    assert list(traces["EXIT (1)"].y) == [1.2]
    assert tuple(traces["close"].y) == (1.0, None, 1.2)
    assert len(drawn.layout.shapes) == 2
