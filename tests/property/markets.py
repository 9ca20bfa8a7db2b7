"""Markets for tests, and what the runtime would make of them: windows, updates, questions, feedback, a life."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qts_agents.agent import MarketWindow, Voter
from qts_agents.columns import array, column
from qts_agents.kernels import outcomes
from qts_messaging.messages import DecisionRequest, MarketUpdate, PerformanceFeedback
from qts_messaging.records import Opinion, Position

HORIZON, EVERY, LENGTH = 30, 10, 512
MINUTE_NS = 60_000_000_000
DATA = "agents/src/qts_agents/market/data/eurusd_1h.csv.gz"


class Tape(NamedTuple):
    """Bars and quotes of S symbols, all [S,T]."""

    symbols: tuple[str, ...]
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    spread: np.ndarray
    imbalance: np.ndarray
    valid: np.ndarray

    def pick(self, rows: list[int]) -> Tape:
        """Return the rows in this order."""
        return Tape(tuple(self.symbols[r] for r in rows), *(column_[rows] for column_ in self[1:]))


def synthetic(seed: int, symbols: int = 3, bars: int = 700, quotes: bool = True) -> Tape:
    """Return a market with changing volatility, some drift, jumps, and quotes if wanted."""
    rng = np.random.default_rng(seed)
    shape = (symbols, bars)
    sigma = 1e-3 * np.exp(np.cumsum(rng.normal(0, 0.05, shape), axis=1) * 0.3)
    r = sigma * rng.standard_normal(shape) + 2e-4 * np.sin(
        np.arange(bars) / 90.0 + rng.uniform(0, 6, (symbols, 1))
    )
    r += (rng.random(shape) < 0.004) * rng.normal(0, 0.01, shape)
    close = 50.0 * np.exp(np.cumsum(r, axis=1)) * rng.uniform(0.1, 10, (symbols, 1))
    opened = np.concatenate([close[:, :1], close[:, :-1]], axis=1) * np.exp(
        0.1 * sigma * rng.standard_normal(shape)
    )
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    spread = 2e-4 * np.exp(0.2 * rng.standard_normal(shape)) if quotes else np.full(shape, np.nan)
    lean = np.clip(0.3 * rng.standard_normal(shape), -1, 1) if quotes else np.full(shape, np.nan)
    return Tape(
        symbols=tuple(f"S{i}" for i in range(symbols)),
        open=opened,
        high=top * np.exp(0.5 * sigma * rng.random(shape)),
        low=bottom * np.exp(-0.5 * sigma * rng.random(shape)),
        close=close,
        volume=np.exp(8 + 0.4 * rng.standard_normal(shape)),
        spread=spread,
        imbalance=lean,
        valid=np.ones(shape, np.uint8),
    )


def eurusd(start: int, bars: int = 700) -> Tape:
    """Return a slice of the packaged EUR/USD hours."""
    frame = pd.read_csv(DATA).iloc[start : start + bars]
    prices = [
        frame[name].to_numpy(np.float64)[None].copy() for name in ("open", "high", "low", "close", "volume")
    ]
    unknown = np.full(prices[0].shape, np.nan)
    return Tape(("EURUSD",), *prices, unknown, unknown.copy(), np.ones(prices[0].shape, np.uint8))


def mirrored(tape: Tape) -> Tape:
    """Return the market seen from the other currency: prices inverted, order flow negated."""
    return tape._replace(
        open=1 / tape.open,
        high=1 / tape.low,
        low=1 / tape.high,
        close=1 / tape.close,
        imbalance=-tape.imbalance,
    )


def constant(bars: int = 600) -> Tape:
    """Return a market that never moves and has no quotes."""
    one, unknown = np.full((1, bars), 7.0), np.full((1, bars), np.nan)
    return Tape(("FLAT",), one, one, one, one, one * 100, unknown, unknown, np.ones((1, bars), np.uint8))


def window(tape: Tape, t: int, length: int = LENGTH, market_ret: np.ndarray | None = None) -> MarketWindow:
    """Return the window as it is when bar `t` has closed."""
    part = slice(max(0, t + 1 - length), t + 1)
    cut = {
        n: np.ascontiguousarray(getattr(tape, n)[:, part]) for n in ("open", "high", "low", "close", "volume")
    }
    for values in cut.values():
        values.setflags(write=False)
    return MarketWindow(
        symbols=tape.symbols,
        window_seq=t,
        asof_ns=(t + 1) * MINUTE_NS,
        bar_s=60.0,
        close_ns=(np.arange(part.start, t + 1) + 1) * MINUTE_NS,
        valid=np.ascontiguousarray(tape.valid[:, part]),
        spread=tape.spread[:, t].copy(),
        imbalance=tape.imbalance[:, t].copy(),
        depth=np.full(len(tape.symbols), np.nan),
        fee=2e-5,
        spread_assumed=6e-5,
        market_ret=(whole_market(tape) if market_ret is None else market_ret)[part],
        **cut,
    )


def whole_market(tape: Tape) -> np.ndarray:
    """Return the mean return of all symbols, as the feed computes it once."""
    ret = np.zeros(tape.close.shape)
    ret[:, 1:] = np.diff(np.log(tape.close), axis=1)
    return np.nanmean(ret, axis=0)


def update(tape: Tape, t: int) -> MarketUpdate:
    """Return bar `t` as the feed sends it."""
    one = {n: column(getattr(tape, n)[:, t : t + 1]) for n in ("open", "high", "low", "close", "volume")}
    return MarketUpdate(
        seq=t,
        kind="delta",
        source="test",
        asof_ns=(t + 1) * MINUTE_NS,
        bar_s=60.0,
        symbols=tape.symbols,
        close_ns=column(np.array([(t + 1) * MINUTE_NS]), "i8"),
        valid=column(tape.valid[:, t : t + 1], "u1"),
        spread=column(tape.spread[:, t]),
        imbalance=column(tape.imbalance[:, t]),
        depth=column(np.full(len(tape.symbols), np.nan)),
        fee=2e-5,
        spread_assumed=6e-5,
        market_ret=column(whole_market(tape)[t : t + 1]),
        **one,
    )


def request(symbols: tuple[str, ...], t: int, d: Any = 0.0, **more: Any) -> DecisionRequest:
    """Return PADS' question about bar `t`; `d` is the side of each position."""
    qty = np.broadcast_to(np.asarray(d, np.float64), (len(symbols),))
    unknown = column(np.full(len(symbols), np.nan))
    position = Position(
        qty=column(qty),
        entry_px=unknown,
        stop_px=unknown,
        opened_ns=column(np.zeros(len(symbols)), "i8"),
        unrealised=column(np.zeros(len(symbols))),
        liquidation_risk=unknown,
        equity=1.0,
        peak_equity=1.0,
    )
    fields: dict[str, Any] = {
        "round_id": f"round-{t}",
        "phase": "growth",
        "phase_scores": (0.4, 0.3, 0.2, 0.1),
        "meso": (0.5, 0.5, 0.5, 0.2),
        "psi": 1.0,
        "flat_share": column(np.full(len(symbols), 1.0 / 3.0)),
        "horizon_bars": HORIZON,
        "explain": True,
    }
    return DecisionRequest(
        window_seq=t, asof_ns=(t + 1) * MINUTE_NS, symbols=symbols, position=position, **(fields | more)
    )


