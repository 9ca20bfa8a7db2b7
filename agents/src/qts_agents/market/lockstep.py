"""Which bars the feed waits on at speed 0: every n-th, counted as PADS counts them (pure)."""

from __future__ import annotations

from collections import deque

from qts_agents.pace import decided_every
from qts_core.spec import System

KEPT = 4096


class Lockstep:
    """Knows the bars that were published and the newest one that was decided.

    PADS owes a decision on the first live bar and on every n-th (the 10th, the 20th, …). Should its
    rounds fall on other bars (one of the two was started again), the count goes on from there.
    """

    def __init__(self, system: System) -> None:
        self.every = decided_every(system)
        self._bars: deque[tuple[int, int]] = deque(maxlen=KEPT)  # (asof_ns, seq) of this epoch
        self._first: int | None = None
        self._anchor = 0
        self.decided = -1

    def begin(self) -> None:
        """Forget the former epoch: its decisions say nothing about this one."""
        self._bars.clear()
        self._first, self.decided = None, -1

    def published(self, asof_ns: int, seq: int) -> bool:
        """Note a live bar; return whether a decision on it is due."""
        self._bars.append((asof_ns, seq))
        if self._first is None:
            self._first, self._anchor = seq, seq - 1
        return seq == self._first or (seq - self._anchor) % self.every == 0

    def decision(self, asof_ns: int) -> None:
        """Note a decision; one on a bar that this epoch did not publish is ignored."""
        for known_ns, seq in reversed(self._bars):
            if known_ns < asof_ns:
                return
            if known_ns == asof_ns:
                self._decided(seq)
                return

    def _decided(self, seq: int) -> None:
        if seq > self.decided:
            self.decided = seq
            if seq != self._first:
                self._anchor = seq
