"""Equilibrium solvers on many games, by the largest unilateral gain left: python -m bench.equilibria --json.

The gain is measured by numpy from the payoffs as given, not by the solver, as a share of the payoff range.
Whole: 100,000 random games (normal, uniform and heavy-tailed payoffs, six shapes) and 1,000 degenerate ones
(payoffs of few whole numbers, rows repeated, constants); `--smoke`: 1,000 and 100.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
from bench.harness import Row, run

from qts_agents.kernels import backend, lemke_howson, nash

F8 = np.ndarray
ALLOWED = 1e-9  # of the payoff range
SHAPES = ((2, 2), (3, 3), (3, 4), (4, 4), (5, 3), (5, 5))
RANDOM, DEGENERATE = 100_000, 1_000


def random_games(count: int) -> Iterator[tuple[F8, F8]]:
    """Yield batches (a, b) [G,m,n] of `count` games in all."""
    draws = np.random.default_rng(2026)
    kinds = (lambda s: draws.normal(size=s), lambda s: draws.random(s), lambda s: draws.standard_t(2, s))
    batches = [(shape, kind) for shape in SHAPES for kind in kinds]
    for i, (shape, kind) in enumerate(batches):
        games = count * (i + 1) // len(batches) - count * i // len(batches)
        yield kind((games, *shape)), kind((games, *shape))


def degenerate_games(count: int) -> Iterator[tuple[F8, F8]]:
    """Yield batches of games with ties: few whole payoffs, one action twice, one side indifferent."""
    draws = np.random.default_rng(2027)
    for i, shape in enumerate(SHAPES):
        games = count * (i + 1) // len(SHAPES) - count * i // len(SHAPES)
        a, b = (draws.integers(0, 3, (games, *shape)).astype(float) for _ in range(2))
        twice, same = games // 3, games // 2
        a[:twice], b[:twice] = draws.normal(size=(2, twice, *shape))
        a[:twice, 1], b[:twice, 1] = a[:twice, 0], b[:twice, 0]
        b[twice:same] = 1.0
        yield a, b


def gain(a: F8, b: F8, x: F8, y: F8) -> F8:
    """Return the largest unilateral gain [G]; infinite where x or y is no mixture."""
    mixture = [(np.abs(z.sum(axis=1) - 1.0) <= ALLOWED) & (z >= 0.0).all(axis=1) for z in (x, y)]
    return np.where(mixture[0] & mixture[1], nash.regret(a, b, x, y), np.inf)


def by_enumeration(a: F8, b: F8) -> tuple[F8, int]:
    """Return the gains of all equilibria of `nash_all` and how many games it left without one."""
    solved = nash.nash_all(a, b)
    game, which = np.nonzero(np.arange(solved.x.shape[1]) < solved.count[:, None])
    gains = gain(a[game], b[game], solved.x[game, which], solved.y[game, which])
    return gains, int((solved.count == 0).sum())


def by_choice(a: F8, b: F8) -> tuple[F8, int]:
    """Return the gains that `nash_choice` states; where it averages ties x and y need be no equilibrium."""
    chosen = nash.nash_choice(a, b)
    return chosen.regret, int((chosen.count == 0).sum())


def by_path(a: F8, b: F8) -> tuple[F8, int]:
    """Return the gains at the end of a Lemke-Howson path; a game in m+n starts from each of the labels."""
    labels = a.shape[1] + a.shape[2]
    gains = np.empty(len(a))
    for label in range(labels):
        some = slice(label, None, labels)
        if len(a[some]):
            one = lemke_howson.nash_one(a[some], b[some], label)
            gains[some] = gain(a[some], b[some], one.x, one.y)
    return gains, 0


#: solver → what its games are left with, whether every game must get an equilibrium when payoffs tie
SOLVERS: dict[str, tuple[Callable[[F8, F8], tuple[F8, int]], bool]] = {
    "nash_all": (by_enumeration, False),  # only those of equal support size
    "nash_choice": (by_choice, True),
    "nash_one": (by_path, True),
}


def _row(solver: str, ties: bool, smoke: bool) -> Row:
    """Return the largest gain of one solver on one kind of games."""
    solve, whole = SOLVERS[solver]
    count = (DEGENERATE if ties else RANDOM) // ((10 if ties else 100) if smoke else 1)
    gains, unsolved = [], 0
    for a, b in (degenerate_games if ties else random_games)(count):
        found, left = solve(a, b)
        gains.append(found)
        unsolved += left
    worst = float(np.max(np.concatenate(gains)))  # NaN stays NaN and is not within what is allowed
    kind = "degenerate" if ties else "random"
    fine = bool(worst <= ALLOWED) and (unsolved == 0 or (ties and not whole))
    figure = f"{solver}, largest gain in {count} {kind} games, {unsolved} without an answer"
    return Row(figure, worst, "of the range", goal=ALLOWED, agrees=fine)


def _rows() -> Iterator[Callable[[bool], Row]]:
    """Yield a row function for every solver on random, then on degenerate games."""
    for ties in (False, True):
        for solver in SOLVERS:
            yield lambda smoke, solver=solver, ties=ties: _row(solver, ties, smoke)


if __name__ == "__main__":
    backend.threads(True)
    sys.exit(run(_rows(), __doc__ or ""))
