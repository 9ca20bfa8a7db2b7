"""The last 512 bars as the learner sees them: market code, side, return and σ of every symbol."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.qtable import Tape
from qts_agents.quasar.states import NONE

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
BARS = 512


class History:
    """A ring kept in time order (the newest bar is the last column); bounded by 512 × S."""

    def __init__(self, symbols: tuple[str, ...] = ()) -> None:
        shape = (len(symbols), BARS)
        self.symbols = symbols
        self.count = 0  # bars held
        self.code: I8 = np.full(shape, NONE, dtype=np.int64)
        self.orient: NDArray[np.int8] = np.ones(shape, dtype=np.int8)
        self.ret: F8 = np.full(shape, np.nan)  # of the bar after
        self.sigma: F8 = np.zeros(shape)

    def push(self, code: I8, orient: NDArray[np.int8], ret: F8, sigma: F8) -> None:
        """Append a bar [S]: its code, side and σ₂₀, and the return that led to it (NaN across a gap)."""
        self.ret[:, -1] = ret
        unknown = np.full_like(ret, np.nan)
        for held, value in (
            (self.code, code), (self.orient, orient), (self.ret, unknown), (self.sigma, sigma)
        ):  # fmt: skip
            flat = held.view()
            flat.shape = (held.size,)  # an error where it would be a copy
            flat[:-1] = flat[1:]  # of one row after the other numpy would first make a copy
            held[:, -1] = value
        self.count = min(self.count + 1, BARS)

    def tape(self) -> Tape:
        """Return the arrays for the kernel."""
        return Tape(self.code, self.orient, self.ret, self.sigma)
