"""Causal rolling statistics over [S,T] arrays, without running sums that could lose what they hold.

The row is cut into blocks of one window's length, so that every window is the end of one block and the
beginning of the next. Values are taken from the first block's mean and summed from the edge outwards; a
window adds its two parts and subtracts nothing. Where its own mean lies far from that of the block, which
would cancel digits (Chan, Golub & LeVeque 1983), it is summed afresh in two passes. Every output depends
only on its own window and on where the window lies, not on later values. Outputs are NaN before a window is
full and wherever it holds a NaN.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import gpu
from qts_agents.kernels.backend import each_part, floats, jit_enabled, kernel, part

F8 = NDArray[np.float64]
#: standard deviations of log returns at or below this are rounding noise of float64 and count as 0
SIGMA_FLOOR = 1e-9
#: values that differ by less than this share of themselves are ties: equal windows in another order
TIE = 1e-9
ENTRY = "rolling.rolling_moments"
FAR = 100.0  # squared distance of a mean from its block's, in variances, from which digits would cancel


class Moments(NamedTuple):
    """Rolling moments, each [S,T]."""

    mean: F8
    std: F8  # sample deviation (divisor n−1); 0 at or below the floor
    rho: F8  # lag-1 autocorrelation (Box–Jenkins); 0 where the deviation is
    skew: F8  # g₁ = m₃/m₂^1.5 (population); 0 where the deviation is


def rolling_moments(x: Any, n: int, floor: float = SIGMA_FLOOR, out: F8 | None = None) -> Moments:
    """Return mean, deviation, autocorrelation and skewness [S,T] of the last `n` ≥ 2 values, in one pass.

    `out` [4,S,T] is written and returned; new memory costs more than the sums in it.
    """
    values = _rows(x)
    out = np.empty((4, *values.shape)) if out is None else out
    out[:, :, : n - 1] = np.nan
    if gpu.runs("rolling_gpu.moments", len(values), values, n, floor, out=tuple(out)):
        return Moments(*out)
    if jit_enabled():
        each_part(lambda rows, *parts: _moments(rows, n, floor, *parts), values, *out, entry=ENTRY)
    elif values.shape[1] >= n:
        out[:, :, n - 1 :] = _moments_reference(values, n, floor)
    return Moments(*out)


def rolling_rank(x: Any, n: int, tie: float = TIE, tie_absolute: float = 0.0) -> F8:
    """Return the causal mid-rank [S,T] in (0,1] of each value among the last `n` including itself.

    Values within `tie`·|x| or `tie_absolute` of the newest count as equal to it; both 0 ranks exactly.
    """
    values = _rows(x)
    out = _empty(values, n)
    if jit_enabled():
        each_part(lambda rows, part: _ranks(rows, n, tie, tie_absolute, part), values, out)
    elif values.shape[1] >= n:
        _ranks_reference(values, n, tie, tie_absolute, out[:, n - 1 :])
    return out


def rolling_entropy(codes: Any, n: int, letters: int) -> F8:
    """Return the Shannon entropy [S,T] in nats of the last `n` of `codes` (0…letters−1, else: missing).

    For symbols of an alphabet: bins of a return, ranks of a quantile. ln(letters) is the most it can be.
    """
    values = np.require(np.atleast_2d(codes), dtype=np.int64, requirements=["C", "W"])
    out = _empty(values, n)
    if jit_enabled():
        each_part(lambda rows, part: _entropies(rows, n, letters, part), values, out)
    elif values.shape[1] >= n:
        _entropies_reference(values, n, letters, out[:, n - 1 :])
    return out


@kernel
def _moments(x: F8, n: int, floor: float, mean: F8, std: F8, rho: F8, skew: F8) -> None:
    """Write the moments of rows [S,T]."""
    sums = np.zeros((8, n))
    for s in range(x.shape[0]):
        moments_row(x[s], n, floor, sums, mean[s], std[s], rho[s], skew[s])


@part
def moments_row(x: F8, n: int, floor: float, sums: F8, mean: F8, std: F8, rho: F8, skew: F8) -> None:
    """Write the moments of one row [T], block after block, from place n−1 on; `sums` [8,n] is scratch."""
    T, ends, begins = x.shape[0], sums[:4], sums[4:]
    for begin in range(0, T - n + 1, n):
        edge, until = begin + n, min(begin + 2 * n - 1, T)
        zero = _centre(x[begin:edge])
        _sum_ends(x[begin:edge], zero, ends)
        begins[:, 0] = 0.0
        _sum_begins(x[edge - 1 : until], zero, begins)
        here = slice(edge - 1, until)
        _finish(x[begin:until], n, floor, zero, ends, begins, mean[here], std[here], rho[here], skew[here])


@part
def levels_row(x: F8, n: int, floor: float, sums: F8, mean: F8, std: F8) -> None:
    """Write mean and deviation of the windows x[i:i+n] to `mean` and `std` [≥T−n+1], as `moments_row` does.

    Equal to it bit for bit; `sums` [≥2,≥n] is scratch.
    """
    windows = x.shape[0] - n + 1
    for begin in range(0, windows, n):
        edge, count = begin + n, min(n, windows - begin)
        zero, one, two = _centre(x[begin:edge]), 0.0, 0.0
        for i in range(n - 1, -1, -1):  # from the edge outwards
            d = x[begin + i] - zero
            one, two = one + d, two + d * d
            sums[0, i], sums[1, i] = one, two
        one, two = 0.0, 0.0
        for i in range(count):
            if i > 0:
                d = x[edge - 1 + i] - zero
                one, two = one + d, two + d * d
            total = sums[0, i] + one
            away = total / n
            square = sums[1, i] + two - total * away
            sigma = math.sqrt(square / (n - 1)) if square >= 0.0 else np.nan
            mean[begin + i], std[begin + i] = zero + away, 0.0 if sigma <= floor else sigma
        for i in range(begin, begin + count):
            away = mean[i] - zero
            far = away * away * n > FAR * (n - 1) * max(std[i], floor) ** 2
            if far or (math.isnan(std[i]) and not math.isnan(mean[i])):
                total, square = 0.0, 0.0
                for v in x[i : i + n]:
                    total += v
                mean[i] = total / n
                for v in x[i : i + n]:
                    square += (v - mean[i]) * (v - mean[i])
                sigma = math.sqrt(square / (n - 1))
                std[i] = 0.0 if sigma <= floor else sigma


@part
def spreads_row(x: F8, n: int, sums: F8, square: F8, pairs: F8) -> None:
    """Write Σd² and Σdd₊₁ of the windows x[i:i+n] round their own means to `square` and `pairs` [T−n+1].

    The parts of `moments_row` without skewness, root and quotient; `sums` [4,n] is scratch.
    """
    windows, inverse, least = x.shape[0] - n + 1, 1.0 / n, SIGMA_FLOOR * SIGMA_FLOOR * (n - 1)
    for begin in range(0, windows, n):
        edge, count = begin + n, min(n, windows - begin)
        zero, one, two, three, after = _centre(x[begin:edge]), 0.0, 0.0, 0.0, 0.0
        for i in range(n - 1, -1, -1):  # from the edge outwards
            d = x[begin + i] - zero
            one, two, three, after = one + d, two + d * d, three + d * after, d
            sums[0, i], sums[1, i], sums[2, i] = one, two, three
        one, two, three, before = 0.0, 0.0, 0.0, x[edge - 1] - zero
        for i in range(count):
            if i > 0:
                d = x[edge - 1 + i] - zero
                one, two, three, before = one + d, two + d * d, three + d * before, d
            total, away = sums[0, i] + one, (sums[0, i] + one) * inverse
            first, last = x[begin + i] - zero, x[begin + i + n - 1] - zero
            square[begin + i] = sums[1, i] + two - total * away
            pairs[begin + i] = sums[2, i] + three + (n - 1) * away * away
            pairs[begin + i] -= away * (2.0 * total - first - last)
            sums[3, i] = away
        for i in range(count):  # where the mean is far from the block's, digits have cancelled
            if sums[3, i] * sums[3, i] * n > FAR * max(square[begin + i], least):
                square[begin + i], pairs[begin + i] = _spread_afresh(x[begin + i : begin + i + n])


@part
def _spread_afresh(x: F8) -> tuple[float, float]:
    """Return Σd² and Σdd₊₁ of one window in two passes."""
    total = 0.0
    for v in x:
        total += v
    mid, square, pairs, before = total / x.shape[0], 0.0, 0.0, 0.0
    for v in x:
        d = v - mid
        square += d * d
        pairs += d * before
        before = d
    return square, pairs


@part
def _centre(block: F8) -> float:
    """Return the mean of the finite values; 0 without any."""
    total, known = 0.0, 0
    for v in block:
        if math.isfinite(v):
            total += v
            known += 1
    return total / known if known > 0 else 0.0


@part
def _sum_ends(block: F8, zero: float, sums: F8) -> None:
    """Write Σd, Σd², Σd³, Σdd₊₁ of block[i:], d = value − `zero`, to sums[:, i]."""
    one, two, three, pairs, after = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(block.shape[0] - 1, -1, -1):
        d = block[i] - zero
        one += d
        two += d * d
        three += d * d * d
        pairs += d * after
        after = d
        sums[0, i], sums[1, i], sums[2, i], sums[3, i] = one, two, three, pairs


@part
def _sum_begins(block: F8, zero: float, sums: F8) -> None:
    """Write the same of block[1:i+1] to sums[:, i]; block[0] is the last of the block before."""
    one, two, three, pairs, before = 0.0, 0.0, 0.0, 0.0, block[0] - zero
    for i in range(1, block.shape[0]):
        d = block[i] - zero
        one += d
        two += d * d
        three += d * d * d
        pairs += d * before
        before = d
        sums[0, i], sums[1, i], sums[2, i], sums[3, i] = one, two, three, pairs


@part
def _finish(
    x: F8, n: int, floor: float, zero: float, ends: F8, begins: F8, mean: F8, std: F8, rho: F8, skew: F8
) -> None:
    """Write the statistics of windows x[i:i+n], whose parts are ends[:, i] and begins[:, i]."""
    for i in range(mean.shape[0]):
        one, two = ends[0, i] + begins[0, i], ends[1, i] + begins[1, i]
        three, pairs = ends[2, i] + begins[2, i], ends[3, i] + begins[3, i]
        away = one / n
        square = two - one * away
        first, last = x[i] - zero, x[i + n - 1] - zero
        cube = three - 3.0 * away * two + 2.0 * away * away * one
        pairs += (n - 1) * away * away - away * (2.0 * one - first - last)
        known = square >= 0.0  # what cancels may end below 0, and is then summed afresh
        sigma = math.sqrt(square / (n - 1)) if known else np.nan
        root = math.sqrt(square / n) if known else np.nan
        mean[i] = zero + away
        std[i] = 0.0 if sigma <= floor else sigma
        rho[i] = 0.0 if sigma <= floor else pairs / square
        skew[i] = 0.0 if sigma <= floor else cube / (square * root)
    for i in range(mean.shape[0]):
        away = mean[i] - zero
        far = away * away * n > FAR * (n - 1) * max(std[i], floor) ** 2
        if far or (math.isnan(std[i]) and not math.isnan(mean[i])):
            _afresh(x[i : i + n], floor, i, mean, std, rho, skew)


@part
def _afresh(x: F8, floor: float, i: int, mean: F8, std: F8, rho: F8, skew: F8) -> None:
    """Write the statistics of one window in two passes."""
    n, total = x.shape[0], 0.0
    for v in x:
        total += v
    mid, square, cube, pairs, before = total / n, 0.0, 0.0, 0.0, 0.0
    for v in x:
        d = v - mid
        square += d * d
        cube += d * d * d
        pairs += d * before
        before = d
    sigma = math.sqrt(square / (n - 1))
    quiet = sigma <= floor
    mean[i], std[i] = mid, 0.0 if quiet else sigma
    rho[i] = 0.0 if quiet else pairs / square
    skew[i] = 0.0 if quiet else cube / (square * math.sqrt(square / n))


def _moments_reference(x: F8, n: int, floor: float) -> F8:
    """Return [4,S,T−n+1] by two passes over each window."""
    windows = _windows(x, n)
    mean = windows.mean(axis=2, keepdims=True)
    centred = windows - mean
    square, cube = (centred**2).sum(axis=2), (centred**3).sum(axis=2)
    lagged = (centred[:, :, 1:] * centred[:, :, :-1]).sum(axis=2)
    std = np.sqrt(square / (n - 1))
    loud = ~(std <= floor)
    rho = np.divide(lagged, square, out=np.zeros_like(lagged), where=loud)
    skew = np.divide(cube, square * np.sqrt(square / n), out=np.zeros_like(cube), where=loud)
    return np.stack([mean[:, :, 0], np.where(loud, std, 0.0), rho, skew])


def _ranks_reference(x: F8, n: int, tie: float, tie_absolute: float, out: F8) -> None:
    """Write the mid-ranks [S,T−n+1] by comparing whole windows."""
    windows = _windows(x, n)
    newest = windows[:, :, -1:]
    margin = np.maximum(tie * np.abs(newest), tie_absolute)
    less, more = (windows < newest - margin).sum(axis=2), (windows > newest + margin).sum(axis=2)
    rank = (less + 0.5 * (n - less - more)) / n
    out[:] = np.where(np.isnan(windows).any(axis=2), np.nan, rank)


def _entropies_reference(codes: NDArray[np.int64], n: int, letters: int, out: F8) -> None:
    """Write the entropies [S,T−n+1] from each window's own shares."""
    windows = np.lib.stride_tricks.sliding_window_view(codes, n, axis=1)
    share = np.stack([(windows == k).sum(axis=2) for k in range(letters)], axis=2) / n
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=2)
    whole = ((windows >= 0) & (windows < letters)).all(axis=2)
    out[:] = np.where(whole, np.maximum(entropy, 0.0), np.nan)


