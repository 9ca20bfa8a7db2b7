"""Value at risk and expected shortfall by amplitude estimation, simulated: an offline report (pure).

Iterative amplitude estimation (Grinko et al. 2021) on the statevector of a discretised loss distribution with
one marker qubit (Woerner & Egger 2019). On hardware the error would fall with the number of oracle queries,
not with its root; here every query is simulated, which costs more than the exact sum it estimates. No agent
uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import philox

F8 = NDArray[np.float64]
SHOTS = 100
GROWTH = 2  # least factor from one power to the next
CONFIDENCE = 0.05  # chance that an interval misses
ROUNDS = 200
PURPOSE = 7
#: shots that show the marker, of a probability and a count
Draw = Callable[[float, int], int]


class Losses(msgspec.Struct, frozen=True):
    """A distribution on 2ⁿ equal steps of loss."""

    loss: F8  # [2ⁿ] ascending
    p: F8


class Estimate(msgspec.Struct, frozen=True):
    """An estimated amplitude² with its interval, and how often the oracle was asked."""

    value: float
    low: float
    high: float
    queries: int


def discretised(losses: F8, qubits: int) -> Losses:
    """Return the histogram of losses [T] on 2ⁿ middles between the extremes."""
    count, edges = np.histogram(losses, 2**qubits)
    return Losses(0.5 * (edges[1:] + edges[:-1]), count / count.sum())


class Oracle:
    """The state Σ√pᵢ|i⟩(√(1−fᵢ)|0⟩+√fᵢ|1⟩) and its Grover iterate, as dense vectors."""

    def __init__(self, p: F8, f: F8, draw: Draw) -> None:
        self._start = np.concatenate((np.sqrt(p * (1.0 - f)), np.sqrt(p * f)))
        self._half, self._draw = len(p), draw
        self.queries = 0

    def marked(self, power: int) -> float:
        """Return the probability of the marker after `power` iterates: sin²((2k+1)θ)."""
        state = self._start.copy()
        for _ in range(power):
            state[self._half :] *= -1.0  # the oracle's sign
            state = 2.0 * (self._start @ state) * self._start - state  # reflection about the start
        return float((state[self._half :] ** 2).sum())

    def sample(self, power: int, shots: int) -> int:
        """Return how many of `shots` runs show the marker; each run asks the oracle 2k+1 times."""
        self.queries += shots * (2 * power + 1)
        return self._draw(min(1.0, self.marked(power)), shots)


def drawing(seed: int, number: int) -> Draw:
    """Return binomial draws that depend on the seed and on how many came before."""
    key, used = philox.key_of(seed, "quasar", "tail_risk"), 0

    def draw(probability: float, shots: int) -> int:
        nonlocal used
        used += shots
        return int((philox.uniforms(key, shots, PURPOSE, number, used - shots) < probability).sum())

    return draw


def next_power(power: int, upper: bool, low: float, high: float) -> tuple[int, bool]:
    """Return the largest power whose angles stay in one half plane for θ in [low, high], and in which."""
    now = 4 * power + 2
    most = int(math.pi / (high - low))
    factor = most - (most - 2) % 4
    while factor >= GROWTH * now:
        first, last = (factor * low) % (2 * math.pi), (factor * high) % (2 * math.pi)
        if first <= last <= math.pi:
            return (factor - 2) // 4, True
        if math.pi <= first <= last:
            return (factor - 2) // 4, False
        factor -= 4
    return power, upper


def estimate(oracle: Oracle, error: float) -> Estimate:
    """Estimate sin²θ to ± `error` at 95 %; θ = π/2·[0,1] narrows with each round of 100 shots."""
    low, high, power, upper = 0.0, 0.25, 0, True  # θ in units of 2π, as in the paper
    rounds = max(1.0, math.log2(math.pi / (8.0 * error)) + 1.0)
    hits = shots = 0
    a, b = 0.0, 1.0  # what is known of sin²θ
    for _ in range(ROUNDS):
        at, upper = next_power(power, upper, 2 * math.pi * low, 2 * math.pi * high)
        hits, shots = (hits, shots) if at == power else (0, 0)
        power = at
        hits, shots = hits + oracle.sample(power, SHOTS), shots + SHOTS
        spread = math.sqrt(math.log(2.0 * rounds / CONFIDENCE) / (2.0 * shots))
        seen = hits / shots
        least, most = max(0.0, seen - spread), min(1.0, seen + spread)
        arcs = [math.acos(1.0 - 2.0 * a) / (2 * math.pi) for a in (least, most)]
        factor = 4 * power + 2
        whole = math.floor(factor * low)
        inner = arcs if upper else [1.0 - arcs[1], 1.0 - arcs[0]]
        low = max(low, (whole + inner[0]) / factor)
        high = min(high, (whole + inner[1]) / factor)
        a, b = math.sin(2 * math.pi * low) ** 2, math.sin(2 * math.pi * high) ** 2
        if b - a <= 2.0 * error:
            break
    return Estimate(0.5 * (a + b), a, b, oracle.queries)


def value_at_risk(known: Losses, level: float, error: float, draw: Draw) -> tuple[float, int]:
    """Return the least loss whose estimated probability of not being exceeded is ≥ `level`, and queries."""
    low, high, queries = 0, len(known.p) - 1, 0
    while low < high:
        middle = (low + high) // 2
        below = (np.arange(len(known.p)) <= middle).astype(np.float64)
        found = estimate(Oracle(known.p, below, draw), error)
        queries += found.queries
        low, high = (low, middle) if found.value >= level else (middle + 1, high)
    return float(known.loss[low]), queries


def expected_shortfall(known: Losses, threshold: float, error: float, draw: Draw) -> tuple[float, int]:
    """Return the mean loss of the part at or above `threshold`, and queries."""
    tail = known.loss >= threshold
    span = float(known.loss[-1]) - threshold
    mass = estimate(Oracle(known.p, tail.astype(np.float64), draw), error)
    if span <= 0.0:
        return threshold, mass.queries
    excess = np.clip((known.loss - threshold) / span, 0.0, 1.0)
    above = estimate(Oracle(known.p, excess, draw), error)
    return threshold + span * above.value / mass.value, mass.queries + above.queries


def exact(known: Losses, level: float) -> tuple[float, float]:
    """Return value at risk and expected shortfall of the discretised distribution, by summing."""
    at = int(np.searchsorted(np.cumsum(known.p), level - 1e-12))
    tail = known.p[at:]
    return float(known.loss[at]), float((tail * known.loss[at:]).sum() / tail.sum())


def sampled(known: Losses, level: float, uniforms: F8) -> tuple[float, float]:
    """Return both by Monte Carlo from uniform draws."""
    drawn = np.searchsorted(np.cumsum(known.p), uniforms)
    losses = np.sort(known.loss[np.minimum(drawn, len(known.loss) - 1)])
    threshold = float(losses[max(0, math.ceil(level * len(losses)) - 1)])
    return threshold, float(losses[losses >= threshold].mean())
