"""Cumulative prospect theory (Tversky & Kahneman 1992): how people weigh gains, losses and chances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import gpu

F8 = NDArray[np.float64]
FORM = "prospect_gpu.values"
CURVATURE, LOSS_AVERSION = 0.88, 2.25
GAMMA, DELTA = 0.61, 0.69  # curvature of the weights of gains and of losses


def value(x: Any) -> F8:
    """Return v(x): x^0.88 for gains, −2.25·(−x)^0.88 for losses."""
    amount = np.asarray(x, dtype=np.float64)
    curved = np.abs(amount) ** CURVATURE
    return np.where(amount >= 0.0, curved, -LOSS_AVERSION * curved)


def weight_gain(p: Any) -> F8:
    """Return the decision weight w⁺(p) of a gain of probability `p`."""
    return _weight(p, GAMMA)


def weight_loss(p: Any) -> F8:
    """Return the decision weight w⁻(p) of a loss of probability `p`."""
    return _weight(p, DELTA)


def prospect_term(p_win: Any) -> F8:
    """Return the value of the long minus the short prospect with equal stakes, in [-1,1]; odd about ½."""
    p = np.asarray(p_win, dtype=np.float64)
    gain = weight_gain(p) - weight_gain(1.0 - p)
    loss = weight_loss(p) - weight_loss(1.0 - p)
    return np.asarray((gain + LOSS_AVERSION * loss) / (1.0 + LOSS_AVERSION))


def prospect_value(p: Any, gain: Any, cost: Any, loss: Any) -> F8:
    """Return V [S] of a long with +gain, −cost, −loss (fractions ≥ 0) at `p` [S,3]; flip `p` for a short."""
    chances = np.asarray(p, dtype=np.float64)
    if chances.ndim == 2 and gpu.wants(FORM, len(chances)):
        stakes, out = np.empty(chances.shape), np.empty(len(chances))
        stakes[:, 0], stakes[:, 1], stakes[:, 2] = gain, cost, loss
        if gpu.runs(FORM, len(out), chances, stakes, out=(out,)):
            return out
    up, flat, down = _columns(chances)
    worst = weight_loss(down)
    middle = weight_loss(np.minimum(flat + down, 1.0)) - worst
    return np.asarray(weight_gain(up) * value(gain) + middle * value(_neg(cost)) + worst * value(_neg(loss)))


def expected_value(p: Any, gain: Any, cost: Any, loss: Any) -> F8:
    """Return the expected result [S] of the same long."""
    up, flat, down = _columns(p)
    return np.asarray(up * np.asarray(gain) + flat * _neg(cost) + down * _neg(loss))


def _weight(p: Any, c: float) -> F8:
    """Return p^c/(p^c+(1−p)^c)^(1/c)."""
    chance = np.asarray(p, dtype=np.float64)
    a, b = chance**c, (1.0 - chance) ** c
    return np.asarray(a / (a + b) ** (1.0 / c))


def _neg(x: Any) -> F8:
    """Return −x as float64."""
    return -np.asarray(x, dtype=np.float64)


def _columns(p: Any) -> tuple[F8, F8, F8]:
    """Return the columns up, flat, down."""
    rows = np.asarray(p, dtype=np.float64)
    return rows[..., 0], rows[..., 1], rows[..., 2]