@kernel
def _ranks(x: F8, n: int, tie: float, tie_absolute: float, out: F8) -> None:
    """Count what lies below and above the newest of each window; rows [S,T]."""
    S, T = x.shape
    for s in range(S):
        missing = 0
        for t in range(T):
            newest = x[s, t]
            missing += np.isnan(newest)
            if t >= n:
                missing -= np.isnan(x[s, t - n])
            if t < n - 1:
                continue
            margin = max(tie * abs(newest), tie_absolute)
            low, high, below = newest - margin, newest + margin, 0
            for i in range(t - n + 1, t + 1):
                below += (x[s, i] < low) - np.int64(x[s, i] > high)
            out[s, t] = 0.5 * (n + below) / n if missing == 0 else np.nan


@kernel
def _entropies(codes: NDArray[np.int64], n: int, letters: int, out: F8) -> None:
    """Keep counts of each letter; the entropy is summed afresh from a table of x·ln x."""
    S, T = codes.shape
    table = np.zeros(n + 1)
    for k in range(1, n + 1):
        table[k] = k / n * np.log(k / n)
    for s in range(S):
        count, missing = np.zeros(letters, np.int64), 0
        for t in range(T):
            for i, change in ((t, 1), (t - n, -1)):
                if i < 0:
                    continue
                if 0 <= codes[s, i] < letters:
                    count[codes[s, i]] += change
                else:
                    missing += change
            if t >= n - 1:
                total = 0.0
                for k in range(letters):
                    total -= table[count[k]]
                out[s, t] = max(total, 0.0) if missing == 0 else np.nan


def warm_up() -> None:
    """Compile what serving calls."""
    if jit_enabled():
        zeros = np.zeros((1, 3))
        rolling_moments(zeros, 2)
        rolling_rank(zeros, 2)
        rolling_entropy(zeros, 2, 2)


def _rows(x: Any) -> F8:
    """Return `x` as writable C-ordered float64 [S,T]: one layout is one compiled signature."""
    return floats(np.atleast_2d(x))


def _empty(x: Any, n: int) -> F8:
    """Return room [S,T] for results, NaN until the first window is full."""
    out: F8 = np.empty(x.shape)
    out[:, : n - 1] = np.nan
    return out


def _windows(x: F8, n: int) -> F8:
    """Return all full windows [S,T−n+1,n]; none when T < n."""
    if x.shape[1] < n:
        return np.empty((x.shape[0], 0, n))
    return np.lib.stride_tricks.sliding_window_view(x, n, axis=1)
