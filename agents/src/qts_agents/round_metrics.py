"""What PADS counts and notes of a round once its decision is out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qts_agents import round_spans
from qts_agents.cause import Cause
from qts_agents.columns import array
from qts_agents.metrics import Metrics
from qts_agents.pads.actions import Answer
from qts_agents.round_notes import RoundNotes
from qts_messaging.bus import Reply
from qts_messaging.messages import ACTIONS
from qts_messaging.records import Decision


def count_votes(
    metrics: Metrics, replies: Sequence[Reply], answers: Sequence[Answer], refused: dict[str, str]
) -> None:
    """Count what became of each vote; what PADS refused is as invalid as what is no opinion."""
    for reply, answer in zip(replies, answers, strict=True):
        used = answer.opinion is not None and answer.peer not in refused
        result = "used" if used else "invalid" if reply.envelope is not None else "late"
        metrics.votes.labels(reply.peer, result).inc()


def measure(
    metrics: Metrics, decision: Decision, ended: tuple[str, float | None, int], board: dict[str, Any]
) -> None:
    """Count a decision that is out; `ended` = outcome, seconds that it took (None: unknown), when (ns)."""
    outcome, took_s, now_ns = ended
    metrics.decision_at.set(now_ns / 1e9)
    counts = np.bincount(array(decision.action), minlength=len(ACTIONS))
    for name, count in zip(ACTIONS, counts, strict=True):
        if count:
            metrics.decisions.labels(name).inc(int(count))
    metrics.rounds.labels(outcome).inc()
    if took_s is not None:
        metrics.round_duration.labels(outcome).observe(took_s)
    metrics.style(str(board["strategy"]))
    for name, gauge in metrics.board.items():
        if name in board["gauges"]:
            gauge.set(board["gauges"][name])


def note_round(
    notes: RoundNotes,
    key: str,
    replies: Sequence[Reply],
    cause: Cause,
    times: tuple[int, int, int, int],
    outcome: str,
) -> None:
    """Note the stages of round `key`; `times` = opened, votes together, decided, published (ns)."""
    note, trace, (start, asked, decided, published) = notes.note, cause.trace, times
    wrong = "" if outcome == "complete" else outcome
    note(trace, round_spans.round_below(cause.above), start, published, key, wrong)
    votes: tuple[round_spans.Place, ...] = ()
    for reply in replies:
        note(trace, round_spans.asked(reply.peer), start, asked, key, reply.reason)
        if reply.envelope is not None and reply.envelope.trace is not None:
            votes += (round_spans.vote(reply.peer),)
            note(trace, round_spans.heard(reply.peer), asked, decided, key)
    note(trace, round_spans.DECIDED, asked, decided, key, links=votes)
