"""Files of order events: which bar an event comes with, and what is refused by line and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.agents.test_order_flow import made

from qts_agents.market.flow import distance_of, flow_of, joined
from qts_agents.market.order_tables import load_orders
from qts_core.errors import ConfigError

HEADER = "time,symbol,side,price,size,order,event"
CLOSES = np.array([100, 200, 300, 400], dtype=np.int64) * 1_000_000_000


def written(folder: Path, *rows: str, header: str = HEADER, name: str = "o.csv") -> str:
    path = folder / name
    path.write_text("\n".join((header, *rows)) + "\n")
    return str(path)


def row(second: float, symbol: str = "A", event: str = "new", side: str = "buy", order: int = 1) -> str:
    return f"{second},{symbol},{side},10.5,2,{order},{event}"


def test_an_event_belongs_to_the_bar_that_closes_at_its_time_or_next(tmp_path: Path) -> None:
    """Before the first close to the first bar, at a close to it, after the last one to none."""
    path = written(tmp_path, *(row(s) for s in (50, 100, 100.5, 200, 399, 401)))
    orders, name = load_orders(path, ("A",), CLOSES, "s")
    assert orders.ends.tolist() == [0, 2, 4, 4, 5]
    assert orders.time_ns.tolist() == [50e9, 100e9, 100.5e9, 200e9, 399e9]
    assert name.startswith("orders:o.csv sha256:")
    assert not name.endswith("synthetic")


def test_a_label_marks_made_up_events_and_goes_no_further(tmp_path: Path) -> None:
    """The name of the source says so; the events do not tell what they are."""
    header, rows = HEADER + ",label", [row(50) + ",synthetic honest", row(51) + ",synthetic spoofing"]
    orders, name = load_orders(written(tmp_path, *rows, header=header), ("A",), CLOSES, "s")
    assert name.endswith(" synthetic")
    assert "spoofing" not in repr(orders)


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (
            [row(50)],
            HEADER.replace(",event", ",kind"),
            r"line 1: column event is missing, found time, .*name the columns",
        ),
        ([row(50)], HEADER.replace("time", "when"), "column ts or timestamp or time or date is missing"),
        ([row(50), row(40)], HEADER, "line 3: found an earlier time than the row before; sort by time"),
        (
            [row(50, event="amend")],
            HEADER,
            "line 2, column event: found 'amend'; allowed are new, cancel, fill",
        ),
        ([row(50, side="long")], HEADER, "line 2, column side: found 'long'; allowed are sell, buy"),
        ([row(50, "B")], HEADER, "line 2, column symbol: found 'B'; the bars hold A"),
        ([row(50).replace("10.5", "-1")], HEADER, "line 2, column price: found -1; give more than 0"),
        ([row(50).replace("10.5", "ten")], HEADER, "line 2, column price: found 'ten'"),
        ([row(50).replace("50,", "noon,", 1)], HEADER, "line 2, column time"),
        (
            [row(50), row(50).replace(",1,new", ",1.5,new")],
            HEADER,
            "line 3, column order: found '1.5'; give a whole",
        ),
        (
            [row(50, order=2**63), row(50, order=-1)],
            HEADER,
            "line 2, column order: found '9223372036854775808'",
        ),
        ([row(50).replace(",1,new", ",\u0663,new")], HEADER, "line 2, column order: found"),
        ([row(50).replace(",1,new", ",,new")], HEADER, "line 2, column order: found ''"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_column(
    tmp_path: Path, rows: list[str], header: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_orders(written(tmp_path, *rows, header=header), ("A",), CLOSES, "s")


def test_orders_whose_ids_differ_in_the_last_digit_are_two(tmp_path: Path) -> None:
    """As float64 the ids of an exchange fall together."""
    ids = [1712345678901234567, 1712345678901234599, 2**63 - 1, -5]
    orders, _ = load_orders(written(tmp_path, *(row(50, order=i) for i in ids)), ("A",), CLOSES, "s")
    assert orders.order.tolist() == ids


def test_events_may_have_times_while_bars_have_numbers(tmp_path: Path) -> None:
    """`qts orders` writes ISO 8601 beside any bars."""
    rows = [row(0).replace("0.0,", "", 1).replace("0,", f"1970-01-01T00:0{m}:00Z,", 1) for m in (1, 2)]
    orders, _ = load_orders(written(tmp_path, *rows), ("A",), CLOSES, "ms")
    assert orders.time_ns.tolist() == [60e9, 120e9]


def test_quotes_tell_how_far_behind_the_touch_an_order_was(tmp_path: Path) -> None:
    """In spreads from the side's own touch; below 0 before it; unknown without quotes, also between the bars."""
    header = HEADER + ",bid,ask"
    lines = [
        row(50) + ",10.7,10.8",
        row(51, side="sell") + ",10.3,10.4",
        row(150) + ",10.4,10.5",
        row(151) + ",,",
    ]
    orders, _ = load_orders(written(tmp_path, *lines, header=header), ("A",), CLOSES, "s")
    assert orders.distance is not None
    assert np.allclose(orders.distance, [2.0, 1.0, -1.0, np.nan], equal_nan=True)
    sent = [flow_of(orders.part(0, 1)), flow_of(orders.part(1, 2)), None]
    whole, blind = joined(sent), made(5, 4, 1, 0)
    assert whole is not None
    assert np.allclose(distance_of(whole), orders.distance, equal_nan=True)
    mixed = joined([flow_of(blind), flow_of(orders)])
    assert mixed is not None
    assert np.isnan(distance_of(mixed)[: blind.order.size]).all()
    assert distance_of(mixed)[blind.order.size] == pytest.approx(2.0)
    without = joined([flow_of(blind)])
    assert without is not None
    assert without.distance is None


