"""Order flow for scoring the detectors: honest windows and injected episodes of four kinds (pure).

For evaluation only: what is made here is looked at by tests and `bench.detectors`, and never sent anywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qts_agents.qbmia.flow import PERMUTATIONS, WINDOW_S
from qts_agents.qbmia.machiavellian import Evidence
from qts_agents.qbmia.orders import CANCEL, FILL, NEW, SECOND, OrderEvents

KINDS = ("spoofing", "wash", "pump_dump", "front_running")
BARS, MOVES = 240, 10


def events(time_s: Any, side: Any, price: Any, size: Any, order: Any, event: Any) -> OrderEvents:
    """Return order events sorted by time (s)."""
    at = np.argsort(np.asarray(time_s), kind="stable")
    return OrderEvents(
        time_ns=(np.asarray(time_s, np.float64)[at] * SECOND).astype(np.int64),
        side=np.asarray(side, np.int64)[at],
        price=np.asarray(price, np.float64)[at],
        size=np.asarray(size, np.float64)[at],
        order=np.asarray(order, np.int64)[at],
        event=np.asarray(event, np.int64)[at],
    )


def together(*parts: OrderEvents) -> OrderEvents:
    """Return several streams as one."""
    names = OrderEvents.__struct_fields__
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    side, price, size, order, event = (joined[name] for name in names[1:])
    return events(joined["time_ns"] / SECOND, side, price, size, order, event)


def honest(rng: np.random.Generator, orders: int = 60, span_s: float = WINDOW_S) -> OrderEvents:
    """Return orders of random size; one in ten is cancelled half a minute later, the others are filled."""
    time, side = rng.uniform(0.0, span_s, orders), rng.choice([-1, 1], orders)
    price, size = 100.0 + 0.01 * rng.integers(-5, 6, orders), rng.lognormal(0.0, 0.5, orders)
    end, ids = np.where(rng.random(orders) < 0.1, CANCEL, FILL), np.arange(orders)
    sides, prices, sizes, number = (np.tile(x, 2) for x in (side, price, size, ids))
    kind = np.concatenate((np.full(orders, NEW), end))
    return events(np.concatenate((time, time + 30.0)), sides, prices, sizes, number, kind)


def spoofs(rng: np.random.Generator) -> OrderEvents:
    """Return 6 to 12 large orders on four levels of one side, each cancelled after seconds."""
    n = int(rng.integers(6, 13))
    start = rng.uniform(0.0, WINDOW_S - 60.0) + 4.0 * np.arange(n)
    time = np.concatenate((start, start + rng.uniform(1.0, 3.0, n)))
    price = np.tile(99.0 + 0.01 * (np.arange(n) % 4), 2)
    kind = np.repeat([NEW, CANCEL], n)
    return events(time, np.ones(2 * n), price, np.full(2 * n, 20.0), np.tile(10_000 + np.arange(n), 2), kind)


def washes(rng: np.random.Generator) -> OrderEvents:
    """Return 10 to 20 fills that are reversed within a second at the same size."""
    n = int(rng.integers(10, 21))
    start = np.sort(rng.uniform(0.0, WINDOW_S - 2.0, n))
    time = np.stack((start, start + rng.uniform(0.05, 0.5, n)), axis=1).ravel()
    size, ids = np.repeat(rng.lognormal(0.5, 0.5, n), 2), 20_000 + np.arange(2 * n)
    return events(time, np.tile([1, -1], n), np.full(2 * n, 100.0), size, ids, np.full(2 * n, FILL))


def fronts(rng: np.random.Generator, moves_s: Any) -> OrderEvents:
    """Return large orders one to four seconds before most of the moves."""
    ahead = np.asarray(moves_s)[rng.random(len(moves_s)) < 0.8]
    n = len(ahead)
    time = ahead - rng.uniform(1.0, 4.0, n)
    return events(
        time, np.ones(n), np.full(n, 100.0), np.full(n, 15.0), 30_000 + np.arange(n), np.full(n, NEW)
    )


def evidence(rng: np.random.Generator, baseline: OrderEvents, kind: str = "") -> Evidence:
    """Return a window of ten minutes, with an episode of `kind` in it or honest."""
    moves = np.sort(rng.uniform(10.0, WINDOW_S, MOVES))
    recent, returns = honest(rng), 1e-3 * rng.standard_normal(BARS)
    if kind == "spoofing":
        recent = together(recent, spoofs(rng))
    elif kind == "wash":
        recent = together(recent, washes(rng))
    elif kind == "front_running":
        recent = together(recent, fronts(rng, moves))
    elif kind == "pump_dump":
        returns = returns + np.repeat([1e-3, -1e-3], BARS // 2)
    draws = rng.random((PERMUTATIONS, len(recent.time_ns)))
    return Evidence(recent, baseline, returns, (moves * SECOND).astype(np.int64), draws)
