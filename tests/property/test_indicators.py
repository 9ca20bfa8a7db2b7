"""Indicators and factors: mirror, neutral, truncation, scale, gaps, batch, and compiled = reference."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.property.made_windows import bars, made, mirrored, rows, scaled, windows

from qts_agents.agent import MarketWindow
from qts_agents.kernels import backend
from qts_agents.kernels.factors import FACTOR_NAMES, KINDS, Factors, factors
from qts_agents.kernels.indicator_rows import ANOMALY, EXTRAS, TAIL, WARNING
from qts_agents.kernels.indicators import Indicators, indicators

ODD = {"trend", "momentum", "macd", "whale_side", "m20", "m100", "sma_gap", "m5", "m10", "r", "ema20_gap"}
UNIT = ("volatility", "whale", "anomaly", "tail", "flash", "illiquidity", "ews", "crisis")
some = settings(max_examples=40, deadline=None)


def table(ind: Indicators) -> dict[str, NDArray[np.float64]]:
    """Return the fields by name."""
    return {name: getattr(ind, name) for name in ind.__struct_fields__}


def both(window: MarketWindow) -> tuple[Indicators, Factors]:
    """Return indicators and factors of a window."""
    ind = indicators(window)
    return ind, factors(window, ind)


def same(a: Indicators, b: Indicators) -> bool:
    """Tell whether two results have the same bits."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(table(a).values(), table(b).values(), strict=True))


def close(a: NDArray[np.float64], b: NDArray[np.float64], name: str) -> None:
    """Check equality within 1e-9, relative above 1."""
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    """Leave the compiled kernels switched on."""
    backend.set_jit(True)
    yield
    backend.set_jit(True)


@pytest.mark.parametrize("jit", [True, False], ids=["compiled", "reference"])
@pytest.mark.parametrize("extra", [0, TAIL, WARNING, ANOMALY, TAIL | ANOMALY])
def test_what_is_not_asked_for_changes_nothing_else(extra: int, jit: bool) -> None:
    """Without an extra its fields are NaN and all others keep their bits."""
    backend.set_jit(jit)
    window = made(4, 3, 340)
    part, whole = table(indicators(window, extra)), table(indicators(window))
    left_out = {name for one, names in EXTRAS.items() if not extra & one for name in names}
    for name, values in part.items():
        assert np.isnan(values).all() if name in left_out else values.tobytes() == whole[name].tobytes(), name


def test_more_than_is_asked_for_is_not_computed_again() -> None:
    """The answer about a window that cannot change serves whoever asks for no more than it holds."""
    window = made(4, 3, 340)
    for values in (
        window.open,
        window.high,
        window.low,
        window.close,
        window.volume,
        window.valid,
        window.spread,
    ):
        values.flags.writeable = False
    less, more = indicators(window, TAIL), indicators(window, TAIL | ANOMALY)
    assert less is not more
    assert indicators(window, TAIL) is indicators(window, 0) is more


@some
@given(windows())
def test_values_are_finite_and_in_range(window: MarketWindow) -> None:
    """Whatever columns a set lacks, a valid row has no NaN and every score its range."""
    ind, fac = both(window)
    for name, values in table(ind).items():
        assert np.isfinite(values).all(), name
    for name in UNIT:
        assert ((table(ind)[name] >= 0.0) & (table(ind)[name] <= 1.0)).all(), name
    assert ((ind.rsi >= 0) & (ind.rsi <= 100) & (ind.adx >= 0) & (ind.adx <= 100 + 1e-9)).all()
    assert (np.abs(fac.b) <= 1.0).all()
    assert fac.present[
        :, [FACTOR_NAMES.index(n) for n in ("trend", "volatility", "momentum", "anomaly")]
    ].all()


@some
@given(windows())
def test_mirror(window: MarketWindow) -> None:
    """Inverse prices negate odd values, keep even ones and turn RSI round 50."""
    (ind, fac), (turned, turned_fac) = both(window), both(mirrored(window))
    for name, values in table(ind).items():
        other = table(turned)[name]
        expected = 100.0 - values if name == "rsi" else -values if name in ODD else values
        close(other, expected, name)
    signs = np.array([-1.0 if kind == "odd" else 1.0 for kind in KINDS])
    assert (fac.present == turned_fac.present).all()
    for i, name in enumerate(FACTOR_NAMES):
        close(turned_fac.b[:, i], signs[i] * fac.b[:, i], name)


