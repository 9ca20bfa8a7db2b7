"""How much, where to stop and take profit, what all positions may hold (agents.md §2.6; pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.choice import clipped, first_of, known_or_zero

F8 = NDArray[np.float64]
DAY_S = 86_400.0
LADDER = np.array([0.5, 0.3, 0.2])  # share of the position closed at each target
#: below such a drawdown, so much more of the equity is kept
CAUTION = ((0.05, 0.0), (0.10, 0.05), (0.15, 0.10), (0.20, 0.15))
FACTORS: tuple[str, ...] = ("base", "phase", "appetite", "confidence", "dissent", "drawdown", "volatility")


class Limits(msgspec.Struct, frozen=True):
    """Caps as fractions of equity."""

    symbol: float
    net: float
    gross: float  # 1 − safe


def day_sigma(sigma20: F8, bar_s: float) -> F8:
    """Return σ_day [S] from the per-bar σ₂₀."""
    return np.asarray(sigma20 * np.sqrt(DAY_S / bar_s))


def chain(
    base: float, phase_size: float, appetite: F8, confidence: F8, dissent: F8, risk: tuple[float, F8, float]
) -> F8:
    """Return the size factors [S,7] in the order of FACTORS; their product is the size of an entry.

    `appetite` is A/A₀; `risk` is (drawdown, σ_day, σ_day of a calm day). An unknown σ_day does not scale.
    """
    drawdown, sigma, calm_day = risk
    calm = np.minimum(1.0, np.divide(calm_day, sigma, out=np.ones_like(sigma), where=sigma > 0.0))
    factors = np.empty((len(confidence), len(FACTORS)))
    factors[:, 0], factors[:, 1], factors[:, 2] = base, phase_size, appetite
    factors[:, 3], factors[:, 4] = 0.5 + 0.8 * confidence, 1.0 - 0.4 * dissent
    factors[:, 5], factors[:, 6] = max(0.3, 1.0 - 2.0 * drawdown), calm
    return factors


def product(factors: F8) -> F8:
    """Return the product of the factors in their order, which fixes the rounding."""
    size = factors[:, 0].copy()
    for k in range(1, factors.shape[1]):
        size = size * factors[:, k]
    return size


def safe_share(middle: float, af: F8, sigma: F8, anomaly: F8, tail: F8, drawdown: float) -> float:
    """Return the share of equity kept out of the market (Taleb 2012), round `middle`, mean over symbols."""
    convex = np.where(np.isfinite(af), af, 0.5)
    day = known_or_zero(sigma)
    v = first_of([day < 0.01, day < 0.02, day < 0.03], [-0.05, 0.0, 0.05], 0.10)
    n = 0.2 * known_or_zero(anomaly) + np.where(tail > 0.5, 0.1, 0.0)
    g = next((held for below, held in CAUTION if drawdown < below), 0.20)
    raw = middle + 0.06 * (0.5 - convex) + 0.2 * v + 0.2 * n + 0.3 * g
    return float(clipped(raw, 0.75, 0.95).mean())


def cap(change: F8, exposure: F8, entry: NDArray[np.bool_], limits: Limits) -> F8:
    """Return the signed changes [S] after the caps; only rows of `entry` shrink, pro rata.

    Closing rows count with what they leave. Positions already open are never forced down.
    """
    wanted = np.where(entry, clipped(exposure + change, -limits.symbol, limits.symbol) - exposure, change)
    wanted = np.where(entry & (np.sign(wanted) != np.sign(change)), 0.0, wanted)
    kept = np.where(entry, exposure, exposure + change)
    added = np.where(entry, wanted, 0.0)
    scale = 1.0
    gross, more = float(np.abs(kept).sum()), float(np.abs(added).sum())
    if more > 0.0:
        scale = min(scale, max(0.0, limits.gross - gross) / more)
    net, tilt = float(kept.sum()), float(added.sum())
    if abs(net + tilt * scale) > limits.net and tilt != 0.0:
        room = limits.net - net * np.sign(tilt)
        scale = min(scale, max(0.0, float(room) / abs(tilt)))
    return np.where(entry, wanted * scale, wanted)


def stops(sigma: F8, days: float, factor: float, af: F8, dissent: F8, volatility: F8) -> F8:
    """Return the stop distance [S] as a fraction of price, `days` daily σ; a masked AF drops its factor."""
    convex = np.where(np.isfinite(af), 0.8 + 0.4 * known_or_zero(af), 1.0)
    raw = days * known_or_zero(sigma) * factor * convex * (1.0 - 0.3 * dissent)
    stop = clipped(raw, 0.002, 0.25)
    return np.where(volatility > 0.7, stop * np.maximum(0.6, 1.5 - known_or_zero(volatility)), stop)


def targets(sigma: F8, days: float, factors: tuple[float, float, float]) -> F8:
    """Return the take-profit distances [S,3] as fractions of price, `days` daily σ times each factor."""
    return np.asarray(days * known_or_zero(sigma)[:, None] * np.asarray(factors))
