"""Write the equilibria that Gambit finds in 500 games.

uv run --with pygambit==17.0.0b2 python -m tests.golden.peer_equilibria

The peer is pygambit's enummixed in exact fractions: every extreme equilibrium, nothing lost to rounding. Payoffs are
whole numbers, so that the file holds the games exactly. A degenerate game may have whole components of equilibria,
which no list of points names; where an equilibrium's supports differ in size, or a player has more best responses
than it mixes, the game is drawn afresh, and the file counts these. What Gambit, whose code is under the GPL, answers
is data; none of its code is here. Version 17.0.0b2 has a wheel for Python 3.11, 16.7.0 has none.
"""

from __future__ import annotations

import importlib
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tests.golden.peer_file import write

FILE = Path(__file__).parent / "peers" / "gambit.json"
SHAPES = ((2, 2), (2, 4), (3, 3), (4, 4), (5, 5))
A_SHAPE = 100
CLOSE = 1e-9

Pair = tuple[list[Fraction], list[Fraction]]


def agree(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    """Tell whether both hold the same equilibria (x followed by y), each probability to 1e-9."""
    return len(one) == len(two) and all(min(np.abs(p - q).max() for q in two) < CLOSE for p in one)


def regular(a: np.ndarray, b: np.ndarray, pairs: list[Pair]) -> bool:
    """Tell, in exact arithmetic, whether every equilibrium mixes all of its best responses, as many a side."""
    for x, y in pairs:
        earned = [sum(int(v) * q for v, q in zip(row, y, strict=True)) for row in a]
        paid = [sum(int(v) * p for v, p in zip(column, x, strict=True)) for column in b.T]
        best = sum(v == max(earned) for v in earned), sum(v == max(paid) for v in paid)
        if not best[0] == best[1] == sum(p > 0 for p in x) == sum(q > 0 for q in y):
            return False
    return len(pairs) % 2 == 1


def solve(gambit: Any, a: np.ndarray, b: np.ndarray) -> list[Pair]:
    """Return Gambit's equilibria of one game as fractions, in the order of their numbers."""
    found = gambit.nash.enummixed_solve(gambit.StrategicGame.from_arrays(a, b), rational=True).equilibria
    sides = [
        [[Fraction(p) for _, p in profile[player]] for player in profile.game.players] for profile in found
    ]
    return sorted((x, y) for x, y in sides)


def main() -> None:
    """Draw, solve, write."""
    pygambit = importlib.import_module("pygambit")  # not among the dependencies: only this command needs it
    draws, games, redrawn = np.random.default_rng(500), [], 0
    for shape in SHAPES:
        kept = 0
        while kept < A_SHAPE:
            a, b = draws.integers(-999, 1000, (2, *shape))
            pairs = solve(pygambit, a, b)
            if not regular(a, b, pairs):
                redrawn += 1
                continue
            kept += 1
            equilibria = [[float(f"{p:.12g}") for p in map(float, x + y)] for x, y in pairs]
            games.append({"a": a.tolist(), "b": b.tolist(), "equilibria": equilibria})
    head = {
        "made_by": "uv run --with pygambit==17.0.0b2 python -m tests.golden.peer_equilibria",
        "pygambit": version("pygambit"),
        "redrawn": redrawn,
    }
    write(FILE, head, games)


if __name__ == "__main__":
    main()
