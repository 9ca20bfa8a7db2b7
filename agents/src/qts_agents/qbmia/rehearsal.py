"""A rehearsal on invented bars, so that every kernel is compiled before the first real request."""

from __future__ import annotations

import numpy as np

from qts_agents.agent import MarketWindow, Voter
from qts_agents.columns import column
from qts_agents.kernels import ewl, nash, permutation
from qts_messaging.messages import DecisionRequest, PerformanceFeedback
from qts_messaging.records import Position

BARS = 320
SYMBOLS = ("REHEARSAL-FLAT", "REHEARSAL-LONG")


def rehearse(agent: Voter, quantum_circuits: bool) -> None:
    """Let a throw-away agent answer for a flat and an open position, learn, and answer again.

    The games come first: what all agents share is meanwhile compiled by the others.
    """
    game = np.zeros((1, 2, 2))
    nash.nash_choice(game, game)
    if quantum_circuits:
        ewl.play(game, game, 0.0)
    window = _window()
    for number in range(4):
        request = _request(f"rehearsal-{number}")
        agent.on_request(request, window, 0)
        agent.on_feedback(_feedback(request), 0)
    permutation.warm_up()  # no order events came


def _window() -> MarketWindow:
    angle = np.arange(BARS) / 7.0
    close = np.exp(0.01 * np.stack([np.sin(angle), np.cos(1.3 * angle) + angle / 50.0]))
    quotes = np.full(2, np.nan)
    return MarketWindow(
        symbols=SYMBOLS,
        window_seq=BARS,
        asof_ns=0,
        bar_s=60.0,
        close_ns=np.arange(BARS, dtype=np.int64),
        open=close * 0.999,
        high=close * 1.002,
        low=close * 0.998,
        close=close,
        volume=1000.0 + 100.0 * np.abs(np.stack([np.cos(angle), np.sin(angle)])),
        valid=np.ones((2, BARS), np.uint8),
        spread=quotes,
        imbalance=quotes,
        depth=quotes,
        fee=0.0,
        spread_assumed=1e-4,
        market_ret=np.zeros(BARS),
    )


def _request(round_id: str) -> DecisionRequest:
    nothing = column(np.full(2, np.nan))
    position = Position(
        qty=column(np.array([0.0, 1.0])),
        entry_px=nothing,
        stop_px=nothing,
        opened_ns=column(np.zeros(2), "i8"),
        unrealised=column(np.zeros(2)),
        liquidation_risk=nothing,
        equity=1.0,
        peak_equity=1.0,
    )
    return DecisionRequest(
        round_id=round_id,
        window_seq=BARS,
        asof_ns=0,
        symbols=SYMBOLS,
        position=position,
        phase="growth",
        phase_scores=(0.25,) * 4,
        meso=(0.5, 0.5, 0.5, 0.0),
        psi=1.0,
        flat_share=column(np.full(2, 1.0 / 3.0)),
        horizon_bars=30,
        explain=True,
    )


def _feedback(request: DecisionRequest) -> PerformanceFeedback:
    zeros = column(np.zeros(2))
    return PerformanceFeedback(
        decision_id=request.round_id,
        round_id=request.round_id,
        asof_ns=0,
        symbols=request.symbols,
        outcome=column(np.array([0, 2]), "u1"),
        ret=zeros,
        cost=zeros,
        pnl=zeros,
        seats=(),
        log_score=column(np.zeros((2, 0))),
        marginal=column(np.zeros((2, 0))),
    )
