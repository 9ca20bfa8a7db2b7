"""Write the equilibria that a peer finds in 500 games: python -m tests.golden.peer_equilibria.

The peer is nashpy by vertex enumeration; its support enumeration, which shares no code with that, must find
the same sets, and a game in which it loses one to rounding or rejects the game as degenerate is drawn afresh.
Payoffs are whole numbers, so that the file holds the games exactly. pygambit, the better known peer, has no wheel for Python 3.11.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import nashpy
import numpy as np

FILE = Path(__file__).parent / "peers" / "nashpy.json"
SHAPES = ((2, 2), (2, 4), (3, 3), (3, 4), (4, 4))
A_SHAPE = 100
CLOSE = 1e-8

Pairs = list[np.ndarray]


def _found(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Pairs:
    """Return each equilibrium once, as x followed by y."""
    out: Pairs = []
    for pair in pairs:
        both = np.concatenate(pair)
        if np.isfinite(both).all() and not any(np.abs(both - known).max() < CLOSE for known in out):
            out.append(both)
    return out


def peers_agree(one: Pairs, two: Pairs) -> bool:
    """Tell whether both hold the same equilibria to 1e-8."""
    return len(one) == len(two) and all(min(np.abs(p - q).max() for q in two) < CLOSE for p in one)


def main() -> None:
    """Draw, solve twice, write."""
    draws, games, redrawn = np.random.default_rng(500), [], 0
    warnings.simplefilter("ignore", RuntimeWarning)
    for shape in SHAPES:
        kept = 0
        while kept < A_SHAPE:
            a, b = draws.integers(-999, 1000, (2, *shape))
            game = nashpy.Game(a, b)
            sets = _found(game.vertex_enumeration())
            if not peers_agree(sets, _found(game.support_enumeration(tol=1e-12))):
                redrawn += 1
                continue
            kept += 1
            equilibria = [np.round(pair, 12).tolist() for pair in sets]
            games.append({"a": a.tolist(), "b": b.tolist(), "equilibria": equilibria})
    head = {
        "made_by": "python -m tests.golden.peer_equilibria",
        "nashpy": version("nashpy"),
        "redrawn": redrawn,
    }
    lines = ",\n".join(json.dumps(game, separators=(",", ":")) for game in games)
    FILE.write_text(f'{json.dumps(head)[:-1]}, "games": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
