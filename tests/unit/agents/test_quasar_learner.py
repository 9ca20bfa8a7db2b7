"""When QUASAR's table learns, from what and how fast: its schedule, with the learning itself replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qts_agents.quasar.learner import Learner, bars_until_checked
from qts_core.sections import QuasarSettings

EPISODES = QuasarSettings(episodes_per_bar=4)


class Watched(Learner):
    """Keeps each plan with its rule; `moved` is the distance that an update is said to move a value."""

    def __init__(self, settings: QuasarSettings = EPISODES, moved: float = 0.0) -> None:
        super().__init__(settings, (1, 0))
        self.seen: list[tuple[Any, Any]] = []
        self.moved = moved
        self.N[:] = 1.0
        self.Q[:, :, 0] = 1.0  # BUY everywhere

    def _train(self, tape: Any, plan: Any, rule: Any) -> tuple[float, int, np.ndarray]:
        self.seen.append((plan, rule))
        return 10.0 * self.moved, 10, np.zeros(len(plan.start))

    def live(self, bars: int, symbols: tuple[str, ...] = ("X",)) -> None:
        """Let so many bars of one state pass."""
        one = np.ones(len(symbols))
        for _ in range(bars):
            bar = (5 * one).astype(np.int64), one.astype(np.int8), 0.001 * one, 0.001 * one
            self.on_bar(symbols, bar, 0.0)


@pytest.mark.parametrize(("length", "first"), [(128, 256), (8, 136)])
def test_episodes_begin_with_64_starts_before_64_held_out_bars(length: int, first: int) -> None:
    """Not a bar sooner; whoever warms up is told when the first hundred are judged."""
    settings = QuasarSettings(episode_bars=length, episodes_per_bar=3)
    learner = Watched(settings)
    learner.live(first - 1)
    assert not learner.seen
    learner.live(1)
    assert (len(learner.seen), learner.episodes) == (1, 3)
    learner.live(33 - 1)
    assert learner.change == np.inf
    learner.live(1)
    assert (learner.change, learner.episodes) == (0.0, 102)
    assert first + 33 <= bars_until_checked(settings) <= first + 34
    none = QuasarSettings(episode_bars=length, episodes_per_bar=0)
    assert bars_until_checked(none) == first + 100


@pytest.mark.parametrize(("draw", "start"), [(0.0, 512 - 256), (1.0 - 1e-12, 512 - 64 - 128 - 1)])
def test_an_episode_begins_anywhere_before_what_is_held_out(
    draw: float, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the oldest of at most 512 bars to the last that leaves 64; flat, each symbol in its turn."""
    learner = Watched()
    monkeypatch.setattr(learner, "_draws", lambda count: np.full(count, draw))
    learner.live(257, ("X", "Y", "Z"))
    plan, _ = learner.seen[0]
    assert plan.start.tolist() == [start] * 4
    assert [p.symbol.tolist() for p, _ in learner.seen] == [[0, 1, 2, 0], [1, 2, 0, 1]]
    assert (plan.side.tolist(), plan.weight.tolist()) == ([0] * 4, [1.0] * 4)
    assert plan.draws.shape == (4, 128)


def test_every_bar_has_draws_of_its_own() -> None:
    """§1.6: the counter holds the index of the decision; a learner of another seed draws others."""
    learner, other = Watched(), Watched()
    other._key = (2, 0)
    for one in (learner, other):
        one.live(260)
    first, *later = (plan.draws.tobytes() for plan, _ in (*learner.seen, *other.seen))
    assert len({first, *later}) == 10


def test_exploration_falls_by_half_a_percent_an_episode_to_a_twentieth() -> None:
    """ε = max(0.05, 0.995^n), in training only; α is that of convergence, g = 1/(1−γ) without a floor."""
    learner = Watched(moved=1.0)
    learner.live(255 + 200)
    found = np.concatenate([plan.epsilon for plan, _ in learner.seen])
    np.testing.assert_allclose(found, np.maximum(0.05, 0.995 ** np.arange(800)))
    assert {(rule.gamma, rule.floor, round(rule.gain, 9)) for _, rule in learner.seen} == {
        (0.97, 0.0, round(1 / 0.03, 9))
    }


def test_a_drift_raises_the_floor_for_100_updates() -> None:
    """α = max(0.05, 1/visits) in replay, at least 0.1 for 100 bars after an alarm."""
    learner = Watched()
    learner.converged = True
    learner.live(2)
    learner.on_drift()
    learner.live(101)
    floors = [rule.floor for _, rule in learner.seen]
    assert floors == [0.05] + [0.1] * 100 + [0.05]
    assert {rule.gain for _, rule in learner.seen} == {1.0}
    assert {epsilon for plan, _ in learner.seen for epsilon in plan.epsilon} == {0.05}


def test_the_correction_of_draws_becomes_whole_in_2000_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """β from 0.4 to 1; the newest transition, from three sides, is replayed whole beside those drawn."""
    learner, asked = Watched(), []
    learner.converged = True
    learner.live(1)

    def draw(chosen: np.ndarray, correction: float) -> tuple[np.ndarray, np.ndarray]:
        asked.append((len(chosen), correction))
        return np.array([0, 2]), np.array([0.5, 0.25])

    monkeypatch.setattr(learner.experience, "draw", draw)
    for replays in (0, 500, 2000, 9000):
        learner.replays = replays
        learner.live(1)
        assert learner.replays == replays + 1
    assert asked == [(64, pytest.approx(beta)) for beta in (0.4, 0.55, 1.0, 1.0)]
    plan, _ = learner.seen[0]
    assert plan.weight.tolist() == [1.0, 1.0, 1.0, 0.5, 0.25]
    assert plan.side.tolist() == [-1, 0, 1, -1, 1]
    assert plan.symbol.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("moved", "converged"), [(0.0099, True), (0.01, False)])
def test_a_table_converges_where_values_and_policy_stand_still(moved: float, converged: bool) -> None:
    """Mean |ΔQ| < 0.01 over 100 episodes, and the actions of a hundred episodes ago; what is learned then ends."""
    learner = Watched(moved=moved)
    learner.live(255 + 25)
    assert (learner.change, learner.agreement, learner.converged) == (pytest.approx(moved), 0.0, False)
    learner.live(25)
    assert (learner.agreement, learner.converged) == (1.0, converged)
    learner.live(1)
    assert learner.replays == int(converged)


def test_another_policy_is_none_that_stands_still() -> None:
    """A value that moved little may have made another action the best one; to halve by HEDGE is to halve."""
    learner = Watched()
    learner.live(255 + 25)
    learner.Q[:, :, 1] = 2.0  # SELL from flat, where BUY was best
    learner.Q[:, :, 4] = 3.0  # DECREASE of what is open
    learner.live(25)
    assert (learner.agreement, learner.converged) == (0.0, False)
    learner.Q[:, :, 5] = 4.0  # HEDGE instead
    learner.live(25)
    assert (learner.agreement, learner.converged) == (1.0, True)


def test_the_share_of_rows_that_were_visited() -> None:
    """Of those that a state uses, by either table and any action."""
    learner = Learner(EPISODES, (1, 0))
    assert learner.visited() == 0.0
    used = learner.form.used
    learner.N[0, used[0], 2] = learner.N[1, used[1], 6] = 1.0
    assert learner.visited() == 2 / len(used)
