"""Tests for manipulation on order events: p-values of four patterns, and the Cauchy combination of all.

Detection only (agents.md §9). Each test compares recent events with a baseline of one day and returns the
probability of seeing as much by chance, or NaN where the events cannot tell. The fifth, layering, has a
module of its own.
"""

from __future__ import annotations

import functools
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import permutation

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
NEW, CANCEL, FILL = range(3)
NAMES = ("spoofing", "layering", "wash", "pump_dump", "front_running")
WEIGHTS: F8 = np.array([0.30, 0.25, 0.20, 0.15, 0.10])
SIGNIFICANT = 0.05
SECOND = 1_000_000_000
NEAR: F8 = np.array([1.0, 5.0])  # spreads from the touch: at it, near, far
CLASSES = len(NEAR) + 2  # and unknown
LARGE = 0.9
AHEAD_S, AHEAD_SIZE, ROUND_TRIP_S = 5, 3.0, 1
PUMP_BARS = 20
LEAST_EVENTS = 20


class OrderEvents(msgspec.Struct, frozen=True):
    """Order events of one symbol, ascending in time."""

    time_ns: I8
    side: I8  # +1 buy, −1 sell
    price: F8
    size: F8
    order: I8  # id
    event: I8  # NEW, CANCEL, FILL
    distance: F8  # behind the touch in spreads, below 0 before it; NaN unknown

    def where(self, mask: NDArray[np.bool_]) -> OrderEvents:
        """Return the events that `mask` selects."""
        return OrderEvents(*(getattr(self, name)[mask] for name in self.__struct_fields__))


def binomial(n: int, p: float) -> F8:
    """Return P(X = k) of a binomial(n, p) with 0 < p < 1, k = 0 … n [n+1]."""
    logs = [
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(p)
        + (n - i) * math.log1p(-p)
        for i in range(n + 1)
    ]
    return np.array([math.exp(value) for value in logs])


def binomials_tail(k: int, n: I8, p: F8) -> float:
    """Return P(X ≥ k) of the sum of binomials(n [C], p [C]), 0 < p < 1."""
    law = functools.reduce(np.convolve, [binomial(int(m), float(q)) for m, q in zip(n, p, strict=True) if m])
    return 1.0 if k <= 0 else min(1.0, math.fsum(law[k:]))


def poisson_tail(k: int, mean: float) -> float:
    """Return P(X ≥ k) of a Poisson variable."""
    below = (
        math.fsum(math.exp(i * math.log(mean) - mean - math.lgamma(i + 1)) for i in range(k))
        if mean > 0
        else 1.0
    )
    return 1.0 if k <= 0 else max(0.0, 1.0 - below)


def place_of(distance: F8) -> I8:
    """Return the class of each distance: at the touch, near it, far from it, unknown."""
    return np.where(np.isnan(distance), len(NEAR) + 1, np.searchsorted(NEAR, distance, "right"))


def usual_shares(orders: I8, given_up: I8) -> F8:
    """Return the usual share of orders given up by class [C], from the counts of a baseline.

    To the counts of a class two orders are added, given up as those of all other classes are.
    """
    elsewhere = (given_up.sum() - given_up + 1.0) / (orders.sum() - orders + 2.0)
    return np.asarray((given_up + 2.0 * elsewhere) / (orders + 2.0))


def _cancelled(events: OrderEvents, least: float) -> tuple[I8, I8]:
    """Return how many new orders of at least `least` there are, and how many were cancelled, by class [C]."""
    large = (events.event == NEW) & (events.size >= least)
    place = place_of(events.distance[large])
    gone = np.isin(events.order[large], events.order[events.event == CANCEL])
    return np.bincount(place, minlength=CLASSES), np.bincount(place[gone], minlength=CLASSES)


