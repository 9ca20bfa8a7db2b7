"""Hedge (Freund & Schapire 1997) with fixed share (Herbster & Warmuth 1998); NaN losses are asleep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]


def hedge_update(w: Any, loss: Any, eta: float) -> F8:
    """Return w·exp(−η·loss) [..,N], rescaled so that the experts with a finite loss keep their total."""
    weights, losses = np.broadcast_arrays(np.asarray(w, dtype=np.float64), np.asarray(loss, dtype=np.float64))
    awake = np.isfinite(losses)
    shown = np.where(awake, losses, np.inf)
    least = shown.min(axis=-1, keepdims=True)
    decay = np.exp(-eta * np.where(awake, losses - np.where(np.isfinite(least), least, 0.0), 0.0))
    raised = np.where(awake, weights * decay, 0.0)
    before = np.where(awake, weights, 0.0).sum(axis=-1, keepdims=True)
    after = raised.sum(axis=-1, keepdims=True)
    scale = np.divide(before, after, out=np.ones_like(after), where=after > 0.0)
    return np.where(awake, raised * scale, weights)


def fixed_share(w: Any, alpha: float) -> F8:
    """Return (1−α)·w + α/N along the last axis: every expert can come back."""
    weights = np.asarray(w, dtype=np.float64)
    return np.asarray((1.0 - alpha) * weights + alpha / weights.shape[-1])
