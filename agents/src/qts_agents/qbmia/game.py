"""The trader against the market maker: payoffs in basis points from what the window shows (agents.md §4).

Rows are buy, sell, hold, wait; columns tight, wide, skew_up, skew_down. The game's mirror (prices inverted,
position negated) swaps buy with sell and skew_up with skew_down.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels import impact as kyle
from qts_agents.kernels import market_game
from qts_agents.kernels.impact import BP
from qts_agents.kernels.market_game import (
    BUY,
    KEEP,
    RETAIL,
    RETAIL_DECAY,
    SELL,
    SKEW,
    SKEW_SHARE,
    TRADE,
    WAIT,
    WIDTH,
)

F8 = NDArray[np.float64]
BARS = 100  # of every estimate


class Estimates(msgspec.Struct, frozen=True):
    """What the payoffs are built from, [S] each, in basis points of price but for `side` and `retail`."""

    drift: F8  # M, shrunk mean return over the horizon
    error: F8  # standard error of M before shrinking
    half_spread: F8  # ς
    impact: F8  # Λ
    risk: F8  # Γ
    fee: F8  # F
    side: F8  # d
    retail: F8  # β̂ in [−1,1]


def _ratio(top: Any, bottom: Any) -> F8:
    """Divide; a zero denominator gives 0."""
    top, bottom = np.broadcast_arrays(np.asarray(top, np.float64), np.asarray(bottom, np.float64))
    return np.asarray(np.divide(top, bottom, out=np.zeros(top.shape), where=bottom != 0))


def returns(window: MarketWindow, count: int) -> F8:
    """Return the last `count` log returns [S,count]; NaN across an invalid bar."""
    close, valid = window.close[:, -count - 1 :], window.valid[:, -count - 1 :]
    known = close if valid.all() else np.where(valid != 0, close, np.nan)
    return np.asarray(np.diff(np.log(known), axis=1))


def shrunk_drift(mean: F8, sigma: F8, horizon: int) -> F8:
    """Return the mean return over `horizon` bars shrunk by t²/(t²+1), t = √100·mean/σ; fraction of price."""
    t = _ratio(np.sqrt(float(BARS)) * mean, sigma)
    return np.asarray(mean * horizon * t * t / (t * t + 1.0))


def impact(window: MarketWindow, r: F8, half_spread: F8) -> F8:
    """Return Kyle's price impact in bp of an order of 1 % of the mean bar volume; r [S,≥100] log returns.

    Half of `half_spread` where volume is missing or the slope is not positive.
    """
    bars = (window.open[:, -BARS:], window.close[:, -BARS:], window.volume[:, -BARS:])
    cost = kyle.impact(r[:, -BARS:], *bars)
    return np.where(np.isnan(cost), 0.5 * half_spread, cost)


def estimates(
    window: MarketWindow, r: F8, moments: tuple[F8, F8], side: F8, retail: F8, horizon: int, aversion: float
) -> Estimates:
    """Return what the game is built from; r [S,≥100] log returns, `moments` = (m₁₀₀, σ₁₀₀)."""
    mean, sigma = moments
    spread = np.where(np.isfinite(window.spread), window.spread, window.spread_assumed)
    half = BP * spread / 2.0
    return Estimates(
        drift=BP * shrunk_drift(mean, sigma, horizon),
        error=BP * sigma * horizon / np.sqrt(float(BARS)),
        half_spread=half,
        impact=impact(window, r, half),
        risk=BP * 0.5 * aversion * sigma * sigma * horizon,
        fee=np.full(len(mean), BP * window.fee),
        side=side,
        retail=retail,
    )


def rows_of(known: Estimates, rows: NDArray[np.int64]) -> Estimates:
    """Return what is known of some symbols."""
    return Estimates(**{name: getattr(known, name)[rows] for name in Estimates.__struct_fields__})


def payoffs(known: Estimates, drift: F8) -> tuple[F8, F8]:
    """Return u and w [S,K,4,4] of trader and maker for K values of the drift [S,K]."""
    columns = known.side, known.half_spread, known.impact, known.fee, known.risk, known.retail
    return market_game.payoffs(np.stack(columns, axis=1), drift)


def with_retail(known: Estimates, drift: F8) -> F8:
    """Return payoffs [S,3,4,4,4] of trader, maker and retail when retail chooses too, for a drift [S].

    Retail buys, sells, trades on its observed side β̂, or waits. Beside that third action both others are paid
    as in the game of two. Orders on the trader's side pay its price impact, and it pays theirs.
    """
    u, w = (side[:, 0, :, :, None] for side in payoffs(known, drift[:, None]))
    column = (slice(None), None, None, None)
    half, fee, impact, risk = (x[column] for x in (known.half_spread, known.fee, known.impact, known.risk))
    plus, seen = np.ones_like(drift), known.retail
    order = np.stack([plus, -plus, seen, 0.0 * plus], axis=1)[:, None, None, :]
    traded = np.array([1.0, 1.0, 1.0, 0.0])
    a, width, skew = TRADE[:, None, None], WIDTH[:, None], SKEW_SHARE * SKEW[:, None]
    flow = WIDTH[:, None] * np.exp(-RETAIL_DECAY * (WIDTH[:, None] - 1.0))
    more = order - seen[column]
    trader = u - impact * a * more
    maker = w + RETAIL * half * (flow * (traded - 1.0) + skew * more)
    cost = fee * traded + half * (width * traded + skew * order)
    retail = order * (drift[column] - impact * a) - cost - risk * order * order
    return np.stack(np.broadcast_arrays(trader, maker, retail), axis=1)


def action_distribution(rows: F8) -> F8:
    """Return x [...,3] = (buy, hold + wait, sell) of a strategy over the four rows [...,4]."""
    return np.stack([rows[..., BUY], rows[..., KEEP] + rows[..., WAIT], rows[..., SELL]], axis=-1)
