"""The society: four temperaments on one set of beliefs that pool what they see and compete for weight (pure).

Co-operation is the log pool of the variants' readouts. Competition is Hedge on the log score of each, with a
share that nobody can lose, so that a variant whose time has gone can come back. A variant that has nothing to
say sleeps: it is neither pooled nor scored. With one member the readout passes unchanged.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.online import hedge_rows
from qts_agents.kernels.pool import FLOOR, js, log_pool
from qts_core.sections import AmosSettings

F8 = NDArray[np.float64]
LOW, HIGH = 30.0, 70.0  # RSI beyond which the contrarian acts


class Variant(msgspec.Struct, frozen=True):
    """One temperament: what it does to the belief weights, to the scale of intention, to risk."""

    name: str
    tilt: tuple[float, ...]  # of trend, momentum, sentiment, correlation, cycle
    tau: float = 1.0
    risk: float = 0.0
    extremes_only: bool = False


SOLO = (Variant("plain", (1.0,) * 5),)
SOCIETY = (
    Variant("trend", (1.5, 1.5, 1.0, 1.0, 1.0)),
    Variant("mean_reversion", (-1.0, -1.0, 1.0, 1.0, -1.0)),
    Variant("risk_averse", (1.0,) * 5, tau=1.5, risk=0.2),
    Variant("contrarian", (-1.0,) * 5, extremes_only=True),
)


def members(settings: AmosSettings) -> tuple[Variant, ...]:
    """Return who takes part."""
    return SOLO if settings.society == 1 else SOCIETY


def awake(variant: Variant, rsi: F8) -> NDArray[np.bool_]:
    """Tell in which rows a variant has something to say."""
    return (rsi < LOW) | (rsi > HIGH) if variant.extremes_only else np.ones(len(rsi), dtype=np.bool_)


def co_operate(x: F8, standing: F8) -> F8:
    """Return the pool [S,3] of the variants' `x` [S,V,3], NaN rows asleep, by their `standing` [V]."""
    return np.ascontiguousarray(x[:, 0]) if x.shape[1] == 1 else log_pool(x, standing)


def pooled_actions(held: F8, standing: F8) -> F8:
    """Return the weighted geometric mean [S,A] of action probabilities [S,V,A]; impossible ones stay 0."""
    if held.shape[1] == 1:
        return np.asarray(held[:, 0])
    spoken = np.asarray(np.isfinite(held).all(axis=2))
    weight = np.where(spoken, standing, 0.0)
    weight = weight / weight.sum(axis=1, keepdims=True)
    shown = np.where(spoken[:, :, None], held, 1.0)
    mean = np.exp((weight[:, :, None] * np.log(np.maximum(shown, FLOOR))).sum(axis=1))
    possible = np.where(spoken[:, :, None], held, 0.0).max(axis=1) > 0.0
    mean = np.where(possible, mean, 0.0)
    return np.asarray(mean / mean.sum(axis=1, keepdims=True))


def disagreement(x: F8, pooled: F8) -> F8:
    """Return the mean Jensen–Shannon divergence [S] of the variants that spoke from their pool, nats."""
    apart = js(x, pooled[:, None, :])
    spoken = np.isfinite(apart)
    return np.asarray(np.where(spoken, apart, 0.0).sum(axis=1) / np.maximum(spoken.sum(axis=1), 1))


def compete(standing: F8, given: F8, settings: AmosSettings) -> F8:
    """Return the standing [V] after outcomes to which the variants had `given` probability [R,V] or [V]."""
    loss = -np.log(np.maximum(given, FLOOR))
    return hedge_rows(standing, loss, settings.society_rate, settings.society_floor * len(standing))
