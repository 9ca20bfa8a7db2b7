"""Via negativa: reasons not to enter, as bits (agents.md §2.5; Taleb 2012)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.kernels.backend import floats, jit_enabled, kernel, part
from qts_agents.kernels.phase import deviation, lag1, moments
from qts_agents.kernels.sums import summed

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
WHIP, ROOT = 1.5, float(np.sqrt(10.0))  # a whipsaw: so many deviations of ten bars one way, then the other


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
    state = np.array((c.tail, fragility(c.af, c.volatility), c.ews, c.illiquidity))
    out = np.empty(len(c.returns), dtype=np.uint32)
    run = _rows if jit_enabled() else rows_reference
    run(floats(c.returns), floats(c.volume), state, out)
    return out


def rows_reference(returns: F8, volume: F8, state: F8, out: NDArray[np.uint32]) -> None:
    """Write the bits [S]; `state` [4,S] is tail, fragility, early warning, illiquidity."""
    r, (tail, fragile, ews, illiquidity) = returns, state
    sigma20, before20 = deviation(r[:, -20:]), deviation(r[:, -40:-20])
    moved, earlier = r[:, -10:].sum(axis=1), r[:, -20:-10].sum(axis=1)
    limit = WHIP * deviation(r[:, -100:]) * ROOT
    ratio = np.divide(sigma20, before20, out=np.ones_like(sigma20), where=before20 > 0.0)
    now, before = deviation(r[:, -10:]), deviation(r[:, -20:-10])
    flags: tuple[tuple[int, NDArray[np.bool_]], ...] = (
        (VOLUME_DRY, volume[:, -5:].mean(axis=1) < 0.5 * volume[:, -10:-5].mean(axis=1)),
        (SHOCK, np.abs(r[:, -5:]).max(axis=1) > 4.0 * deviation(r[:, -25:-5])),
        (
            VOLATILITY_BREAK,
            ((ratio < 0.5) | (ratio > 2.0)) & (lag1(r[:, -20:]) - lag1(r[:, -40:-20]) > 0.5),
        ),
        (VOLATILITY_DOUBLED, (now >= 2.0 * before) & (before > 0.0)),
        (WHIPSAW, (moved * earlier < 0.0) & (np.abs(moved) > limit) & (np.abs(earlier) > limit)),
        (TAIL, tail > 0.7),
        (FRAGILE, fragile > 0.7),
        (EARLY_WARNING, ews > 0.9),
        (ILLIQUID, illiquidity > 0.8),
    )
    out[:] = 0
    for bit, met in flags:
        out |= np.where(met, bit, 0).astype(np.uint32)


@kernel
def _rows(returns: F8, volume: F8, state: F8, out: NDArray[np.uint32]) -> None:
    """Write the same, a row at a time."""
    room = np.empty((2, 100))
    for s in range(returns.shape[0]):
        bits = _moves(returns[s], room)
        if summed(volume[s, -5:]) / 5.0 < 0.5 * (summed(volume[s, -10:-5]) / 5.0):
            bits |= VOLUME_DRY
        if state[0, s] > 0.7:
            bits |= TAIL
        if state[1, s] > 0.7:
            bits |= FRAGILE
        if state[2, s] > 0.9:
            bits |= EARLY_WARNING
        if state[3, s] > 0.8:
            bits |= ILLIQUID
        out[s] = bits


@part
def _moves(r: F8, room: F8) -> int:
    """Return the bits that follow from one row's returns."""
    bits = 0
    largest = 0.0
    for x in r[-5:]:
        largest = abs(x) if abs(x) > largest or np.isnan(x) else largest
    if largest > 4.0 * moments(r[-25:-5], room)[0]:
        bits |= SHOCK
    sigma20, rho20 = moments(r[-20:], room)
    before20, before_rho = moments(r[-40:-20], room)
    ratio = sigma20 / before20 if before20 > 0.0 else 1.0
    if (ratio < 0.5 or ratio > 2.0) and rho20 - before_rho > 0.5:
        bits |= VOLATILITY_BREAK
    before = moments(r[-20:-10], room)[0]
    if moments(r[-10:], room)[0] >= 2.0 * before and before > 0.0:
        bits |= VOLATILITY_DOUBLED
    moved, earlier = summed(r[-10:]), summed(r[-20:-10])
    limit = WHIP * moments(r[-100:], room)[0] * ROOT
    if moved * earlier < 0.0 and abs(moved) > limit and abs(earlier) > limit:
        bits |= WHIPSAW
    return bits


def against_whale(whale: F8, whale_side: F8, side: F8) -> NDArray[np.uint32]:
    """Return WHALE_AGAINST [S] where a whale is on the other side of the entry's `side`."""
    met = (whale > 0.7) & (whale_side * side < 0.0)
    return np.where(met, WHALE_AGAINST, 0).astype(np.uint32)


def named(bits: int) -> tuple[str, ...]:
    """Return the names of the bits that are set."""
    return tuple(name for k, name in enumerate(NAMES) if bits >> k & 1)
