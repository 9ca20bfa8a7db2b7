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
SPREAD = 0.02
#: spreads from the touch: at it, near, far; how often orders there are cancelled in an honest market; and
#: the shares of such orders when it is calm and when makers have moved away
REACH = np.array([[0.0, 1.0], [1.0, 5.0], [5.0, 40.0]])
GIVEN_UP = np.array([0.1, 0.3, 0.8])
CALM, AWAY = (0.6, 0.3, 0.1), (0.2, 0.3, 0.5)


def events(
    time_s: Any, side: Any, price: Any, size: Any, order: Any, event: Any, distance: Any = np.nan
) -> OrderEvents:
    """Return order events sorted by time (s); `distance` is unknown unless given."""
    at = np.argsort(np.asarray(time_s), kind="stable")
    return OrderEvents(
        time_ns=(np.asarray(time_s, np.float64)[at] * SECOND).astype(np.int64),
        side=np.asarray(side, np.int64)[at],
        price=np.asarray(price, np.float64)[at],
        size=np.asarray(size, np.float64)[at],
        order=np.asarray(order, np.int64)[at],
        event=np.asarray(event, np.int64)[at],
        distance=np.broadcast_to(np.asarray(distance, np.float64), at.shape)[at],
    )


def together(*parts: OrderEvents) -> OrderEvents:
    """Return several streams as one."""
    names = OrderEvents.__struct_fields__
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return events(joined["time_ns"] / SECOND, *(joined[name] for name in names[1:]))


def honest(rng: np.random.Generator, orders: int = 60, span_s: float = WINDOW_S) -> OrderEvents:
    """Return orders of random size; one in ten is cancelled half a minute later, the others are filled."""
    time, side = rng.uniform(0.0, span_s, orders), rng.choice([-1, 1], orders)
    price, size = 100.0 + 0.01 * rng.integers(-5, 6, orders), rng.lognormal(0.0, 0.5, orders)
    end = np.where(rng.random(orders) < 0.1, CANCEL, FILL)
    return _ended(time, side, price, size, end)


def _ended(time: Any, side: Any, price: Any, size: Any, end: Any, distance: Any = np.nan) -> OrderEvents:
    """Return each order twice: when it comes, and how it ends half a minute later."""
    ids = np.arange(len(time))
    sides, prices, sizes, number = (np.tile(x, 2) for x in (side, price, size, ids))
    kind = np.concatenate((np.full(len(time), NEW), end))
    behind = np.tile(np.broadcast_to(distance, len(time)), 2)
    return events(np.concatenate((time, time + 30.0)), sides, prices, sizes, number, kind, behind)


def quoted(
    rng: np.random.Generator, shares: Any = CALM, orders: int = 60, span_s: float = WINDOW_S
) -> OrderEvents:
    """Return honest orders at known distances from the touch: the farther, the more often cancelled."""
    time, side = rng.uniform(0.0, span_s, orders), rng.choice([-1, 1], orders)
    place, size = rng.choice(len(REACH), orders, p=shares), rng.lognormal(0.0, 0.5, orders)
    distance = rng.uniform(*REACH[place].T)
    end = np.where(rng.random(orders) < GIVEN_UP[place], CANCEL, FILL)
    return _ended(time, side, 100.0 - side * SPREAD * (0.5 + distance), size, end, distance)


def spoofs(rng: np.random.Generator, distance: float = np.nan) -> OrderEvents:
    """Return 6 to 12 large orders on four levels of one side, each cancelled after seconds."""
    n = int(rng.integers(6, 13))
    start = rng.uniform(0.0, WINDOW_S - 60.0) + 4.0 * np.arange(n)
    time = np.concatenate((start, start + rng.uniform(1.0, 3.0, n)))
    price = np.tile(99.0 + 0.01 * (np.arange(n) % 4), 2)
    kind = np.repeat([NEW, CANCEL], n)
    ids = np.tile(10_000 + np.arange(n), 2)
    return events(time, np.ones(2 * n), price, np.full(2 * n, 20.0), ids, kind, distance)


def layers(rng: np.random.Generator) -> OrderEvents:
    """Return two to four times the same: 4 to 6 orders of ordinary size on as many levels of one side.

    They come within two seconds, a spread and more behind the touch; an order on the other side is filled;
    then they are cancelled within a second. The touch moves a little away from them.
    """
    side, times = int(rng.choice([-1, 1])), int(rng.integers(2, 5))
    starts = rng.uniform(0.0, 100.0, times) + 140.0 * np.arange(times)
    return together(*(_layered(rng, start, side, 40_000 + 100 * i) for i, start in enumerate(starts)))


