"""Intention: beliefs, desire and habit under situation and norm (CADM, Klöckner & Blöbaum 2010) (pure)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_core.sections import AmosSettings

F8 = NDArray[np.float64]

#: how undecided a phase makes: the scale of the sum inside tanh
TAU = {"growth": 0.8, "conservation": 1.0, "release": 1.4, "reorganization": 1.1, "unknown": 1.0}


def intention(
    terms: tuple[F8, F8, F8, F8],
    settings: AmosSettings,
    phase: str,
    situation: F8,
    norm: float,
    calm: float = 1.0,
) -> F8:
    """Return I [S] in [−1,1] of (B, prospect term, desire, previous intention), each [S]; `calm` scales τ."""
    B, prospect, desire, previous = terms
    drive = (
        settings.belief_gain * B
        + settings.prospect_gain * prospect
        + settings.desire_gain * desire
        + settings.habit_gain * previous
    )
    return np.asarray(np.tanh(drive / (calm * TAU[phase])) * situation * norm)


def norm_of(drawdown: float, limit: float) -> float:
    """Return the normative factor: 1 without drawdown, 0 at `limit` (0.2) and beyond."""
    return max(0.0, 1.0 - drawdown / limit)


def risk_of(hazard: F8, psi: float) -> F8:
    """Return 1 − ψ·(1 − hazard): alerts raise the risk even of a calm market."""
    return np.asarray(1.0 - psi * (1.0 - hazard))
