"""Double Q-learning on a mirror-tied table (van Hasselt 2010): compiled, and in plain Python as reference.

`Q` and `N` [2,rows,7] hold both tables and their visits. Columns are actions in the canonical frame of a
row: for a mirrored state BUY and SELL are exchanged; a flat state that is its own mirror has one cell for
both. Ties go to HOLD. One uniform number drives a step: its first bit is the coin, the rest exploration.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend, gpu

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
I1 = NDArray[np.int8]
ENTRY = "qtable.serve"
BUY, SELL, HOLD, INCREASE, DECREASE, HEDGE, EXIT = range(7)
MAX_EXPOSURE = 2.0


class Rule(NamedTuple):
    """How a cell learns: α = max(floor, gain/(gain + visits − 1)) with visits counted from 1."""

    gamma: float
    floor: float
    gain: float
    sarsa: bool  # expected SARSA (van Seijen et al. 2009) in place of double Q-learning
    fee: float  # of exposure traded, fraction of price
    penalty: float  # of a deepening drawdown


class Tape(NamedTuple):
    """What is replayed, [S,T] in time order; `ret[t]` is the return from bar t to bar t+1."""

    code: I8  # market code, −1 ends an episode
    orient: I1
    ret: F8
    sigma: F8


class Plan(NamedTuple):
    """Episodes: where each begins, with which exposure sign, how greedy, its draws [E,L] and weight."""

    symbol: I8
    start: I8
    side: I8
    epsilon: F8
    draws: F8
    weight: F8  # of its steps, 1 unless a prioritised draw has to be made up for


class Frame(NamedTuple):
    """Row [states] and kind [states] (0 same, 1 mirrored, 2 its own mirror) of every state."""

    row: I8
    kind: I1


@backend.part
def _best(values: F8, flat: bool, own: bool) -> int:
    """Return the greedy action among those allowed; HOLD unless another is better than all others."""
    best = HOLD
    low, high = (BUY, SELL + 1) if flat else (INCREASE, EXIT + 1)
    for a in range(low, high):
        if own and a == SELL:
            continue
        if values[a] > values[best]:
            best = a
    return best


@backend.part
def expectation(values: F8, policy: F8) -> float:
    """Return the mean of `values` [7] under `policy` [7]."""
    total = 0.0
    for a in range(values.shape[0]):
        total += policy[a] * values[a]
    return total


@backend.part
def target(own: F8, other: F8, flat: bool, one_cell: bool, rule: Rule, epsilon: float) -> float:
    """Return the value of the next state: the other table's at the own table's best, or the expectation."""
    if not rule.sarsa:
        ahead: float = other[_best(own, flat, one_cell)]
        return ahead
    mean = np.empty(7)
    for a in range(7):  # arrays' arithmetic gets a name by an address, and no two builds are equal
        mean[a] = 0.5 * (own[a] + other[a])
    low, high = (BUY, HOLD + 1) if flat else (HOLD, EXIT + 1)
    policy = np.zeros(7)
    policy[low:high] = epsilon / (high - low)
    policy[_best(mean, flat, one_cell)] += 1.0 - epsilon
    if one_cell:
        policy[BUY] += policy[SELL]
        policy[SELL] = 0.0
    return expectation(mean, policy)


@backend.part
def learn(Q: F8, N: F8, cell: tuple[int, int, int], value: float, rule: Rule, weight: float = 1.0) -> float:
    """Move one cell (table, row, action) towards `value`, by `weight` times α; return how far it moved."""
    table, row, a = cell
    N[table, row, a] += 1.0
    alpha = max(rule.floor, rule.gain / (rule.gain + N[table, row, a] - 1.0))
    step: float = weight * alpha * (value - Q[table, row, a])
    Q[table, row, a] += step
    return abs(step)


@backend.part
def explore(mean: F8, flat: bool, one_cell: bool, epsilon: float, u: float) -> int:
    """Return an action in the canonical frame: greedy, or one of the allowed by the remaining bits of `u`."""
    v = 2.0 * u if u < 0.5 else 2.0 * u - 1.0
    if v >= epsilon:
        return greedy(mean, flat, one_cell)
    low, high = (BUY, HOLD + 1) if flat else (HOLD, EXIT + 1)
    return min(low + int(v / epsilon * (high - low)), high - 1)


@backend.part
def greedy(mean: F8, flat: bool, one_cell: bool) -> int:
    """Return what serving would do: like `_best`, but equal best actions and a shared cell hold."""
    best = _best(mean, flat, one_cell)
    if best == HOLD or one_cell:
        return HOLD
    low, high = (BUY, SELL + 1) if flat else (INCREASE, EXIT + 1)
    for a in range(low, high):
        if a != best and mean[a] == mean[best]:
            return HOLD
    return best


@backend.part
def exposure(x: float, a: int, side: float) -> float:
    """Return the exposure after an action; `side` is what BUY means in this frame."""
    if a == BUY:
        return side
    if a == SELL:
        return -side
    if a == INCREASE:
        return max(-MAX_EXPOSURE, min(MAX_EXPOSURE, 1.5 * x))
    if a in (DECREASE, HEDGE):
        return 0.5 * x
    if a == EXIT:
        return 0.0
    return x


@backend.part
def paid(gain: float, equity: float, peak: float, sigma: float, rule: Rule) -> tuple[float, float, float]:
    """Return the reward in units of `sigma`, less what deepens the drawdown, then equity and its peak."""
    drawdown = 1.0 - equity / peak
    equity += gain
    peak = max(peak, equity)
    deeper = max(0.0, 1.0 - equity / peak - drawdown)
    reward = (gain - rule.penalty * deeper) / sigma if sigma > 0.0 else 0.0
    return reward, equity, peak


@backend.part
def sign(x: float) -> int:
    """Return −1, 0 or 1."""
    return 1 if x > 0.0 else -1 if x < 0.0 else 0


@backend.kernel
def _train(Q: F8, N: F8, frame: Frame, tape: Tape, plan: Plan, rule: Rule, error: F8) -> tuple[float, int]:
    moved, count, mean = 0.0, 0, np.empty(7)
    length = tape.code.shape[1]
    for e in range(plan.start.shape[0]):
        i, epsilon = plan.symbol[e], plan.epsilon[e]
        x = float(plan.side[e])
        equity, peak = 1.0, 1.0
        for step in range(plan.draws.shape[1]):
            t = plan.start[e] + step
            if t + 1 >= length or tape.code[i, t] < 0 or tape.code[i, t + 1] < 0:
                break
            if not np.isfinite(tape.ret[i, t]):
                break
            s = tape.code[i, t] * 3 + sign(x) + 1
            row, one_cell, flat = frame.row[s], frame.kind[s] == 2, x == 0.0
            side = float(tape.orient[i, t]) if one_cell else 1.0 if frame.kind[s] == 0 else -1.0
            u = plan.draws[e, step]
            for k in range(7):
                mean[k] = 0.5 * (Q[0, row, k] + Q[1, row, k])
            a = explore(mean, flat, one_cell, epsilon, u)
            after = exposure(x, a, side)
            cost = rule.fee * abs(after - x)
            gain = after * tape.ret[i, t] - cost
            reward, equity, peak = paid(float(gain), equity, peak, float(tape.sigma[i, t]), rule)
            then = tape.code[i, t + 1] * 3 + sign(after) + 1
            table = 0 if u < 0.5 else 1
            ahead = frame.row[then]
            value = reward + rule.gamma * target(
                Q[table, ahead], Q[1 - table, ahead], after == 0.0, frame.kind[then] == 2, rule, epsilon
            )
            column = BUY if one_cell and a == SELL else a
            cell = (table, row, column)
            error[e] = abs(value - Q[table, row, column])
            moved += learn(Q, N, cell, value, rule, plan.weight[e])  # pyright: ignore[reportArgumentType]
            count += 1
            x = after
    return moved, count


def train(Q: F8, N: F8, frame: Frame, tape: Tape, plan: Plan, rule: Rule) -> tuple[float, int, F8]:
    """Run the episodes of `plan` over `tape`, learning in place.

    Returns Σ|ΔQ|, the number of updates, and [E] how far the last target of each episode was from its value
    (0 where no step was possible), which is what prioritised replay goes by.
    """
    error = np.zeros(len(plan.start))
    if backend.jit_enabled():
        return *_train(Q, N, frame, tape, plan, rule, error), error
    from qts_agents.kernels import qtable_reference  # it imports the records of this module

    return *qtable_reference.train(Q, N, frame, tape, plan, rule, error), error


@backend.part
def look(
    Q: F8, N: F8, frame: Frame, states: I8, first: int, step: int, mean: F8, values: F8, action: I1
) -> None:
    """Write (A+B)/2 and the greedy action of every `step`-th state from `first` on that was ever visited.

    The loop is in here because a call for each state would take longer than what it does.
    """
    for i in range(first, states.shape[0], step):
        s = states[i]
        if s < 0:
            continue
        row, kind, flat = frame.row[s], frame.kind[s], s % 3 == 1
        seen = 0.0
        for a in range(7):
            mean[a] = 0.5 * (Q[0, row, a] + Q[1, row, a])
            seen += N[0, row, a] + N[1, row, a]
        best = greedy(mean, flat, kind == 2)
        if kind == 2:
            mean[SELL] = mean[BUY]
        elif kind == 1:
            mean[BUY], mean[SELL] = mean[SELL], mean[BUY]
            if best in (BUY, SELL):
                best = SELL if best == BUY else BUY
        if seen > 0.0:
            for a in range(7):  # an array's assignment would compile its error message for seconds
                values[i, a] = mean[a]
            action[i] = best


@backend.kernel
def _serve(Q: F8, N: F8, frame: Frame, states: I8, values: F8, action: I1) -> None:
    look(Q, N, frame, states, 0, 1, np.empty(7), values, action)


def serve(Q: F8, N: F8, frame: Frame, states: I8) -> tuple[F8, I1]:
    """Return (A+B)/2 [S,7] as seen from each state, NaN where never visited, and the greedy action [S]."""
    values = np.full((states.shape[0], 7), np.nan)
    action = np.full(states.shape[0], HOLD, dtype=np.int8)
    if gpu.runs("qtable_gpu.serve", len(states), Q, N, *frame, states, out=(values, action)):
        return values, action
    run = _serve
    if not backend.jit_enabled():
        from qts_agents.kernels import qtable_reference

        run = qtable_reference.serve
    backend.each_part(lambda *some: run(Q, N, frame, *some), states, values, action, entry=ENTRY)
    return values, action
