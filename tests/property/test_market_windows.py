"""Windows equal slices; coarser bars and simulated rows do not depend on what comes after or beside."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qts_agents.agent import MarketWindow
from qts_agents.market.bars import Bars, Ring, concat, market_return, resample, update_of
from qts_agents.market.simulate import Simulation, Stretch

MINUTE = 60_000_000_000


def bars_of(symbols: int, steps: list[int], seed: int) -> Bars:
    """Return bars at irregular closing minutes, some rows invalid."""
    rng = np.random.default_rng(seed)
    shape = (symbols, len(steps))
    valid = (rng.uniform(size=shape) < 0.9).astype(np.uint8)
    columns = [np.where(valid == 1, rng.uniform(1, 2, shape), np.nan) for _ in range(5)]
    return Bars(
        symbols=tuple(f"S{i}" for i in range(symbols)),
        close_ns=MINUTE * np.cumsum(np.array(steps, dtype=np.int64)),
        open=columns[0],
        high=columns[1],
        low=columns[2],
        close=columns[3],
        volume=columns[4],
        valid=valid,
        spread=columns[0],
        imbalance=columns[1],
        depth=columns[2],
        market_ret=market_return(columns[3], valid),
        bar_s=60.0,
        fee=0.0,
        spread_assumed=0.0,
        source="test",
    )


def window_of(bars: Bars, count: int, capacity: int) -> MarketWindow:
    """Return the window after the first `count` bars, pushed one by one."""
    ring = Ring(capacity)
    for t in range(count):
        ring.push(update_of(bars.part(t, t + 1), t))
    window = ring.window()
    assert window is not None
    return window


steps = st.lists(st.sampled_from([1, 1, 1, 1, 2, 7]), min_size=2, max_size=60)


@settings(deadline=None, max_examples=40)
@given(steps, st.integers(1, 3), st.integers(1, 70), st.integers(0, 99), st.data())
def test_pushed_windows_equal_slices(
    steps: list[int], symbols: int, capacity: int, seed: int, data: st.DataObject
) -> None:
    """However the bars are grouped into updates, the window is the end of the series."""
    bars, ring, at = bars_of(symbols, steps, seed), Ring(capacity), 0
    while at < len(steps):
        width = data.draw(st.integers(1, len(steps) - at))
        updates = [update_of(bars.part(t, t + 1), t) for t in range(at, at + width)]
        ring.push(concat(updates))
        at += width
    window = ring.window()
    assert window is not None
    start = max(0, len(steps) - capacity)
    for name in ("open", "high", "low", "close", "volume", "valid", "close_ns", "market_ret"):
        assert np.array_equal(
            getattr(bars, name)[..., start:], getattr(window, name), equal_nan=name != "valid"
        )
    assert len(steps) - 1 == window.window_seq


@settings(deadline=None, max_examples=40)
@given(steps, st.sampled_from([2, 5, 30]), st.integers(0, 99), st.data())
def test_coarse_bars_never_change(steps: list[int], k: int, seed: int, data: st.DataObject) -> None:
    """What is closed at bar t stays bit by bit when later bars come, and when older ones leave the ring."""
    bars = bars_of(2, steps, seed)
    early = resample(window_of(bars, data.draw(st.integers(1, len(steps))), 99), k)
    full = resample(window_of(bars, len(steps), 99), k)
    short = resample(window_of(bars, len(steps), data.draw(st.integers(1, len(steps)))), k)
    ended, left = early.close_ns.size, short.close_ns.size
    for name in ("open", "high", "low", "close", "volume", "valid", "close_ns", "market_ret"):
        whole = getattr(full, name)
        same = name not in ("valid", "close_ns")
        assert np.array_equal(whole[..., :ended], getattr(early, name), equal_nan=same)
        assert np.array_equal(whole[..., whole.shape[-1] - left :], getattr(short, name), equal_nan=same)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**63 - 1), st.lists(st.integers(1, 40), min_size=1, max_size=4), st.sampled_from([0, 1])
)
def test_simulated_rows_depend_on_seed_and_symbol_only(seed: int, parts: list[int], planted: int) -> None:
    """A symbol alone, in company, in other order and in other stretches has the same bytes."""
    total = sum(parts)
    alone = Simulation(seed, ("B",), planted).advance(total)
    together = Simulation(seed, ("A", "B", "C"), planted).advance(total)
    halves = Simulation(seed, ("C", "B"), planted)
    pieces = [halves.advance(n) for n in parts]
    for name in Stretch.__struct_fields__:
        if name == "regime":
            continue
        joined = np.concatenate([getattr(piece, name) for piece in pieces], axis=1)
        assert getattr(alone, name)[0].tobytes() == getattr(together, name)[1].tobytes()
        assert getattr(alone, name)[0].tobytes() == joined[1].tobytes()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**62))
def test_simulated_bars_are_possible_prices(seed: int) -> None:
    """Prices are above 0, highs and lows enclose opens and closes, an open is the close before it."""
    run = Simulation(seed, ("A", "B")).advance(200)
    assert (run.low > 0).all()
    assert (run.low <= np.minimum(run.open, run.close)).all()
    assert (run.high >= np.maximum(run.open, run.close)).all()
    assert np.array_equal(run.close[:, :-1], run.open[:, 1:])
    assert (run.volume > 0).all()
    assert (np.abs(run.imbalance) <= 1).all()


def test_ring_of_updates_decoded_from_bytes_is_the_same() -> None:
    """What travels is what was sent."""
    bars = bars_of(2, [1] * 20, 3)
    update = update_of(bars, 19)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(update), type=type(update))
    assert update == again
