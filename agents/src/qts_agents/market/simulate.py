"""A seeded market: regime chain, jump diffusion, AR(1) log-variance (agents.md §7) (pure).

Every draw is Philox(key of the symbol, purpose, bar), so a symbol's bars do not depend on which other
symbols are simulated; what they share comes from the key of "common". Per bar and symbol three blocks
of four words: 8 sub-step normals, then variance shock, volume noise, imbalance noise, jump yes or no;
a fourth block (size, place) only for a jump.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import philox
from qts_agents.kernels.backend import jit_enabled, kernel, part
from qts_agents.market import regimes
from qts_agents.market.regimes import JUMP_MEAN, JUMP_STD, LOG_VBAR, MEAN, PHI, RATE, RHO, SUB_STEPS

F8 = NDArray[np.float64]
U8 = NDArray[np.uint64]
_COMMON, _SYMBOL, _START = 1, 2, 3
#: rows of the output [9,S,T]
OPEN, HIGH, LOW, CLOSE, VOLUME, SPREAD, NOISE, RETURN, JUMP = range(9)
#: columns of the state [S,3]: ln v of the next bar, last close, last return
LOG_V, LAST, BEFORE = range(3)
_ROOT, _SHOCK = math.sqrt(SUB_STEPS), math.sqrt(1.0 - regimes.LEVERAGE**2)


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """T simulated bars: [S,T] columns, and the truth that no agent sees."""

    open: F8
    high: F8
    low: F8
    close: F8
    volume: F8
    spread: F8
    imbalance: F8
    regime: NDArray[np.int64]  # [T] index into regimes.NAMES
    jump: F8  # [S,T] log size, 0 = none


class Simulation:
    """Bars of `symbols` from bar 0 on, in stretches of any length; equal seeds give equal bytes."""

    def __init__(self, seed: int, symbols: tuple[str, ...], predictability: int = 0) -> None:
        self.symbols = symbols
        self.bar = 0
        self._planted = bool(predictability)
        self._constants = regimes.constants(predictability)
        self._keys = np.array([philox.key_of(seed, "market", s) for s in symbols], dtype=np.uint64)
        self._common = np.array(philox.key_of(seed, "market", "common"), dtype=np.uint64)
        first = philox.uniform(_pair(self._common), 0, _START, 0)
        self._regime = int(np.searchsorted(regimes.occupancy()[:-1], first, side="right"))
        self._state = np.zeros((len(symbols), 3))
        self._state[:, LOG_V] = self._constants[self._regime, LOG_VBAR]
        # opening prices between 10 and 1000
        self._state[:, LAST] = [
            10.0 ** (1.0 + 2.0 * philox.uniform(_pair(k), 0, _START, 0)) for k in self._keys
        ]

    def advance(self, count: int) -> Stretch:
        """Return the next `count` bars."""
        shared, regime = self._shared(self.bar, count, self._regime)
        out = self._rows(self.bar, shared, regime, self._state)
        imbalance = regimes.IMBALANCE * out[NOISE]
        self.bar += count
        self._regime = int(regime[count])
        if self._planted:
            imbalance += regimes.IMBALANCE * np.sign(self._following(out[RETURN]))
        return Stretch(
            out[OPEN],
            out[HIGH],
            out[LOW],
            out[CLOSE],
            out[VOLUME],
            out[SPREAD],
            np.clip(imbalance, -1.0, 1.0),
            regime[:count],
            out[JUMP],
        )

    def _following(self, returns: F8) -> F8:
        """Return each bar's next return [S,T]: the peek that predictability 1 plants, one bar ahead."""
        shared, regime = self._shared(self.bar, 1, self._regime)
        ahead = self._rows(self.bar, shared, regime, self._state.copy())
        return np.concatenate([returns[:, 1:], ahead[RETURN]], axis=1)

    def _shared(self, first: int, count: int, regime: int) -> tuple[F8, NDArray[np.int64]]:
        """Return the common factor's sub-steps [T,8] and the regimes [T+1] from `regime` on."""
        run = _shared_jit if jit_enabled() else shared_reference
        return run(self._common, regimes.chain(), first, count, regime)

    def _rows(self, first: int, shared: F8, regime: NDArray[np.int64], state: F8) -> F8:
        """Return the output [9,S,T]; `state` moves on."""
        out = np.zeros((9, len(self.symbols), shared.shape[0]))
        run = _rows_jit if jit_enabled() else rows_reference
        run(self._keys, self._constants, first, shared, regime, state, out)
        return out


def _pair(key: U8) -> tuple[int, int]:
    return int(key[0]), int(key[1])


def _blocks(key: U8, purpose: int, bar: int, blocks: int) -> list[float]:
    """Return the uniforms of the first blocks of a bar, four each."""
    pair = _pair(key)
    words = [w for b in range(blocks) for w in philox.philox4x32(philox.counter_of(b, purpose, bar), pair)]
    return [(word + 0.5) * 2.0**-32 for word in words]


def shared_reference(key: U8, chain: F8, first: int, count: int, regime: int) -> tuple[F8, NDArray[np.int64]]:
    """Say in plain Python what `_shared_jit` computes."""
    shared, path = np.empty((count, SUB_STEPS)), np.empty(count + 1, np.int64)
    path[0] = regime
    for t in range(count):
        uniform = _blocks(key, _COMMON, first + t, 3)
        shared[t] = [philox.inverse_normal(u) for u in uniform[:SUB_STEPS]]
        path[t + 1] = int(np.searchsorted(chain[path[t], :3], uniform[SUB_STEPS], side="right"))
    return shared, path