@some
@given(windows(), st.sampled_from([1e-3, 1e3]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_scale(window: MarketWindow, price: float, volume: float) -> None:
    """Other units of price and volume change nothing."""
    (ind, fac), (other, other_fac) = both(window), both(scaled(window, price, volume))
    for name, values in table(ind).items():
        close(table(other)[name], values, name)
    close(other_fac.b, fac.b, "factors")


@some
@given(windows(bars=512), st.integers(0, 192))
def test_only_the_last_320_bars_matter(window: MarketWindow, first: int) -> None:
    """Any window of at least 320 bars gives the same bits."""
    (ind, fac), (shorter, shorter_fac) = both(window), both(bars(window, slice(first, None)))
    assert same(ind, shorter)
    assert fac.b.tobytes() == shorter_fac.b.tobytes()


@some
@given(windows(symbols=5), st.permutations(range(5)))
def test_batch(window: MarketWindow, order: list[int]) -> None:
    """A batch has the bits of a loop over singles, and permuting rows permutes results."""
    ind, fac = both(window)
    turned, turned_fac = both(rows(window, order))
    for name, values in table(ind).items():
        assert values[order].tobytes() == table(turned)[name].tobytes(), name
    assert fac.b[order].tobytes() == turned_fac.b.tobytes()
    for i in range(5):
        single, single_fac = both(rows(window, [i]))
        assert [v[0] for v in table(single).values()] == [v[i] for v in table(ind).values()]
        assert single_fac.b[0].tolist() == fac.b[i].tolist()


def test_threads_do_not_change_a_bit() -> None:
    """Rows of a large batch are the same on one thread and on several."""
    window = made(3, 130, 330)
    single = indicators(window)
    try:
        backend.threads(True)
        assert same(single, indicators(window))
    finally:
        backend.threads(False)


@pytest.mark.parametrize("jit", [True, False])
def test_a_flat_market_is_neutral(jit: bool) -> None:
    """Constant price: every ratio 0, every rank one half, RSI 50."""
    backend.set_jit(jit)
    price = np.full((1, 330), 1.2345)
    window = msgspec.structs.replace(made(1, 1, 330), open=price, high=price, low=price, close=price,
                                     volume=price, spread=np.full(1, np.nan), market_ret=np.zeros(330))  # fmt: skip
    ind, fac = both(window)
    for name in (*ODD, "adx", "tail", "flash", "illiquidity", "crisis", "sigma20", "sigma100", "rho50"):
        assert table(ind)[name].tolist() == [0.0], name
    assert (ind.rsi[0], ind.volatility[0], ind.ews[0]) == (50.0, 0.5, 0.5)
    odd = [i for i, kind in enumerate(KINDS) if kind == "odd"]
    assert fac.b[0, odd].tolist() == [0.0] * 5


@some
@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.sampled_from(["nan", "zero", "short"]))
def test_a_broken_row_leaves_the_others_alone(seed: int, row: int, kind: str) -> None:
    """A row that must abstain is NaN without factors; the others keep their bits."""
    window = made(seed, 3, 340)
    broken, valid = window.close.copy(), window.valid.copy()
    if kind == "short":
        valid[row, :100] = 0
    else:
        broken[row, 200] = np.nan if kind == "nan" else 0.0
    ind, fac = both(msgspec.structs.replace(window, close=broken, valid=valid))
    good = [i for i in range(3) if i != row]
    before = both(window)
    assert np.isnan(ind.trend[row])
    assert not fac.present[row].any()
    for name, values in table(ind).items():
        assert values[good].tobytes() == table(before[0])[name][good].tobytes(), name
    assert fac.b[good].tobytes() == before[1].b[good].tobytes()


def test_closes_alone_mask_what_needs_more() -> None:
    """Without open, high, low and volume the whale is silent and the rest goes on."""
    full, thin = made(5, 1, 340), made(5, 1, 340, closes_only=True)
    ind, fac = both(thin)
    assert (ind.whale[0], ind.whale_side[0], ind.volume_seen[0]) == (0.0, 0.0, 0.0)
    assert ind.trend[0] == indicators(full).trend[0]
    assert ind.adx[0] > 0.0
    assert not fac.present[0, FACTOR_NAMES.index("sentiment")]
    quoted = 0.5 * min(thin.spread[0] / 0.01, 1.0) / 0.5
    assert ind.illiquidity[0] == pytest.approx(quoted, abs=1e-15)


def test_nothing_is_compiled_after_warm_up() -> None:
    """Read-only, strided and plain inputs share the signatures that warm-up made."""
    from qts_agents.kernels import factors as f
    from qts_agents.kernels import indicators as i

    i.warm_up()
    f.warm_up()
    before = backend.compiles()
    window = made(9, 2, 400)
    both(window)
    for name in ("open", "high", "low", "close", "volume", "valid", "spread", "market_ret"):
        getattr(window, name).setflags(write=False)
    both(window)
    both(bars(window, slice(30, None)))
    assert backend.compiles() == before
