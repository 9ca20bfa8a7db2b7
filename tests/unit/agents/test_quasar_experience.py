"""Prioritised replay: what is stored, what is drawn, and what the table makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from qts_agents.kernels import backend, qtable
from qts_agents.quasar.experience import CAPACITY, LEAST_ERROR, Experience
from qts_agents.quasar.learner import Learner
from qts_agents.quasar.represent import FRAME
from qts_agents.quasar.states import ACTIONS, NONE, ROW, STATES
from qts_agents.quasar.tape import History
from qts_core.sections import QuasarSettings

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
RULE = qtable.Rule(0.97, 0.05, 1.0, False, 0.0, 0.0)


def recorded(codes: list[int], ret: float = 0.001, orient: int = 1) -> History:
    """Return a record of two bars of as many symbols as codes."""
    history, count = History(tuple(map(str, range(len(codes))))), len(codes)
    for _ in range(2):
        history.push(
            np.array(codes), np.full(count, orient, np.int8), np.full(count, ret), np.full(count, 0.001)
        )
    return history


def test_a_transition_is_stored_from_each_side_and_gaps_are_not() -> None:
    """Three slots a symbol; a bar without a code and a return that is unknown give none."""
    held = Experience()
    assert held.add(recorded([5, NONE, 7])).tolist() == [0, 1, 2, 3, 4, 5]
    assert held.side[:6].tolist() == [-1, 0, 1, -1, 0, 1]
    assert held.code[:6, 0].tolist() == [5, 5, 5, 7, 7, 7]
    assert held.add(recorded([5], ret=np.nan)).size == 0
    assert held.add(recorded([5], orient=-1)).tolist() == [6, 7, 8]
    assert held.side[6:9].tolist() == [1, 0, -1]
    assert len(held) == 9


def test_a_transition_is_of_the_bar_before_the_newest() -> None:
    """Its code (0 is one) and the next, its side and σ, and the return to the next, which that one brought."""
    history, held = History(("X",)), Experience()
    for code, orient, ret, sigma in ((3, 1, 0.1, 1.0), (0, -1, 0.2, 2.0), (7, 1, 0.3, 3.0)):
        history.push(np.array([code]), np.array([orient], np.int8), np.array([ret]), np.array([sigma]))
    slots = held.add(history)
    for name, wanted in (("orient", -1), ("ret", 0.3), ("sigma", 2.0)):
        assert getattr(held, name)[slots].tolist() == [wanted] * 3
    assert held.code[slots].tolist() == [[0, 7]] * 3
    assert held.side[slots].tolist() == [1, 0, -1]
    for column, wanted in zip(held.tape(slots), ([0, 7], [-1, -1], [0.3, 0.3], [2.0, 2.0]), strict=True):
        assert column.tolist() == [wanted] * 3


def test_the_oldest_go_when_it_is_full() -> None:
    """The ring holds 10,000; what is overwritten has the priority of the new."""
    held, record = Experience(), recorded(list(range(100)))
    added = [held.add(record) for _ in range(CAPACITY // 300 + 1)]
    assert len(held) == CAPACITY
    assert added[-1][-1] == held.stored % CAPACITY - 1
    assert held.tree[1] == pytest.approx(CAPACITY)


def test_more_symbols_than_fit_are_cut_and_not_mixed_up() -> None:
    """Of 5,000 symbols the last third of the capacity is taken; no slot is given twice."""
    slots = Experience().add(recorded([5] * 5_000))
    assert len(slots) == len(set(slots.tolist())) == CAPACITY // 3 * 3


def test_draws_follow_the_errors_and_weights_undo_them() -> None:
    """A slot with 2^(1/0.6) times the error comes twice as often and counts half; none is never drawn."""
    held = Experience()
    slots = held.add(recorded([5, 6]))
    error = np.array([1.0, 2.0 ** (1 / 0.6), 0.0, 1.0, 1.0, 1.0]) - LEAST_ERROR * np.array([1, 1, 0, 1, 1, 1])
    held.judge(slots, error, 0.6)
    drawn, weight = held.draw(np.random.default_rng(1).random(60_000), 1.0)
    count = np.bincount(drawn, minlength=6)
    assert count[1] / count[0] == pytest.approx(2.0, rel=0.01)
    assert count[2] / count[0] == pytest.approx(LEAST_ERROR**0.6, rel=0.1)
    assert weight[drawn == 0][0] / weight[drawn == 1][0] == pytest.approx(2.0, rel=1e-12)
    assert held.draw(np.full(6, 0.5), 0.0)[1].tolist() == [1.0] * 6
    newer = held.add(recorded([9]))
    assert held.tree[len(held.tree) // 2 + newer].tolist() == [held.top] * 3
    assert held.top == pytest.approx(2.0)


def test_nothing_is_drawn_from_nothing() -> None:
    """An empty ring, and a batch of none, give none."""
    assert [part.size for part in Experience().draw(np.full(4, 0.5), 1.0)] == [0, 0]
    held = Experience()
    held.add(recorded([5]))
    assert held.draw(np.zeros(0), 1.0)[0].size == 0


def test_what_is_kept_goes_on_to_the_bit() -> None:
    """Packed and unpacked it has the same tree and draws the same."""
    held = Experience()
    draws = np.random.default_rng(2)
    for _ in range(40):
        slots = held.add(recorded(draws.integers(0, 600, 100).tolist()))
        held.judge(slots, draws.random(len(slots)), 0.6)
    again = Experience.unpack(held.pack())
    assert again.tree.tobytes() == held.tree.tobytes()
    assert (again.stored, again.top) == (held.stored, held.top)
    u = draws.random(64)
    one, two = held.draw(u, 0.7), again.draw(u, 0.7)
    assert one[0].tolist() == two[0].tolist()
    for a, b in zip(held.tape(one[0]), again.tape(two[0]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("either")
def test_a_step_is_scaled_by_its_weight_and_tells_its_error() -> None:
    """From flat with a return of one σ: a greedy HOLD earns nothing; BUY's target is 1 whatever the weight."""
    held = Experience()
    slots = held.add(recorded([5]))[2:]  # long: EXIT, HOLD, …; the exposure earns the return
    moved = []
    for weight in (1.0, 0.25):
        Q, N = np.zeros((2, STATES, ACTIONS)), np.zeros((2, STATES, ACTIONS))
        plan = qtable.Plan(
            np.zeros(1, np.int64), np.zeros(1, np.int64), held.side[slots].astype(np.int64), np.zeros(1),
            np.full((1, 1), 0.25), np.full(1, weight),
        )  # fmt: skip
        distance, count, error = qtable.train(Q, N, FRAME, held.tape(slots), plan, RULE)
        assert (count, error.tolist()) == (1, [pytest.approx(1.0)])
        assert N[0, ROW[5 * 3 + 2]].sum() == 1.0
        moved.append(distance)
    assert moved == [pytest.approx(1.0), pytest.approx(0.25)]


def test_a_gap_with_nothing_to_draw_compiles_nothing() -> None:
    """Once converged, a bar without a code and no batch leave the table, and the kernels, as they are."""
    learner = Learner(QuasarSettings(replay_batch=0), (1, 0))
    learner.converged = True
    known, gap = np.array([5]), np.array([NONE])
    rest = np.ones(1, np.int8), np.array([0.001]), np.array([0.001])
    for _ in range(2):
        learner.on_bar(("X",), (known, *rest), 0.0)
    assert learner.replays == 1
    visits, compiled = learner.N.copy(), backend.compiles()
    learner.on_bar(("X",), (gap, *rest), 0.0)
    assert backend.compiles() == compiled
    assert visits.sum() == 3.0
    np.testing.assert_array_equal(learner.N, visits)
