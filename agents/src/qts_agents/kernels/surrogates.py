"""Monte-Carlo test of early warnings: Kendall's τ of rolling variance and autocorrelation, of many series.

The rows are a series and surrogates that share its power spectrum and have random phases (Theiler et al.
1992); whoever asks compares the first row's τ with the others'. A rolling value is compared with all later
ones of every `stride`-th window, so that some hundred of them are looked at whatever the length is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend, gpu
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.rolling import SIGMA_FLOOR, spreads_row

F8 = NDArray[np.float64]
ENTRY = "surrogates.taus"
TIE = 1e-9  # of the largest value in a row: differences below it are ties
LOOKED_AT = 100  # windows of a row between which τ is taken, about


def phase_randomised(x: F8, uniforms: F8) -> F8:
    """Return surrogates [K,n] of a series [n] with its spectrum; `uniforms` [K,n//2+1] set the phases."""
    n = len(x)
    spectrum = np.fft.rfft(x - x.mean())
    turn = np.exp(2j * math.pi * uniforms[:, : len(spectrum)])
    turn[:, 0] = 1.0
    if n % 2 == 0:
        turn[:, -1] = 1.0  # the highest frequency has no free phase
    return np.asarray(np.fft.irfft(spectrum * turn, n, axis=1))


def taus(series: F8, span: int) -> F8:
    """Return τ [K,2] against time of variance and lag-1 autocorrelation in windows of `span`; series [K,n].

    n ≥ span + 1. Rows need no mean of 0, and none may hold a NaN.
    """
    rows, out = np.array(series, np.float64, order="C"), np.zeros((len(series), 2))
    stride = max(1, (rows.shape[1] - span + 1) // LOOKED_AT)
    run = _taus if backend.jit_enabled() else taus_reference
    if not gpu.runs("surrogates_gpu.taus", len(rows), rows, span, stride, out=(out,)):
        backend.each_part(lambda some, part_: run(some, span, stride, part_), rows, out, entry=ENTRY)
    return out


@part
def kendall(y: F8, stride: int) -> float:
    """Return Kendall's τ of every `stride`-th of y [m] against time."""
    top, score, m = 0.0, np.int64(0), 0
    for i in range(0, y.shape[0], stride):
        top = max(top, abs(y[i]))
        m += 1
    near = TIE * top
    for i in range(0, y.shape[0], stride):
        for j in range(i + stride, y.shape[0], stride):
            change = y[j] - y[i]
            score += np.int64(change > near) - np.int64(change < -near)
    return float(score / (0.5 * m * (m - 1)))


@part
def taus_of(x: F8, span: int, stride: int, sums: F8, square: F8, pairs: F8, out: F8) -> None:
    """Write both τ of one row [n]; sums [4,span], square and pairs [n−span+1] are scratch."""
    least = SIGMA_FLOOR * SIGMA_FLOOR * (span - 1)
    spreads_row(x, span, sums, square, pairs)
    for i in range(square.shape[0]):
        pairs[i] = pairs[i] / square[i] if square[i] > least else 0.0
    out[0], out[1] = kendall(square, stride), kendall(pairs, stride)


@kernel
def _taus(series: F8, span: int, stride: int, out: F8) -> None:
    """Write τ of each row."""
    windows = series.shape[1] - span + 1
    sums, square, pairs = np.empty((4, span)), np.empty(windows), np.empty(windows)
    for k in range(series.shape[0]):
        taus_of(series[k], span, stride, sums, square, pairs, out[k])


def taus_reference(series: F8, span: int, stride: int, out: F8) -> None:
    """Do what `_taus` does, with numpy and two passes over each window."""
    for k, row in enumerate(series):
        windows = np.lib.stride_tricks.sliding_window_view(row, span)
        away = windows - windows.mean(axis=1, keepdims=True)
        square = (away * away).sum(axis=1)
        loud = square > SIGMA_FLOOR * SIGMA_FLOOR * (span - 1)
        pairs = (away[:, 1:] * away[:, :-1]).sum(axis=1)
        rho = np.divide(pairs, square, out=np.zeros_like(pairs), where=loud)
        for which, y in enumerate((square[::stride], rho[::stride])):
            change = y[None, :] - y[:, None]
            near, m = TIE * np.abs(y).max(), len(y)
            later = np.triu((change > near).astype(int) - (change < -near).astype(int), 1)
            out[k, which] = later.sum() / (0.5 * m * (m - 1))


def warm_up(span: int) -> None:
    """Compile what serving calls."""
    taus(np.zeros((1, span + 2)), span)
