"""Made order flow is what its words say: the detectors' figures rest on it (agents.md §4, machiavellian)."""

from __future__ import annotations

import numpy as np
import pytest

from qts_agents.qbmia import episodes
from qts_agents.qbmia.flow import PERMUTATIONS, WINDOW_S
from qts_agents.qbmia.orders import CANCEL, FILL, NEW, SECOND, OrderEvents

TOUCH = 0.01  # half a spread of 0.02 about 100


@pytest.fixture(params=range(8))
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return np.random.default_rng(request.param)


def seconds(made: OrderEvents) -> np.ndarray:
    assert (np.diff(made.time_ns) >= 0).all()
    return made.time_ns / SECOND


def lives(made: OrderEvents) -> np.ndarray:
    """Return the places [N,2] of each order's coming and end; sizes, sides and prices do not change between."""
    ids = np.unique(made.order)
    both = np.array([np.flatnonzero(made.order == one) for one in ids])
    assert both.shape == (len(ids), 2)
    assert (made.event[both[:, 0]] == NEW).all()
    for values in (made.side, made.price, made.size):
        assert (values[both[:, 0]] == values[both[:, 1]]).all()
    return both


def test_streams_together_lose_nothing_and_are_in_order() -> None:
    one = episodes.events([3.0, 1.0], [1, -1], [9.0, 8.0], [2.0, 5.0], [7, 6], [NEW, FILL])
    two = episodes.events([2.0], [-1], [4.0], [1.0], [5], [CANCEL], 0.5)
    both = episodes.together(one, two)
    assert both.time_ns.tolist() == [SECOND, 2 * SECOND, 3 * SECOND]
    assert (both.order.tolist(), both.side.tolist(), both.event.tolist()) == (
        [6, 5, 7],
        [-1, -1, 1],
        [FILL, CANCEL, NEW],
    )
    assert (both.price.tolist(), both.size.tolist()) == ([8.0, 4.0, 9.0], [5.0, 1.0, 2.0])
    np.testing.assert_array_equal(both.distance, [np.nan, 0.5, np.nan])


def test_honest_orders_end_half_a_minute_later_one_in_ten_cancelled() -> None:
    made = episodes.honest(np.random.default_rng(1), 4000, 900.0)
    come, end = lives(made).T
    time = seconds(made)
    np.testing.assert_allclose(time[end] - time[come], 30.0, rtol=0, atol=1e-6)
    assert time[come].min() >= 0.0
    assert 890.0 < time[come].max() <= 900.0
    assert np.mean(made.event[end] == CANCEL) == pytest.approx(0.1, abs=0.02)
    assert set(made.event[end]) == {CANCEL, FILL}
    assert np.unique(np.round(made.price, 9)).tolist() == pytest.approx(np.arange(99.95, 100.06, 0.01))
    assert np.isnan(made.distance).all()
    assert abs(made.side.mean()) < 0.05
    assert (np.log(made.size).mean(), np.log(made.size).std()) == pytest.approx((0.0, 0.5), abs=0.03)


@pytest.mark.parametrize(
    ("name", "shares"), [("CALM", (0.6, 0.3, 0.1)), ("AWAY", (0.2, 0.3, 0.5))], ids=["calm", "away"]
)
def test_quoted_orders_are_given_up_by_their_distance(name: str, shares: tuple[float, ...]) -> None:
    """At the touch, near, far: a tenth, three and eight tenths are cancelled; prices lie at their distance."""
    made = episodes.quoted(np.random.default_rng(2), getattr(episodes, name), 6000)
    come, end = lives(made).T
    where = made.distance[come]
    np.testing.assert_allclose(made.price, 100.0 - made.side * (TOUCH + 0.02 * made.distance), rtol=1e-12)
    for (low, high), share, gone in zip(((0, 1), (1, 5), (5, 40)), shares, (0.1, 0.3, 0.8), strict=True):
        here = (where >= low) & (where < high)
        assert here.mean() == pytest.approx(share, abs=0.02)
        assert where[here].mean() == pytest.approx((low + high) / 2, rel=0.1)
        assert (where[here].min(), where[here].max()) == pytest.approx((low, high), abs=0.01 * (high - low))
        assert np.mean(made.event[end][here] == CANCEL) == pytest.approx(gone, abs=0.05)
    assert abs(made.side.mean()) < 0.05
    assert set(made.event[end]) == {CANCEL, FILL}
    assert (np.log(made.size).mean(), np.log(made.size).std()) == pytest.approx((0.0, 0.5), abs=0.03)


