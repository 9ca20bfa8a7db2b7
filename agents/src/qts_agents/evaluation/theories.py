"""How much hangs on the theory of play: QBMIA's market game as others solve it, at moments of a track."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8, MarketWindow
from qts_agents.evaluation.track import PRICES, Tape, Track
from qts_agents.kernels.indicators import indicators
from qts_agents.kernels.philox import key_of
from qts_agents.opinions import NEEDED_BARS
from qts_agents.qbmia import concepts, quantum_nash
from qts_agents.qbmia.game import BARS, Estimates, estimates, returns, rows_of
from qts_core.spec import System

MOMENTS = 40  # rounds that are looked at, evenly spread
SOLVED = ("quantal_signal", "matching_signal")


class Theory(msgspec.Struct, frozen=True):
    """One theory's signal x_up − x_down beside the equilibrium's."""

    signal: float  # mean of its size
    apart: float  # mean distance from the equilibrium's
    same_side: float  # share of games in which neither takes the other's opposite side


class Theories(msgspec.Struct, frozen=True):
    """What was found in all games."""

    games: int
    equilibrium_signal: float
    others: dict[str, Theory]
    matching_gain: float  # mean; what regret matching still leaves to be gained, per range of the payoffs
    repelled: float  # share of the chosen equilibria that the replicator dynamics lead away from


def compare(track: Track, system: System) -> Theories | None:
    """Return how the theories differ for a flat trader; None where no round has enough bars behind it."""
    rounds = track.at[track.at + 1 >= NEEDED_BARS]
    at = np.unique(np.linspace(0, len(rounds) - 1, min(MOMENTS, len(rounds))).astype(np.int64))
    rows: list[F8] = []
    for t in rounds[at]:
        known, whole = _known(track.tape, int(t), system)
        if whole.size:
            keys = [key_of(system.system_seed, "theories", track.tape.symbols[s]) for s in whole]
            told = concepts.report(known, keys, int(t))
            x = quantum_nash.classical(known, known.drift[:, None]).x
            rows.append(np.stack([x[:, 0] - x[:, 2], *(told[name] for name in concepts.NAMES)], axis=1))
    if not rows:
        return None
    table = dict(zip(("equilibrium", *concepts.NAMES), np.concatenate(rows).T, strict=True))
    base = table["equilibrium"]
    return Theories(
        games=len(base),
        equilibrium_signal=float(np.abs(base).mean()),
        others={
            name: Theory(
                float(np.abs(table[name]).mean()),
                float(np.abs(table[name] - base).mean()),
                float((table[name] * base >= 0.0).mean()),
            )
            for name in SOLVED
        },
        matching_gain=float(table["matching_gain"].mean()),
        repelled=float((table["replicator_return"] > 1.0).mean()),
    )


def _known(tape: Tape, t: int, system: System) -> tuple[Estimates, NDArray[np.int64]]:
    """Return what the games at the close of bar t are built from, and the symbols that have all of it."""
    part = slice(t + 1 - NEEDED_BARS, t + 1)
    nothing = np.full(len(tape.symbols), np.nan)
    prices: dict[str, Any] = {name: np.ascontiguousarray(getattr(tape, name)[:, part]) for name in PRICES}
    window = MarketWindow(
        symbols=tape.symbols,
        window_seq=t,
        asof_ns=int(tape.close_ns[t]),
        bar_s=tape.bar_s,
        close_ns=tape.close_ns[part],
        valid=tape.valid[:, part].astype(np.uint8),
        spread=2.0 * tape.half_spread[:, t],
        imbalance=nothing,
        depth=nothing,
        fee=tape.fee,
        spread_assumed=0.0,
        market_ret=np.full(NEEDED_BARS, np.nan),
        **prices,
    )
    ind, flat = indicators(window), np.zeros(len(tape.symbols))
    seen = returns(window, BARS), (ind.m100, ind.sigma100)
    known = estimates(window, *seen, flat, flat, system.horizon_bars, system.qbmia.risk_aversion)
    columns = np.stack([getattr(known, name) for name in Estimates.__struct_fields__])
    whole = np.flatnonzero(np.isfinite(columns).all(axis=0))
    return rows_of(known, whole), whole
