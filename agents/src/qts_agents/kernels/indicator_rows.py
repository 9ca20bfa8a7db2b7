"""The shared indicators of one symbol at its last bar, compiled (definitions: agents.md §1.8).

Returns are only taken between two valid bars; windows count existing returns and closes, so a short gap
shortens nothing but the reach of the rank windows. Log prices are relative to the newest close, which
makes every number independent of the price's unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import kernel
from qts_agents.kernels.rolling import SIGMA_FLOOR, TIE

F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]
LOOKBACK = 320  # bars that any indicator may depend on
MIN_CLOSES = 288  # valid ones among them; fewer make the row NaN
RANK, RECURSION, WILDER = 250, 250, 14
TAIL_RETURNS, TAIL_LAG = 25, 5
FIELDS = (
    "trend", "momentum", "volatility", "rsi", "adx", "macd", "whale", "whale_side", "anomaly", "tail",
    "flash", "illiquidity", "ews", "crisis", "sigma20", "sigma50", "sigma100", "sigma100_lag5", "m20",
    "m100", "rho50", "sma_gap", "m5", "m10", "r", "ema20_gap", "volume_seen", "liquidity_seen",
)  # fmt: skip


@kernel
def shell_sort(a: F8) -> None:
    """Sort ascending in place (Shell 1959, gaps of Ciura 2001)."""
    for gap in (132, 57, 23, 10, 4, 1):
        for i in range(gap, a.size):
            held, j = a[i], i
            while j >= gap and a[j - gap] > held:
                a[j] = a[j - gap]
                j -= gap
            a[j] = held


@kernel
def median(a: F8) -> float:
    """Return the median of `a` without changing it."""
    ordered = a.copy()
    shell_sort(ordered)
    half = a.size // 2
    return ordered[half] if a.size % 2 else 0.5 * (ordered[half - 1] + ordered[half])


@kernel
def robust_z(a: F8) -> float:
    """Return the last value's distance from the median in units of 1.4826·MAD; 0 when that is rounding."""
    centre = median(a)
    spread = 1.4826 * median(np.abs(a - centre))
    return 0.0 if spread <= SIGMA_FLOOR else (a[a.size - 1] - centre) / spread


@kernel
def windows_moments(r: F8, n: int, m: int, std: F8, rho: F8) -> None:
    """Write deviation and lag-1 autocorrelation of the last `m` windows of `n` returns.

    The inner loops run over windows, which the compiler vectorises; each sum stays in index order.
    """
    first = r.size - n - m + 1
    mean, square, lagged = np.zeros(m), np.zeros(m), np.zeros(m)
    for j in range(n):
        for w in range(m):
            mean[w] += r[first + w + j]
    for w in range(m):
        mean[w] /= n
    for j in range(n):
        for w in range(m):
            d = r[first + w + j] - mean[w]
            square[w] += d * d
            if j > 0:
                lagged[w] += d * (r[first + w + j - 1] - mean[w])
    for w in range(m):
        sigma = np.sqrt(square[w] / (n - 1))
        std[w] = 0.0 if sigma <= SIGMA_FLOOR else sigma
        rho[w] = 0.0 if sigma <= SIGMA_FLOOR else lagged[w] / square[w]


@kernel
def last_rank(x: F8, m: int, tie: float, tie_absolute: float) -> float:
    """Return the mid-rank of the last of the first `m` values among them; near values are ties."""
    newest = x[m - 1]
    margin = max(tie * abs(newest), tie_absolute)
    less, more = 0, 0
    for i in range(m):
        less += x[i] < newest - margin
        more += x[i] > newest + margin
    return (less + 0.5 * (m - less - more)) / m


@kernel
def ratio(a: float, b: float) -> float:
    """Return a/b, and 0 where `b` is 0."""
    return a / b if b > 0.0 else 0.0


@kernel
def clip01(x: float) -> float:
    """Return `x` limited to [0,1]."""
    return min(max(x, 0.0), 1.0)


@kernel
def mean_last(x: F8, n: int) -> float:
    """Return the mean of the last `n` values."""
    total = 0.0
    for i in range(x.size - n, x.size):
        total += x[i]
    return total / n


@kernel
def std_last(x: F8, n: int) -> float:
    """Return the sample deviation of the last `n` values; 0 when it is rounding."""
    m, square = mean_last(x, n), 0.0
    for i in range(x.size - n, x.size):
        square += (x[i] - m) ** 2
    sigma = np.sqrt(square / (n - 1))
    return 0.0 if sigma <= SIGMA_FLOOR else sigma


@kernel
def wilder_rsi(y: F8) -> float:
    """Return the relative strength index of log prices `y`, recursion from the first."""
    up, down = 0.0, 0.0
    for i in range(1, y.size):
        rise, fall = max(y[i] - y[i - 1], 0.0), max(y[i - 1] - y[i], 0.0)
        if i <= WILDER:
            up, down = up + rise / WILDER, down + fall / WILDER
        else:
            up, down = up + (rise - up) / WILDER, down + (fall - down) / WILDER
    return 100.0 * up / (up + down) if up + down > 0.0 else 50.0