def test_spoofs_are_large_and_gone_after_seconds(rng: np.random.Generator) -> None:
    """On four levels of one side, one every four seconds, within the window."""
    made = episodes.spoofs(rng, 0.7)
    come, end = lives(made).T
    time = seconds(made)
    assert 6 <= len(come) <= 12
    np.testing.assert_allclose(np.diff(time[come]), 4.0, rtol=0, atol=1e-6)
    assert ((time[end] - time[come] >= 1.0 - 1e-6) & (time[end] - time[come] <= 3.0)).all()
    assert time.min() >= 0.0
    assert time.max() <= WINDOW_S
    assert (set(made.event[end]), set(made.side), set(made.size)) == ({CANCEL}, {1}, {20.0})
    assert np.unique(made.price) == pytest.approx([99.0, 99.01, 99.02, 99.03])
    assert (made.distance == 0.7).all()


def test_ladders_are_withdrawn_after_a_fill_on_the_other_side(rng: np.random.Generator) -> None:
    """Two to four times: four to six orders of like size behind the touch, which moves away from them."""
    made = episodes.layers(rng)
    come, end = lives(made).T
    time = seconds(made)
    assert time.max() <= WINDOW_S
    taken = made.event[end] == FILL
    fills, side = end[taken], made.side[come[~taken][0]]
    assert 2 <= len(fills) <= 4
    assert (made.side[fills] == -side).all()
    assert (made.side[come[~taken]] == side).all()
    assert (made.price[fills] == 100.0).all()
    assert (made.distance[fills] == 0.0).all()
    np.testing.assert_allclose(time[fills] - time[come[taken]], 1.0, rtol=0, atol=1e-6)
    ladder = np.array([np.searchsorted(time[fills], t) for t in time[come[~taken]]])
    for number, fill in enumerate(fills):
        first, last = come[~taken][ladder == number], end[~taken][ladder == number]
        assert 4 <= len(first) <= 6
        assert np.ptp(time[first]) <= 2.0
        assert time[fill] - 6.0 <= time[first].min()
        assert time[first].max() <= time[fill] - 1.0
        assert ((time[last] > time[fill] + 0.09) & (time[last] < time[fill] + 1.11)).all()
        assert (made.event[last] == CANCEL).all()
        assert sorted(made.distance[first]) == [1.0 + 0.5 * i for i in range(len(first))]
        np.testing.assert_allclose(made.price[first], 100.0 - side * (TOUCH + 0.02 * made.distance[first]))
        away = made.distance[last] - made.distance[first]
        assert (away >= 0.0).all()
        assert (away <= 1.5).all()
        assert np.ptp(away) < 1e-9
        assert ((made.size[first] >= 1.44) & (made.size[first] <= 1.56)).all()


def test_ladders_stand_on_either_side() -> None:
    made = [episodes.layers(np.random.default_rng(seed)) for seed in range(8)]
    assert {int(one.side[one.order == 40_000][0]) for one in made} == {-1, 1}


