"""Kernels against their peers, same inputs, results compared before times: python -m bench.kernels --json."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from bench.harness import Row, median_time, run
from bench.kernels_games import ROWS as GAMES
from bench.kernels_online import ROWS as ONLINE
from scipy.special import softmax

from qts_agents.agent import MarketWindow
from qts_agents.kernels import backend, online, permutation, philox, pool, reupload, rolling, surrogates
from qts_agents.kernels.factors import factors
from qts_agents.kernels.indicators import indicators


def window(symbols: int, bars: int = 512) -> MarketWindow:
    """Return a window of heavy-tailed random walks."""
    draws = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(0.002 * draws.standard_t(4, (symbols, bars)), axis=1))
    opened = np.concatenate((close[:, :1], close[:, :-1]), axis=1)
    wick = np.exp(0.001 * np.abs(draws.normal(size=(symbols, bars))))
    return MarketWindow(
        symbols=tuple(map(str, range(symbols))), window_seq=bars, asof_ns=bars, bar_s=60.0,
        close_ns=np.arange(bars), open=opened, high=np.maximum(opened, close) * wick,
        low=np.minimum(opened, close) / wick, close=close,
        volume=np.exp(draws.normal(size=(symbols, bars))), valid=np.ones((symbols, bars), np.uint8),
        spread=np.full(symbols, np.nan), imbalance=np.full(symbols, np.nan), depth=np.full(symbols, np.nan),
        fee=0.0, spread_assumed=0.0, market_ret=np.diff(np.log(close), axis=1, prepend=np.nan).mean(axis=0),
    )  # fmt: skip


def board(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return six opinions a row, their weights, and the prior."""
    draws = np.random.default_rng(2)
    weights = np.tile([0.25, 0.25, 0.20, 0.15, 0.10, 0.05], (rows, 1))
    return draws.dirichlet([4.0, 4.0, 4.0], (rows, 6)), weights, np.full((rows, 3), 1.0 / 3.0)


def lmsr(smoke: bool) -> Row:
    """Six-seat pool with leave-one-out, 1 000 symbols, against the numpy reference."""
    inputs = board(1_000)
    ours = pool.lmsr_pool(*inputs, 50.0)
    answer = ours.p, ours.dissent, ours.share, ours.leave_one_out, ours.q
    reference = tuple(np.empty_like(each) for each in answer)
    plain = partial(pool.lmsr_reference, *inputs, 50.0, 2.0, *reference)
    plain()
    agrees = all(np.allclose(*pair, rtol=1e-12, atol=1e-12) for pair in zip(answer, reference, strict=True))
    count = 3 if smoke else 200
    value = median_time(lambda: pool.lmsr_pool(*inputs, 50.0), count) * 1e3
    peer = median_time(plain, count) * 1e3
    return Row("lmsr_pool, 6 seats with leave-one-out", value, "us/symbol", "numpy", peer, 1.0, agrees)


def lmsr_quote(smoke: bool) -> Row:
    """Prices of the securities outstanding, 1 000 symbols, against scipy's softmax."""
    q = np.random.default_rng(6).normal(0.0, 100.0, (1_000, 3))
    agrees = bool(np.allclose(pool.lmsr_price(q, 50.0), softmax(q / 50.0, axis=1), rtol=1e-12, atol=1e-12))
    count = 3 if smoke else 200
    value = median_time(lambda: pool.lmsr_price(q, 50.0), count) * 1e6
    peer = median_time(lambda: softmax(q / 50.0, axis=1), count) * 1e6
    return Row("lmsr quote, 3 outcomes", value, "ns/symbol", "scipy softmax", peer, 100.0, agrees)


def indicators_one(smoke: bool) -> Row:
    """All shared indicators of one symbol at its last bar, against the numpy reference."""
    return _indicators(window(1), 5 if smoke else 2_000, 0.5, smoke)


def indicators_many(smoke: bool) -> Row:
    """All shared indicators of many symbols on all threads, against the numpy reference."""
    return _indicators(window(64 if smoke else 1_000), 3 if smoke else 30, None if smoke else 60.0, smoke)


