"""Double Q-learning from closed bars: episodes until the values have converged, then online replay (pure).

The market does not depend on what is done in it, so a recorded bar pays every position and every action.
Until convergence each bar is followed by episodes over the recorded bars, the last 64 held out, with
α = g/(g + visits − 1), g = 1/(1−γ), which decays to 0 as convergence needs. Afterwards each bar is replayed
as it comes, together with earlier ones drawn by how wrong the table last was about them, with
α = max(floor, 1/visits), which tracks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import philox
from qts_agents.kernels.qtable import HEDGE, Plan, Rule, Tape
from qts_agents.quasar import represent
from qts_agents.quasar.experience import Experience
from qts_agents.quasar.represent import Representation
from qts_agents.quasar.states import ACTIONS, POSITIONS
from qts_agents.quasar.tape import BARS, History
from qts_core.sections import QuasarSettings

F8 = NDArray[np.float64]
I1 = NDArray[np.int8]
HOLD_OUT = 64
SLACK = 64  # starts to choose from before the first episode
CHECK_EPISODES = 100
SHORTEST_EPISODE = 8  # that the settings allow
AGREEMENT = 0.99
DRIFT_FLOOR, DRIFT_UPDATES = 0.1, 100
ANNEAL = 2_000  # replays until the correction of prioritised draws is whole
PURPOSE_TRAIN = 1


def bars_until_checked(settings: QuasarSettings) -> int:
    """Return after how many bars a new table has learned and been measured for the first time."""
    begun = settings.episode_bars + HOLD_OUT + SLACK
    return begun + math.ceil(CHECK_EPISODES / max(1, settings.episodes_per_bar))


class Learner:
    """One set of values for all symbols, its record of bars and its schedule."""

    def __init__(self, settings: QuasarSettings, key: philox.Key) -> None:
        self._settings = settings
        self._key = key
        self.Q: F8 = np.zeros((2, self.form.rows, ACTIONS))
        self.N: F8 = np.zeros((2, self.form.rows, ACTIONS))
        self.history = History()
        self.experience = Experience()
        self.replays = 0
        self.episodes = 0
        self.bars = 0
        self.converged = False
        self.change = np.inf  # mean |ΔQ| of the last full check
        self.agreement = 0.0  # share of visited hold-out states with the same greedy exposure
        self._moved, self._updates = 0.0, 0
        self._before: F8 = np.zeros((2, 0, ACTIONS))  # values at the last check
        self._alert = 0  # updates left with the raised floor

    @property
    def form(self) -> Representation:
        """Return how states are represented."""
        return represent.BY_NAME[self._settings.representation]

    def on_bar(
        self,
        symbols: tuple[str, ...],
        bar: tuple[NDArray[np.int64], I1, F8, F8],
        fee: float,
    ) -> None:
        """Record a bar (code, side, return to it, σ₂₀; [S] each) and learn from what is recorded."""
        if symbols != self.history.symbols:
            self.history = History(symbols)
        self.history.push(*bar)
        newest = self.experience.add(self.history)
        self.bars += 1
        settings = self._settings
        if self.converged:
            self._replay(newest, fee)
        elif self.history.count >= settings.episode_bars + HOLD_OUT + SLACK and settings.episodes_per_bar:
            self._episodes(fee)

    def on_drift(self) -> None:
        """Raise the floor of α for the next 100 updates of the schedule: old values count less."""
        self._alert = DRIFT_UPDATES

    def serve(self, states: NDArray[np.int64]) -> tuple[F8, I1]:
        """Return (A+B)/2 [S,7], NaN where never visited, and the greedy actions [S]."""
        return self.form.serve(self.Q, self.N, states)

    def visited(self) -> float:
        """Return the share of rows with a visit."""
        return float((self.N[:, self.form.used].sum(axis=(0, 2)) > 0.0).mean())

    def _episodes(self, fee: float) -> None:
        settings, history = self._settings, self.history
        count, length = settings.episodes_per_bar, settings.episode_bars
        first = BARS - history.count
        starts = BARS - HOLD_OUT - length - first
        draws = self._draws(count * (2 + length)).reshape(count, 2 + length)
        powers = self.episodes + np.arange(count, dtype=np.float64)
        plan = Plan(
            symbol=(np.arange(count, dtype=np.int64) + self.episodes) % len(history.symbols),
            start=first + (draws[:, 0] * starts).astype(np.int64),
            side=np.zeros(count, dtype=np.int64),
            epsilon=np.maximum(settings.exploration_floor, settings.exploration_decay**powers),
            draws=np.ascontiguousarray(draws[:, 2:]),
            weight=np.ones(count),
        )
        gain = 1.0 / (1.0 - settings.discount)
        moved, updates, _ = self._train(history.tape(), plan, self._rule(fee, 0.0, gain))
        self._moved, self._updates = self._moved + moved, self._updates + updates
        before, self.episodes = self.episodes, self.episodes + count
        if self.episodes // CHECK_EPISODES > before // CHECK_EPISODES:
            self._check()

    def _replay(self, newest: NDArray[np.int64], fee: float) -> None:
        """Replay the newest transition from each side, then those drawn by their priority."""
        settings, held = self._settings, self.experience
        draws = self._draws(2 * settings.replay_batch + len(newest))
        chosen, fresh = draws[: settings.replay_batch], draws[settings.replay_batch :]
        start = settings.replay_correction
        correction = min(1.0, start + (1.0 - start) * self.replays / ANNEAL)
        drawn, weight = held.draw(chosen, correction)
        slots = np.concatenate([newest, drawn])
        if not len(slots):
            return  # a gap, and nothing is to be drawn; empty columns would be compiled for anew
        plan = Plan(
            symbol=np.arange(len(slots), dtype=np.int64),
            start=np.zeros(len(slots), dtype=np.int64),
            side=held.side[slots].astype(np.int64),
            epsilon=np.full(len(slots), settings.exploration_floor),
            draws=np.ascontiguousarray(fresh[: len(slots), None]),
            weight=np.concatenate([np.ones(len(newest)), weight]),
        )
        floor = settings.learning_floor
        if self._alert > 0:
            self._alert -= 1
            floor = max(floor, DRIFT_FLOOR)
        _, _, error = self._train(held.tape(slots), plan, self._rule(fee, floor, 1.0))
        held.judge(slots, error, settings.replay_priority)
        self.replays += 1

    def _check(self) -> None:
        """Measure the last 100 episodes against the two criteria of convergence."""
        self.change = self._moved / self._updates if self._updates else np.inf
        self._moved, self._updates = 0.0, 0
        codes = np.unique(self.history.code[:, -HOLD_OUT:])
        states = (codes[codes >= 0, None] * POSITIONS + np.arange(POSITIONS)).ravel()
        values, now = self.serve(states)
        known = np.isfinite(values[:, 0])
        self.agreement = 0.0
        if self._before.shape == self.Q.shape and known.any():
            _, then = self.form.serve(self._before, self.N, states)
            self.agreement = float((_exposure(now) == _exposure(then))[known].mean())
        self.converged = self.change < self._settings.convergence and self.agreement >= AGREEMENT
        self._before = np.zeros((2, 0, ACTIONS)) if self.converged else self.Q.copy()

    def _train(self, tape: Tape, plan: Plan, rule: Rule) -> tuple[float, int, F8]:
        return self.form.train(self.Q, self.N, tape, plan, rule)

    def _rule(self, fee: float, floor: float, gain: float) -> Rule:
        sarsa = self._settings.update == "expected_sarsa"
        return Rule(self._settings.discount, floor, gain, sarsa, fee, self._settings.drawdown_penalty)

    def _draws(self, count: int) -> F8:
        return philox.uniforms(self._key, count, PURPOSE_TRAIN, self.bars)


def _exposure(greedy: I1) -> I1:
    """Return greedy actions with HEDGE as DECREASE: both halve alike."""
    return np.where(greedy == HEDGE, HEDGE - 1, greedy)
