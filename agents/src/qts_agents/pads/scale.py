"""One scale of the panarchy: bars resampled by count, rings, and P, C, R kept incrementally (pure)."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.choice import known_or_zero
from qts_agents.kernels.indicator_rows import LOOKBACK
from qts_agents.kernels.indicators import Indicators, of_columns
from qts_agents.kernels.phase import newest_rank, of_known, potential, recent, scores
from qts_agents.pads.account import Bar

CLOSES, RETURNS = 51, 50
KEPT = 330  # bars a scale holds: indicators look at 320
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)


class Ring:
    """The last `size` columns of a [rows, columns] table as a contiguous-in-time view."""

    def __init__(self, rows: int, size: int) -> None:
        self._data = np.full((rows, 2 * size), np.nan)
        self._size = size
        self._end = 0

    def __len__(self) -> int:
        return min(self._end, self._size)

    def push(self, values: F8) -> None:
        """Append one column [rows]."""
        if self._end == self._data.shape[1]:
            self._data[:, : self._size] = self._data[:, self._size :]
            self._end = self._size
        self._data[:, self._end] = values
        self._end += 1

    def pack(self) -> tuple[int, F8]:
        """Return what is kept: the size and the columns that count."""
        return self._size, self.last(self._size)

    @classmethod
    def unpack(cls, kept: tuple[int, F8]) -> Ring:
        """Return the ring that `pack` described."""
        size, columns = kept
        ring = cls(columns.shape[0], size)
        ring._end = columns.shape[1]
        ring._data[:, : ring._end] = columns
        return ring

    def last(self, n: int) -> F8:
        """Return a copy [rows, min(n, len)] of the newest columns, oldest first."""
        return np.ascontiguousarray(self.view(n))

    def view(self, n: int) -> F8:
        """Return the same as a view, which holds until the next push."""
        return self._data[:, max(self._end - min(n, self._size), 0) : self._end]


class Reading(msgspec.Struct, frozen=True):
    """What one completed bar of a scale says; [S] or [S,4], NaN before it is warm."""

    p: F8
    c: F8
    r: F8
    scores: F8


class Scale:
    """Bars of `factor` base bars each, aligned to the sequence number so that a restart agrees."""

    def __init__(self, S: int, factor: int, rank: int, connectedness: str) -> None:
        self.factor, self.rank, self.connectedness = factor, rank, connectedness
        self.bars = 0
        self.S = S
        self._open: Bar | None = None  # the bar under way
        self._aligned = factor == 1
        self._columns = [Ring(S, KEPT) for _ in range(5)]
        self._valid = Ring(S, KEPT)
        self._times = Ring(1, KEPT)
        self._returns = Ring(S, KEPT)
        self._rho, self._sigma = Ring(S, rank), Ring(S, rank)
        self.sigma20 = np.full(S, np.nan)

    def push(self, bar: Bar, seq: int) -> bool:
        """Add a base bar; tell whether a bar of this scale is complete."""
        whole = (seq + 1) % self.factor == 0
        if self._aligned:
            self._open = bar if self._open is None else _merge(self._open, bar)
        if not whole:
            return False
        done, self._open = self._open, None
        if not self._aligned or done is None:  # the first bar may have begun before we joined
            self._aligned = True
            return False
        self._complete(done)
        return True

    def _complete(self, bar: Bar) -> None:
        good = bar.valid & np.isfinite(bar.close)
        close = np.where(good, bar.close, np.nan)
        before = self._columns[CLOSE].last(1)
        for ring, values in zip(self._columns, (bar.open, bar.high, bar.low, close, bar.volume), strict=True):
            ring.push(values)
        self._valid.push(good.astype(np.float64))
        self._times.push(np.array([float(bar.close_ns)]))
        self.bars += 1
        if before.shape[1]:
            self._returns.push(np.log(close / before[:, 0]))
        if len(self._returns) >= RETURNS:
            rho, sigma, self.sigma20 = recent(self._returns.view(RETURNS), 20)
            self._rho.push(rho)
            self._sigma.push(sigma)

    def closed_ns(self, back: int) -> float:
        """Return when the bar `back` bars before the newest one closed; −∞ where so many are not known."""
        times = self._times.last(back + 1)[0]
        return float(times[0]) if times.size == back + 1 else -math.inf

    def warm(self) -> bool:
        """Tell whether the rank window is full."""
        return len(self._sigma) >= self.rank

    def reading(self, resilience: float = 1.0) -> Reading:
        """Return P, C, R and scores of the newest bar; `resilience` scales R."""
        if not self.warm():
            nan = np.full(self.S, np.nan)
            return Reading(nan, nan, nan, np.full((self.S, 4), np.nan))
        p = of_known(potential, self._columns[CLOSE].view(CLOSES))
        c = self._connected()
        r = resilience * (1.0 - newest_rank(self._sigma.view(self.rank)))
        return Reading(p, c, r, scores(p, c, r))

    def _connected(self) -> F8:
        """Return C [S] as configured; absorption needs two symbols, a single one has its rank."""
        if self.connectedness == "raw":
            return (1.0 + self._rho.last(1)[:, 0]) / 2.0
        if self.connectedness == "absorption" and self.S > 1:
            return np.full(self.S, absorption(self._returns.last(RETURNS)))
        return newest_rank(self._rho.view(self.rank))

    def returns(self, n: int) -> F8:
        """Return the last `n` log returns [S,n], 0 before the first and across a gap."""
        return self._padded(self._returns, n)

    def system_returns(self, n: int = KEPT) -> F8:
        """Return the mean return over symbols of the last `n` bars that are kept; NaN where none is known."""
        known = self._returns.view(max(n, 2))  # of one column numpy would add in another order
        count = np.isfinite(known).sum(axis=0)
        mean = np.where(count > 0, known_or_zero(known).sum(axis=0) / np.maximum(count, 1), np.nan)
        return mean[-n:]

    def volumes(self, n: int) -> F8:
        """Return the last `n` volumes [S,n], 0 where unknown."""
        return self._padded(self._columns[VOLUME], n)

    def _padded(self, ring: Ring, n: int) -> F8:
        values = known_or_zero(ring.view(n))
        if values.shape[1] == n:
            return values
        return np.concatenate((np.zeros((self.S, n - values.shape[1])), values), axis=1)

    def newest(self) -> bytes:
        """Return open, high, low, close and volume [5,S] of the newest bar."""
        return b"".join(ring.view(1).tobytes() for ring in self._columns)

    def close(self) -> F8:
        """Return the newest close [S], NaN where invalid or before the first bar."""
        return self._columns[CLOSE].last(1)[:, 0] if self.bars else np.full(self.S, np.nan)

    def indicators(self, spread: F8) -> Indicators:
        """Return the shared indicators on this scale's bars; `spread` [S] is the newest one."""
        columns: list[NDArray[Any]] = [ring.view(KEPT)[:, -LOOKBACK:] for ring in self._columns]
        columns.append(self._valid.view(KEPT).astype(np.uint8)[:, -LOOKBACK:])
        return of_columns(columns, spread)