def _indicators(data: MarketWindow, count: int, goal: float | None, smoke: bool) -> Row:
    """Return a row of compiled against reference indicators."""
    ours, value = indicators(data), median_time(lambda: indicators(data), count) * 1e3
    backend.set_jit(False)
    reference = indicators(data)
    peer = median_time(lambda: indicators(data), 1 if smoke or len(data.symbols) > 1 else 20) * 1e3
    backend.set_jit(True)
    agrees = all(
        np.allclose(getattr(ours, name), getattr(reference, name), rtol=1e-9, atol=1e-9)
        for name in ours.__struct_fields__
    )
    figure = f"indicators, {len(data.symbols)} x {data.close.shape[1]}"
    return Row(figure, value, "ms", "numpy", peer, goal, agrees)


def moments_history(smoke: bool) -> Row:
    """Rolling deviation, autocorrelation, skewness of 250 on two threads, against pandas."""
    data = np.random.default_rng(3).normal(0.0, 0.01, (4, 1_000) if smoke else (1_000, 10_000))
    few = slice(0, 4 if smoke else 20)
    frame = pd.DataFrame(data[few].T)

    def theirs() -> list[pd.DataFrame]:
        held = frame.rolling(250)
        return [held.std(), held.skew(), held.cov(frame.shift(1), pairwise=False)]

    out = np.zeros((4, *data.shape))
    ours = rolling.rolling_moments(data, 250, out=out)
    std, skew, _ = (part.to_numpy().T for part in theirs())
    agrees = bool(np.allclose(ours.std[few], std, rtol=1e-9, equal_nan=True))
    unbias = np.sqrt(250 * 249) / 248  # pandas' estimator against the moment's
    agrees &= bool(np.allclose(ours.skew[few] * unbias, skew, rtol=1e-9, atol=1e-9, equal_nan=True))
    value = median_time(lambda: rolling.rolling_moments(data, 250, out=out), 1 if smoke else 5)
    peer = median_time(theirs, 1) * len(data) / few.stop
    figure = f"rolling moments 250, {data.shape[0]} x {data.shape[1]}, memory reused"
    return Row(figure, value, "s", "pandas", peer, None if smoke else 0.5, agrees)


def rank_history(smoke: bool) -> Row:
    """Rolling mid-rank of 250 over a long history, two threads, against pandas."""
    data = np.random.default_rng(4).normal(0.0, 0.01, (4, 1_000) if smoke else (1_000, 10_000))
    few = slice(0, 4 if smoke else 20)
    frame = pd.DataFrame(data[few].T)
    expected = (frame.rolling(250).rank().to_numpy().T - 0.5) / 250
    agrees = bool(np.allclose(rolling.rolling_rank(data[few], 250), expected, atol=1e-12, equal_nan=True))
    value = median_time(lambda: rolling.rolling_rank(data, 250), 1)
    peer = median_time(lambda: frame.rolling(250).rank(), 1) * len(data) / few.stop
    figure = f"rolling_rank 250, {data.shape[0]} x {data.shape[1]}"
    return Row(figure, value, "s", "pandas", peer, None if smoke else 1.5, agrees)


def factor_pool(smoke: bool) -> Row:
    """The eight factors of many symbols, indicators given; no peer."""
    data = window(64 if smoke else 1_000)
    ind = indicators(data)
    return Row(f"factors, {len(data.symbols)} x 512", median_time(lambda: factors(data, ind), 5) * 1e3, "ms")


def random_numbers(smoke: bool) -> Row:
    """Philox uniforms in one run, against numpy's own Philox (which orders its words otherwise)."""
    count = 1_000 if smoke else 100_000
    generator = np.random.Generator(np.random.Philox(1))
    value = median_time(lambda: philox.uniforms((1, 2), count, 0, 0), 5) / count * 1e9
    peer = median_time(lambda: generator.random(count), 5) / count * 1e9
    agrees = philox.philox4x32((1, 0, 0, 0), (0, 0))[0] == 0xF8E4CCA4
    return Row("philox uniform", value, "ns/draw", "numpy", peer, None, agrees)


