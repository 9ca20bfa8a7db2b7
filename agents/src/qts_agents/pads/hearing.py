"""Opinions as they came → the board's ballot: checked, actions resolved by name (pure)."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.choice import known_or_zero
from qts_agents.columns import array
from qts_agents.pads.actions import Answer
from qts_agents.pads.members import AGENT_SEATS, SEAT_OF, Ballot, empty_ballot, stated
from qts_agents.pads.tables import HOLD
from qts_messaging.messages import ACTIONS
from qts_messaging.records import Opinion

_OURS = np.arange(len(ACTIONS), dtype=np.uint8)
#: why nothing came in time; every other reason is what was wrong with what came
SILENCE = ("timeout", "dead", "no_route", "full", "expired", "shutdown", "late")
MARKS = 1024  # ACTION_NEEDS_POSITION says something, but the row still votes


def hear(
    round_id: str, answers: tuple[Answer, ...], S: int, d: NDArray[np.float64]
) -> tuple[Ballot, dict[str, str]]:
    """Return the ballot in fixed seat order, and peer → why its answer was not used."""
    ballot, refused = empty_ballot(S), {}
    for answer in answers:
        seat = SEAT_OF.get(answer.peer)
        if seat is None or answer.opinion is None or answer.late:
            refused[answer.peer] = answer.reason or ("late" if answer.late else "no opinion of a known seat")
            continue
        try:
            _enter(ballot, AGENT_SEATS.index(seat), round_id, answer.opinion, d)
        except (ValueError, IndexError) as error:
            refused[answer.peer] = f"invalid: {error}"
    return ballot, refused


def ended(asked: tuple[str, ...], answers: tuple[Answer, ...], refused: dict[str, str]) -> str:
    """Return how a round with a quorum ended: error, expired or complete; an abstention is an answer."""
    if any(reason not in SILENCE for reason in refused.values()):
        return "error"
    return "complete" if {a.peer for a in answers}.issuperset(asked) and not refused else "expired"


def _enter(ballot: Ballot, a: int, round_id: str, opinion: Opinion, d: NDArray[np.float64]) -> None:
    """Write one opinion into column `a`; ValueError names what is wrong with it."""
    if opinion.round_id != round_id:
        raise ValueError(f"it answers round {opinion.round_id}")
    S = len(d)
    p = _checked(opinion.p, (S, 3), "p").astype(np.float64)
    action = _resolved(_checked(opinion.action, (S,), "action"), opinion.actions)
    confidence = _checked(opinion.confidence, (S,), "confidence").astype(np.float64)
    abstain = _checked(opinion.abstain, (S,), "abstain").astype(np.int64)
    votes = (abstain & ~MARKS) == 0
    finite = np.isfinite(p)
    if finite.all():  # as the built-in agents always say it
        fine, told = _adds_up(p), p
    else:
        whole = np.asarray(finite.all(axis=1))
        fine = (whole & _adds_up(np.where(whole[:, None], p, 0.0))) | np.isnan(p).all(axis=1)
        told = stated(p, action, known_or_zero(confidence), d)
    spoken = votes & fine & np.isfinite(confidence)
    ballot.p[:, a] = np.where(spoken[:, None], told, np.nan)
    ballot.action[:, a] = np.where(spoken, action, HOLD)
    ballot.confidence[:, a] = np.where(spoken, confidence, 0.0)
    ballot.voted[:, a] = spoken


def _adds_up(p: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which rows of `p` [S,3] are probabilities."""
    return np.asarray((p >= 0.0).all(axis=1) & (np.abs(p.sum(axis=1) - 1.0) < 1e-6))


def _checked(column: Any, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    values = array(column)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape}")
    return values


def _resolved(action: NDArray[Any], names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return our indices of actions that the message names by its own table."""
    ours = _OURS if names == ACTIONS else np.array([ACTIONS.index(name) for name in names], dtype=np.uint8)
    return np.asarray(ours[action.astype(np.int64)])


def judged(answers: tuple[Answer, ...], refused: dict[str, str]) -> tuple[Answer, ...]:
    """Return answers as they are written down: an opinion that was not used, unless late, with the reason."""
    return tuple(
        msgspec.structs.replace(answer, reason=refused[answer.peer])
        if answer.peer in refused and answer.opinion is not None and not answer.late
        else answer
        for answer in answers
    )
