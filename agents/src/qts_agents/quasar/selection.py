"""Choosing k of n symbols by a quantum approximate optimisation circuit, simulated: an offline report (pure).

QAOA (Farhi, Goldstone & Gutmann 2014): p layers of exp(−iγC), C the negative mean–variance utility
(Markowitz 1952), each followed by a mixer. It exchanges neighbours on a ring, exp(−iβ(XX+YY)/2) on one
pair after another; the start holds every choice of k alike, so no other number is ever chosen (Hadfield et
al. 2019); with a penalty and the mixer ΣX, circuits of 1 to 4 layers showed the best choice less often than
chance. Brute force looks at every choice; with at most 8 symbols there are 70, and it is exact. No agent uses
this.
"""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
C16 = NDArray[np.complex128]
MOST = 8  # symbols, one qubit each
GRID = 24  # schedules tried in each direction
LONGEST = 2.5  # largest angle of a schedule
STEPS = (0.2, 0.1, 0.05, 0.02)  # of the search that follows, in radians


class Problem(msgspec.Struct, frozen=True):
    """Every choice of n symbols, numbered by its bits; symbol 0 is the highest bit."""

    chosen: NDArray[np.bool_]  # [2ⁿ,n]
    utility: F8  # [2ⁿ]
    feasible: NDArray[np.bool_]  # [2ⁿ] exactly k are chosen
    cost: F8  # [2ⁿ] what the circuit minimises: 0 the best feasible choice, 1 the worst; others never occur


class Found(msgspec.Struct, frozen=True):
    """What a circuit of depth p says, with the angles that were found for it."""

    angles: F8  # [2,p] γ and β
    p: F8  # [2ⁿ] chance of each choice
    best: float  # chance of the best choice
    quality: float  # mean utility: 0 that of the worst choice, 1 of the best


def problem(mean: F8, covariance: F8, k: int, aversion: float = 1.0) -> Problem:
    """Return the choices of `k` by mean [n] and covariance [n,n] of returns; utility μz − ½·aversion·zΣz.

    ValueError beyond 8 symbols or where there is nothing to choose.
    """
    n = len(mean)
    if not 2 <= n <= MOST or not 0 < k < n:
        raise ValueError(f"problem: expected 2 to {MOST} symbols and fewer chosen, found {k} of {n}")
    chosen = np.array(list(itertools.product((False, True), repeat=n)))
    z = chosen.astype(np.float64)
    utility = z @ mean - 0.5 * aversion * np.einsum("xi,ij,xj->x", z, covariance, z)
    feasible = chosen.sum(axis=1) == k
    allowed = utility[feasible]
    cost = (allowed.max() - utility) / (np.ptp(allowed) or 1.0)
    return Problem(chosen, utility, feasible, cost)


def state(known: Problem, angles: F8) -> C16:
    """Return the amplitudes [2ⁿ] after the layers of `angles` [2,p]."""
    n = known.chosen.shape[1]
    psi: C16 = (known.feasible / np.sqrt(known.feasible.sum())).astype(np.complex128)
    for gamma, beta in angles.T:
        psi = psi * np.exp(-1j * gamma * known.cost)
        for one in range(n):
            psi = _exchange(psi.reshape((2,) * n), one, (one + 1) % n, beta).ravel()
    return psi


def _exchange(psi: C16, one: int, other: int, beta: float) -> C16:
    """Return the amplitudes [2,…,2] after exp(−iβ(XX+YY)/2) on two qubits."""
    axes = np.moveaxis(psi.copy(), (one, other), (0, 1))
    first, second = axes[0, 1].copy(), axes[1, 0].copy()
    axes[0, 1] = np.cos(beta) * first - 1j * np.sin(beta) * second
    axes[1, 0] = np.cos(beta) * second - 1j * np.sin(beta) * first
    return np.moveaxis(axes, (0, 1), (one, other))


def schedule(depth: int, gamma: float, beta: float) -> F8:
    """Return angles [2,p] that rise to `gamma` and fall from `beta`, as in annealing (Sack & Serbyn 2021)."""
    along = (np.arange(depth) + 0.5) / depth
    return np.stack((gamma * along, beta * (1.0 - along)))


def solve(known: Problem, depth: int) -> Found:
    """Return the circuit of `depth` layers with the least mean cost: the best schedule, then pattern search.

    The search (Hooke & Jeeves 1961) moves one angle at a time as long as that helps, in ever smaller steps.
    """

    def mean_cost(angles: F8) -> float:
        return float(np.abs(state(known, angles)) ** 2 @ known.cost)

    ends = np.linspace(LONGEST / GRID, LONGEST, GRID)
    angles = min((schedule(depth, g, b) for g in ends for b in ends), key=mean_cost)
    least = mean_cost(angles)
    for step in STEPS:
        better = True
        while better:
            better = False
            for at in itertools.product(range(2), range(depth), (step, -step)):
                tried = angles.copy()
                tried[at[:2]] += at[2]
                if (value := mean_cost(tried)) < least - 1e-12:
                    angles, least, better = tried, value, True
    return judged(known, angles)


def judged(known: Problem, angles: F8) -> Found:
    """Return how the circuit of these angles [2,p] does beside brute force."""
    p = np.abs(state(known, angles)) ** 2
    return Found(angles, p, float(p[brute_force(known)]), 1.0 - float(p @ known.cost))


def brute_force(known: Problem) -> int:
    """Return the number of the feasible choice with the highest utility."""
    return int(np.where(known.feasible, known.utility, -np.inf).argmax())


def shots_until_likely(chance: float, confidence: float = 0.99) -> float:
    """Return how many shots show a choice of this chance at least once, with this confidence."""
    if chance >= 1.0:
        return 1.0
    return float(np.ceil(np.log1p(-confidence) / np.log1p(-chance))) if chance > 0.0 else np.inf
