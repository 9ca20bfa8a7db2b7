"""Rings, updates and coarser bars."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from qts_agents.columns import array
from qts_agents.market.bars import Bars, Gap, Ring, concat, market_return, pick, resample, update_of
from qts_messaging.messages import MarketUpdate

HOUR = 3_600_000_000_000


def make_bars(symbols: int = 2, count: int = 40, start: int = 0, bar_s: float = 3600.0) -> Bars:
    """Return a random walk whose bar t closes t+1 bars after `start`."""
    rng = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.01, (symbols, count)), axis=1))
    opened = np.concatenate([np.full((symbols, 1), 100.0), close[:, :-1]], axis=1)
    valid = np.ones((symbols, count), dtype=np.uint8)
    quotes = rng.uniform(0, 0.001, (3, symbols, count))
    return Bars(
        symbols=tuple(f"S{i}" for i in range(symbols)),
        close_ns=start + round(bar_s * 1e9) * np.arange(1, count + 1, dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close) * 1.001,
        low=np.minimum(opened, close) * 0.999,
        close=close,
        volume=rng.uniform(1, 2, (symbols, count)),
        valid=valid,
        spread=quotes[0],
        imbalance=quotes[1],
        depth=quotes[2],
        market_ret=market_return(close, valid),
        bar_s=bar_s,
        fee=0.001,
        spread_assumed=0.0005,
        source="test",
    )


def updates_of(bars: Bars, epoch: int = 0, first_seq: int = 0) -> list[MarketUpdate]:
    """Return one update per bar."""
    return [update_of(bars.part(t, t + 1), first_seq + t, "delta", epoch) for t in range(bars.close_ns.size)]


def test_update_carries_costs_times_and_columns() -> None:
    """An update says of its last bar what the series says."""
    bars = make_bars(count=3)
    update = update_of(bars, 9, "snapshot", 2, True)
    assert (update.seq, update.kind, update.epoch, update.ended) == (9, "snapshot", 2, True)
    assert (int(bars.close_ns[-1]), 0.001, 0.0005) == (update.asof_ns, update.fee, update.spread_assumed)
    assert np.array_equal(bars.close, array(update.close))
    assert np.array_equal(bars.spread[:, -1], array(update.spread))


def test_concat_joins_and_refuses_a_hole() -> None:
    """Consecutive updates become one with all columns; others are refused."""
    bars = make_bars(count=5)
    updates = updates_of(bars)
    assert update_of(bars, 4) == concat(updates)
    with pytest.raises(ValueError, match="does not follow: expected seq 1"):
        concat([updates[0], updates[2]])


def test_market_return_spans_no_invalid_bar() -> None:
    """Symbols without a return are left out of the mean; with none it is NaN."""
    close = np.array([[1.0, np.e, np.nan, 1.0], [1.0, 1.0, np.e, 1.0]])
    valid = np.array([[1, 1, 0, 1], [1, 1, 1, 1]], dtype=np.uint8)
    found = market_return(close, valid)
    assert np.isnan(found[0])
    assert np.allclose([0.5, 1.0, -1.0], found[1:])


def test_market_return_goes_on_from_the_closes_before() -> None:
    """Two halves give what the whole gives."""
    bars = make_bars()
    second = market_return(bars.close[:, 20:], bars.valid[:, 20:], bars.close[:, 19])
    assert np.array_equal(bars.market_ret[20:], second)


def test_ring_holds_the_last_bars_read_only() -> None:
    """The window equals the end of the series, cannot be written, and survives later pushes."""
    bars, ring = make_bars(count=25), Ring(8)
    for update in updates_of(bars)[:20]:
        ring.push(update)
    window = ring.window()
    assert window is not None
    kept = window.close.copy()
    for update in updates_of(bars)[20:]:
        ring.push(update)
    assert np.array_equal(bars.close[:, 12:20], kept)
    assert np.array_equal(kept, window.close)
    assert [x.flags.writeable for x in (window.close, window.valid, window.market_ret)] == [False] * 3
    latest = ring.window()
    assert latest is not None
    assert (24, int(bars.close_ns[24])) == (latest.window_seq, latest.asof_ns)


def test_ring_tells_first_contact_stale_and_missing_bars() -> None:
    """A push says what it found before it."""
    updates, ring = updates_of(make_bars()), Ring(16)
    assert Gap(missing=5, reset="first") == ring.push(updates[5])
    assert Gap(stale=True) == ring.push(updates[5])
    assert Gap(stale=True) == ring.push(updates[3])
    assert Gap() == ring.push(updates[6])
    assert Gap(missing=2) == ring.push(updates[9])
    assert [Gap().found, Gap(missing=2).found] == [False, True]


def test_missing_bars_are_held_as_invalid_until_the_snapshot_fills_them() -> None:
    """A hole is NaN with valid 0 and ascending times; a fill brings the bars themselves."""
    bars = make_bars(count=10)
    updates, ring = updates_of(bars), Ring(16)
    for update in (*updates[:4], *updates[6:]):
        ring.push(update)
    window = ring.window()
    assert window is not None
    assert window.valid[0].tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 1, 1]
    assert np.isnan(window.close[:, 4:6]).all()
    assert (np.diff(window.close_ns) > 0).all()
    assert updates[4:6] == ring.fill(updates[:8])
    healed = ring.window()
    assert healed is not None
    assert np.array_equal(bars.close, healed.close)
    assert ring.fill(updates) == []


def test_fill_puts_history_before_what_is_held() -> None:
    """A late joiner gets the history it lacks, and keeps what came after the snapshot."""
    bars = make_bars(count=12)
    updates, ring = updates_of(bars), Ring(64)
    for update in updates[8:]:
        ring.push(update)
    assert updates[:8] == ring.fill(updates[:10])
    window = ring.window()
    assert window is not None
    assert np.array_equal(bars.close, window.close)
    assert ring.seq == 11


def test_a_new_epoch_drops_what_is_held_and_an_old_one_is_stale() -> None:
    """Nothing of a former replay stays in the window."""
    bars, ring = make_bars(), Ring(16)
    for update in updates_of(bars)[:9]:
        ring.push(update)
    again = updates_of(bars, epoch=1, first_seq=40)
    assert ring.push(again[0]).reset == "epoch"
    assert len(ring) == 1
    assert Gap(stale=True) == ring.push(updates_of(bars)[9])
    assert again[1:3] == ring.fill([*updates_of(bars)[:4], *again[:3]])


def test_other_symbols_begin_anew() -> None:
    """A changed symbol set resets the ring."""
    ring = Ring(16)
    ring.push(updates_of(make_bars(2))[0])
    assert ring.push(updates_of(make_bars(3))[1]).reset == "symbols"
    assert ring.symbols == ("S0", "S1", "S2")


def test_window_of_chosen_symbols_and_of_an_unknown_one() -> None:
    """Rows come in the order asked for; an unknown symbol is an error."""
    bars, ring = make_bars(3, 5), Ring(8)
    for update in updates_of(bars):
        ring.push(update)
    window = ring.window(("S2", "S0"))
    assert window is not None
    assert np.array_equal(bars.close[[2, 0]], window.close)
    with pytest.raises(KeyError, match="S9"):
        pick(window, ("S9",))


def test_an_empty_ring_has_no_window() -> None:
    """Without bars there is nothing to look at."""
    assert Ring(4).window() is None


def test_resample_aggregates_closed_bars_on_the_utc_grid() -> None:
    """Five-hour bars begin at multiples of five hours; the unfinished and the headless one are left out."""
    bars, ring = make_bars(1, 23, start=2 * HOUR), Ring(64)
    for update in updates_of(bars):
        ring.push(update)
    window = ring.window()
    assert window is not None
    coarse = resample(window, 5)
    # bars open at hours 2…24: [5,10) [10,15) [15,20) [20,25)
    assert coarse.close_ns.tolist() == [10 * HOUR, 15 * HOUR, 20 * HOUR, 25 * HOUR]
    assert bars.open[0, [3, 8, 13, 18]].tolist() == coarse.open[0].tolist()
    assert bars.close[0, [7, 12, 17, 22]].tolist() == coarse.close[0].tolist()
    assert [bars.high[0, i : i + 5].max() for i in (3, 8, 13, 18)] == coarse.high[0].tolist()
    assert [bars.low[0, i : i + 5].min() for i in (3, 8, 13, 18)] == coarse.low[0].tolist()
    assert np.allclose([bars.volume[0, i : i + 5].sum() for i in (3, 8, 13, 18)], coarse.volume[0])
    assert (coarse.bar_s, coarse.asof_ns) == (18_000.0, 25 * HOUR)


def test_resample_passes_over_invalid_bars_and_marks_a_missing_end() -> None:
    """An invalid bar adds nothing; a coarse bar whose last one is invalid is invalid."""
    bars = make_bars(1, 10)
    valid = bars.valid.copy()
    valid[0, [0, 9]] = 0
    ring = Ring(16)
    for update in updates_of(msgspec.structs.replace(bars, valid=valid)):
        ring.push(update)
    window = ring.window()
    assert window is not None
    coarse = resample(window, 5)
    assert coarse.valid[0].tolist() == [1, 0]
    assert bars.open[0, 1] == coarse.open[0, 0]
    assert bars.high[0, 1:5].max() == coarse.high[0, 0]


def test_resample_of_too_few_bars_is_empty() -> None:
    """No coarse bar is closed yet."""
    ring = Ring(16)
    for update in updates_of(make_bars(1, 3)):
        ring.push(update)
    window = ring.window()
    assert window is not None
    assert resample(window, 30).close.shape == (1, 0)
    with pytest.raises(ValueError, match="at least 1, found 0"):
        resample(window, 0)


def test_a_bar_of_a_thousand_symbols_stays_small() -> None:
    """1,000 symbols in one update take less than 200 KB on the wire."""
    bars = make_bars(1000, 1)
    assert 60_000 < len(msgspec.msgpack.encode(update_of(bars, 0))) < 200_000
