"""Tile coding in plain Python, written apart from the compiled form, which must equal it.

A state is the list of its eight tiles, each in its own grid; the mirror ties are made by looking a tile of
the second half of the grids up under its mirror's name.
"""

from __future__ import annotations

import numpy as np

from qts_agents.kernels.qtable import F8, I1, I8, Plan, Rule, Tape
from qts_agents.kernels.qtable_reference import MIRROR, Cell, Place, learn, look, sign
from qts_agents.kernels.tiles import CELLS, EVEN_SHIFT, LEVELS, TILINGS

FEATURES = (LEVELS,) * 4
SHAPE = (TILINGS // 2, CELLS, CELLS, CELLS, CELLS, 3)


class _Tiles(Place):
    """A state as the grids see it: eight pairs of a row and whether its actions are mirrored."""

    def __init__(self, code: int, x: float, orient: int) -> None:
        super().__init__(flat=x == 0.0)
        d, self.side = sign(x), float(orient)
        levels = np.array(np.unravel_index(code, FEATURES))
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
        return MIRROR.get(a, a) if mirrored == (self.side > 0.0) else a

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

    def cells(self, table: int, a: int) -> list[Cell]:
        return [(table, row, self.column(a, mirrored)) for row, mirrored in self.tiles]

    def rate(self, N: F8, cells: list[Cell], rule: Rule) -> float:
        mean = sum(float(N[cell]) for cell in cells) / TILINGS
        return max(rule.floor, rule.gain / (rule.gain + mean))

    def known(self, N: F8) -> bool:
        return all(N[:, row].any() for row, _ in self.tiles)


def train(W: F8, N: F8, tape: Tape, plan: Plan, rule: Rule, error: F8) -> tuple[float, int]:
    """Do what `tiles._train` does."""
    return learn(W, N, _Tiles, tape, plan, rule, error)


def serve(W: F8, N: F8, states: I8, values: F8, action: I1) -> None:
    """Do what `tiles._serve` does."""
    look(W, N, _Tiles, states, values, action)
