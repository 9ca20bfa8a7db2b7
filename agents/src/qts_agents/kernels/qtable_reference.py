"""The mirror-tied table in plain Python, written apart from the compiled one, which must equal it."""

from __future__ import annotations

import math

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

FLAT, OPEN = (BUY, SELL, HOLD), (HOLD, INCREASE, DECREASE, HEDGE, EXIT)


class Place:
    """A state in which one chooses: the actions allowed, and whether BUY and SELL share a cell."""

    def __init__(self, *, flat: bool, shared: bool = False) -> None:
        self.shared = shared
        self.allowed = FLAT if flat else OPEN
        self.cells = (BUY, HOLD) if shared else self.allowed

    def best(self, values: F8) -> int:
        """Return the first best cell, HOLD if it is among the best."""
        top = max(values[a] for a in self.cells)
        return HOLD if values[HOLD] == top else next(a for a in self.cells if values[a] == top)

    def greedy(self, values: F8) -> int:
        """Return the single best action; HOLD when there are several."""
        top = max(values[a] for a in self.cells)
        winners = [a for a in self.cells if values[a] == top]
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


class _Cell(Place):
    """A state as the table sees it: its row, and what BUY means there."""

    def __init__(self, frame: Frame, code: int, x: float, orient: int) -> None:
        d = (x > 0) - (x < 0)
        index = int(code) * 3 + d + 1
        kind = int(frame.kind[index])
        super().__init__(flat=d == 0, shared=kind == 2)
        self.row = int(frame.row[index])
        self.side = float(orient) if self.shared else (1.0, -1.0)[kind]


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


def exposure(x: float, a: int, side: float) -> float:
    """Return the exposure after action `a`."""
    after = {BUY: side, SELL: -side, DECREASE: 0.5 * x, HEDGE: 0.5 * x, EXIT: 0.0}
    return min(max(1.5 * x, -MAX_EXPOSURE), MAX_EXPOSURE) if a == INCREASE else after.get(a, x)


def _episode(
    Q: F8, N: F8, frame: Frame, tape: Tape, plan: Plan, rule: Rule, error: F8, e: int
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
        here = _Cell(frame, tape.code[i, t], x, int(tape.orient[i, t]))
        a = here.explore(0.5 * (Q[0, here.row] + Q[1, here.row]), epsilon, u)
        after = exposure(x, a, here.side)
        reward = account.take(after * ret - rule.fee * abs(after - x), sigma, rule)
        there = _Cell(frame, tape.code[i, t + 1], after, 1)
        table = int(u >= 0.5)
        value = there.value(Q[table, there.row], Q[1 - table, there.row], rule, epsilon)
        cell = (table, here.row, BUY if here.shared and a == SELL else a)
        N[cell] += 1.0
        alpha = max(rule.floor, rule.gain / (rule.gain + N[cell] - 1.0))
        off = reward + rule.gamma * value - Q[cell]
        error[e], change = abs(off), float(plan.weight[e]) * alpha * off
        Q[cell] += change
        moved, count, x = moved + abs(float(change)), count + 1, after
    return moved, count


def train(Q: F8, N: F8, frame: Frame, tape: Tape, plan: Plan, rule: Rule, error: F8) -> tuple[float, int]:
    """Run the episodes of `plan`, write each one's last error; return Σ|ΔQ| and the number of updates."""
    moved, count = 0.0, 0
    for e in range(plan.start.shape[0]):
        distance, updates = _episode(Q, N, frame, tape, plan, rule, error, e)
        moved, count = moved + distance, count + updates
    return moved, count


def serve(Q: F8, N: F8, frame: Frame, states: I8, values: F8, action: I1) -> None:
    """Fill `values` [S,7] with (A+B)/2 as seen from each state, and `action` [S] with the greedy one."""
    for i, index in enumerate(states):
        if index < 0:
            continue
        x = float(index % 3 - 1)
        place = _Cell(frame, index // 3, x, 1)
        if not N[:, place.row].any():
            continue
        mean = 0.5 * (Q[0, place.row] + Q[1, place.row])
        best = place.greedy(mean)
        if place.shared:
            mean[SELL] = mean[BUY]
        elif place.side < 0.0:
            mean[[BUY, SELL]] = mean[[SELL, BUY]]
            best = {BUY: SELL, SELL: BUY}.get(best, best)
        values[i], action[i] = mean, best
