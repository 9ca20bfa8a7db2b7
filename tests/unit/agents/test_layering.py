"""Layering by the distance from the touch: what a withdrawn ladder is, what is none, and how usual one is."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from qts_agents.qbmia import episodes, flow
from qts_agents.qbmia.episodes import events, together
from qts_agents.qbmia.layering import joint_cancels, layering
from qts_agents.qbmia.orders import CANCEL, FILL, NEW, SECOND, OrderEvents, poisson_tail

HOUR = 3600.0
NEAR_ORDERS, NEAR_GONE, FAR_ORDERS, FAR_GONE = 60, 12, 40, 36


def ended(time_s, end, distance, first, side=1, size=1.0, later=10.0):
    """Return orders at distances (spreads), one price each, and how they end `later`."""
    n = len(distance)
    ids, where = first + np.arange(n), np.asarray(distance)
    price, sizes = 100.0 - side * 0.02 * (0.5 + where), np.broadcast_to(size, n)
    times = np.broadcast_to(np.asarray(time_s, np.float64), n)
    return together(
        events(times, np.full(n, side), price, sizes, ids, np.full(n, NEW), where),
        events(times + later, np.full(n, side), price, sizes, ids, np.full(n, end), where),
    )


def taken(time_s, side=-1):
    """Return a fill at the touch."""
    return ended([time_s - 1.0], FILL, [0.0], int(1e6 + time_s), side, later=1.0)


def a_day(*more: OrderEvents) -> OrderEvents:
    """Return orders one by one, never three at a time: a fifth of the near and nine in ten far ones cancelled."""
    near = np.repeat([CANCEL, FILL], [NEAR_GONE, NEAR_ORDERS - NEAR_GONE])
    far = np.repeat([CANCEL, FILL], [FAR_GONE, FAR_ORDERS - FAR_GONE])
    parts = [
        ended([60.0 * i], end, [3.0 if i < NEAR_ORDERS else 20.0], 1000 + i, (-1) ** i)
        for i, end in enumerate(np.concatenate((near, far)))
    ]
    return together(*parts, *more)


def share(gone, orders, gone_elsewhere, orders_elsewhere):
    return (gone + 2.0 * (gone_elsewhere + 1.0) / (orders_elsewhere + 2.0)) / (orders + 2.0)


NEAR_SHARE = share(NEAR_GONE, NEAR_ORDERS, FAR_GONE, FAR_ORDERS)
START = 10.0 * HOUR
PLACES = [2.0, 2.5, 3.0, 3.5]
LADDER = ended(START, CANCEL, PLACES, 1)
FILLED = taken(START + 5.0)
AFTER = taken(START + 300.0)  # what ended less than 5 s before the last event may come back yet


def test_a_ladder_withdrawn_after_a_fill_is_as_unlikely_as_each_of_its_orders_going_by_itself():
    """p is the Poisson tail at the product of the usual shares, from counts by hand; two ladders are rarer."""
    chance = NEAR_SHARE**4
    assert layering(together(LADDER, FILLED, AFTER), a_day()) == pytest.approx(
        poisson_tail(1, chance), rel=1e-12
    )
    again = together(ended(START + 100.0, CANCEL, PLACES, 11), taken(START + 105.0))
    two = together(LADDER, FILLED, again, AFTER)
    assert layering(two, a_day()) == pytest.approx(poisson_tail(2, 2.0 * chance), rel=1e-12)
    mirrored = together(ended(START, CANCEL, PLACES, 1, side=-1), taken(START + 5.0, side=1), AFTER)
    assert layering(mirrored, a_day()) == layering(together(LADDER, FILLED, AFTER), a_day())


def gone_at(distance, **how):
    return together(ended(START, CANCEL, distance, 1, **how), FILLED)


@pytest.mark.parametrize(
    ("recent", "why"),
    [
        (LADDER, "nothing was filled on the other side"),
        (together(LADDER, taken(START + 5.0, side=1)), "filled on their own side"),
        (together(LADDER, taken(START - 1.0)), "filled before they came"),
        (together(LADDER, taken(START + 11.0)), "filled after they had gone"),
        (together(ended(START, FILL, PLACES, 1), FILLED), "executed"),
        (gone_at(PLACES[:2]), "two levels"),
        (gone_at([3.0] * 4), "one level"),
        (gone_at(PLACES, size=[1.0, 2.0, 4.0, 8.0]), "of no like size"),
        (gone_at(PLACES, later=70.0), "longer than 60 s after the fill"),
        (gone_at([-0.5, -0.4, -0.3]), "before the touch"),
        (gone_at([20.0, 20.5, 21.0, 21.5]), "so far away that it is usual"),
        (together(LADDER, FILLED, ended(START + 12.0, FILL, PLACES, 101, later=200.0)), "back as far from the touch"),
    ],
)  # fmt: skip
def test_what_is_no_layering(recent, why):
    """Each lacks one part of the definition, or is what makers do around a touch that moves."""
    assert layering(together(recent, AFTER), a_day()) == 1.0, why


def test_a_ladder_is_gone_within_a_minute_after_the_fill():
    """At its end it still counts, later not."""
    p = [layering(together(gone_at(PLACES, later=later), AFTER), a_day()) for later in (65.0, 65.5)]
    assert p[0] < 0.01 < p[1] == 1.0


def test_what_ended_just_now_may_be_a_requote():
    """Four seconds after its end a ladder is not counted yet, six seconds after it is."""
    p = [layering(together(LADDER, FILLED, taken(START + 10.0 + s)), a_day()) for s in (4.0, 6.0)]
    assert p[1] < 0.01 < p[0] == 1.0


def test_orders_that_come_back_late_larger_or_elsewhere_do_not_excuse():
    """Only as many, as large, as far from the touch, on that side and within 5 s: that is a maker's re-quote."""
    alone = layering(together(LADDER, FILLED, AFTER), a_day())
    for how in ({"time_s": START + 16.0}, {"size": 1.5}, {"side": -1}, {"distance": [8.0, 8.5, 9.0, 9.5]}):
        back: dict[str, Any] = {
            "time_s": START + 12.0,
            "end": FILL,
            "distance": PLACES,
            "first": 101,
            "later": 200.0,
        } | how
        assert layering(together(LADDER, FILLED, ended(**back), AFTER), a_day()) == pytest.approx(alone)