def _layered(rng: np.random.Generator, start: float, side: int, first: int) -> OrderEvents:
    n = int(rng.integers(4, 7))
    filled, behind = start + rng.uniform(3.0, 6.0), 1.0 + 0.5 * np.arange(n)
    price, size = 100.0 - side * SPREAD * (0.5 + behind), 1.5 * rng.uniform(0.96, 1.04, n)
    ids = first + np.arange(n)
    come, gone = start + rng.uniform(0.0, 2.0, n), filled + rng.uniform(0.1, 1.1, n)
    return together(
        events(come, np.full(n, side), price, size, ids, np.full(n, NEW), behind),
        events(gone, np.full(n, side), price, size, ids, np.full(n, CANCEL), behind + rng.uniform(0.0, 1.5)),
        _taken(filled, -side, 100.0, first + 99),
    )


def _taken(time_s: float, side: float, price: float, number: int) -> OrderEvents:
    """Return an order at the touch, and its fill a second later."""
    times, two = [time_s - 1.0, time_s], np.ones(2)
    return events(times, side * two, price * two, two, number * two, [NEW, FILL], 0.0)


def requotes(rng: np.random.Generator) -> OrderEvents:
    """Return one maker's orders of equal size on four levels of both sides, which follow a touch that moves.

    An order of one side is filled at the touch, and it moves by one spread or two; within half a second the
    maker cancels what it has, and within a second has as much again as far from the new touch.
    """
    moves = np.arange(20.0, WINDOW_S - 20.0, 20.0)
    moves += rng.uniform(0.0, 10.0, moves.size)
    behind, side, size = (
        np.tile(1.0 + np.arange(4), 2),
        np.repeat([1, -1], 4),
        np.full(8, rng.uniform(0.8, 1.2)),
    )
    middle, came, ids = 100.0, rng.uniform(0.0, 1.0, 8), 50_000 + np.arange(8)
    price, parts = middle - side * SPREAD * (0.5 + behind), []
    for moved, step in zip(moves, rng.choice([-2.0, -1.0, 1.0, 2.0], moves.size), strict=True):
        gone, after = moved + rng.uniform(0.05, 0.5, 8), behind + side * step  # a rise leaves bids behind
        parts.append(events(came, side, price, size, ids, np.full(8, NEW), behind))
        parts.append(events(gone, side, price, size, ids, np.full(8, CANCEL), after))
        parts.append(_taken(moved, -np.sign(step), middle, int(ids[0]) + 99))
        middle, came, ids = middle + step * SPREAD, gone + rng.uniform(0.0, 0.5, 8), ids + 100
        price = middle - side * SPREAD * (0.5 + behind)
    return together(*parts, events(came, side, price, size, ids, np.full(8, NEW), behind))


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


LADDERS = {"layering": layers, "requoting": requotes}


def evidence(rng: np.random.Generator, baseline: OrderEvents, kind: str = "", shares: Any = None) -> Evidence:
    """Return a window of ten minutes, with an episode of `kind` in it or honest.

    With `shares` (`CALM`, `AWAY`) distances are known, and large orders are spoofed near the touch; of the
    two kinds that need them, "layering" is an episode and "requoting" is honest.
    """
    moves = np.sort(rng.uniform(10.0, WINDOW_S, MOVES))
    recent, near = (honest(rng), np.nan) if shares is None else (quoted(rng, shares), float(REACH[1].mean()))
    returns = 1e-3 * rng.standard_normal(BARS)
    if kind == "spoofing":
        recent = together(recent, spoofs(rng, near))
    elif kind in LADDERS:
        recent = together(recent, LADDERS[kind](rng))
    elif kind == "wash":
        recent = together(recent, washes(rng))
    elif kind == "front_running":
        recent = together(recent, fronts(rng, moves))
    elif kind == "pump_dump":
        returns = returns + np.repeat([1e-3, -1e-3], BARS // 2)
    draws = rng.random((PERMUTATIONS, len(recent.time_ns)))
    return Evidence(recent, baseline, returns, (moves * SECOND).astype(np.int64), draws)
