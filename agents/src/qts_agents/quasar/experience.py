"""The newest 10 000 transitions and what each is worth: prioritised replay (Schaul et al. 2016).

A transition is a bar, the return to the next one, and the side of the position it was met with. Each is drawn
in proportion to (its last error + ε)^exponent; a new one has the largest priority there was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import sumtree
from qts_agents.kernels.qtable import Tape
from qts_agents.quasar.states import POSITIONS
from qts_agents.quasar.tape import History

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
CAPACITY = 10_000
LEAST_ERROR = 1e-3  # ε: what has no error left is still drawn at times
SIDES = np.arange(POSITIONS, dtype=np.int64) - 1


class Experience:
    """A ring of transitions with a sum tree over their priorities."""

    def __init__(self) -> None:
        self.stored = 0
        self.top = 1.0  # largest priority so far
        self.code: NDArray[np.int32] = np.zeros((CAPACITY, 2), np.int32)
        self.orient: NDArray[np.int8] = np.zeros(CAPACITY, np.int8)
        self.side: NDArray[np.int8] = np.zeros(CAPACITY, np.int8)
        self.ret: F8 = np.zeros(CAPACITY)
        self.sigma: F8 = np.zeros(CAPACITY)
        self.tree: F8 = sumtree.new_tree(CAPACITY)

    def __len__(self) -> int:
        return min(self.stored, CAPACITY)

    def add(self, history: History) -> I8:
        """Take in the newest transition of every symbol from each side; return where they are [≤ 3·S].

        A gap, or a bar without a code, is no transition. The inverted market has inverted sides.
        """
        code, ret = history.code[:, -2:], history.ret[:, -2]
        whole = np.flatnonzero((code >= 0).all(axis=1) & np.isfinite(ret))[-(CAPACITY // POSITIONS) :]
        rows, sides = np.repeat(whole, POSITIONS), np.tile(SIDES, len(whole))
        slots = (self.stored + np.arange(len(rows), dtype=np.int64)) % CAPACITY
        self.code[slots], self.orient[slots] = code[rows], history.orient[rows, -2]
        self.side[slots] = sides * history.orient[rows, -2]
        self.ret[slots], self.sigma[slots] = ret[rows], history.sigma[rows, -2]
        self.stored += len(rows)
        sumtree.update(self.tree, slots, np.full(len(slots), self.top))
        return slots

    def draw(self, uniforms: F8, correction: float) -> tuple[I8, F8]:
        """Return slots [B] in proportion to priority, and the weights [B] that make up for it."""
        if not len(self) or not len(uniforms):
            return np.zeros(0, np.int64), np.zeros(0)
        return sumtree.sample(self.tree, uniforms, correction, len(self))

    def judge(self, slots: I8, error: F8, exponent: float) -> None:
        """Set the priorities of transitions [B] whose errors [B] are now known."""
        priority = (error + LEAST_ERROR) ** exponent
        self.top = max(self.top, float(priority.max(initial=0.0)))
        sumtree.update(self.tree, slots, priority)

    def tape(self, slots: I8) -> Tape:
        """Return the transitions [B] as a tape of two bars each; the second bar's return is never read."""
        twice = (len(slots), 2)
        return Tape(
            self.code[slots].astype(np.int64),
            np.ascontiguousarray(np.broadcast_to(self.orient[slots, None], twice)),
            np.ascontiguousarray(np.broadcast_to(self.ret[slots, None], twice)),
            np.ascontiguousarray(np.broadcast_to(self.sigma[slots, None], twice)),
        )

    def pack(self) -> tuple[Any, ...]:
        """Return the number stored, the slots in use and their priorities."""
        n, half = len(self), len(self.tree) // 2
        columns = (self.code, self.orient, self.side, self.ret, self.sigma, self.tree[half:])
        return self.stored, self.top, *(column[:n] for column in columns)

    @classmethod
    def unpack(cls, kept: tuple[Any, ...]) -> Experience:
        """Return the ring that `pack` described, its tree to the bit: every node is a sum of two."""
        made = cls()
        made.stored, made.top, *columns, priority = kept
        n = len(priority)
        for name, column in zip(("code", "orient", "side", "ret", "sigma"), columns, strict=True):
            getattr(made, name)[:n] = column
        sumtree.update(made.tree, np.arange(n, dtype=np.int64), np.array(priority))
        return made