@pytest.mark.parametrize(
    ("quotes", "header", "words"),
    [
        (
            ",10.7,10.6",
            ",bid,ask",
            "line 2, column bid: found bid 10.7 and ask 10.6; give a bid above 0 and at most",
        ),
        (",10.7", ",bid", "column ask is missing; give bid and ask, or neither"),
        (",x,10.7", ",bid,ask", "line 2, column bid: found 'x'"),
    ],
)
def test_wrong_quotes_are_refused(tmp_path: Path, quotes: str, header: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_orders(written(tmp_path, row(50) + quotes, header=HEADER + header), ("A",), CLOSES, "s")


def test_a_missing_file_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; check market\.replay\.orders"):
        load_orders(str(tmp_path / "none.csv"), ("A",), CLOSES)
    path = written(tmp_path, row(50).replace("A,", ""), header=HEADER.replace("symbol,", ""))
    assert load_orders(path, ("A",), CLOSES, "s")[0].row.tolist() == [0]
    with pytest.raises(ConfigError, match="column symbol is missing; the bars have 2 symbols"):
        load_orders(path, ("A", "B"), CLOSES, "s")


@pytest.mark.parametrize(("first_s", "taken"), [(-10_000, False), (0, True), (500, True), (10_000, False)])
def test_events_of_another_time_than_the_bars_are_refused(tmp_path: Path, first_s: int, taken: bool) -> None:
    """A mistaken year: who got no word of it believed that nobody had manipulated."""
    path = tmp_path / "orders.csv"
    rows = "".join(f"{1_500_000_000 + first_s + n},buy,1,1,{n},new\n" for n in range(3))
    path.write_text(f"time,side,price,size,order,event\n{rows}")
    close_ns = (1_500_000_000 + 60 * np.arange(1, 11)) * 10**9
    if taken:
        assert load_orders(str(path), ("A",), close_ns, "s")[0].time_ns.size == 3
    else:
        with pytest.raises(ConfigError, match=r"its events are of 20.*Z to .*, the bars of 2017-07-14T02:40"):
            load_orders(str(path), ("A",), close_ns, "s")
