"""One thought about all symbols: the five components, their pool, and what to report of them (pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels.ewa import HISTORY
from qts_agents.kernels.indicators import Indicators
from qts_agents.kernels.pool import log_pool
from qts_agents.qbmia import antifragile, machiavellian, quantum_nash, robin_hood, temporal_nash
from qts_agents.qbmia.game import action_distribution, estimates, payoffs, returns, rows_of
from qts_agents.qbmia.quotes import Quotes, flow
from qts_core.sections import QbmiaSettings

F8 = NDArray[np.float64]
COMPONENTS = ("quantum_nash", "machiavellian", "robin_hood", "temporal_nash", "antifragile")
WEIGHTS: F8 = np.array([0.25, 0.20, 0.20, 0.20, 0.15])
NEEDED = 3
EXTRA = 0  # of the indicators
REPORTED = (
    *COMPONENTS,  # x_up − x_down of each, NaN if absent
    "nash_error", "nash_equilibria", "nash_regret", "ewl_signal", "ewl_gain_bp", "ewl_regret",
    "correlated_gain_bp",
    "illiquidity", "gini", "herfindahl", "amihud_rank", "convexity_t", "recalled", "novelty",
)  # fmt: skip


class Scene(msgspec.Struct, frozen=True):
    """Everything one thought looks at; rows are the symbols that may vote."""

    window: MarketWindow
    indicators: Indicators
    side: F8  # d [S]
    manipulation: F8  # score [S], NaN without order events
    keys: list[tuple[int, int]]
    horizon: int
    entangle: NDArray[np.int64]  # rows for which the EWL game is played
    explain: bool = False  # somebody reads the report


class Thought(msgspec.Struct, frozen=True):
    """What came of it, by row."""

    x: F8  # [S,5,3] of each component; NaN where absent
    strategy: F8  # [S,4] learned
    report: dict[str, F8]  # [S] by name of REPORTED, as far as known here
    device: str = "cpu"  # that solved the games


def think(scene: Scene, quotes: Quotes, settings: QbmiaSettings) -> Thought:
    """Let every component look at the scene."""
    window, ind = scene.window, scene.indicators
    spread, imbalance = quotes.last(window.symbols, window.window_seq, HISTORY + 1)
    moments = (ind.m100, ind.sigma100)
    r = returns(window, antifragile.BARS + antifragile.SPAN)  # enough for everyone
    known = estimates(window, r, moments, scene.side, flow(imbalance), scene.horizon, settings.risk_aversion)
    drift = quantum_nash.drifts(known, scene.keys, settings.payoff_draws, window.window_seq)
    nash = quantum_nash.classical(known, drift)
    report = {"nash_error": nash.error, "nash_equilibria": nash.count, "nash_regret": nash.regret}
    voted = nash.x
    if scene.entangle.size:
        played = rows_of(known, scene.entangle)
        quantum = quantum_nash.entangled(played, settings.entanglement)
        found = {"ewl_signal": lean(quantum.x), "ewl_gain_bp": quantum.gain, "ewl_regret": quantum.regret}
        if scene.explain:
            found["correlated_gain_bp"] = quantum_nash.correlated_gain(played)
        report |= {name: _spread(values, scene.entangle, len(voted)) for name, values in found.items()}
        voted = quantum.x if settings.nash_mode == "ewl" else voted  # then it is played for all
    u, _ = payoffs(known, known.drift[:, None])
    own = temporal_nash.trader_actions(r, ind.sigma100)
    seen = temporal_nash.maker_actions(spread, imbalance[:, 1:])
    strategy = temporal_nash.strategy(u[:, 0], own, seen)
    illiquidity = known_illiquidity(ind)
    t = antifragile.convexity(r)
    report |= {"illiquidity": illiquidity, "convexity_t": t}
    parts = (
        voted,
        machiavellian.distribution(scene.manipulation),
        robin_hood.distribution(illiquidity),
        action_distribution(strategy),
        antifragile.distribution(ind.trend, t),
    )
    return Thought(np.stack(parts, axis=1), strategy, report, nash.device)


def known_illiquidity(ind: Indicators) -> F8:
    """Return the illiquidity of each row, NaN where nothing tells it."""
    return np.asarray(np.where(ind.liquidity_seen > 0.0, ind.illiquidity, np.nan))


def _spread(values: F8, rows: NDArray[np.int64], size: int) -> F8:
    """Return `values` in their `rows` of [size], NaN in the others."""
    out = np.full(size, np.nan)
    out[rows] = values
    return out


def lean(x: F8) -> F8:
    """Return x_up − x_down along the last axis."""
    return np.asarray(x[..., 0] - x[..., 2])


def fuse(x: F8, recalled: F8, share: float) -> tuple[F8, NDArray[np.bool_]]:
    """Pool the components x [S,5,3], then memory [S,3] where known; tell which rows have ≥ 3 parts."""
    pooled = log_pool(x, WEIGHTS)
    both = np.stack([pooled, recalled], axis=1)
    enough = np.isfinite(x).all(axis=2).sum(axis=1) >= NEEDED
    return log_pool(both, np.array([1.0 - share, share])), enough


def columns(thought: Thought, more: dict[str, F8]) -> F8:
    """Return the report [S,F] in the order of REPORTED; NaN where something was not computed."""
    named = thought.report | more | dict(zip(COMPONENTS, lean(thought.x).T, strict=True))
    missing = np.full(len(thought.x), np.nan)
    return np.stack([named.get(name, missing) for name in REPORTED], axis=1)
