"""Warm-up by doing: a throwaway agent lives through made-up bars, a request and its feedback (pure).

Every kernel is thus compiled with exactly the types that serving passes, read-only columns included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow, Voter
from qts_agents.columns import column
from qts_agents.market.windows import from_wire, to_wire
from qts_messaging.messages import DecisionRequest, MarketUpdate, PerformanceFeedback
from qts_messaging.records import Position

F8 = NDArray[np.float64]
BARS, BAR_NS = 640, 60_000_000_000
WINDOW = 512
SYMBOLS = ("A", "B")


def rehearse(voter: Voter, learn_bars: int = 320) -> None:
    """Let `voter`, which is thrown away afterwards, live through bars, a request and its feedback."""
    prices = _prices()
    for end in range(BARS - learn_bars, BARS):
        window = _window(prices, end)
        voter.on_bars(_update(window), window, window.asof_ns)
    window = from_wire(to_wire(_window(prices, BARS)))
    voter.on_bars(_update(window), window, window.asof_ns)
    for side in (0.0, 1.0):
        request = _request(window, side)
        voter.on_request(request, window, window.asof_ns)
        voter.on_feedback(_feedback(request), window.asof_ns)


def _prices() -> F8:
    """Return [S,BARS] closes: a trend with waves of two periods, and no flat stretch."""
    t = np.arange(BARS, dtype=np.float64)
    wave = 0.002 * np.sin(t * 1.7) + 0.01 * np.sin(t / 11.0) + 0.0001 * t
    return np.exp(np.stack((wave, 0.5 * wave[::-1])))


def _window(prices: F8, end: int) -> MarketWindow:
    close = np.ascontiguousarray(prices[:, max(0, end - WINDOW) : end])
    length, nan = close.shape[1], np.full(len(SYMBOLS), np.nan)
    times = BAR_NS * np.arange(end - length + 1, end + 1, dtype=np.int64)
    return MarketWindow(
        symbols=SYMBOLS,
        window_seq=end,
        asof_ns=int(times[-1]),
        bar_s=60.0,
        close_ns=times,
        open=close * 0.9999,
        high=close * 1.0002,
        low=close * 0.9998,
        close=close,
        volume=1.0 + 0.5 * np.sin(np.arange(2 * length, dtype=np.float64)).reshape(2, length),
        valid=np.ones(close.shape, dtype=np.uint8),
        spread=nan,
        imbalance=nan,
        depth=nan,
        fee=0.0001,
        spread_assumed=0.0001,
        market_ret=np.concatenate(([0.0], np.diff(np.log(close), axis=1).mean(axis=0))),
    )


def _update(window: MarketWindow) -> MarketUpdate:
    last: dict[str, Any] = {
        n: column(getattr(window, n)[:, -1:]) for n in ("open", "high", "low", "close", "volume")
    }
    quotes: dict[str, Any] = {n: column(getattr(window, n)) for n in ("spread", "imbalance", "depth")}
    return MarketUpdate(
        seq=window.window_seq,
        kind="delta",
        source="rehearsal",
        asof_ns=window.asof_ns,
        bar_s=window.bar_s,
        symbols=window.symbols,
        close_ns=column(window.close_ns[-1:], "i8"),
        valid=column(window.valid[:, -1:], "u1"),
        fee=window.fee,
        spread_assumed=window.spread_assumed,
        market_ret=column(window.market_ret[-1:]),
        **last,
        **quotes,
    )


def _request(window: MarketWindow, side: float) -> DecisionRequest:
    size = len(window.symbols)
    zeros, nan = column(np.zeros(size)), column(np.full(size, np.nan))
    position = Position(
        qty=column(np.full(size, side)),
        entry_px=nan,
        stop_px=nan,
        opened_ns=column(np.zeros(size), "i8"),
        unrealised=zeros,
        liquidation_risk=nan,
        equity=1.0,
        peak_equity=1.0,
    )
    return DecisionRequest(
        round_id=f"rehearsal-{side:g}",
        window_seq=window.window_seq,
        asof_ns=window.asof_ns,
        symbols=window.symbols,
        position=position,
        phase="growth",
        phase_scores=(0.25, 0.25, 0.25, 0.25),
        meso=(0.5, 0.5, 0.5, 0.0),
        psi=1.0,
        flat_share=column(np.full(size, 1.0 / 3.0)),
        horizon_bars=30,
        explain=True,
    )


def _feedback(request: DecisionRequest) -> PerformanceFeedback:
    size = len(request.symbols)
    zeros, nothing = column(np.zeros(size)), column(np.zeros((size, 0)))
    return PerformanceFeedback(
        decision_id=request.round_id,
        round_id=request.round_id,
        asof_ns=request.asof_ns,
        symbols=request.symbols,
        outcome=column(np.zeros(size), "u1"),
        ret=zeros,
        cost=zeros,
        pnl=zeros,
        seats=(),
        log_score=nothing,
        marginal=nothing,
    )
