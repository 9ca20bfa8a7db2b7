"""The simulated market's constants: four regimes and how they follow each other (agents.md §7) (pure)."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
BAR_S = 60.0
YEAR_S = 365.0 * 86_400.0
SUB_STEPS = 8
PERSISTENCE, VOL_OF_VOL, LEVERAGE = 0.98, 0.10, -0.3  # of ln v; corr(F, ξ)
LOG_VOLUME, VOLUME_SHOCK, VOLUME_NOISE = 10.0, 0.3, 0.4
SPREAD, IMBALANCE = 0.0002, 0.3


class Regime(msgspec.Struct, frozen=True):
    """One state of the chain (Hamilton 1989) with its jump diffusion (Merton 1976)."""

    name: str
    stay: float  # mean bars
    drift: float  # annual, used only with predictability 1
    sigma: float  # annual
    rho: float  # share of variance that all symbols have in common
    jump_rate: float  # per bar
    jump_mean: float  # in √v̄
    jump_std: float
    momentum: float  # φ, used only with predictability 1
    following: dict[str, float]


REGIMES: tuple[Regime, ...] = (
    Regime("growth", 1200, 0.5, 0.45, 0.3, 1 / 2000, 0, 4, 0.05, {"conservation": 0.9, "release": 0.1}),
    Regime("conservation", 800, 0.0, 0.30, 0.5, 1 / 2000, 0, 4, 0.0, {"release": 0.7, "growth": 0.3}),
    Regime("release", 120, -3.0, 1.50, 0.8, 1 / 60, -3, 3, 0.10, {"reorganization": 1.0}),
    Regime("reorganization", 400, 0.0, 0.80, 0.4, 1 / 500, 0, 4, -0.05, {"growth": 0.8, "release": 0.2}),
)
NAMES = tuple(regime.name for regime in REGIMES)
#: columns of `constants`
MEAN, LOG_VBAR, RHO, RATE, JUMP_MEAN, JUMP_STD, PHI = range(7)


def constants(predictability: int) -> F8:
    """Return [4,7] per bar: mean log return beside −½v, ln v̄, ρ, λ, jump mean and deviation, φ.

    With predictability 0 the mean is the jump compensator −ln(1 + λ·(E e^J − 1)) and φ is 0, so that
    every price is a martingale; the logarithm makes that exact for at most one jump a bar.
    """
    rows = []
    for regime in REGIMES:
        vbar = regime.sigma**2 * BAR_S / YEAR_S
        mean, std = regime.jump_mean * math.sqrt(vbar), regime.jump_std * math.sqrt(vbar)
        compensator = math.log1p(regime.jump_rate * math.expm1(mean + std * std / 2.0))
        drift = regime.drift * BAR_S / YEAR_S if predictability else -compensator
        phi = regime.momentum if predictability else 0.0
        rows.append((drift, math.log(vbar), regime.rho, regime.jump_rate, mean, std, phi))
    return np.array(rows)


def chain() -> F8:
    """Return the cumulative transition probabilities [4,4] of one bar."""
    matrix = np.zeros((4, 4))
    for row, regime in enumerate(REGIMES):
        matrix[row, row] = 1.0 - 1.0 / regime.stay
        for name, probability in regime.following.items():
            matrix[row, NAMES.index(name)] = probability / regime.stay
    return np.cumsum(matrix, axis=1)


def occupancy() -> F8:
    """Return the cumulative share of time [4] spent in each regime, from which the first is drawn."""
    matrix = np.diff(chain(), axis=1, prepend=0.0)
    system = np.vstack([matrix.T - np.eye(4), np.ones(4)])
    share = np.linalg.lstsq(system, np.array([0.0, 0.0, 0.0, 0.0, 1.0]), rcond=None)[0]
    return np.cumsum(share.astype(np.float64))
