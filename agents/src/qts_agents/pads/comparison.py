"""Is the adaptive cycle worth more than its baselines? Figures for labels and alarms of one series (pure)."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8

I8 = NDArray[np.int64]
LEAST = 30  # bars of a state before its own mean and deviation are used
DAY_S = 86_400.0


def adjusted_rand(a: I8, b: I8) -> float:
    """Return the adjusted Rand index (Hubert & Arabie 1985) of two labellings [T]: 1 equal, 0 chance."""

    def pairs(counts: NDArray[np.int64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    _, first = np.unique(a, return_inverse=True)
    _, second = np.unique(b, return_inverse=True)
    table = np.zeros((first.max() + 1, second.max() + 1), dtype=np.int64)
    np.add.at(table, (first, second), 1)
    both, one, other = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    chance = one * other / pairs(np.array([len(a)]))
    most = 0.5 * (one + other)
    return (both - chance) / (most - chance) if most != chance else 1.0


def next_volatility(returns: F8, horizon: int) -> F8:
    """Return ln of the root mean square of the next `horizon` returns [T]; NaN at the end."""
    total = np.concatenate(([0.0], np.cumsum(returns**2)))
    out = np.full(len(returns), np.nan)
    count = len(returns) - horizon
    if count > 0:
        square = (total[horizon + 1 :] - total[1 : count + 1]) / horizon
        out[:count] = 0.5 * np.log(np.maximum(square, 1e-16))
    return out


def log_likelihood(states: I8, target: F8, horizon: int) -> float:
    """Return the mean log density of `target` [T] given the state [T], from what was known before.

    A state's mean and deviation are those of its earlier bars whose target was complete at the time; a state
    seen on fewer than 30 uses all states together. NaN when nothing can be scored.
    """
    count: dict[int, list[float]] = {}
    total, scored = 0.0, 0
    for t in range(len(states)):
        known = t - horizon
        if known >= 0 and math.isfinite(target[known]):
            for key in (int(states[known]), -2):
                held = count.setdefault(key, [0.0, 0.0, 0.0])
                held[0] += 1.0
                held[1] += float(target[known])
                held[2] += float(target[known]) ** 2
        held = count.get(int(states[t]), [0.0, 0.0, 0.0])
        held = held if held[0] >= LEAST else count.get(-2, held)
        if held[0] < LEAST or not math.isfinite(target[t]):
            continue
        mean = held[1] / held[0]
        variance = max(held[2] / held[0] - mean * mean, 1e-6)
        total += -0.5 * (math.log(2.0 * math.pi * variance) + (float(target[t]) - mean) ** 2 / variance)
        scored += 1
    return total / scored if scored else math.nan


def switches_per_day(states: I8, bar_s: float) -> float:
    """Return how often the state changes in a day of bars."""
    return float((np.diff(states) != 0).sum()) * DAY_S / (len(states) * bar_s)


def volatility_classes(returns: F8, points: I8, classes: int = 4) -> I8:
    """Return the class [T] of each bar: how wild its segment was, classes of equal size.

    Segments are ranked by their root mean square and cut where the share of bars below them passes k/classes.
    """
    edges = np.concatenate(([0], points, [len(returns)])).astype(np.int64)
    size = np.diff(edges)
    wild = np.array([float(np.mean(returns[a:b] ** 2)) for a, b in itertools.pairwise(edges)])
    order = np.argsort(wild, kind="stable")
    middle = np.empty(len(size))
    middle[order] = (np.cumsum(size[order]) - 0.5 * size[order]) / len(returns)
    return np.repeat((classes * middle).astype(np.int64), size)


class Alarms(msgspec.Struct, frozen=True):
    """How alarms did: what share was followed by an event, and how often one was not."""

    alarms: int
    hit_rate: float  # NaN without alarms
    false_per_1000: float
    base_rate: float  # share of bars that an event follows: what an alarm at random would hit


def judge(alarms: NDArray[np.bool_], events: NDArray[np.bool_], horizon: int) -> Alarms:
    """Compare where alarms begin [T] with events in the `horizon` bars after; the last bars do not count."""
    count = len(alarms) - horizon
    follows = np.array(
        [bool(events[t + 1 : t + 1 + horizon].any()) for t in range(max(0, count))], dtype=bool
    )
    raised = alarms[: max(0, count)]
    number = int(raised.sum())
    hits = int((raised & follows).sum())
    return Alarms(
        alarms=number,
        hit_rate=hits / number if number else math.nan,
        false_per_1000=1000.0 * (number - hits) / count if count > 0 else math.nan,
        base_rate=float(follows.mean()) if count > 0 else math.nan,
    )