def absorption(returns: F8) -> float:
    """Return the first eigenvalue's share of the correlations of returns [S,n] (Kritzman et al. 2011).

    From the n × n Gram matrix, which has the same eigenvalues; symbols that do not move are left out, and
    with fewer than two others it is ½.
    """
    known = known_or_zero(returns)
    moved = known - known.mean(axis=1, keepdims=True)
    length = np.sqrt((moved * moved).sum(axis=1))
    unit = moved[length > 0.0] / length[length > 0.0][:, None]
    if len(unit) < 2:
        return 0.5
    return float(np.linalg.eigvalsh(unit.T @ unit)[-1]) / len(unit)


def _merge(first: Bar, last: Bar) -> Bar:
    """Return one bar of what is valid: first open, extreme high and low, last close, summed volume."""
    one, two = first.valid, last.valid
    if one.all() and two.all():  # mostly
        high, low = np.fmax(first.high, last.high), np.fmin(first.low, last.low)
        volume = first.volume + last.volume
        return msgspec.structs.replace(last, open=first.open, high=high, low=low, volume=volume)
    return Bar(
        close_ns=last.close_ns,
        open=np.where(one, first.open, last.open),
        high=np.fmax(_where(one, first.high), _where(two, last.high)),
        low=np.fmin(_where(one, first.low), _where(two, last.low)),
        close=np.where(two, last.close, first.close),
        volume=np.where(two, np.where(one, first.volume + last.volume, last.volume), first.volume),
        valid=one | two,
        fee=last.fee,
        half_spread=last.half_spread,
    )


def _where(valid: NDArray[np.bool_], values: F8) -> F8:
    return np.where(valid, values, np.nan)
