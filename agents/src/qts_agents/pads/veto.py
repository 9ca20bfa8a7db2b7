"""Via negativa: reasons not to enter, as bits (agents.md §2.5; Taleb 2012)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.kernels.phase import deviation, lag1

VOLUME_DRY, SHOCK, WHALE_AGAINST, VOLATILITY_BREAK, VOLATILITY_DOUBLED, WHIPSAW = (1 << i for i in range(6))
TAIL, FRAGILE, EARLY_WARNING, MANIPULATION, ILLIQUID, CRITICAL_TOP, PROSPECT = (1 << i for i in range(6, 13))
#: names by bit
NAMES: tuple[str, ...] = (
    "volume_dry",
    "shock",
    "whale_against",
    "volatility_break",
    "volatility_doubled",
    "whipsaw",
    "tail",
    "fragile",
    "early_warning",
    "manipulation",
    "illiquid",
    "critical_top",
    "prospect",
)
RETURNS, VOLUMES = 120, 10  # how much of each the bits look at


class Caution(msgspec.Struct, frozen=True):
    """What the bits are computed from; [S] unless said otherwise, NaN = masked = not met."""

    returns: F8  # [S,120]
    volume: F8  # [S,10]
    tail: F8
    volatility: F8
    ews: F8
    illiquidity: F8
    af: F8


def fragility(af: F8, volatility: F8) -> F8:
    """Return (1−AF)(0.7+0.3·volatility)."""
    return np.asarray((1.0 - af) * (0.7 + 0.3 * volatility))


def market_bits(c: Caution) -> NDArray[np.uint32]:
    """Return the bits [S] that follow from the bars alone."""
    r = c.returns
    sigma20, before20 = deviation(r[:, -20:]), deviation(r[:, -40:-20])
    sigma100 = deviation(r[:, -100:])
    moved, earlier = r[:, -10:].sum(axis=1), r[:, -20:-10].sum(axis=1)
    limit = 1.5 * sigma100 * np.sqrt(10.0)
    ratio = np.divide(sigma20, before20, out=np.ones_like(sigma20), where=before20 > 0.0)
    flags: tuple[tuple[int, NDArray[np.bool_]], ...] = (
        (VOLUME_DRY, c.volume[:, -5:].mean(axis=1) < 0.5 * c.volume[:, -10:-5].mean(axis=1)),
        (SHOCK, np.abs(r[:, -5:]).max(axis=1) > 4.0 * deviation(r[:, -25:-5])),
        (
            VOLATILITY_BREAK,
            ((ratio < 0.5) | (ratio > 2.0)) & (lag1(r[:, -20:]) - lag1(r[:, -40:-20]) > 0.5),
        ),
        (VOLATILITY_DOUBLED, _doubled(deviation(r[:, -10:]), deviation(r[:, -20:-10]))),
        (WHIPSAW, (moved * earlier < 0.0) & (np.abs(moved) > limit) & (np.abs(earlier) > limit)),
        (TAIL, c.tail > 0.7),
        (FRAGILE, fragility(c.af, c.volatility) > 0.7),
        (EARLY_WARNING, c.ews > 0.9),
        (ILLIQUID, c.illiquidity > 0.8),
    )
    bits = np.zeros(len(r), dtype=np.uint32)
    for bit, met in flags:
        bits |= np.where(met, bit, 0).astype(np.uint32)
    return bits


def against_whale(whale: F8, whale_side: F8, side: F8) -> NDArray[np.uint32]:
    """Return WHALE_AGAINST [S] where a whale is on the other side of the entry's `side`."""
    met = (whale > 0.7) & (whale_side * side < 0.0)
    return np.where(met, WHALE_AGAINST, 0).astype(np.uint32)


def named(bits: int) -> tuple[str, ...]:
    """Return the names of the bits that are set."""
    return tuple(name for k, name in enumerate(NAMES) if bits >> k & 1)


def _doubled(now: F8, before: F8) -> NDArray[np.bool_]:
    """Tell where a deviation at least doubled."""
    return np.asarray((now >= 2.0 * before) & (before > 0.0))
