"""Tile coding in plain Python, written apart from the compiled form, which must equal it.

A state is the list of its eight tiles, each in its own grid; the mirror ties are made by looking a tile of
the second half of the grids up under its mirror's name.
"""

from __future__ import annotations

import math

import numpy as np

from qts_agents.kernels.qtable import BUY, F8, I1, I8, SELL, Plan, Rule, Tape
from qts_agents.kernels.qtable_reference import Account, Place, exposure
from qts_agents.kernels.tiles import CELLS, EVEN_SHIFT, LEVELS, TILINGS

FEATURES = (LEVELS,) * 4
SHAPE = (TILINGS // 2, CELLS, CELLS, CELLS, CELLS, 3)
MIRROR = {BUY: SELL, SELL: BUY}


class _Place(Place):
    """A state as the grids see it: eight pairs of a row and whether its actions are mirrored."""

    def __init__(self, code: int, d: int, orient: int = 1) -> None:
        super().__init__(flat=d == 0)
        levels, self.orient = np.array(np.unravel_index(int(code), FEATURES)), orient
        self.tiles = []
        for grid in range(TILINGS):
            twin = min(grid, TILINGS - 1 - grid)
            shift = [((2 * i + 1) * grid + i) % TILINGS for i in range(3)] + [EVEN_SHIFT * twin % TILINGS]
            cell = (levels + shift) // TILINGS
            if grid != twin:
                cell[:3] = CELLS - 1 - cell[:3]
            side = 1 - d if grid != twin else d + 1
            self.tiles.append((int(np.ravel_multi_index((twin, *cell, side), SHAPE)), grid != twin))

    def column(self, a: int, mirrored: bool) -> int:
        """Return the column of a tile that holds action `a`, seen in this place's direction."""
        return MIRROR.get(a, a) if mirrored == (self.orient > 0) else a

    def values(self, w: F8) -> F8:
        """Return the mean [7] of the tiles' weights, pair by pair from the outside in."""
        told = np.zeros(7)
        for near, far in zip(self.tiles, reversed(self.tiles), strict=True):
            if near[1]:
                break
            told += [
                w[near[0], self.column(a, near[1])] + w[far[0], self.column(a, far[1])] for a in range(7)
            ]
        return told / TILINGS


def _episode(W: F8, N: F8, tape: Tape, plan: Plan, rule: Rule, error: F8, e: int) -> tuple[float, int]:
    i, epsilon = int(plan.symbol[e]), float(plan.epsilon[e])
    x, account, moved, count = float(plan.side[e]), Account(), 0.0, 0
    for step in range(plan.draws.shape[1]):
        t, u = int(plan.start[e]) + step, float(plan.draws[e, step])
        if t + 1 >= tape.code.shape[1] or min(tape.code[i, t], tape.code[i, t + 1]) < 0:
            break
        ret, sigma = float(tape.ret[i, t]), float(tape.sigma[i, t])
        if not math.isfinite(ret):
            break
        here = _Place(tape.code[i, t], int(np.sign(x)), int(tape.orient[i, t]))
        q = [here.values(w) for w in W]
        a = here.explore(0.5 * (q[0] + q[1]), epsilon, u)
        after = exposure(x, a, float(here.orient))
        reward = account.take(after * ret - rule.fee * abs(after - x), sigma, rule)
        there = _Place(tape.code[i, t + 1], int(np.sign(after)), int(tape.orient[i, t + 1]))
        then, table = [there.values(w) for w in W], int(u >= 0.5)
        off = (
            reward
            + rule.gamma * there.value(then[table], then[1 - table], rule, epsilon)
            - float(q[table][a])
        )
        cells = [(table, row, here.column(a, mirrored)) for row, mirrored in here.tiles]
        mean = sum(float(N[cell]) for cell in cells) / TILINGS
        change = float(plan.weight[e]) * max(rule.floor, rule.gain / (rule.gain + mean)) * off
        for cell in cells:
            W[cell] += change
            N[cell] += 1.0
        error[e], moved, count, x = abs(off), moved + abs(change), count + 1, after
    return moved, count


def train(W: F8, N: F8, tape: Tape, plan: Plan, rule: Rule, error: F8) -> tuple[float, int]:
    """Run the episodes of `plan`, write each one's last error; return Σ|ΔQ| and the number of updates."""
    moved, count = 0.0, 0
    for e in range(plan.start.shape[0]):
        distance, updates = _episode(W, N, tape, plan, rule, error, e)
        moved, count = moved + distance, count + updates
    return moved, count


def serve(W: F8, N: F8, states: I8, values: F8, action: I1) -> None:
    """Fill `values` [S,7] with (A+B)/2 and `action` [S] with the greedy one, where every tile is known."""
    for i, state in enumerate(states):
        if state < 0:
            continue
        place = _Place(state // 3, int(state % 3 - 1))
        if all(N[:, row].any() for row, _ in place.tiles):
            values[i] = 0.5 * (place.values(W[0]) + place.values(W[1]))
            action[i] = place.greedy(values[i])