def rows_reference(
    keys: U8, constants: F8, first: int, shared: F8, regime: NDArray[np.int64], state: F8, out: F8
) -> None:
    """Say in plain Python what `_rows_jit` computes."""
    for s in range(keys.shape[0]):
        for t in range(shared.shape[0]):
            uniform = _blocks(keys[s], _SYMBOL, first + t, 4)
            normal = [philox.inverse_normal(u) for u in uniform]
            jumps = uniform[11] < constants[regime[t], RATE]
            drawn = np.array([*normal[:11], normal[12], uniform[13], 1.0 if jumps else 0.0])
            _bar_python(constants[regime[t]], drawn, shared[t], state[s], out[:, s, t])


def _bar_python(c: F8, drawn: F8, shared: F8, state: F8, out: F8) -> None:
    """Compute one bar of one symbol from its draws; `state` and `out` are written.

    `drawn`: 8 sub-step normals ε, η (variance), ζ (volume), ζ′ (imbalance), jump size, jump place, jump?
    """
    log_v, opened, before = state[0], state[1], state[2]
    v = math.exp(log_v)
    step = (c[MEAN] - 0.5 * v + c[PHI] * before) / SUB_STEPS
    loading, own = math.sqrt(v * c[RHO]) / _ROOT, math.sqrt(v * (1.0 - c[RHO])) / _ROOT
    jump = c[JUMP_MEAN] + c[JUMP_STD] * drawn[11] if drawn[13] > 0.0 else 0.0
    place = int(drawn[12] * SUB_STEPS)
    x = highest = lowest = total = common = 0.0
    for j in range(SUB_STEPS):
        x += step + loading * shared[j] + own * drawn[j]
        if j == place:
            x += jump
        highest, lowest = max(highest, x), min(lowest, x)
        total += drawn[j]
        common += shared[j]
    close = opened * math.exp(x)
    log_ratio = 0.5 * (log_v - c[LOG_VBAR])
    volume = regimes.LOG_VOLUME + log_ratio + regimes.VOLUME_SHOCK * abs(total / _ROOT)
    out[OPEN] = opened
    out[HIGH] = max(opened * math.exp(highest), close)
    out[LOW] = min(opened * math.exp(lowest), close)
    out[CLOSE] = close
    out[VOLUME] = math.exp(volume + regimes.VOLUME_NOISE * drawn[9])
    out[SPREAD] = regimes.SPREAD * math.exp(log_ratio)
    out[NOISE] = drawn[10]
    out[RETURN] = x
    out[JUMP] = jump
    shock = regimes.LEVERAGE * (common / _ROOT) + _SHOCK * drawn[8]
    state[0] = c[LOG_VBAR] + regimes.PERSISTENCE * (log_v - c[LOG_VBAR]) + regimes.VOL_OF_VOL * shock
    state[1], state[2] = close, x


_bar = kernel(_bar_python)


@part
def _uniforms4(key: U8, purpose: int, bar: int, block: int, out: F8) -> None:
    """Write the four uniforms of one block at its place in `out`."""
    counter, words = np.empty(4, np.uint64), np.empty(4, np.uint64)
    counter[0], counter[1] = np.uint64(block), np.uint64(purpose)
    counter[2] = np.uint64(bar) & np.uint64(0xFFFFFFFF)
    counter[3] = np.uint64(bar) >> np.uint64(32)
    philox.philox_words(counter, key, words)
    for i in range(4):
        out[4 * block + i] = (float(words[i]) + 0.5) * 2.0**-32


@kernel
def _shared_jit(key: U8, chain: F8, first: int, count: int, regime: int) -> tuple[F8, NDArray[np.int64]]:
    """Return the common factor's sub-steps [T,8] and the regimes [T+1]."""
    shared, path, uniform = np.empty((count, SUB_STEPS)), np.empty(count + 1, np.int64), np.empty(12)
    path[0] = regime
    for t in range(count):
        for block in range(3):
            _uniforms4(key, _COMMON, first + t, block, uniform)
        for j in range(SUB_STEPS):
            shared[t, j] = philox.quantile(uniform[j])
        nxt = 0
        while nxt < 3 and uniform[SUB_STEPS] >= chain[path[t], nxt]:
            nxt += 1
        path[t + 1] = nxt
    return shared, path


@kernel
def _rows_jit(
    keys: U8, constants: F8, first: int, shared: F8, regime: NDArray[np.int64], state: F8, out: F8
) -> None:
    """Write the bars of all symbols to `out` [9,S,T]."""
    uniform, drawn = np.empty(16), np.zeros(14)
    for s in range(keys.shape[0]):
        for t in range(shared.shape[0]):
            c = constants[regime[t]]
            for block in range(3):
                _uniforms4(keys[s], _SYMBOL, first + t, block, uniform)
            for j in range(11):
                drawn[j] = philox.quantile(uniform[j])
            drawn[13] = 0.0
            if uniform[11] < c[RATE]:
                _uniforms4(keys[s], _SYMBOL, first + t, 3, uniform)
                drawn[11], drawn[12], drawn[13] = philox.quantile(uniform[12]), uniform[13], 1.0
            _bar(c, drawn, shared[t], state[s], out[:, s, t])
