"""The 5⁴·3 states of QUASAR and their mirror images (pure).

A state is the market code of four bins and the sign of the position. Its mirror, prices inverted and
position reversed, shares its table row with BUY and SELL exchanged (Ravindran & Barto 2004): the row of
the lexicographically smaller of the two is used, the other is never touched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

BINS = 5
CODES = BINS**4
POSITIONS = 3
STATES = CODES * POSITIONS
ACTIONS = 7
ODD_EDGES = np.array([-0.65, -0.25, 0.25, 0.65])  # no multiple of 0.1 lies on one
EVEN_EDGES = np.array([0.2, 0.4, 0.6, 0.8])
NONE = -1  # code of a bar without usable features
SAME, MIRRORED, OWN_MIRROR = 0, 1, 2


def codes(trend: F8, momentum: F8, strength: F8, volatility: F8) -> I8:
    """Return the market code [S] of trend, momentum, RSI/50−1 and volatility; −1 where one is NaN."""
    known = np.isfinite(trend) & np.isfinite(momentum) & np.isfinite(strength) & np.isfinite(volatility)
    code = np.zeros(trend.shape[0], dtype=np.int64)
    for value in (trend, momentum, strength):
        code = code * BINS + np.digitize(value, ODD_EDGES)
    code = code * BINS + np.digitize(volatility, EVEN_EDGES)
    return np.where(known, code, NONE)


def orientation(trend: F8, strength: F8, ret: F8) -> NDArray[np.int8]:
    """Return +1 or −1 [S] that changes sign with the market: the side of states that are their own mirror."""
    first = np.where(trend != 0.0, trend, np.where(strength != 0.0, strength, ret))
    return np.where(first < 0.0, -1, 1).astype(np.int8)


def state(code: I8, d: F8) -> I8:
    """Return the state [S] of market codes and position signs."""
    return code * POSITIONS + np.sign(d).astype(np.int64) + 1


def mirror_code(code: int) -> int:
    """Return the market code with trend, momentum and RSI reversed."""
    volatility, rest = code % BINS, code // BINS
    return (BINS**3 - 1 - rest) * BINS + volatility


def _tie() -> tuple[I8, NDArray[np.int8]]:
    """Return the row [STATES] that a state uses, and whether that is its own, its mirror's, or both."""
    row = np.zeros(STATES, dtype=np.int64)
    kind = np.zeros(STATES, dtype=np.int8)
    for s in range(STATES):
        code, d = s // POSITIONS, s % POSITIONS - 1
        image = mirror_code(code) * POSITIONS - d + 1
        row[s] = min(s, image)
        kind[s] = OWN_MIRROR if image == s else SAME if s < image else MIRRORED
    return row, kind


ROW, KIND = _tie()
#: rows that some state uses
ROWS_USED = int(np.unique(ROW).shape[0])