def test_ladders_that_are_usual_in_the_baseline_are_no_alarm():
    """Where makers withdraw together day by day, the recent ladder is weighed by how often they do."""
    before = [
        together(ended(2.0 * HOUR + 300.0 * i, CANCEL, PLACES, 5000 + 10 * i), taken(2.0 * HOUR + 300.0 * i + 5.0))
        for i in range(20)
    ]  # fmt: skip
    assert layering(together(LADDER, FILLED, AFTER), a_day(*before)) > 0.05
    assert layering(together(LADDER, FILLED, AFTER), a_day()) < 0.01


def test_without_distances_joint_cancels_are_counted_as_before():
    """Joint cancels of the recent events against those of the day, by the time that both span."""
    nowhere = [
        msgspec.structs.replace(part, distance=np.full(part.time_ns.size, np.nan))
        for part in (together(LADDER, FILLED), a_day())
    ]
    span = [float(part.time_ns[-1] - part.time_ns[0]) / SECOND for part in nowhere]
    assert [joint_cancels(part) for part in nowhere] == [1, 0]
    assert layering(*nowhere) == pytest.approx(poisson_tail(1, 0.5 * span[0] / span[1]), rel=1e-12)


def low(rng, baseline, shares, more=None):
    """Return the share of 40 windows whose p is below 0.05 with distances, and without."""
    found = []
    for _ in range(40):
        recent = episodes.quoted(rng, shares)
        recent = recent if more is None else together(recent, more(rng))
        blind = [
            msgspec.structs.replace(part, distance=np.full(part.time_ns.size, np.nan))
            for part in (recent, baseline)
        ]
        found.append((layering(recent, baseline) < 0.05, layering(*blind) < 0.05))
    return np.mean(found, axis=0)


def test_makers_are_no_layerers_where_distances_are_known_and_layerers_are():
    """Makers that moved away or follow the touch look like layering without distances; with them only it does."""
    rng = np.random.default_rng(5)
    baseline = episodes.quoted(rng, orders=2000, span_s=flow.DAY_S)
    for shares, more in ((episodes.AWAY, None), (episodes.CALM, episodes.requotes)):
        known, unknown = low(rng, baseline, shares, more)
        assert known < 0.1 < 0.3 < unknown
    for shares in (episodes.CALM, episodes.AWAY):
        assert low(rng, baseline, shares, episodes.layers)[0] > 0.8