@kernel
def wilder_adx(y: F8, hi: F8, lo: F8) -> float:
    """Return the average directional index of log prices, recursion from the first."""
    true, plus, minus, adx = 0.0, 0.0, 0.0, 0.0
    for i in range(1, y.size):
        rise, fall = hi[i] - hi[i - 1], lo[i - 1] - lo[i]
        reach = max(hi[i] - lo[i], abs(hi[i] - y[i - 1]), abs(lo[i] - y[i - 1]))
        # equal moves of high and low have no direction, however they are rounded
        gain = rise if rise > 0.0 and rise > fall + 1e-12 else 0.0
        loss = fall if fall > 0.0 and fall > rise + 1e-12 else 0.0
        if i <= WILDER:
            true, plus, minus = true + reach / WILDER, plus + gain / WILDER, minus + loss / WILDER
        else:
            true, plus = true + (reach - true) / WILDER, plus + (gain - plus) / WILDER
            minus += (loss - minus) / WILDER
        if i >= WILDER:
            # the ranges' common divisor cancels in the index, so only their sum must not be 0
            dx = 100.0 * ratio(abs(plus - minus), plus + minus)
            adx += dx / WILDER if i < 2 * WILDER else (dx - adx) / WILDER
    return adx if true > 0.0 else 0.0


@kernel
def ema_gaps(y: F8) -> tuple[float, float]:
    """Return (EMA12−EMA26) less its EMA9, and y less its EMA20, at the last of `y`."""
    fast, slow, mid, signal = y[0], y[0], y[0], 0.0
    for i in range(1, y.size):
        fast += (y[i] - fast) * 2.0 / 13.0
        slow += (y[i] - slow) * 2.0 / 27.0
        mid += (y[i] - mid) * 2.0 / 21.0
        signal += (fast - slow - signal) * 2.0 / 10.0
    return fast - slow - signal, y[y.size - 1] - mid


@kernel
def hill(r: F8) -> float:
    """Return the Hill (1975) tail index of the 25 largest of the last 250 |r|; infinite when undefined."""
    n = min(RANK, r.size)
    sizes = np.abs(r[r.size - n :])
    shell_sort(sizes)
    threshold = sizes[n - TAIL_RETURNS - 1]
    if threshold <= SIGMA_FLOOR:
        return np.inf
    total = 0.0
    for i in range(n - TAIL_RETURNS, n):
        total += np.log(sizes[i] / threshold)
    return TAIL_RETURNS / total if total > SIGMA_FLOOR else np.inf


@kernel
def log_volume(v: F8) -> F8:
    """Return ln max(V, 10⁻³·median₂₅₀ V); a median of 0 is replaced by that of the positive volumes."""
    recent = v[max(v.size - RANK, 0) :]
    typical = median(recent)
    if typical <= 0.0:
        traded = recent[recent > 0.0]
        typical = median(traded) if traded.size > 0 else 1.0
    return np.log(np.maximum(v, 1e-3 * typical))


@kernel
def illiquidity_of(spread: float, v: F8, seen: bool) -> tuple[float, float]:
    """Return the illiquidity from the terms that are present, and the weight of these terms.

    The depth term needs a history of depth, which a window does not hold; it is always missing here.
    """
    total, weight = 0.0, 0.0
    if np.isfinite(spread):
        total, weight = total + 0.5 * clip01(spread / 0.01), weight + 0.5
    if seen and mean_last(v, 50) > 0.0:
        total += 0.3 * (1.0 - min(1.0, mean_last(v, 5) / mean_last(v, 50)))
        weight += 0.3
    return ratio(total, weight), weight


@kernel
def collect(h: F8, lo: F8, c: F8, v: F8, valid: U1, bars: F8) -> tuple[int, int, bool, bool]:
    """Write log price, high, low, volume of valid bars and the returns to `bars` [5,T].

    Returns the number of closes (−1: a valid bar has no price) and returns, and whether all valid bars
    have high and low, and volume.
    """
    last = c.size - 1
    while last >= 0 and valid[last] == 0:
        last -= 1
    closes, returns, ranges, volumes, before = 0, 0, True, True, -2
    for t in range(last + 1):
        if valid[t] == 0:
            continue
        if not (np.isfinite(c[t]) and c[t] > 0.0):
            return -1, 0, False, False
        bars[0, closes] = np.log(c[t] / c[last])
        bars[1, closes], bars[2, closes] = np.log(h[t] / c[last]), np.log(lo[t] / c[last])
        bars[3, closes] = v[t]
        ranges = ranges and np.isfinite(bars[1, closes]) and np.isfinite(bars[2, closes])
        volumes = volumes and np.isfinite(v[t]) and v[t] >= 0.0
        if before == t - 1:
            bars[4, returns] = bars[0, closes] - bars[0, closes - 1]
            returns += 1
        closes, before = closes + 1, t
    return closes, returns, ranges, volumes


