"""How much each of QUASAR's three opinions counts, and when an action is worth proposing (pure)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.choice import first_of, known_or_zero
from qts_agents.opinions import BUY, HOLD, INCREASE, SELL, position_map

F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]
QSTAR, QAR, MODEL = range(3)
BASE = (0.4, 0.4, 0.2)
FLOOR = 0.05
SCALE = 0.2  # of x_up − x_down at which a direction is full
MAX_THRESHOLD = 0.9
FLATTENING = 0.7
_FAVOUR = {"growth": (MODEL, 0.1), "conservation": (QAR, 0.1), "release": (QSTAR, 0.1)}


def weights(phase: str, anomaly: Any, drift: Any) -> F8:
    """Return the weights [S,3] of qstar, qar, model before masking; anomaly and drift are [S] flags."""
    base = np.array(BASE)
    if phase == "reorganization":
        base = np.full(3, 1.0 / 3.0)
    elif phase in _FAVOUR:
        favoured, by = _FAVOUR[phase]
        base[favoured] += by
        if phase == "growth":
            base[[QSTAR, QAR]] -= 0.05
    flags = np.stack((np.asarray(anomaly, dtype=np.float64), np.asarray(drift, dtype=np.float64)), axis=1)
    shifts = np.array([[-0.1, 0.2, -0.1], [0.2, -0.1, -0.1]])
    raw = np.maximum(base + flags[:, :1] * shifts[0] + flags[:, 1:] * shifts[1], FLOOR)
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


def flatten(p: F8, anomaly: Any) -> F8:
    """Return p^0.7/Σ in anomalous rows: less sure of everything."""
    softened = p**FLATTENING
    softened = softened / softened.sum(axis=1, keepdims=True)
    return np.where(np.asarray(anomaly, dtype=bool)[:, None], softened, p)


def propose(x: F8, greedy: NDArray[np.int8], known: NDArray[np.bool_], d: F8, threshold: float) -> U1:
    """Return the action [S]: the table's where it is known, else the position map of the direction.

    BUY, SELL and INCREASE need the direction of the blend, on its scale, to reach `threshold` their way.
    """
    s = np.clip(known_or_zero(x[:, 0] - x[:, 2]) / SCALE, -1.0, 1.0)
    action = np.where(known, greedy, position_map(s, d)).astype(np.uint8)
    way = first_of([action == BUY, action == SELL, action == INCREASE], [1.0, -1.0, d], 0.0)
    entering = way != 0.0
    weak = entering & (way * s < threshold)
    return np.where(weak, HOLD, action).astype(np.uint8)


def threshold_of(theta: float, psi: float) -> float:
    """Return min(0.9, θ·(2−ψ)): alerts raise what an entry needs."""
    return min(MAX_THRESHOLD, theta * (2.0 - psi))
