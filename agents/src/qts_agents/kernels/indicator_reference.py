"""The shared indicators in plain numpy: what the compiled rows must equal (agents.md §1.8), row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.indicator_rows import (
    EXTRAS,
    FIELDS,
    MIN_CLOSES,
    MIN_RETURNS,
    RANK,
    RECURSION,
    TAIL_LAG,
    TAIL_RETURNS,
    WILDER,
)
from qts_agents.kernels.rolling import SIGMA_FLOOR, TIE

F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]


def reference_rows(o: F8, h: F8, lo: F8, c: F8, v: F8, valid: U1, spread: F8, out: F8, extra: int) -> None:
    """Write the indicators of every row to `out` [S,28]; NaN where there are too few closes or no `extra`."""
    left_out = {name for one, names in EXTRAS.items() if not extra & one for name in names}
    for s in range(c.shape[0]):
        with np.errstate(invalid="ignore", divide="ignore"):
            row = _row(o[s], h[s], lo[s], c[s], v[s], valid[s] != 0, float(spread[s]))
        out[s] = [np.nan if row is None or name in left_out else row[name] for name in FIELDS]


def _row(
    o: F8, h: F8, lo: F8, c: F8, v: F8, seen: NDArray[np.bool_], spread: float
) -> dict[str, float] | None:
    """Return the fields of one symbol, None without enough closes."""
    at = np.flatnonzero(seen)
    if at.size < MIN_CLOSES or not (np.isfinite(c[at]) & (c[at] > 0.0)).all():
        return None
    base = c[at[-1]]
    y, volume = np.log(c[at] / base), v[at]
    r = np.diff(y)[np.diff(at) == 1]
    if r.size < MIN_RETURNS:
        return None
    high, low = np.log(h[at] / base), np.log(lo[at] / base)
    ranges = bool(np.isfinite(high).all() and np.isfinite(low).all())
    volumes = bool((np.isfinite(volume) & (volume >= 0.0)).all())
    move = c[-1] - o[-1]
    row = _returns(r, bool(seen[-1] and seen[-2]))
    row |= _oscillators(y, high if ranges else y, low if ranges else y, row["sigma20"])
    row |= _surprises(r, (high - low) if ranges else None, volume if volumes else None)
    row["whale_side"] = float(np.sign(move)) if volumes and np.isfinite(move) else 0.0
    row |= _liquidity(spread, volume if volumes else None)
    row["crisis"] = 0.5 * row["tail"] + 0.3 * max(0.0, 2.0 * row["volatility"] - 1.0) + 0.2 * row["flash"]
    return row


def _returns(r: F8, fresh: bool) -> dict[str, float]:
    """Return everything that follows from the returns alone."""
    std20, _ = _moments(r, 20)
    std50, rho50 = _moments(r, 50)
    s20, s100, lagged = std20[-1], _std(r[-100:]), _std(r[-100 - TAIL_LAG : -TAIL_LAG])
    jump = abs(r[-5:].sum())
    tail = 0.4 * _clip((4.0 - _hill(r)) / 2.5) + 0.3 * _clip(_ratio(np.abs(r[-5:]).max(), 4.0 * lagged))
    tail += 0.3 * _clip(_ratio(abs(r[-20:].sum()), 4.0 * lagged * np.sqrt(20.0)))
    return {
        "trend": float(np.tanh(0.5 * np.sqrt(20.0) * _ratio(r[-20:].mean(), s20))),
        "momentum": float(np.sign(r[-10:]).mean()),
        "volatility": _rank(std20[-RANK:], TIE, 0.0),
        "tail": tail,
        "flash": _clip((jump / (lagged * np.sqrt(5.0)) - 4.0) / 4.0) if lagged > 0.0 else 0.0,
        "ews": 0.6 * _rank(std50[-RANK:], TIE, 0.0) + 0.4 * _rank(rho50[-RANK:], 0.0, TIE),
        "sigma20": s20,
        "sigma50": std50[-1],
        "sigma100": s100,
        "sigma100_lag5": lagged,
        "m20": r[-20:].mean(),
        "m100": r[-100:].mean(),
        "rho50": rho50[-1],
        "m5": r[-5:].mean(),
        "m10": r[-10:].mean(),
        "r": r[-1] if fresh else 0.0,
    }


def _oscillators(y: F8, high: F8, low: F8, s20: float) -> dict[str, float]:
    """Return Wilder's indices and the moving averages of log prices."""
    y, high, low = y[-RECURSION:], high[-RECURSION:], low[-RECURSION:]
    move, rise, fall = np.diff(y), np.diff(high), -np.diff(low)
    up, down = _wilder(np.maximum(move, 0.0))[-1], _wilder(np.maximum(-move, 0.0))[-1]
    plus = _wilder(np.where((rise > 0.0) & (rise > fall + 1e-12), rise, 0.0))
    minus = _wilder(np.where((fall > 0.0) & (fall > rise + 1e-12), fall, 0.0))
    total = plus + minus
    index = 100.0 * np.divide(np.abs(plus - minus), total, out=np.zeros_like(total), where=total > 0.0)
    macd = _ema(y, 12) - _ema(y, 26)
    return {
        "rsi": 100.0 * up / (up + down) if up + down > 0.0 else 50.0,
        "adx": _wilder(index)[-1],
        "macd": _ratio((macd - _ema(macd, 9))[-1], s20),
        "sma_gap": y[-5:].mean() - y[-20:].mean(),
        "ema20_gap": (y - _ema(y, 20))[-1],
    }