def now(t: int) -> int:
    """Return the wall time at which bar `t` arrives: one second a bar."""
    return (t + 1) * 1_000_000_000


def ask(agent: Voter, tape: Tape, t: int, d: Any = 0.0, **more: Any) -> Opinion:
    """Return the agent's answer about bar `t`."""
    length = more.pop("length", LENGTH)
    view = window(tape, t, length, more.pop("market_ret", None))
    return agent.on_request(request(tape.symbols, t, d, **more), view, now(t))


def feedback(tape: Tape, t: int, outcome: np.ndarray | None = None) -> PerformanceFeedback:
    """Return what became of the decision about bar `t`; `outcome` replaces the true one."""
    view = window(tape, t)
    R = np.log(tape.close[:, t + HORIZON] / tape.open[:, t + 1])
    sigma = np.nan_to_num(np.std(np.diff(np.log(view.close[:, -101:]), axis=1), axis=1, ddof=1))
    cost = outcomes.costs(view)
    y = outcomes.classify(R, outcomes.band(cost, sigma, HORIZON)) if outcome is None else outcome
    nothing = column(np.zeros((len(tape.symbols), 0)))
    return PerformanceFeedback(
        decision_id=f"decision-{t}",
        round_id=f"round-{t}",
        asof_ns=(t + 1) * MINUTE_NS,
        symbols=tape.symbols,
        outcome=column(y, "u1"),
        ret=column(R),
        cost=column(cost),
        pnl=column(np.zeros(len(R))),
        seats=(),
        log_score=nothing,
        marginal=nothing,
    )


def train(
    agent: Voter, tape: Tape, first: int, last: int, shuffle: np.random.Generator | None = None
) -> list[Any]:
    """Let the agent live through bars first…last: bars, a question every 10th, outcomes; return (p, y) pairs."""
    seen = []
    answers: dict[int, Opinion] = {}
    for t in range(first, last):
        agent.on_bars(update(tape, t), window(tape, t), now(t))
        if t - HORIZON in answers:
            told = feedback(tape, t - HORIZON)
            y = array(told.outcome).copy()
            if shuffle is not None:
                y = shuffle.integers(0, 3, len(y)).astype(np.uint8)
                told = feedback(tape, t - HORIZON, y)
            agent.on_feedback(told, now(t))
            seen.append((array(answers[t - HORIZON].p), y))
        if t % EVERY == 0:
            answers[t] = ask(agent, tape, t)
    return seen
