"""One small, valid message of each type, for tests, benches and the catalogue (pure)."""

from __future__ import annotations

import struct

from qts_messaging.messages import (
    ACTIONS,
    AgentStatus,
    DecisionRequest,
    DecisionResponse,
    MarketUpdate,
    Message,
    PerformanceFeedback,
    PhaseTransition,
    RiskAlert,
    SystemCommand,
)
from qts_messaging.records import Column, Dtype, Opinion, Position

HOUR_NS = 3_600_000_000_000


def floats(*values: float) -> Column:
    """Return a column [n] of f8."""
    return Column("f8", (len(values),), struct.pack(f"<{len(values)}d", *values))


def integers(*values: int) -> Column:
    """Return a column [n] of i8."""
    return Column("i8", (len(values),), struct.pack(f"<{len(values)}q", *values))


def small(dtype: Dtype, *values: int) -> Column:
    """Return a column [n] of u1 or u2."""
    return Column(
        dtype, (len(values),), struct.pack(f"<{len(values)}{'B' if dtype == 'u1' else 'H'}", *values)
    )


def position() -> Position:
    """Return a flat account of one symbol."""
    zero = floats(0.0)
    return Position(zero, zero, zero, integers(0), zero, zero, 1.0, 1.0)


def vote(round_id: str = "r-1", agent: str = "quasar") -> Opinion:
    """Return an opinion on one symbol."""
    p = Column("f8", (1, 3), struct.pack("<3d", 0.5, 0.3, 0.2))
    action, abstain = small("u1", 0), small("u2", 0)
    how = ("classical", "cpu", 0, 0, 5)
    return Opinion(round_id, agent, "1", HOUR_NS, 30, p, ACTIONS, action, floats(0.4), abstain, None, *how)


def update(seq: int = 1, kind: str = "delta") -> MarketUpdate:
    """Return one closed bar of one symbol."""
    cell = Column("f8", (1, 1), struct.pack("<d", 1.1))
    ok = Column("u1", (1, 1), b"\1")
    close = seq * HOUR_NS
    bars = (integers(close), cell, cell, cell, cell, cell, ok)
    costs = (floats(0.0001), floats(0.0), floats(1e6), 0.0, 0.0001, floats(0.0))
    return MarketUpdate(seq, kind, "replay", close, 3600.0, ("EURUSD",), *bars, *costs)


def feedback(decision_id: str = "d-1") -> PerformanceFeedback:
    """Return what became of a decision on one symbol."""
    half, small_move = floats(0.5), floats(0.01)
    moves = (small_move, small_move, small_move)
    return PerformanceFeedback(
        decision_id, "r-1", HOUR_NS, ("EURUSD",), small("u1", 0), *moves, ("qar",), half, half
    )


def messages() -> tuple[Message, ...]:
    """Return one message of each type, in the order of the catalogue."""
    scores = (0.1, 0.2, 0.3, 0.4)
    return (
        DecisionRequest(
            "r-1", 1, HOUR_NS, ("EURUSD",), position(), "growth", scores, scores, 1.0, floats(0.3), 30
        ),
        DecisionResponse("r-1", opinion=vote()),
        PhaseTransition("t-1", "proposal", "growth", "release", scores, {"ews": 0.9}, HOUR_NS, "qbmia"),
        RiskAlert("a-1", "volatility", 0.9, ("EURUSD",), HOUR_NS, 2 * HOUR_NS, 0, "qbmia", {"z": 4.2}),
        feedback(),
        update(),
        AgentStatus("quasar", "ready", "ok", "classical", "connected", {"status": 3}, {}, HOUR_NS, "abc"),
        SystemCommand("status_request", {"verbose": "1"}),
    )