def _surprises(r: F8, ranges: F8 | None, volume: F8 | None) -> dict[str, float]:
    """Return whale and anomaly from the columns that are present."""
    scores, whale = [_robust(np.abs(r[-100:]))], 0.0
    if ranges is not None:
        scores.append(_robust(ranges[-100:]))
    if volume is not None:
        recent = volume[-RANK:]
        traded = recent[recent > 0.0]
        typical = np.median(recent) or (np.median(traded) if traded.size else 1.0)
        lv = np.log(np.maximum(volume, 1e-3 * typical))
        scores.append(_robust(lv[-100:]))
        z = _ratio(lv[-1] - lv[-50:].mean(), _std(lv[-50:]))
        whale = 1.0 / (1.0 + np.exp(-2.0 * (z - 2.5)))
    return {
        "whale": whale,
        "anomaly": 1.0 / (1.0 + np.exp(-(max(scores) - 4.0))),
        "volume_seen": float(volume is not None),
    }


def _liquidity(spread: float, volume: F8 | None) -> dict[str, float]:
    """Return illiquidity, renormalised over the terms that are present."""
    terms = []
    if np.isfinite(spread):
        terms.append((0.5, _clip(spread / 0.01)))
    if volume is not None and volume[-50:].mean() > 0.0:
        terms.append((0.3, 1.0 - min(1.0, volume[-5:].mean() / volume[-50:].mean())))
    weight = sum(w for w, _ in terms)
    return {"illiquidity": _ratio(sum(w * x for w, x in terms), weight), "liquidity_seen": weight}


def _moments(r: F8, n: int) -> tuple[F8, F8]:
    """Return deviation and lag-1 autocorrelation of every window of `n` returns."""
    windows = np.lib.stride_tricks.sliding_window_view(r, n)
    centred = windows - windows.mean(axis=1, keepdims=True)
    square = (centred**2).sum(axis=1)
    std = np.sqrt(square / (n - 1))
    lagged = (centred[:, 1:] * centred[:, :-1]).sum(axis=1)
    loud = std > SIGMA_FLOOR
    return np.where(loud, std, 0.0), np.divide(lagged, square, out=np.zeros_like(square), where=loud)


def _wilder(x: F8) -> F8:
    """Return Wilder's running mean, from the mean of the first 14 on."""
    out = [x[:WILDER].mean()]
    for value in x[WILDER:]:
        out.append(out[-1] + (value - out[-1]) / WILDER)
    return np.array(out)


def _ema(x: F8, n: int) -> F8:
    """Return the exponential moving average of span `n`, started at the first value."""
    out = [x[0]]
    for value in x[1:]:
        out.append(out[-1] + (value - out[-1]) * 2.0 / (n + 1.0))
    return np.array(out)


def _hill(r: F8) -> float:
    """Return the Hill (1975) index of the 25 largest of 250 |r|; infinite when undefined."""
    sizes = np.sort(np.abs(r[-RANK:]))
    threshold = sizes[-TAIL_RETURNS - 1]
    if threshold <= SIGMA_FLOOR:
        return float("inf")
    total = float(np.log(sizes[-TAIL_RETURNS:] / threshold).sum())
    return TAIL_RETURNS / total if total > SIGMA_FLOOR else float("inf")


def _robust(x: F8) -> float:
    """Return the last value's robust z-score (median, 1.4826·MAD)."""
    spread = 1.4826 * float(np.median(np.abs(x - np.median(x))))
    return 0.0 if spread <= SIGMA_FLOOR else float(x[-1] - np.median(x)) / spread


def _rank(x: F8, tie: float, tie_absolute: float) -> float:
    """Return the mid-rank of the last value; near values are ties."""
    margin = max(tie * abs(x[-1]), tie_absolute)
    less, more = int((x < x[-1] - margin).sum()), int((x > x[-1] + margin).sum())
    return (less + 0.5 * (x.size - less - more)) / x.size


def _std(x: F8) -> float:
    """Return the sample deviation; 0 when it is rounding."""
    sigma = float(x.std(ddof=1))
    return 0.0 if sigma <= SIGMA_FLOOR else sigma


def _ratio(a: float, b: float) -> float:
    """Return a/b, and 0 where `b` is 0."""
    return float(a / b) if b > 0.0 else 0.0


def _clip(x: float) -> float:
    """Return `x` limited to [0,1]."""
    return float(min(max(x, 0.0), 1.0))