def spoofing(recent: OrderEvents, baseline: OrderEvents) -> float:
    """Test whether large orders are cancelled more often than others as far from the touch (binomials).

    Far from the touch honest orders are cancelled often too. Orders at unknown distances are a class of their
    own.
    """
    sizes = baseline.size[baseline.event == NEW]
    if len(sizes) < LEAST_EVENTS:
        return math.nan
    least = float(np.quantile(sizes, LARGE))
    usual_orders, usual = _cancelled(baseline, least)
    orders, cancelled = _cancelled(recent, least)
    if not orders.any():
        return math.nan
    return binomials_tail(int(cancelled.sum()), orders, usual_shares(usual_orders, usual))


def wash(recent: OrderEvents, draws: F8) -> float:
    """Test the round-trip share of the fills against random orders of their sizes (permutation).

    draws [P,≥fills] uniform; each row gives one permutation. A round trip takes at most 1 s.
    """
    fills = recent.where(recent.event == FILL)
    n = len(fills.size)
    if n < LEAST_EVENTS or draws.shape[1] < n:
        return math.nan
    soon = (np.diff(fills.time_ns) <= ROUND_TRIP_S * SECOND).astype(np.uint8)
    by_chance = permutation.round_trips(fills.side, soon, fills.size, np.ascontiguousarray(draws[:, :n]))
    pair = (fills.side[1:] == -fills.side[:-1]) & (fills.size[1:] == fills.size[:-1]) & (soon != 0)
    return permutation.p_value(float((fills.size[1:] * pair).sum()), by_chance)


def pump_dump(returns: F8) -> float:
    """Test for a turn of the drift: two-sided CUSUM of the returns [T] of whole 20-bar windows."""
    n = len(returns) - len(returns) % PUMP_BARS
    if n < PUMP_BARS or not np.isfinite(returns[-n:]).all():
        return math.nan
    steps = returns[-n:] - returns[-n:].mean()
    sigma = float(steps.std())
    if sigma == 0.0:
        return 1.0
    x = float(np.abs(np.cumsum(steps)).max()) / (sigma * math.sqrt(n))
    if x < 0.2:
        return 1.0
    return min(1.0, 2.0 * sum((-1.0) ** (k - 1) * math.exp(-2.0 * k * k * x * x) for k in range(1, 40)))


def hypergeometric_tail(k: int, drawn: int, marked: int, total: int) -> float:
    """Return P(X ≥ k) of the marked among `drawn` of `total`, `marked` of which are marked."""
    least, most = max(k, drawn + marked - total), min(drawn, marked)
    ways = sum(math.comb(marked, i) * math.comb(total - marked, drawn - i) for i in range(least, most + 1))
    return ways / math.comb(total, drawn)


def front_running(recent: OrderEvents, moves_ns: I8) -> float:
    """Test whether orders above 3× the mean size come within 5 s before the large moves at `moves_ns`.

    All permutations of the sizes among the orders at once (Fisher 1935): were size and time independent, the
    large ones would be a draw from all. Shifting the orders in time instead cannot give a small p-value: a
    shift by a second or two leaves them ahead.
    """
    orders = recent.where(recent.event == NEW)
    if len(orders.size) < LEAST_EVENTS or len(moves_ns) == 0:
        return math.nan
    gap = moves_ns - orders.time_ns[:, None]
    ahead = ((gap > 0) & (gap <= AHEAD_S * SECOND)).any(axis=1)
    large = orders.size > AHEAD_SIZE * orders.size.mean()
    return hypergeometric_tail(int((ahead & large).sum()), int(large.sum()), int(ahead.sum()), len(large))


def cauchy(p: F8, weights: F8) -> float:
    """Combine p-values of any dependence (Liu & Xie 2020); NaN p-values are left out; NaN without any."""
    known = np.isfinite(p)
    if not known.any():
        return math.nan
    share = weights[known] / weights[known].sum()
    count = int(known.sum())
    # discrete tests give p = 1, whose infinite quantile would silence all others: 1 − 1/d (Liu et al. 2019)
    inside = np.clip(p[known], 1e-15, 1.0 - 1.0 / count if count > 1 else 1.0 - 1e-15)
    return float(0.5 - math.atan(float((share * np.tan((0.5 - inside) * math.pi)).sum())) / math.pi)
