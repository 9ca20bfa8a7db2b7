"""The eight factors of QAR (agents.md §5): five with a side, three of risk."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels.backend import each_part, jit_enabled
from qts_agents.kernels.factor_reference import reference_rows
from qts_agents.kernels.factor_rows import CYCLE_BARS, PAIRS, SENTIMENT_BARS, factor_rows
from qts_agents.kernels.indicators import Indicators
from qts_agents.newest import Newest

F8 = NDArray[np.float64]
FACTOR_NAMES = (
    "trend",
    "volatility",
    "momentum",
    "sentiment",
    "liquidity",
    "correlation",
    "cycle",
    "anomaly",
)
KINDS = ("odd", "risk", "odd", "odd", "risk", "odd", "odd", "risk")
BASE_WEIGHTS: F8 = np.array([0.60, 0.50, 0.55, 0.45, 0.35, 0.40, 0.50, 0.30])
PHASE_MULTIPLIERS: dict[str, F8] = {
    "growth": np.array([1.5, 0.8, 1.3, 1.1, 0.9, 0.7, 0.8, 0.9]),
    "conservation": np.array([0.8, 1.2, 0.9, 1.0, 1.1, 1.3, 1.1, 1.0]),
    "release": np.array([0.9, 1.3, 0.8, 0.7, 0.8, 0.9, 1.4, 1.5]),
    "reorganization": np.array([1.0, 0.9, 0.8, 1.3, 1.4, 1.0, 0.9, 0.8]),
    "unknown": np.ones(8),
}
REACH = max(CYCLE_BARS, PAIRS + 2, SENTIMENT_BARS + 1)


class Factors(msgspec.Struct, frozen=True):
    """Odd factors in [-1,1] (sign = side), risk factors in [0,1]; absent ones are 0 and not present."""

    b: F8  # [S,8] in the order of FACTOR_NAMES
    present: NDArray[np.bool_]  # [S,8]


_newest: Newest[tuple[Indicators, Factors]] = Newest()


def factors(window: MarketWindow, ind: Indicators) -> Factors:
    """Return the factors at the last bar; a row whose indicators are NaN has none."""
    read, found = _newest.of(window, lambda: (ind, _factors(window, ind)))
    return found if read is ind else _factors(window, ind)


def _factors(window: MarketWindow, ind: Indicators) -> Factors:
    """Compute them."""
    columns = (window.close[:, -REACH:], window.volume[:, -REACH:])
    close, volume = (np.array(x, dtype=np.float64, order="C") for x in columns)
    valid = np.array(window.valid[:, -REACH:], dtype=np.uint8, order="C")
    market = np.array(window.market_ret[-REACH:], dtype=np.float64)
    own = np.full((len(window.symbols), 3), np.nan)
    compute = factor_rows if jit_enabled() else reference_rows
    if close.shape[1] >= REACH:
        sigma = np.array(ind.sigma20)
        each_part(lambda c, v, k, s, out: compute(c, v, k, market, s, out), close, volume, valid, sigma, own)
    b = np.stack(
        (
            ind.trend,
            ind.volatility,
            ind.momentum,
            own[:, 0],
            ind.illiquidity,
            own[:, 1],
            own[:, 2],
            ind.anomaly,
        ),
        axis=1,
    )
    present = np.isfinite(b) & np.isfinite(ind.trend)[:, None]
    present[:, FACTOR_NAMES.index("liquidity")] &= ind.liquidity_seen > 0.0
    return Factors(np.where(present, b, 0.0), present)


def warm_up() -> None:
    """Compile what serving calls."""
    if jit_enabled():
        bar, one = np.ones((1, REACH)), np.ones((1, REACH), dtype=np.uint8)
        factor_rows(bar, bar.copy(), one, bar[0].copy(), np.zeros(1), np.empty((1, 3)))
