"""BOARD: the seats, three held by agents and three derived, and what each says (agents.md §2.1)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.choice import clipped
from qts_agents.kernels.pool import belief_map
from qts_agents.opinions import position_map
from qts_agents.pads.tables import BUY, HOLD, SELL, SIGNALS, VOTES
from qts_core.roster import VOTERS

F8 = NDArray[np.float64]
AGENT_SEATS: tuple[str, ...] = tuple(w.seat for w in VOTERS if w.seat)
SEAT_OF: dict[str, str] = {w.wire: w.seat for w in VOTERS if w.seat}
QUORUM = 2
_SIGNALS, _VOTES = np.array(SIGNALS), np.array(VOTES)
ROOT = np.sqrt(20.0)


class Ballot(msgspec.Struct, frozen=True):
    """The agents' answers by agent seat: S rows, A seats; absent rows are NaN."""

    p: F8  # [S,A,3]
    action: NDArray[np.uint8]  # [S,A]
    confidence: F8  # [S,A]
    voted: NDArray[np.bool_]  # [S,A]


class Table(msgspec.Struct, frozen=True):
    """What derived seats may look at beside the ballot."""

    d: NDArray[np.float64]  # [S] sign of the position
    frequencies: F8  # [S,3] outcomes in the present phase
    maker: tuple[F8, F8]  # [S] of `maker_view`
    scale: float  # p_up − p_down that counts as a full signal


def empty_ballot(S: int) -> Ballot:
    """Return a ballot nobody voted in."""
    A = len(AGENT_SEATS)
    return Ballot(
        p=np.full((S, A, 3), np.nan),
        action=np.full((S, A), HOLD, dtype=np.uint8),
        confidence=np.zeros((S, A)),
        voted=np.zeros((S, A), dtype=np.bool_),
    )


def stated(p: F8, action: NDArray[np.uint8], confidence: F8, d: F8) -> F8:
    """Return `p` [S,3] with rows that state only an action read by the signal row of §1.2."""
    stated_p = np.asarray(np.isfinite(p).all(axis=1))
    if stated_p.all():  # as the built-in agents always do
        return p
    value = _SIGNALS[action] * np.where((action == BUY) | (action == SELL), 1.0, d)
    told = belief_map(value, np.clip(confidence, 0.0, 1.0))
    return np.where(stated_p[:, None], p, told)


def consensus(ballot: Ballot, table: Table) -> F8:
    """Return the linear opinion pool (Stone 1961) of the agents, NaN below two."""
    del table
    count = ballot.voted.sum(axis=1)
    total = np.where(ballot.voted[:, :, None], ballot.p, 0.0).sum(axis=1)
    return np.where(count[:, None] >= QUORUM, total / np.maximum(count, 1)[:, None], np.nan)


def adaptability(ballot: Ballot, table: Table) -> F8:
    """Return the outcome frequencies in the present phase."""
    del ballot
    return table.frequencies


def maker_view(imbalance: F8, spread: F8, gap: F8, sigma20: F8) -> tuple[F8, F8]:
    """Return (s, c) [S] of the market maker: queue imbalance less inventory reversion; NaN without quotes."""
    usual = sigma20 * ROOT
    z = np.divide(gap, usual, out=np.zeros_like(usual), where=usual > 0.0)
    s = np.tanh(imbalance - 0.5 * z)
    return s, np.abs(s) * (1.0 - np.minimum(1.0, spread / 0.005))


def market_maker(ballot: Ballot, table: Table) -> F8:
    """Return the belief map of the market maker's view."""
    del ballot
    return belief_map(*table.maker)


#: derived seats; an agent's seat says what the agent said
BOARD: dict[str, Callable[[Ballot, Table], F8]] = {
    "consensus": consensus,
    "adaptability": adaptability,
    "market_maker": market_maker,
}


def opinions(seats: tuple[str, ...], ballot: Ballot, table: Table) -> F8:
    """Return π [S,N,3] in the order of `seats`; NaN rows are absent."""
    columns = []
    for seat in seats:
        if seat in BOARD:
            columns.append(BOARD[seat](ballot, table))
        else:
            columns.append(ballot.p[:, AGENT_SEATS.index(seat)])
    return np.stack(columns, axis=1)


def votes(seats: tuple[str, ...], ballot: Ballot, pi: F8, table: Table) -> F8:
    """Return v [S,N] of §1.2's vote row, NaN where a seat does not vote."""
    out, d = np.full(pi.shape[:2], np.nan), table.d[:, None]
    said = _vote(ballot.action, ballot.voted, d)
    for i, seat in enumerate(seats):
        if seat in AGENT_SEATS:
            out[:, i] = said[:, AGENT_SEATS.index(seat)]
        elif seat == "consensus":
            signal = clipped((pi[:, i, 0] - pi[:, i, 2]) / table.scale, -1.0, 1.0)
            action = position_map(signal, table.d)
            out[:, i] = _vote(action[:, None], np.isfinite(signal)[:, None], d)[:, 0]
    return out


def _vote(action: NDArray[np.uint8], voted: NDArray[np.bool_], d: F8) -> F8:
    """Return the votes [S,n] that actions [S,n] are, NaN where none was given; `d` [S,1]."""
    relative = np.where((action == BUY) | (action == SELL), 1.0, d)
    return np.where(voted, _VOTES[action] * relative, np.nan)


def agreement(v: F8, omega: F8) -> tuple[F8, F8]:
    """Return (s̄, agreement) [S] of votes `v` [S,N] with weights `omega`; 0, 0 where nobody votes."""
    weight = np.where(np.isfinite(v), omega, 0.0)
    vote = np.where(np.isfinite(v), v, 0.0)
    total = weight.sum(axis=1)
    held = total > 0.0
    safe = np.where(held, total, 1.0)
    mean = (weight * vote).sum(axis=1) / safe
    sigma = np.sqrt((weight * (vote - mean[:, None]) ** 2).sum(axis=1) / safe)
    return np.where(held, mean, 0.0), np.where(held, 1.0 - np.minimum(1.0, 2.0 * sigma), 0.0)