def test_what_is_drawn_reaches_both_ends_of_its_range() -> None:
    """How many spoofs, ladders, orders of a ladder and washes there are, and how long they last."""
    spoofs, ladders, steps, washes, lasting, closing, sizes = set(), set(), set(), set(), [], [], []
    for seed in range(400):
        made = episodes.spoofs(np.random.default_rng(seed))
        come, end = lives(made).T
        spoofs.add(len(come))
        lasting.append((made.time_ns[end] - made.time_ns[come]) / SECOND)
        made = episodes.layers(np.random.default_rng(seed))
        ladders.add(int((made.event == FILL).sum()))
        quoted = np.unique(made.order[made.event == CANCEL])
        steps |= set(np.unique(quoted // 100, return_counts=True)[1].tolist())
        made = episodes.washes(np.random.default_rng(seed))
        washes.add(len(made.order) // 2)
        first, last = np.argsort(made.order).reshape(-1, 2).T
        sizes.append(made.size[made.side == 1])
        closing.append((made.time_ns[last] - made.time_ns[first]) / SECOND)
    assert (spoofs, ladders, steps) == (set(range(6, 13)), {2, 3, 4}, {4, 5, 6})
    assert washes == set(range(10, 21))
    for times, ends in ((lasting, (1.0, 3.0)), (closing, (0.05, 0.5))):
        whole = np.concatenate(times)
        assert (whole.min(), whole.max()) == pytest.approx(ends, abs=0.004)
    drawn = np.log(np.concatenate(sizes))
    assert (drawn.mean(), drawn.std()) == pytest.approx((0.5, 0.5), abs=0.03)


def test_a_maker_follows_the_touch(rng: np.random.Generator) -> None:
    """Each order goes within half a second of a fill, as far away as the touch has moved, and is back as far as before."""
    made = episodes.requotes(rng)
    time, single = seconds(made), np.bincount(made.order)[made.order] == 1
    assert single.sum() == 8  # what stands at the end
    fills = np.flatnonzero(made.event == FILL)
    assert len(fills) == 28
    late = time[fills] - 20.0 * np.arange(1, 29)
    assert ((late >= -1e-6) & (late <= 10.0)).all()
    assert np.ptp(late) > 7.0
    quotes = ~np.isin(made.order, made.order[fills])
    assert np.unique(made.size[quotes]).size == 1
    assert 0.8 <= made.size[quotes][0] <= 1.2
    first = np.flatnonzero(time <= 1.0)
    assert (len(first), set(made.event[first])) == (8, {NEW})
    np.testing.assert_allclose(
        made.price[first], 100.0 - made.side[first] * (TOUCH + 0.02 * made.distance[first])
    )
    touch, steps = 100.0, set()
    for number, fill in enumerate(fills):
        assert made.price[fill] == pytest.approx(touch)
        until = time[fills[number + 1]] - 1.5 if number + 1 < len(fills) else np.inf
        now = quotes & (time > time[fill]) & (time < until)
        gone, back = (np.flatnonzero(now & (made.event == kind)) for kind in (CANCEL, NEW))
        assert (len(gone), len(back)) == (8, 8)
        assert time[gone].max() <= time[fill] + 0.5
        assert time[back].max() <= time[fill] + 1.0
        back = back[np.argsort(made.order[back])]
        gone = gone[np.argsort(made.order[gone])]
        assert (time[back] >= time[gone]).all()
        assert made.side[back].tolist() == made.side[gone].tolist() == [1] * 4 + [-1] * 4
        assert made.distance[back].tolist() == [1.0, 2.0, 3.0, 4.0] * 2
        (step,) = set(np.round(made.side[gone] * (made.distance[gone] - made.distance[back]), 9))
        steps.add(float(step))
        assert made.side[fill] == -np.sign(step)  # who sells at the touch lets it rise
        touch += 0.02 * step
        np.testing.assert_allclose(
            made.price[back], touch - made.side[back] * (TOUCH + 0.02 * made.distance[back])
        )
    assert steps == {-2.0, -1.0, 1.0, 2.0}


def test_washes_are_reversed_within_a_second(rng: np.random.Generator) -> None:
    made = episodes.washes(rng)
    assert set(made.event) == {FILL}
    assert set(made.price) == {100.0}
    assert len(set(made.order)) == len(made.order)
    pairs = np.argsort(made.order).reshape(-1, 2)
    time = seconds(made)
    assert 10 <= len(pairs) <= 20
    assert (made.side[pairs] == [1, -1]).all()
    assert (made.size[pairs[:, 0]] == made.size[pairs[:, 1]]).all()
    apart = time[pairs[:, 1]] - time[pairs[:, 0]]
    assert ((apart >= 0.05 - 1e-6) & (apart <= 0.5)).all()
    assert time.min() >= 0.0
    assert time.max() <= WINDOW_S


def test_large_orders_run_ahead_of_most_moves() -> None:
    moves = 10.0 + 20.0 * np.arange(500)
    made = episodes.fronts(np.random.default_rng(4), moves)
    ahead = moves[np.searchsorted(moves, seconds(made))] - seconds(made)
    assert ((ahead >= 1.0 - 1e-6) & (ahead <= 4.0)).all()
    assert len(ahead) == pytest.approx(400, abs=30)
    assert (set(made.event), set(made.side), set(made.size)) == ({NEW}, {1}, {15.0})
    assert len(set(made.order)) == len(ahead)


@pytest.mark.parametrize("kind", ["", *episodes.KINDS, *episodes.LADDERS])
def test_a_window_holds_what_its_kind_says(kind: str) -> None:
    """Honest orders and those of the kind alone; a pump rises for half of its bars and falls for the rest."""
    baseline = episodes.honest(np.random.default_rng(1))
    shares = episodes.CALM if kind in episodes.LADDERS else None
    made = episodes.evidence(np.random.default_rng(5), baseline, kind, shares)
    own = {
        "spoofing": 10_000,
        "wash": 20_000,
        "front_running": 30_000,
        "layering": 40_000,
        "requoting": 50_000,
    }
    found = {int(number // 10_000 * 10_000) for number in made.recent.order} - {0}
    assert found == ({own[kind]} if kind in own else set())
    assert (made.recent.order < 10_000).sum() == 2 * 60
    assert made.draws.shape == (PERMUTATIONS, len(made.recent.time_ns))
    assert made.baseline is baseline
    moves = made.moves_ns / SECOND
    assert len(moves) == 10
    assert (np.diff(moves) >= 0.0).all()
    assert moves.min() >= 10.0
    assert moves.max() <= WINDOW_S
    rise = 1e-3 if kind == "pump_dump" else 0.0
    means = [half.mean() for half in np.split(made.returns, 2)]
    assert means == pytest.approx([rise, -rise], abs=3.5e-4)
    assert made.returns.std() == pytest.approx(np.hypot(1e-3, rise), rel=0.15)
    assert np.isnan(made.recent.distance).all() == (shares is None)


def test_spoofs_lie_near_the_touch_where_distances_are_known() -> None:
    made = episodes.evidence(
        np.random.default_rng(6), episodes.honest(np.random.default_rng(1)), "spoofing", episodes.AWAY
    )
    assert set(made.recent.distance[made.recent.order >= 10_000]) == {3.0}
