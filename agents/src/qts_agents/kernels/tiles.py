"""Tile coding: Q as a sum over grids that are laid over each other, each shifted against the others.

Albus 1975; Sutton & Barto 2018, ch. 9.5.4, with the displacements of Miller & Glanz 1996 (1, 3, 5 units).
Four features lie on a lattice of 33 levels each, a code; a grid has 5 cells of 8 levels each, times three
sides of the position. What is learned in one state holds for its neighbours as far as they share tiles.

Grids come in pairs, one the mirror of the other (prices inverted, position reversed, BUY and SELL exchanged);
a pair has one set of weights: `W` and its visits `N` are [2,4·1875,7], both tables of double Q-learning, as
in `qtable`. Sums go over pairs, so that the mirrored market is learned alike to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend, gpu
from qts_agents.kernels.qtable import (
    BUY,
    HOLD,
    SELL,
    Plan,
    Rule,
    Tape,
    explore,
    exposure,
    greedy,
    paid,
    sign,
    target,
)

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
I1 = NDArray[np.int8]
ENTRY = "tiles.serve"
TILINGS, CELLS = 8, 5
PAIRS = TILINGS // 2
LEVELS = CELLS * TILINGS - (TILINGS - 1)  # 33: only then a grid's mirror is a grid
CODES = LEVELS**4
GRID = CELLS**4 * 3  # tiles of one grid
ROWS = PAIRS * GRID
EVEN_SHIFT = 6  # of the even feature, which a grid and its mirror cut alike


def lattice(odd: tuple[F8, F8, F8], even: F8) -> I8:
    """Return the code [S] of three features in [−1,1] and one in [0,1]; −1 where one is NaN."""
    known = np.isfinite(even)
    code = np.zeros(even.shape[0], dtype=np.int64)
    for value, low, span in (*((part, -1.0, 2.0) for part in odd), (even, 0.0, 1.0)):
        known &= np.isfinite(value)
        level = np.floor((np.where(known, value, low) - low) / span * LEVELS)
        code = code * LEVELS + np.clip(level, 0, LEVELS - 1).astype(np.int64)
    return np.where(known, code, -1)


@backend.part
def tiles(code: int, d: int, rows: I8, images: I8) -> None:
    """Write the row [4] of a state in the first grid of each pair, and of its mirror image in the same grid.

    The image stands for the state itself in the pair's other grid.
    """
    side = LEVELS * LEVELS * LEVELS
    for k in range(PAIRS):
        here, there, rest, unit = 0, 0, code, side
        for i in range(3):
            level, rest, unit = rest // unit, rest % unit, unit // LEVELS
            shift = ((2 * i + 1) * k + i) % TILINGS
            here = here * CELLS + (level + shift) // TILINGS
            there = there * CELLS + (LEVELS - 1 - level + shift) // TILINGS
        even = (rest + EVEN_SHIFT * k % TILINGS) // TILINGS
        rows[k] = k * GRID + (here * CELLS + even) * 3 + d + 1
        images[k] = k * GRID + (there * CELLS + even) * 3 - d + 1


@backend.part
def swapped(a: int) -> int:
    """Return the action that `a` is in the mirror."""
    return SELL if a == BUY else BUY if a == SELL else a


@backend.part
def add_up(w: F8, rows: I8, images: I8, orient: int, out: F8) -> None:
    """Write the values [7] of one table w [R,7]; BUY is in the direction of `orient`."""
    for a in range(7):
        near, far = (a, swapped(a)) if orient > 0 else (swapped(a), a)
        total = 0.0
        for k in range(PAIRS):
            total += w[rows[k], near] + w[images[k], far]
        out[a] = total / TILINGS


@backend.part
def credit(
    W: F8, N: F8, cell: tuple[int, int, int], places: tuple[I8, I8], off: float, rule: Rule, weight: float
) -> float:
    """Move all tiles of (table, action, orientation) by `weight`·α·off; return how far.

    α is that of `qtable.learn` for the mean number of visits of the tiles.
    """
    table, a, orient = cell
    rows, images = places
    near, far = (a, swapped(a)) if orient > 0 else (swapped(a), a)
    visits = 0.0
    for k in range(PAIRS):
        visits += N[table, rows[k], near] + N[table, images[k], far]
    alpha = max(rule.floor, rule.gain / (rule.gain + visits / TILINGS))
    step = weight * alpha * off
    for k in range(PAIRS):
        W[table, rows[k], near] += step
        W[table, images[k], far] += step
        N[table, rows[k], near] += 1.0
        N[table, images[k], far] += 1.0
    return abs(step)


@backend.kernel
def _train(W: F8, N: F8, tape: Tape, plan: Plan, rule: Rule, error: F8) -> tuple[float, int]:
    moved, count = 0.0, 0
    length = tape.code.shape[1]
    rows, images, ahead, beyond = (np.empty(PAIRS, np.int64), np.empty(PAIRS, np.int64),
                                   np.empty(PAIRS, np.int64), np.empty(PAIRS, np.int64))  # fmt: skip
    q, then = np.empty((2, 7)), np.empty((2, 7))
    for e in range(plan.start.shape[0]):
        i, epsilon = plan.symbol[e], plan.epsilon[e]
        x, equity, peak = float(plan.side[e]), 1.0, 1.0
        for step in range(plan.draws.shape[1]):
            t = plan.start[e] + step
            if t + 1 >= length or tape.code[i, t] < 0 or tape.code[i, t + 1] < 0:
                break
            if not np.isfinite(tape.ret[i, t]):
                break
            orient, u = int(tape.orient[i, t]), plan.draws[e, step]
            tiles(int(tape.code[i, t]), sign(x), rows, images)
            for half in range(2):
                add_up(W[half], rows, images, orient, q[half])
            a = explore(0.5 * (q[0] + q[1]), x == 0.0, False, epsilon, u)
            after = exposure(x, a, float(orient))
            gain = after * tape.ret[i, t] - rule.fee * abs(after - x)
            reward, equity, peak = paid(float(gain), equity, peak, float(tape.sigma[i, t]), rule)
            tiles(int(tape.code[i, t + 1]), sign(after), ahead, beyond)
            for half in range(2):
                add_up(W[half], ahead, beyond, int(tape.orient[i, t + 1]), then[half])
            table = 0 if u < 0.5 else 1
            value = reward + rule.gamma * target(
                then[table], then[1 - table], after == 0.0, False, rule, epsilon
            )
            off = value - q[table, a]
            error[e] = abs(off)
            moved += credit(W, N, (table, a, orient), (rows, images), off, rule, plan.weight[e])
            count += 1
            x = after
    return moved, count


def train(W: F8, N: F8, tape: Tape, plan: Plan, rule: Rule) -> tuple[float, int, F8]:
    """Run the episodes of `plan` over `tape`, whose codes are `lattice`'s, learning in place.

    Returns Σ|ΔQ|, the number of updates and each episode's last error [E], as `qtable.train` does.
    """
    error = np.zeros(len(plan.start))
    if backend.jit_enabled():
        return *_train(W, N, tape, plan, rule, error), error
    from qts_agents.kernels import tiles_reference  # it imports the constants of this module

    return *tiles_reference.train(W, N, tape, plan, rule, error), error


@backend.part
def look(
    W: F8, N: F8, states: I8, first: int, step: int, scratch: tuple[I8, I8, F8], values: F8, action: I1
) -> None:
    """Write (A+B)/2 and the greedy action of every `step`-th state from `first` on whose tiles are all known.

    The loop is in here because a call for each state would take longer than what it does.
    """
    rows, images, q = scratch
    for i in range(first, states.shape[0], step):
        if states[i] < 0:
            continue
        d = states[i] % 3 - 1
        tiles(states[i] // 3, d, rows, images)
        seen = True
        for k in range(PAIRS):
            near, far = 0.0, 0.0
            for a in range(7):
                near += N[0, rows[k], a] + N[1, rows[k], a]
                far += N[0, images[k], a] + N[1, images[k], a]
            seen = seen and near > 0.0 and far > 0.0
        if seen:
            for half in range(2):
                add_up(W[half], rows, images, 1, q[half])
            for a in range(7):
                values[i, a] = 0.5 * (q[0, a] + q[1, a])
            action[i] = greedy(values[i], d == 0, False)


@backend.kernel
def _serve(W: F8, N: F8, states: I8, values: F8, action: I1) -> None:
    scratch = np.empty(PAIRS, np.int64), np.empty(PAIRS, np.int64), np.empty((2, 7))
    look(W, N, states, 0, 1, scratch, values, action)


def serve(W: F8, N: F8, states: I8) -> tuple[F8, I1]:
    """Return (A+B)/2 [S,7] of states code·3 + d + 1, NaN where a tile is unknown, and greedy actions [S]."""
    values = np.full((states.shape[0], 7), np.nan)
    action = np.full(states.shape[0], HOLD, dtype=np.int8)
    if gpu.runs("tiles_gpu.serve", len(states), W, N, states, out=(values, action)):
        return values, action
    run = _serve
    if not backend.jit_enabled():
        from qts_agents.kernels import tiles_reference

        run = tiles_reference.serve
    backend.each_part(lambda *some: run(W, N, *some), states, values, action, entry=ENTRY)
    return values, action
