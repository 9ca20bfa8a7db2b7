"""Rows of bars, of returns and of draws: inputs for rows of the kernels' registry (`kernel_cases` says how)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.property.made_windows import made

from qts_agents.kernels import (
    adwin,
    convexity,
    factors,
    half_space,
    hmm_filter,
    impact,
    indicators,
    logs,
    outcomes,
    pelt,
    permutation,
    phase,
    philox,
    rolling,
    surrogates,
    trend_convexity,
)
from qts_agents.market.simulate import Simulation
from qts_agents.pads import hmm, veto

Generator = np.random.Generator


def rows(draws: Generator, kind: int) -> np.ndarray:
    """Return rows of returns on a grid; at odd kinds with gaps, a flat stretch and a jump."""
    x = np.round(draws.normal(0.0, 0.01, (3, 120)), 3)
    if kind % 2:
        x[draws.random(x.shape) < 0.02] = np.nan
        x[1, 20:70] = 0.25
        x[2, 60] = 1e3
    return x


def window(draws: Generator, kind: int) -> Any:
    """Return a window; odd kinds have a price grid, flat stretches and gaps."""
    seed = int(draws.integers(2**32))
    nasty = {"tick": 0.5, "flat": 0.3, "gaps": 0.02} if kind % 2 else {}
    return made(seed, 2, 340, closes_only=kind == 3, **nasty)


def _adwin(draws: Generator, kind: int) -> Callable[[], Any]:
    x = draws.normal(size=(1200, 4)) * draws.choice([0.1, 1.0, 3.0], 4)
    x[400:] += (0.0, 0.1, 2.0, -5.0)
    x[700:] *= (1.0, 3.0, 0.3, 1.0)
    x = np.round(x) if kind % 2 else x

    def run() -> Any:
        held = adwin.windows(np.array([0.002, 0.05, 0.3, 0.002]))
        flags = np.array([adwin.adwin(held, values) for values in x])
        assert flags.any()
        return flags, held.counts, held.whole

    return run


def _half_space(draws: Generator, kind: int) -> Callable[[], Any]:
    points = np.clip(0.5 + 0.1 * draws.normal(size=(130, 5)), 0.0, 1.0)
    points[110:] = draws.random((20, 5)) if kind % 2 else points[0]

    def run() -> Any:
        held = half_space.forest(5, 10, 6, 50, kind)
        return [half_space.score(held, x) for x in points], held.past, held.fresh

    return run


def _convexity(draws: Generator, kind: int) -> Callable[[], Any]:
    pnl, sigma = 0.01 * draws.normal(size=(5, 250)), 0.02 * draws.random((5, 251))
    pnl[0, :170] = np.nan  # too few
    sigma[1] = 0.5  # no variance
    sigma[2, 1::2] = sigma[2, 0]  # some changes are zero
    sigma[3] = 0.01 + 0.01 * (np.arange(251) // 3 % 2)  # three values, of which a parabola knows nothing
    pnl[4] = 0.0
    return lambda: convexity.convexity_t(pnl, sigma)


def _trend_convexity(draws: Generator, kind: int) -> Callable[[], Any]:
    r = 0.01 * draws.normal(size=(6, 60 if kind == 4 else 270))  # too few
    r[0, 40 if kind % 2 else 0] = np.nan
    r[1] = 0.0
    r[2] = 0.01 * (-1.0) ** np.arange(r.shape[1])  # comes back every second bar
    r[3, r.shape[1] // 2 :] += 1.0 if kind % 2 else 0.0  # far from the mean of its block
    return lambda: trend_convexity.trend_convexity(r, 20)


def _impact(draws: Generator, kind: int) -> Callable[[], Any]:
    r, closed = 0.01 * draws.normal(size=(6, 100)), 100.0 + draws.normal(size=(6, 100))
    opened, volume = closed - 50.0 * r + 0.1 * draws.normal(size=r.shape), draws.lognormal(5.0, 1.0, r.shape)
    opened[1, ::2], volume[2, ::3], volume[3] = np.nan, np.nan, np.nan
    volume[4], r[5, 3] = 0.0, np.inf if kind % 2 else np.nan
    return lambda: impact.impact(r, opened, closed, volume)


def _factors(draws: Generator, kind: int) -> Callable[[], Any]:
    data = window(draws, kind)
    ind = indicators.indicators(data)
    return lambda: factors.factors(data, ind)


def _log(draws: Generator, kind: int) -> Callable[[], Any]:
    x = np.exp(np.minimum(draws.normal(0.0, 300.0 if kind % 2 else 1e-3, 301), 709.0))
    x[:6] = [0.0, np.inf, np.nan, 5e-324, -1.0 if kind % 2 else 1.0, 1.7e308]
    return lambda: logs.log(x)


def _indicators(draws: Generator, kind: int) -> Callable[[], Any]:
    data = window(draws, kind)
    return lambda: indicators.indicators(data)


def _classify(draws: Generator, _kind: int) -> Callable[[], Any]:
    moved = draws.normal(size=50)
    return lambda: outcomes.classify(moved, 0.3)


def _last_rank(draws: Generator, kind: int) -> Callable[[], Any]:
    history = np.floor(5.0 * draws.normal(size=(40, 250 if kind % 2 else 3)))
    history[3, 1], history[4, -1], history[5, 0] = np.nan, np.nan, np.inf
    return lambda: phase.last_rank(history)


def _newest_rank(draws: Generator, kind: int) -> Callable[[], Any]:
    history = np.floor(5.0 * draws.normal(size=(40, 250 if kind % 2 else 21)))
    history[3, 1], history[4, -1], history[5, 0], history[6, 2] = np.nan, np.nan, np.inf, -np.inf
    history[7, ::5], history[8, -1] = np.nan, -np.inf
    return lambda: phase.newest_rank(history)


def _cautions(draws: Generator, kind: int) -> Callable[[], Any]:
    returns = 1e-3 * draws.standard_t(2, size=(60, veto.RETURNS))
    returns[::2, -20:] *= draws.choice([0.2, 1.0, 5.0], (30, 1))
    returns[1], returns[2, -20:], returns[3, -40:-20] = 0.0, 0.0, 0.0
    returns[4::5, -20:-10], returns[4::5, -10:] = 0.02, -0.02
    returns[5::5, -20:] = np.cumsum(returns[5::5, -20:], axis=1)
    cells = draws.uniform(0.0, 1.2, (5, 60))
    cells[draws.random(cells.shape) < 0.1 * (kind % 2)] = np.nan
    volume = draws.lognormal(0.0, 1.0, (60, veto.VOLUMES))
    return lambda: veto.market_bits(veto.Caution(returns, volume, *cells))


def _recent(draws: Generator, kind: int) -> Callable[[], Any]:
    returns = 1e-3 * draws.normal(size=(12, 50 if kind % 2 else 21))
    returns[1], returns[2, :3], returns[3, 7], returns[4, -1], returns[5, ::2] = (
        0.0,
        np.nan,
        np.nan,
        np.inf,
        np.nan,
    )
    return lambda: phase.recent(returns, 20)


def _phase(draws: Generator, _kind: int) -> Callable[[], Any]:
    data = window(draws, 0)
    return lambda: phase.pcr_phase(data.close)


def _uniforms(draws: Generator, kind: int) -> Callable[[], Any]:
    key = philox.key_of(int(draws.integers(2**31)), "quasar", "EURUSD")
    return lambda: philox.uniforms(key, 9, 2, (5, 2**40 + 5)[kind % 2], first=3)


def _normals(draws: Generator, kind: int) -> Callable[[], Any]:
    keys = [philox.key_of(int(draws.integers(2**31)), "qbmia", name) for name in "ABCD"[: kind + 1]]
    return lambda: philox.normal_rows(keys, 2000, 1, (5, 2**40 + 5)[kind % 2], first=3)


def _moments(draws: Generator, kind: int) -> Callable[[], Any]:
    x, n = rows(draws, kind), int(draws.integers(2, 40))
    return lambda: rolling.rolling_moments(x, n)


def _rank(draws: Generator, kind: int) -> Callable[[], Any]:
    x, n = rows(draws, kind), int(draws.integers(2, 40))
    return lambda: rolling.rolling_rank(x, n)


def _entropy(draws: Generator, kind: int) -> Callable[[], Any]:
    x, n = rows(draws, kind), int(draws.integers(2, 40))
    codes = np.where(np.isnan(x), -1.0, np.abs(x) * 1000 // 8)
    return lambda: rolling.rolling_entropy(codes, n, 4)


def _simulate(draws: Generator, kind: int) -> Callable[[], Any]:
    seed = int(draws.integers(2**31))
    return lambda: Simulation(seed, ("A", "B"), kind % 2).advance(150)


def _hmm(draws: Generator, _kind: int) -> Callable[[], Any]:
    sigma = np.where(np.sin(np.arange(300) / 25.0) > 0, 0.03, 0.005)
    x = np.stack((sigma * draws.normal(size=300), np.log(sigma) + 0.1 * draws.normal(size=300)), axis=1)
    return lambda: hmm.fit(x, 4)


def _hmm_filter(draws: Generator, kind: int) -> Callable[[], Any]:
    density, K = draws.random((3, 60, 4)), (4, 2)[kind % 2]
    density = density[:, :, :K]
    if kind % 2:
        density[0, 5], density[1, 7, 0], density[2, 9] = 0.0, np.nan, 1e-300
    move, start = draws.dirichlet(np.ones(K), (3, K)), draws.dirichlet(np.ones(K), 3)
    return lambda: hmm_filter.hmm_filter(density, move, start)


def _trips(draws: Generator, kind: int) -> Callable[[], Any]:
    n = (40, 1)[kind == 3]
    side, soon = draws.choice([-1, 1], n), (draws.random(n - 1) < 0.7).astype(np.uint8)
    size = draws.integers(1, 4, n) * (0.1 if kind % 2 else 1.0)
    uniform = draws.random((120, n))
    uniform[0], uniform[1] = 0.0, np.nextafter(1.0, 0.0)
    return lambda: permutation.round_trips(side, soon, size, uniform)


def _taus(draws: Generator, kind: int) -> Callable[[], Any]:
    series = draws.normal(5.0 if kind % 2 else 0.0, 0.01, ((5, 5, 5, 5, 70)[kind], (130, 260)[kind % 2]))
    if kind % 2:
        series[1, 20:110] = 0.25  # windows without variance
        series[2] = 0.0
    return lambda: surrogates.taus(series, 50)


#: entry of the registry → its inputs
def _pelt(draws: Generator, kind: int) -> Callable[[], Any]:
    parts = [
        draws.normal(draws.normal(), draws.choice([0.1, 1.0, 3.0]), draws.integers(5, 80)) for _ in range(6)
    ]
    x = np.concatenate(parts)
    if kind % 2:
        x = np.round(x, 1)
        x[20:60] = 0.5
    least, penalty = int(draws.choice([2, 5, 12])), float(draws.choice([1.0, 5.0, 12.0]))
    return lambda: pelt.pelt(x, least, penalty)


CASES: dict[str, Callable[[Generator, int], Callable[[], Any]]] = {
    "adwin.adwin": _adwin,
    "convexity.convexity_t": _convexity,
    "factors.factors": _factors,
    "half_space.score": _half_space,
    "hmm_filter.hmm_filter": _hmm_filter,
    "impact.impact": _impact,
    "indicators.indicators": _indicators,
    "logs.log": _log,
    "market.simulate.Simulation": _simulate,
    "outcomes.classify": _classify,
    "pads.hmm.fit": _hmm,
    "pelt.pelt": _pelt,
    "permutation.round_trips": _trips,
    "phase.last_rank": _last_rank,
    "phase.pcr_phase": _phase,
    "phase.newest_rank": _newest_rank,
    "phase.recent": _recent,
    "pads.veto.market_bits": _cautions,
    "philox.normal_rows": _normals,
    "philox.uniforms": _uniforms,
    "rolling.rolling_entropy": _entropy,
    "rolling.rolling_moments": _moments,
    "rolling.rolling_rank": _rank,
    "surrogates.taus": _taus,
    "trend_convexity.trend_convexity": _trend_convexity,
}
