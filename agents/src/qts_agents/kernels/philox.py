"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011), the same on every machine.

A draw is a pure function of (key, draw index, purpose, decision index), so a symbol's draws do not
depend on what else is in the batch. Uniform = (u32 + ½)·2⁻³²; normal by inverse CDF (Wichura 1988, AS 241).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import jit_enabled, kernel, part

F8 = NDArray[np.float64]
Words = tuple[int, int, int, int]
Key = tuple[int, int]
ROUNDS = 10
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_MASK = 0xFFFFFFFF


def key_of(seed: int, process: str, symbol: str) -> Key:
    """Return the key of a symbol's stream: BLAKE2b-64 of "seed/process/symbol" as two little-endian u32."""
    digest = hashlib.blake2b(f"{seed}/{process}/{symbol}".encode(), digest_size=8).digest()
    low, high = struct.unpack("<II", digest)
    return int(low), int(high)


def counter_of(draw: int, purpose: int, decision: int) -> Words:
    """Return the counter words (draw, purpose, decision low, decision high)."""
    return draw & _MASK, purpose & _MASK, decision & _MASK, (decision >> 32) & _MASK


def philox4x32(counter: Words, key: Key) -> Words:
    """Return the four words of one block, in integer arithmetic."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        a, b = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & _MASK, (a >> 32) ^ c3 ^ k1, a & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def uniform(key: Key, draw: int, purpose: int, decision: int) -> float:
    """Return a uniform number in (0,1)."""
    return (philox4x32(counter_of(draw, purpose, decision), key)[0] + 0.5) * 2.0**-32


def normal(key: Key, draw: int, purpose: int, decision: int) -> float:
    """Return a standard normal number."""
    return float(inverse_normal(uniform(key, draw, purpose, decision)))


def uniforms(key: Key, count: int, purpose: int, decision: int, first: int = 0) -> F8:
    """Return the uniforms of draws `first` … `first`+count−1, equal to `uniform` of each."""
    if jit_enabled():
        return _uniforms(np.array(key, dtype=np.uint64), count, purpose, decision, first)
    return np.array([uniform(key, first + i, purpose, decision) for i in range(count)], dtype=np.float64)


def normals(key: Key, count: int, purpose: int, decision: int, first: int = 0) -> F8:
    """Return the normals of draws `first` … `first`+count−1, equal to `normal` of each."""
    drawn: F8 = normal_rows([key], count, purpose, decision, first)[0]
    return drawn


def normal_rows(keys: Sequence[Key], count: int, purpose: int, decision: int, first: int = 0) -> F8:
    """Return the `normals` [K,count] of each of K keys."""
    out = np.empty((len(keys), count))
    run = _normals if jit_enabled() else normals_reference
    run(np.array(keys, dtype=np.uint64).reshape(-1, 2), purpose, decision, first, out)
    return out


def normals_reference(keys: NDArray[np.uint64], purpose: int, decision: int, first: int, out: F8) -> None:
    """Write `normal` of each draw to `out` [K,count]."""
    for row, (low, high) in enumerate(keys.tolist()):
        out[row] = [normal((low, high), first + i, purpose, decision) for i in range(out.shape[1])]


@part
def philox_words(counter: NDArray[np.uint64], key: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    """Write the four words of one block to `out`; all arrays are uint64 holding 32-bit words."""
    mask, shift = np.uint64(_MASK), np.uint64(32)
    c0, c1, c2, c3 = counter[0], counter[1], counter[2], counter[3]
    k0, k1 = key[0], key[1]
    for _ in range(ROUNDS):
        a, b = np.uint64(_M0) * c0, np.uint64(_M1) * c2
        c0, c1, c2, c3 = (b >> shift) ^ c1 ^ k0, b & mask, (a >> shift) ^ c3 ^ k1, a & mask
        k0, k1 = (k0 + np.uint64(_W0)) & mask, (k1 + np.uint64(_W1)) & mask
    out[0], out[1], out[2], out[3] = c0, c1, c2, c3


@kernel
def _uniforms(key: NDArray[np.uint64], count: int, purpose: int, decision: int, first: int) -> F8:
    out = np.empty(count)
    _fill(key, purpose, decision, first, out)
    return out


@kernel
def _normals(keys: NDArray[np.uint64], purpose: int, decision: int, first: int, out: F8) -> None:
    for row in range(out.shape[0]):
        _fill(keys[row], purpose, decision, first, out[row])
        for i in range(out.shape[1]):
            out[row, i] = quantile(out[row, i])


@part
def _fill(key: NDArray[np.uint64], purpose: int, decision: int, first: int, out: F8) -> None:
    """Write uniforms to `out` [count]."""
    counter, words = np.empty(4, np.uint64), np.empty(4, np.uint64)
    mask = np.uint64(_MASK)
    counter[1] = np.uint64(purpose) & mask
    counter[2] = np.uint64(decision) & mask
    counter[3] = (np.uint64(decision) >> np.uint64(32)) & mask
    for i in range(out.shape[0]):
        counter[0] = np.uint64(first + i) & mask
        philox_words(counter, key, words)
        out[i] = (float(words[0]) + 0.5) * 2.0**-32


# Coefficients of AS 241 (PPND16), highest power first: numerator and denominator of three ranges.
_CENTRE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    (5226.495278852545925, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
     5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0),
)  # fmt: skip
_MIDDLE = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0),
)  # fmt: skip
_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
     0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5,
     7.868691311456132591e-4, 0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0),
)  # fmt: skip


def inverse_normal(p: float) -> float:
    """Return the standard normal quantile of `p` in (0,1) to about 1e-16 (AS 241)."""
    q = p - 0.5
    if abs(q) <= 0.425:
        return q * _ratio(_CENTRE, 0.180625 - q * q)
    r = math.sqrt(-math.log(p if q < 0.0 else 1.0 - p))
    size = _ratio(_MIDDLE, r - 1.6) if r <= 5.0 else _ratio(_TAIL, r - 5.0)
    return -size if q < 0.0 else size


def _ratio(table: tuple[tuple[float, ...], tuple[float, ...]], x: float) -> float:
    """Return the ratio of the two polynomials at `x` by Horner's rule."""
    top, bottom = 0.0, 0.0
    for a, b in zip(table[0], table[1], strict=True):
        top, bottom = top * x + a, bottom * x + b
    return top / bottom


@kernel
def quantile(p: float) -> float:
    """Return `inverse_normal` of `p`, bit by bit."""
    q = p - 0.5
    table, r = _CENTRE, 0.180625 - q * q
    if abs(q) > 0.425:
        r = math.sqrt(-math.log(p if q < 0.0 else 1.0 - p))
        table = _MIDDLE if r <= 5.0 else _TAIL
        r -= 1.6 if r <= 5.0 else 5.0
    top, bottom = 0.0, 0.0
    for i in range(8):
        top, bottom = top * r + table[0][i], bottom * r + table[1][i]
    if abs(q) <= 0.425:
        return q * (top / bottom)
    return -(top / bottom) if q < 0.0 else top / bottom


def warm_up() -> None:
    """Compile what serving calls."""
    if jit_enabled():
        uniforms(_zero_key(), 1, 0, 0)
        normals(_zero_key(), 1, 0, 0)


def _zero_key() -> Any:
    """Return a key for warm-up."""
    return 0, 0