def outcomes_learned(smoke: bool) -> Row:
    """Three learners of QUASAR over the outcomes of one round, 1,000 symbols, against numpy row by row."""
    draws, rows = np.random.default_rng(7), 20 if smoke else 1_000
    loss, gained = draws.random((rows, 8)), draws.random((rows, 2))
    x, y = draws.normal(size=(rows, 10)), draws.integers(0, 3, rows)

    def learn() -> tuple[object, ...]:
        return (
            online.hedge_rows(np.full(8, 0.125), loss, 0.1, 0.01), online.calibrate(0.25, gained, 0.01, 0.9),
            online.logistic_rows(np.zeros(11), x, y, 8, 0.05, 1e-4),
        )  # fmt: skip

    return _against_numpy(f"outcomes of {rows} symbols learned", learn, 3 if smoke else 50)


def reuploading(smoke: bool) -> Row:
    """Gradient and forecasts of the 4-qubit circuit for 16 outcomes, against numpy gate by gate."""
    draws = np.random.default_rng(8)
    x, y, weights = draws.normal(size=(16, 10)), draws.integers(0, 3, 16), draws.normal(size=(3, 4, 2, 2))

    def learn() -> tuple[object, ...]:
        mirror = np.ones(10)
        return reupload.gradient(x, y, mirror, weights), reupload.forecast(x, mirror, weights)

    return _against_numpy("re-uploading circuit, 16 outcomes", learn, 3 if smoke else 50)


def shuffled_fills(smoke: bool) -> Row:
    """Round trips of 2,000 fills in 1,999 random orders, two threads, against numpy."""
    draws, n = np.random.default_rng(9), 100 if smoke else 2_000
    side, size = draws.choice([-1, 1], n), draws.integers(1, 5, n) * 0.1
    soon, uniform = (draws.random(n - 1) < 0.5).astype(np.uint8), draws.random((n - 1, n))
    figure = f"permutation test, {n} fills in {n - 1} orders"
    return _against_numpy(figure, lambda: (permutation.round_trips(side, soon, size, uniform),), 3)


def tested_warning(smoke: bool) -> Row:
    """Rolling statistics and Kendall's τ of 1,000 surrogates of 512 bars, two threads, against numpy."""
    draws, count = np.random.default_rng(10), 20 if smoke else 1_000
    x = draws.normal(0.0, 0.01, 512)

    def test() -> tuple[object, ...]:
        made = surrogates.phase_randomised(x, uniform)
        return (surrogates.taus(made, 50),)

    uniform = draws.random((count, 257))
    row = _against_numpy(f"surrogates, {count} x 512", test, 3 if smoke else 20)
    return replace(row, goal=None if smoke else 150.0)


def _against_numpy(figure: str, call: Callable[[], tuple[object, ...]], count: int) -> Row:
    """Return a row of the compiled form against the plain one, in ms."""
    ours, value = call(), median_time(call, count) * 1e3
    backend.set_jit(False)
    theirs, peer = call(), median_time(call, 2) * 1e3
    backend.set_jit(True)
    agrees = all(
        np.allclose(np.asarray(a), np.asarray(b), rtol=1e-12, atol=1e-12)
        for a, b in zip(ours, theirs, strict=True)
    )
    return Row(figure, value, "ms", "numpy", peer, None, agrees)


#: one function per row; each takes `smoke`
ROWS: tuple[Callable[[bool], Row], ...] = (
    lmsr_quote,
    lmsr,
    indicators_one,
    indicators_many,
    moments_history,
    rank_history,
    factor_pool,
    random_numbers,
    outcomes_learned,
    reuploading,
    shuffled_fills,
    tested_warning,
    *GAMES,
    *ONLINE,
)

if __name__ == "__main__":
    backend.threads(True)
    sys.exit(run(ROWS, __doc__ or ""))
