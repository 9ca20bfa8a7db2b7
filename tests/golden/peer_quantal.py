"""Write the quantal responses that Gambit finds in 100 games of three players, each at five λ.

uv run --with pygambit==17.0.0b2 python -m tests.golden.peer_quantal

The peer is pygambit's logit_solve_lambda: the principal branch, followed by its length, where it first reaches λ.
Payoffs are whole numbers up to 100, coarse in every other game, so that actions tie; λ times that range goes from 1
to 200. Gambit stops beside the λ asked for, within 1e-8: the file keeps the λ that each answer is for. Its head counts the
branches that turn back in λ on their way. What Gambit, whose code is under the GPL, answers is data; none of its code is here.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tests.golden.peer_file import write

FILE = Path(__file__).parent / "peers" / "gambit_quantal.json"
SIZES, A_SIZE = (2, 3, 4, 5), 25
RATES = (0.01, 0.05, 0.2, 0.5, 2.0)  # λ per unit of payoff


def drawn(draws: np.random.Generator, n: int, coarse: bool) -> np.ndarray:
    """Return the payoffs [3,n,n,n] of one game."""
    return 25 * draws.integers(0, 5, (3, n, n, n)) if coarse else draws.integers(0, 100, (3, n, n, n))


def solve(gambit: Any, payoff: np.ndarray) -> tuple[list[dict[str, Any]], bool]:
    """Return Gambit's answer at each λ, and whether its branch turns back before it reaches the last one."""
    passed: list[float] = []

    def pass_by(event: Any) -> None:
        if hasattr(event, "qre"):
            passed.append(float(event.qre.lam))

    game = gambit.StrategicGame.from_arrays(*payoff)
    found = gambit.qre.logit_solve_lambda(game, list(RATES))
    gambit.qre.logit_solve_lambda(game, RATES[-1], event_callback=pass_by)
    # from there on it goes to and fro to meet λ itself
    on_the_way = passed[: next(i for i, rate in enumerate(passed) if rate >= RATES[-1])]
    answers = [
        {
            "rate": float(one.lam),
            "mix": [[float(p) for _, p in one.profile[player]] for player in one.profile.game.players],
        }
        for one in found
    ]
    return answers, bool((np.diff(on_the_way) < 0.0).any())


def main() -> None:
    """Draw, solve, write."""
    pygambit = importlib.import_module("pygambit")  # not among the dependencies: only this command needs it
    importlib.import_module("pygambit.qre")
    draws, games, turned = np.random.default_rng(100), [], 0
    for n in SIZES:
        for i in range(A_SIZE):
            payoff = drawn(draws, n, i % 2 == 0)
            answers, back = solve(pygambit, payoff)
            turned += back
            games.append({"payoff": payoff.tolist(), "answers": answers})
    head = {
        "made_by": "uv run --with pygambit==17.0.0b2 python -m tests.golden.peer_quantal",
        "pygambit": version("pygambit"),
        "turned": turned,
    }
    write(FILE, head, games)


if __name__ == "__main__":
    main()
