"""The last 5,000 resolved rows with what each seat and the board said of them, and how good that was (pure).

A row is a symbol of a resolved round. An outcome adds its rows, which is cheap; scores are worked out when
somebody asks. Forecasts are kept as float32: no decision reads them, and the state stays under half a MiB.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.calibration import Quality, quality
from qts_agents.kernels.outcomes import CLASSES, FLAT, UNRESOLVED
from qts_agents.opinions import climatology
from qts_agents.pads.outcomes import Waiting

ROWS = 5000
BOARD = "board"


class Rows(msgspec.Struct, frozen=True):
    """What is scored; n rows, oldest first."""

    names: tuple[str, ...]  # N forecasters: the seats, then the board
    resolved: int  # rows since the beginning; those before the last `ROWS` are forgotten
    p: NDArray[np.float32]  # [n,N,3], NaN where a seat was silent
    flat: F8  # [n] flat share of the climatology that was sent with the question
    y: NDArray[np.uint8]  # [n]


class Score(msgspec.Struct, frozen=True):
    """One forecaster beside the climatology u on the same rows."""

    rows: int
    own: Quality
    base: Quality


class Scores(msgspec.Struct, frozen=True):
    """What is published; a forecaster without a row is absent."""

    resolved: int = 0
    forecasters: dict[str, Score] = {}


class Scorecard:
    """A ring of resolved rows."""

    def __init__(self, seats: tuple[str, ...]) -> None:
        self._names = (*seats, BOARD)
        self.resolved = 0
        self._p = np.full((ROWS, len(self._names), len(CLASSES)), np.nan, dtype=np.float32)
        self._flat = np.zeros(ROWS)
        self._y = np.zeros(ROWS, dtype=np.uint8)

    def learn(self, w: Waiting, outcome: NDArray[np.uint8]) -> None:
        """Take a resolved decision; rows without an outcome are left out."""
        known = np.flatnonzero(outcome != UNRESOLVED)
        first, n = self.resolved % ROWS, known.size
        self.resolved += n
        if n == len(outcome) and first + n <= ROWS:  # mostly: rows side by side, to places side by side
            self._write(slice(first, first + n), slice(None), w, outcome)
            return
        newest = slice(-ROWS, None)  # of more rows than the ring has, the last ones
        self._write(((first + np.arange(n)) % ROWS)[newest], known[newest], w, outcome)

    def _write(self, at: Any, known: Any, w: Waiting, y: NDArray[np.uint8]) -> None:
        self._p[at, :-1], self._p[at, -1] = w.pi[known], w.p[known]
        self._flat[at], self._y[at] = w.prior[known, FLAT], y[known]

    def rows(self) -> Rows:
        """Return a copy of what is kept."""
        at = self._places(self.resolved)
        return Rows(self._names, self.resolved, self._p[at], self._flat[at], self._y[at])

    @staticmethod
    def _places(resolved: int) -> NDArray[np.intp]:
        """Return where the kept rows lie, oldest first."""
        return np.arange(max(0, resolved - ROWS), resolved) % ROWS

    def pack(self) -> tuple[Any, ...]:
        """Return the rows that count."""
        kept = self.rows()
        return kept.names, kept.resolved, kept.p, kept.flat, kept.y

    @classmethod
    def unpack(cls, kept: tuple[Any, ...]) -> Scorecard:
        """Return the scorecard that `pack` described."""
        names, resolved, p, flat, y = kept
        card = cls(names[:-1])
        card.resolved = resolved
        at = cls._places(resolved)
        card._p[at], card._flat[at], card._y[at] = p, flat, y
        return card


def scores(rows: Rows) -> Scores:
    """Return how good each forecaster was, and the climatology on its rows; too slow for a round."""
    u, y = climatology(rows.flat), rows.y.astype(np.int64)
    bases: dict[bytes, Quality] = {}
    found = {}
    for i, name in enumerate(rows.names):
        p = rows.p[:, i].astype(np.float64)
        spoke = np.isfinite(p).all(axis=1)
        if not spoke.any():
            continue
        which = spoke.tobytes()
        if which not in bases:
            bases[which] = quality(u[spoke], y[spoke])
        found[name] = Score(int(spoke.sum()), quality(p[spoke], y[spoke]), bases[which])
    return Scores(rows.resolved, found)
