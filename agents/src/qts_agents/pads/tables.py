"""The board's tables (agents.md §2.1, §2.5): phase rows, seat multipliers, styles, reasons."""

from __future__ import annotations

import msgspec

from qts_core.roster import ADDED_SEATS, SEATS
from qts_core.spec import MOST_ADDED
from qts_messaging.messages import ACTIONS, PHASES

BUY, SELL, HOLD, INCREASE, DECREASE, HEDGE, EXIT = range(len(ACTIONS))
GROWTH, CONSERVATION, RELEASE, REORGANIZATION, UNKNOWN = range(len(PHASES))

STYLES: tuple[str, ...] = (
    "consensus",
    "opportunistic",
    "defensive",
    "calculated_risk",
    "contrarian",
    "momentum_following",
)
CONSENSUS, OPPORTUNISTIC, DEFENSIVE, CALCULATED, CONTRARIAN, MOMENTUM = range(len(STYLES))

REASONS: tuple[str, ...] = (
    "DECIDED",
    "NO_SIGNAL",
    "NO_QUORUM",
    "BELOW_THRESHOLD",
    "POOL_CONTRADICTS",
    "VETO",
    "OVERRIDE",
    "HORIZON_ENDED",
)
DECIDED, NO_SIGNAL, NO_QUORUM, BELOW_THRESHOLD, POOL_CONTRADICTS, VETO, OVERRIDE, HORIZON_ENDED = range(8)

#: signal value of an action relative to the position; BUY and SELL are absolute
SIGNALS: tuple[float, ...] = (1.0, -0.75, 0.0, 0.5, -0.25, -0.5, -1.0)
#: board vote of an action, the same way
VOTES: tuple[float, ...] = (1.0, -1.0, 0.0, 1.0, -1.0, 0.0, -1.0)

#: seat → multiplier in growth, conservation, release, reorganization, unknown
MULTIPLIERS: dict[str, tuple[float, ...]] = {
    "qar": (1.0, 1.2, 0.8, 0.8, 1.0),
    "qstar": (1.2, 1.0, 0.6, 1.0, 1.0),
    "antifragility": (0.75, 0.75, 1.5, 1.0, 1.0),
    "consensus": (1.0, 1.3, 1.3, 0.7, 1.0),
    "adaptability": (1.0, 0.5, 1.0, 2.0, 1.0),
    "market_maker": (1.0, 1.0, 1.0, 1.0, 1.0),
}
EVEN: tuple[float, ...] = (1.0,) * len(PHASES)  # of a seat that no phase favours


class PhaseRow(msgspec.Struct, frozen=True):
    """What a phase sets: default style, appetite, threshold and factors."""

    style: int
    appetite: float
    threshold: float
    stop: float
    size: float
    targets: tuple[float, float, float]
    prospect_stop: float
    prospect_size: float


ROWS: tuple[PhaseRow, ...] = (
    PhaseRow(CALCULATED, 0.7, 0.55, 1.1, 1.2, (1.5, 2.0, 3.0), 1.2, 1.2),
    PhaseRow(CONSENSUS, 0.5, 0.65, 1.0, 1.0, (1.2, 1.6, 2.2), 0.8, 0.8),
    PhaseRow(DEFENSIVE, 0.3, 0.75, 0.7, 0.7, (1.8, 2.5, 4.0), 0.6, 0.5),
    PhaseRow(CONTRARIAN, 0.6, 0.60, 0.8, 0.9, (1.3, 2.0, 2.8), 1.0, 0.7),
    PhaseRow(CONSENSUS, 0.5, 0.60, 1.0, 1.0, (1.2, 1.6, 2.2), 1.0, 1.0),
)


def base_weights(board: dict[str, float]) -> dict[str, float]:
    """Return the weights of the seats above 0 in roster order; added seats scale the others."""
    weights = {seat: board[seat] for seat in SEATS if board.get(seat, 0.0) > 0.0}
    given = [weight for seat, weight in weights.items() if seat in ADDED_SEATS]
    others = sum(weight for seat, weight in weights.items() if seat not in ADDED_SEATS)
    if given and max(given) <= MOST_ADDED and abs(others - 1.0) <= 0.001:
        return {s: w if s in ADDED_SEATS else w * (1.0 - sum(given)) for s, w in weights.items()}
    return weights


def seat_weights(base: dict[str, float], phase: int) -> dict[str, float]:
    """Return base × multiplier(phase), renormalised."""
    raw = {seat: weight * MULTIPLIERS.get(seat, EVEN)[phase] for seat, weight in base.items()}
    total = sum(raw.values())
    return {seat: weight / total for seat, weight in raw.items()}