@kernel
def indicator_row(bars: F8, closes: int, returns: int, ranges: bool, volumes: bool, side: float,
                  fresh: bool, spread: float, out: F8) -> None:  # fmt: skip
    """Write all fields of one symbol to `out`, in the order of FIELDS."""
    y, r, v = bars[0, :closes], bars[4, :returns], bars[3, :closes]
    m20, m50 = min(RANK, returns - 19), min(RANK, returns - 49)
    std20, std50, rho50, unused = np.empty(m20), np.empty(m50), np.empty(m50), np.empty(m20)
    windows_moments(r, 20, m20, std20, unused)
    windows_moments(r, 50, m50, std50, rho50)
    s20, s100, s_lag = std20[m20 - 1], std_last(r, 100), std_last(r[: returns - TAIL_LAG], 100)
    mean20 = mean_last(r, 20)
    signs, largest = 0.0, 0.0
    for i in range(returns - 10, returns):
        signs += np.sign(r[i])
    for i in range(returns - 5, returns):
        largest = max(largest, abs(r[i]))
    tail_y = y[max(closes - RECURSION, 0) :]
    hi = bars[1, max(closes - RECURSION, 0) : closes] if ranges else tail_y
    low = bars[2, max(closes - RECURSION, 0) : closes] if ranges else tail_y
    macd, ema20_gap = ema_gaps(tail_y)
    odd_one, whale = robust_z(np.abs(r[returns - 100 :])), 0.0
    if ranges:
        odd_one = max(odd_one, robust_z(hi[hi.size - 100 :] - low[low.size - 100 :]))
    if volumes:
        lv = log_volume(v)
        odd_one = max(odd_one, robust_z(lv[closes - 100 :]))
        score = ratio(lv[closes - 1] - mean_last(lv, 50), std_last(lv, 50))
        whale = 1.0 / (1.0 + np.exp(-2.0 * (score - 2.5)))
    tail = 0.4 * clip01((4.0 - hill(r)) / 2.5) + 0.3 * clip01(ratio(largest, 4.0 * s_lag))
    tail += 0.3 * clip01(ratio(abs(20.0 * mean20), 4.0 * s_lag * np.sqrt(20.0)))
    flash = 0.0
    if s_lag > 0.0:
        flash = clip01((abs(5.0 * mean_last(r, 5)) / (s_lag * np.sqrt(5.0)) - 4.0) / 4.0)
    volatility = last_rank(std20, m20, TIE, 0.0)
    out[0], out[1] = np.tanh(0.5 * np.sqrt(20.0) * ratio(mean20, s20)), signs / 10.0
    out[2], out[3], out[4] = volatility, wilder_rsi(tail_y), wilder_adx(tail_y, hi, low)
    out[5], out[6], out[7] = ratio(macd, s20), whale, side if volumes else 0.0
    out[8], out[9], out[10] = 1.0 / (1.0 + np.exp(-(odd_one - 4.0))), tail, flash
    out[11], out[27] = illiquidity_of(spread, v, volumes)
    out[12] = 0.6 * last_rank(std50, m50, TIE, 0.0) + 0.4 * last_rank(rho50, m50, 0.0, TIE)
    out[13] = 0.5 * tail + 0.3 * max(0.0, 2.0 * volatility - 1.0) + 0.2 * flash
    out[14], out[15], out[16], out[17] = s20, std50[m50 - 1], s100, s_lag
    out[18], out[19], out[20] = mean20, mean_last(r, 100), rho50[m50 - 1]
    out[21], out[22], out[23] = mean_last(y, 5) - mean_last(y, 20), mean_last(r, 5), mean_last(r, 10)
    out[24], out[25], out[26] = r[returns - 1] if fresh else 0.0, ema20_gap, 1.0 if volumes else 0.0


@kernel
def indicator_rows(o: F8, h: F8, lo: F8, c: F8, v: F8, valid: U1, spread: F8, out: F8) -> None:
    """Write the indicators of every row to `out` [S,28]; NaN where there are too few closes."""
    T = c.shape[1]
    bars = np.empty((5, T))
    for s in range(c.shape[0]):
        closes, returns, ranges, volumes = collect(h[s], lo[s], c[s], v[s], valid[s], bars)
        out[s, :] = np.nan
        if closes < MIN_CLOSES or returns < MIN_CLOSES // 2:
            continue
        fresh = valid[s, T - 1] != 0 and valid[s, T - 2] != 0
        move = c[s, T - 1] - o[s, T - 1]
        side = np.sign(move) if np.isfinite(move) else 0.0
        indicator_row(bars, closes, returns, ranges, volumes, side, fresh, spread[s], out[s])
