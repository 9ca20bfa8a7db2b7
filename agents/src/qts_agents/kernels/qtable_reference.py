"""Double Q-learning and the mirror-tied table in plain Python; the compiled forms must equal it.

What is learned of a state is written to the cells of a `Place`: here a row of the table, in `tiles_reference`
the tiles of a state.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from qts_agents.kernels.qtable import (
    BUY,
    DECREASE,
    EXIT,
    F8,
    HEDGE,
    HOLD,
    I1,
    I8,
    INCREASE,
    MAX_EXPOSURE,
    SELL,
    Frame,
    Plan,
    Rule,
    Tape,
)

MIRROR = {BUY: SELL, SELL: BUY}
FLAT, OPEN = (BUY, SELL, HOLD), (HOLD, INCREASE, DECREASE, HEDGE, EXIT)
Cell = tuple[int, int, int]  # table, row, action
At = Callable[[int, float, int], "Place"]  # of a market's code, an exposure, and the direction of BUY


class Place(ABC):
    """A state in which one chooses: the actions allowed, and whether BUY and SELL share a cell."""

    side: float  # what BUY means there

    def __init__(self, *, flat: bool, shared: bool = False) -> None:
        self.shared = shared
        self.allowed = FLAT if flat else OPEN
        self.choices = (BUY, HOLD) if shared else self.allowed

    @abstractmethod
    def values(self, w: F8) -> F8:
        """Return the values [7] that the table `w` [R,7] holds for the actions here."""

    @abstractmethod
    def cells(self, table: int, a: int) -> list[Cell]:
        """Return where what is learned of action `a` is written."""

    @abstractmethod
    def rate(self, N: F8, cells: list[Cell], rule: Rule) -> float:
        """Return α for cells about to be written."""

    @abstractmethod
    def known(self, N: F8) -> bool:
        """Tell whether anything was learned here."""

    def best(self, values: F8) -> int:
        """Return the first best choice, HOLD if it is among the best."""
        top = max(values[a] for a in self.choices)
        return HOLD if values[HOLD] == top else next(a for a in self.choices if values[a] == top)

    def greedy(self, values: F8) -> int:
        """Return the single best action; HOLD when there are several."""
        top = max(values[a] for a in self.choices)
        winners = [a for a in self.choices if values[a] == top]
        return HOLD if self.shared or len(winners) > 1 else winners[0]

    def explore(self, values: F8, epsilon: float, u: float) -> int:
        """Return the ε-greedy action that the uniform number `u` selects."""
        rest = math.fmod(2.0 * u, 1.0)
        if rest >= epsilon:
            return self.greedy(values)
        return sorted(self.allowed)[min(int(rest / epsilon * len(self.allowed)), len(self.allowed) - 1)]

    def value(self, own: F8, other: F8, rule: Rule, epsilon: float) -> float:
        """Return the value of being here."""
        if not rule.sarsa:
            return float(other[self.best(own)])
        mean = 0.5 * (own + other)
        policy = [0.0] * 7
        for a in self.allowed:
            policy[a] = epsilon / len(self.allowed)
        policy[self.best(mean)] += 1.0 - epsilon
        if self.shared:
            policy[BUY], policy[SELL] = policy[BUY] + policy[SELL], 0.0
        total = 0.0
        for chance, value in zip(policy, mean.tolist(), strict=True):
            total += chance * value
        return total

    def advice(self, values: F8) -> tuple[F8, int]:
        """Return values and the greedy action as seen from the state itself."""
        return values, self.greedy(values)


class _Row(Place):
    """A state as the table sees it: a row, in the frame of which actions are told."""

    def __init__(self, frame: Frame, code: int, x: float, orient: int) -> None:
        index = int(code) * 3 + sign(x) + 1
        kind = int(frame.kind[index])
        super().__init__(flat=x == 0.0, shared=kind == 2)
        self.row, self.mirrored = int(frame.row[index]), kind == 1
        self.side = float(orient) if self.shared else (1.0, -1.0)[kind]

    def values(self, w: F8) -> F8:
        told: F8 = w[self.row].copy()
        if self.shared:
            told[SELL] = told[BUY]
        return told

    def cells(self, table: int, a: int) -> list[Cell]:
        return [(table, self.row, BUY if self.shared and a == SELL else a)]

    def rate(self, N: F8, cells: list[Cell], rule: Rule) -> float:
        visits = float(N[cells[0]]) + 1.0
        return max(rule.floor, rule.gain / (rule.gain + visits - 1.0))

    def known(self, N: F8) -> bool:
        return bool(N[:, self.row].any())

    def advice(self, values: F8) -> tuple[F8, int]:
        best = self.greedy(values)
        if self.mirrored:
            values[[BUY, SELL]] = values[[SELL, BUY]]
            best = MIRROR.get(best, best)
        return values, best


class Account:
    """What an episode earns, and how far it has fallen from its peak."""

    def __init__(self) -> None:
        self.equity, self.peak = 1.0, 1.0

    def take(self, gain: float, sigma: float, rule: Rule) -> float:
        """Book a gain; return the reward of the step."""
        before = 1.0 - self.equity / self.peak
        self.equity += gain
        self.peak = max(self.peak, self.equity)
        deeper = max(0.0, 1.0 - self.equity / self.peak - before)
        return (gain - rule.penalty * deeper) / sigma if sigma > 0.0 else 0.0


def sign(x: float) -> int:
    """Return −1, 0 or 1."""
    return (x > 0) - (x < 0)


def exposure(x: float, a: int, side: float) -> float:
    """Return the exposure after action `a`."""
    after = {BUY: side, SELL: -side, DECREASE: 0.5 * x, HEDGE: 0.5 * x, EXIT: 0.0}
    return min(max(1.5 * x, -MAX_EXPOSURE), MAX_EXPOSURE) if a == INCREASE else after.get(a, x)


def _episode(
    Q: F8, N: F8, at: At, tape: Tape, plan: Plan, rule: Rule, error: F8, e: int
) -> tuple[float, int]:
    i, epsilon = int(plan.symbol[e]), float(plan.epsilon[e])
    x, account, moved, count = float(plan.side[e]), Account(), 0.0, 0
    for step in range(plan.draws.shape[1]):
        t, u = int(plan.start[e]) + step, float(plan.draws[e, step])
        if t + 1 >= tape.code.shape[1] or min(tape.code[i, t], tape.code[i, t + 1]) < 0:
            break
        ret, sigma = float(tape.ret[i, t]), float(tape.sigma[i, t])
        if not math.isfinite(ret):
            break
        here = at(int(tape.code[i, t]), x, int(tape.orient[i, t]))
        q = [here.values(w) for w in Q]
        a = here.explore(0.5 * (q[0] + q[1]), epsilon, u)
        after = exposure(x, a, here.side)
        reward = account.take(after * ret - rule.fee * abs(after - x), sigma, rule)
        there = at(int(tape.code[i, t + 1]), after, int(tape.orient[i, t + 1]))
        then, table = [there.values(w) for w in Q], int(u >= 0.5)
        value = there.value(then[table], then[1 - table], rule, epsilon)
        off = reward + rule.gamma * value - float(q[table][a])
        cells = here.cells(table, a)
        change = float(plan.weight[e]) * here.rate(N, cells, rule) * off
        for cell in cells:
            Q[cell] += change
            N[cell] += 1.0
        error[e], moved, count, x = abs(off), moved + abs(change), count + 1, after
    return moved, count


def learn(Q: F8, N: F8, at: At, tape: Tape, plan: Plan, rule: Rule, error: F8) -> tuple[float, int]:
    """Run the episodes of `plan`, write each one's last error; return Σ|ΔQ| and the number of updates."""
    moved, count = 0.0, 0
    for e in range(plan.start.shape[0]):
        distance, updates = _episode(Q, N, at, tape, plan, rule, error, e)
        moved, count = moved + distance, count + updates
    return moved, count


def look(Q: F8, N: F8, at: At, states: I8, values: F8, action: I1) -> None:
    """Fill `values` [S,7] with (A+B)/2 as seen from each known state, `action` [S] with the greedy one."""
    for i, index in enumerate(states):
        if index < 0:
            continue
        place = at(int(index) // 3, float(index % 3 - 1), 1)
        if place.known(N):
            values[i], action[i] = place.advice(0.5 * (place.values(Q[0]) + place.values(Q[1])))


def train(Q: F8, N: F8, frame: Frame, tape: Tape, plan: Plan, rule: Rule, error: F8) -> tuple[float, int]:
    """Do what `qtable._train` does."""
    return learn(Q, N, partial(_Row, frame), tape, plan, rule, error)


def serve(Q: F8, N: F8, frame: Frame, states: I8, values: F8, action: I1) -> None:
    """Do what `qtable._serve` does."""
    look(Q, N, partial(_Row, frame), states, values, action)
