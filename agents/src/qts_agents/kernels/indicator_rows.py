"""The shared indicators of each symbol at its last bar, compiled (definitions: agents.md §1.8).

Returns are only taken between two valid bars; windows count existing returns and closes, so a short gap
shortens nothing but the reach of the rank windows. Log prices are relative to the newest close, which
makes every number independent of the price's unit. Four kernels, each a loop over rows with explicit
index ranges: compiled apart they cost half the start-up time of one that holds them all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.logs import log_part
from qts_agents.kernels.nth import nth_part
from qts_agents.kernels.rolling import SIGMA_FLOOR, TIE, spreads_row

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
LOOKBACK = 320  # bars that any indicator may depend on
MIN_CLOSES = 288  # valid ones among them; fewer make the row NaN
MIN_RETURNS = 144
RANK, RECURSION, WILDER = 250, 250, 14
SHARE = 1.0 / WILDER
TAIL_RETURNS, TAIL_LAG = 25, 5
WIDTHS = (20, 50)  # of the moments that are ranked
BLOCK = 64  # rows whose scratch stays in a core's cache
FIELDS = (
    "trend", "momentum", "volatility", "rsi", "adx", "macd", "whale", "whale_side", "anomaly", "tail",
    "flash", "illiquidity", "ews", "crisis", "sigma20", "sigma50", "sigma100", "sigma100_lag5", "m20",
    "m100", "rho50", "sma_gap", "m5", "m10", "r", "ema20_gap", "volume_seen", "liquidity_seen",
)  # fmt: skip
Y, HIGH, LOW, VOLUME, R = range(5)  # columns of `bars`
#: what costs half of the time and not every agent reads: the tail index, moments of 50 returns, medians
TAIL, WARNING, ANOMALY = 1, 2, 4
#: fields that are NaN without it
EXTRAS = {
    TAIL: ("tail", "crisis"),
    WARNING: ("sigma50", "rho50", "ews"),
    ANOMALY: ("whale", "whale_side", "anomaly"),
}


def indicator_rows(o: F8, h: F8, lo: F8, c: F8, v: F8, valid: U1, spread: F8, out: F8, extra: int) -> None:
    """Write the indicators of every row [S,T] to `out` [S,28]; NaN where there are too few closes.

    `extra`: TAIL, WARNING and ANOMALY, whose fields are otherwise NaN.

    Any layout will do: blocks of rows are copied, so that one signature serves and the cache holds a block.
    """
    bars = np.empty((min(len(c), BLOCK), 5, c.shape[1]))
    for first in range(0, len(c), BLOCK):
        rows = slice(first, first + BLOCK)
        opened, high, low, close, volume = (
            np.array(x[rows], dtype=np.float64, order="C") for x in (o[:, -1:], h, lo, c, v)
        )  # of what opened only the newest is read
        known = np.array(valid[rows], dtype=np.uint8, order="C")
        counts, part = np.zeros((len(close), 4), dtype=np.int64), out[rows]
        collect_rows(high, low, close, volume, known, bars, counts)
        return_rows(bars, counts, known, part, extra)
        oscillator_rows(bars, counts, part)
        volume_rows(bars, counts, opened, close, np.array(spread[rows], dtype=np.float64), part, extra)


@part
def whole_row(c: F8, valid: U1) -> bool:
    """Tell whether every bar is valid and has a close: then nothing has to be asked bar by bar."""
    good = 0
    for t in range(c.shape[0]):
        good += 1 if (valid[t] != 0) & (c[t] > 0.0) & (c[t] < np.inf) else 0
    return bool(good == c.shape[0])


@part
def log_ratios(x: F8, base: float, begin: int, out: F8, room: F8, bits: I8) -> int:
    """Write ln(x/base) from `begin` on to `out`; return how many of all have no logarithm."""
    n, missing = x.shape[0], 0
    for i in range(n):
        room[i] = x[i] / base
    for i in range(n):
        missing += 0 if (room[i] > 0.0) & (room[i] < np.inf) else 1
    log_part(room[begin:n], out[begin:n], bits)
    return missing


@part
def pack_known(h: F8, lo: F8, c: F8, v: F8, valid: U1, packed: F8, follows: U1) -> int:
    """Write the columns of the valid bars to `packed` [5,T]; return how many, 0 where one has no close.

    `follows` tells which of them come right behind a valid one.
    """
    closes, before = 0, -2
    for t in range(c.shape[0]):
        if valid[t] == 0:
            continue
        if not (np.isfinite(c[t]) and c[t] > 0.0):
            return 0
        packed[Y, closes], packed[HIGH, closes] = c[t], h[t]
        packed[LOW, closes], packed[VOLUME, closes] = lo[t], v[t]
        follows[closes] = before == t - 1
        closes, before = closes + 1, t
    return closes


@kernel
def collect_rows(h: F8, lo: F8, c: F8, v: F8, valid: U1, bars: F8, counts: I8) -> None:
    """Write log price, high, low, volume of the valid bars and the returns to `bars` [S,5,T].

    `counts` [S,4]: closes (0 when the row cannot be answered), returns, 1 if all bars have high and low,
    1 if all have a volume.
    """
    length = c.shape[1]
    room, bits, follows = np.empty(length), np.empty((2, length), np.int64), np.ones(length, np.uint8)
    packed = np.empty((5, length))
    for s in range(c.shape[0]):
        closes, high, low, close, volume = length, h[s], lo[s], c[s], v[s]
        whole = whole_row(close, valid[s])
        if not whole:
            closes = pack_known(high, low, close, volume, valid[s], packed, follows)
            high, low, close, volume = packed[HIGH], packed[LOW], packed[Y], packed[VOLUME]
        if closes == 0:
            counts[s, :] = 0
            continue
        base, begin = close[closes - 1], max(closes - RECURSION, 0)
        missing = log_ratios(close[:closes], base, 0, bars[s, Y], room, bits)
        # of highs and lows no more than the recursions read
        missing += log_ratios(high[:closes], base, begin, bars[s, HIGH], room, bits)
        missing += log_ratios(low[:closes], base, begin, bars[s, LOW], room, bits)
        traded = 0
        for i in range(closes):
            bars[s, VOLUME, i] = volume[i]
            traded += 1 if (volume[i] >= 0.0) & (volume[i] < np.inf) else 0
        returns = 0
        if whole:
            y, r, returns = bars[s, Y], bars[s, R], closes - 1
            for i in range(returns):
                r[i] = y[i + 1] - y[i]
        else:
            for i in range(1, closes):
                if follows[i]:
                    bars[s, R, returns] = bars[s, Y, i] - bars[s, Y, i - 1]
                    returns += 1
        enough = closes >= MIN_CLOSES and returns >= MIN_RETURNS
        counts[s, 0], counts[s, 1] = closes if enough else 0, returns
        counts[s, 2], counts[s, 3] = 1 if missing == 0 else 0, 1 if traded == closes else 0


@part
def mean_of(x: F8, a: int, b: int) -> float:
    """Return the mean of x[a:b]."""
    total = 0.0
    for i in range(a, b):
        total += x[i]
    return total / (b - a)


@part
def std_of(x: F8, a: int, b: int) -> float:
    """Return the sample deviation of x[a:b]; 0 when it is rounding."""
    return std_round(x, a, b, mean_of(x, a, b))


@part
def std_round(x: F8, a: int, b: int, m: float) -> float:
    """Return the sample deviation of x[a:b] round its mean `m`; 0 when it is rounding."""
    square = 0.0
    for i in range(a, b):
        square += (x[i] - m) ** 2
    sigma = np.sqrt(square / (b - a - 1))
    return sigma if sigma > SIGMA_FLOOR else 0.0


@part
def last_rank(x: F8, m: int, low: float, high: float) -> float:
    """Return the mid-rank of the last of the first `m` values among them; those in [low, high] are ties."""
    below = 0  # whole numbers may be counted several at a time
    for i in range(m):
        below += (1 if x[i] < low else 0) - (1 if x[i] > high else 0)
    return 0.5 * (m + below) / m


@part
def clip01(x: float) -> float:
    """Return `x` limited to [0,1]."""
    return min(max(x, 0.0), 1.0)


@part
def hill(r: F8, end: int, n: int, sizes: F8) -> float:
    """Return the Hill (1975) tail index of the 25 largest of the last `n` |r|; infinite when undefined."""
    for i in range(n):
        sizes[i] = abs(r[end - n + i])
    threshold, total = nth_part(sizes, n, n - TAIL_RETURNS - 1), 0.0
    if threshold <= SIGMA_FLOOR:
        return np.inf
    for i in range(end - n, end):  # in the order of time; equals of the threshold would add ln 1
        size = abs(r[i])
        if size > threshold:
            total += np.log(size / threshold)
    return TAIL_RETURNS / total if total > SIGMA_FLOOR else np.inf


@kernel
def return_rows(bars: F8, counts: I8, valid: U1, out: F8, extra: int) -> None:
    """Write to `out` what follows from the returns alone."""
    longest = RANK + WIDTHS[1]
    work, sums, sizes = np.empty((2, longest)), np.zeros((4, WIDTHS[1])), np.empty(RANK)
    for s in range(counts.shape[0]):
        out[s, :] = np.nan
        if counts[s, 0] == 0:
            continue
        r, n = bars[s, R], counts[s, 1]
        tail_index = hill(r, n, min(RANK, n), sizes) if extra & TAIL else np.inf
        for width in WIDTHS:
            if width != WIDTHS[0] and not extra & WARNING:
                continue
            m = min(RANK, n - width + 1)
            kept = m + width - 1
            squares, rho = work[0, :m], work[1, :m]
            spreads_row(r[n - kept : n], width, sums, squares, rho)
            quiet = SIGMA_FLOOR * SIGMA_FLOOR * (width - 1)
            if width != WIDTHS[0]:  # of the shorter windows nobody reads it
                for i in range(m):
                    rho[i] = rho[i] / squares[i] if squares[i] > quiet else 0.0
            for i in range(m):
                squares[i] = squares[i] if squares[i] > quiet else 0.0
            newest = squares[m - 1]  # ranks of squares are those of deviations
            rank = last_rank(squares, m, newest * (1.0 - TIE) ** 2, newest * (1.0 + TIE) ** 2)
            if width == WIDTHS[0]:
                out[s, 2], out[s, 14] = rank, np.sqrt(newest / (width - 1))
            else:
                out[s, 12] = 0.6 * rank + 0.4 * last_rank(rho, m, rho[m - 1] - TIE, rho[m - 1] + TIE)
                out[s, 15], out[s, 20] = np.sqrt(newest / (width - 1)), rho[m - 1]
        m20, m5, m100 = mean_of(r, n - 20, n), mean_of(r, n - 5, n), mean_of(r, n - 100, n)
        lagged = std_of(r, n - 100 - TAIL_LAG, n - TAIL_LAG)
        signs, largest = 0.0, 0.0
        for i in range(n - 10, n):
            signs += np.sign(r[i])
        for i in range(n - 5, n):
            largest = max(largest, abs(r[i]))
        tail, flash = 0.4 * clip01((4.0 - tail_index) / 2.5) if extra & TAIL else np.nan, 0.0
        if lagged > 0.0:  # every ratio with zero variance is 0
            tail += 0.3 * clip01(largest / (4.0 * lagged))
            tail += 0.3 * clip01(abs(20.0 * m20) / (4.0 * lagged * np.sqrt(20.0)))
            flash = clip01((abs(5.0 * m5) / (lagged * np.sqrt(5.0)) - 4.0) / 4.0)
        trend = 0.5 * np.sqrt(20.0) * m20 / out[s, 14] if out[s, 14] > 0.0 else 0.0
        out[s, 0], out[s, 1], out[s, 9], out[s, 10] = np.tanh(trend), signs / 10.0, tail, flash
        out[s, 13] = 0.5 * tail + 0.3 * max(0.0, 2.0 * out[s, 2] - 1.0) + 0.2 * flash
        out[s, 16], out[s, 17], out[s, 18] = std_round(r, n - 100, n, m100), lagged, m20
        out[s, 19], out[s, 22], out[s, 23] = m100, m5, mean_of(r, n - 10, n)
        fresh = valid[s, valid.shape[1] - 1] != 0 and valid[s, valid.shape[1] - 2] != 0
        out[s, 24] = r[n - 1] if fresh else 0.0


@kernel
def oscillator_rows(bars: F8, counts: I8, out: F8) -> None:
    """Write RSI, ADX (Wilder 1978), MACD and moving-average gaps; recursions over the last 250 closes."""
    for s in range(counts.shape[0]):
        n = counts[s, 0]
        if n == 0:
            continue
        y, hi, lo = bars[s, Y], bars[s, HIGH], bars[s, LOW]
        if counts[s, 2] == 0:
            hi, lo = y, y
        begin = max(n - RECURSION, 0)
        up, down, plus, minus, adx = 0.0, 0.0, 0.0, 0.0, 0.0
        fast, slow, mid, signal = y[begin], y[begin], y[begin], 0.0
        for i in range(begin + 1, n):
            k = i - begin
            # the first 14 are averaged: each adds a fourteenth and nothing is forgotten
            keep = 1.0 if k <= WILDER else 1.0 - SHARE
            move, rise, fall = y[i] - y[i - 1], hi[i] - hi[i - 1], lo[i - 1] - lo[i]
            up, down = keep * up + max(move, 0.0) * SHARE, keep * down + max(-move, 0.0) * SHARE
            # equal moves of high and low have no direction, however they are rounded
            gain = rise if rise > 0.0 and rise > fall + 1e-12 else 0.0
            loss = fall if fall > 0.0 and fall > rise + 1e-12 else 0.0
            plus, minus = keep * plus + gain * SHARE, keep * minus + loss * SHARE
            if k >= WILDER:
                # the true range divides both directional indices and cancels in DX
                dx = 100.0 * abs(plus - minus) / (plus + minus) if plus + minus > 0.0 else 0.0
                adx = (adx if k < 2 * WILDER else adx * (1.0 - SHARE)) + dx * SHARE
            fast, slow = fast + (y[i] - fast) * (2.0 / 13.0), slow + (y[i] - slow) * (2.0 / 27.0)
            mid, signal = mid + (y[i] - mid) * (2.0 / 21.0), signal + (fast - slow - signal) * 0.2
        out[s, 3] = 100.0 * up / (up + down) if up + down > 0.0 else 50.0
        out[s, 4] = adx
        out[s, 5] = (fast - slow - signal) / out[s, 14] if out[s, 14] > 0.0 else 0.0
        out[s, 21] = mean_of(y, n - 5, n) - mean_of(y, n - 20, n)
        out[s, 25] = y[n - 1] - mid


@part
def median_part(a: F8, n: int) -> float:
    """Return the median of the first `n` values; reorders them."""
    upper = nth_part(a, n, n // 2)
    if n % 2:
        return upper
    lower = a[0]
    for i in range(n // 2):
        lower = max(lower, a[i])
    return float(0.5 * (lower + upper))


@part
def robust_z(a: F8, n: int, work: F8) -> float:
    """Return how far the last of `n` values is from the median in 1.4826·MAD; 0 when that is rounding."""
    for i in range(n):
        work[i] = a[i]
    centre = median_part(work, n)
    for i in range(n):
        work[i] = abs(a[i] - centre)
    spread = 1.4826 * median_part(work, n)
    return float((a[n - 1] - centre) / spread) if spread > SIGMA_FLOOR else 0.0


@part
def typical_volume(v: F8, end: int, n: int, work: F8) -> float:
    """Return the median of the last `n` volumes; if it is 0 that of the positive ones; 1 without any."""
    centre = 1.0
    for positive in range(2):
        kept = n - n  # not a literal: one compiled signature of the median
        for i in range(end - n, end):
            if positive == 0 or v[i] > 0.0:
                work[kept] = v[i]
                kept += 1
        centre = median_part(work, kept) if kept > 0 else 1.0
        if centre > 0.0:
            break
    return float(centre)


@part
def volume_floor(v: F8, end: int, n: int, work: F8) -> float:
    """Return a thousandth of the typical volume; 0 where none of the last 100 can be below it.

    The median is at most the largest, and it is seldom that a volume is a thousandth of that.
    """
    largest, smallest = 0.0, np.inf
    for i in range(end - n, end):
        largest = max(largest, v[i])
    for i in range(end - 100, end):
        smallest = min(smallest, v[i])
    return 0.0 if smallest >= 1e-3 * largest and smallest > 0.0 else 1e-3 * typical_volume(v, end, n, work)


@kernel
def volume_rows(bars: F8, counts: I8, o: F8, c: F8, spread: F8, out: F8, extra: int) -> None:
    """Write whale, anomaly and illiquidity from the columns that are present.

    The depth term needs a history of depth, which a window does not hold; it is always missing.
    """
    series, work, traded, bits = np.empty(100), np.empty(RANK), np.empty(100), np.empty((2, 100), np.int64)
    length = series.size  # not a literal: one compiled signature of the parts
    for s in range(counts.shape[0]):
        n, returns = counts[s, 0], counts[s, 1]
        if n == 0:
            continue
        v, highest, whale, side, total, weight = bars[s, VOLUME], 0.0, 0.0, 0.0, 0.0, 0.0
        for source in range(3):  # |r|, ln(high/low), ln volume
            absent = (source == 1 and counts[s, 2] == 0) or (source == 2 and counts[s, 3] == 0)
            if absent or not extra & ANOMALY:
                continue
            if source == 0:
                for i in range(100):
                    series[i] = abs(bars[s, R, returns - 100 + i])
            elif source == 1:
                for i in range(100):
                    series[i] = bars[s, HIGH, n - 100 + i] - bars[s, LOW, n - 100 + i]
            else:
                least = volume_floor(v, n, min(RANK, n), work)
                for i in range(100):
                    traded[i] = max(v[n - 100 + i], least)
                log_part(traded, series, bits)
            score = robust_z(series, length, work)
            highest = score if source == 0 else max(highest, score)
        if np.isfinite(spread[s]):
            total, weight = 0.5 * clip01(spread[s] / 0.01), 0.5
        if counts[s, 3] == 1:
            sigma = std_of(series, length - 50, length) if extra & ANOMALY else 0.0
            score = (series[99] - mean_of(series, length - 50, length)) / sigma if sigma > 0.0 else 0.0
            whale = 1.0 / (1.0 + np.exp(-2.0 * (score - 2.5)))
            move = c[s, c.shape[1] - 1] - o[s, o.shape[1] - 1]
            side = np.sign(move) if np.isfinite(move) else 0.0
            usual = mean_of(v, n - 50, n)
            if usual > 0.0:
                total += 0.3 * (1.0 - min(1.0, mean_of(v, n - 5, n) / usual))
                weight += 0.3
        if extra & ANOMALY:
            out[s, 6], out[s, 7], out[s, 8] = whale, side, 1.0 / (1.0 + np.exp(-(highest - 4.0)))
        out[s, 11], out[s, 26], out[s, 27] = total / weight if weight > 0.0 else 0.0, counts[s, 3], weight
