"""What PADS counts and notes of a round once its decision is out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qts_agents import round_spans
from qts_agents.agent import abstention
from qts_agents.cause import Cause
from qts_agents.columns import array
from qts_agents.context import Context
from qts_agents.metrics import Metrics
from qts_agents.pads.actions import Answer, Ask
from qts_agents.round_notes import RoundNotes
from qts_core.telemetry import trace_id_hex
from qts_messaging.bus import Reply
from qts_messaging.messages import ACTIONS
from qts_messaging.records import Decision, Opinion


def count_votes(
    metrics: Metrics, replies: Sequence[Reply], answers: Sequence[Answer], refused: dict[str, str]
) -> None:
    """Count what became of each vote; what PADS refused is as invalid as what is no opinion."""
    for reply, answer in zip(replies, answers, strict=True):
        used = answer.opinion is not None and answer.peer not in refused
        result = "used" if used else "invalid" if reply.envelope is not None else reply.reason or "late"
        metrics.votes.labels(reply.peer, result).inc()


def tell_round(
    context: Context, ask: Ask, cause: Cause, answers: Sequence[Answer], refused: dict[str, str], outcome: str
) -> None:
    """Write a line of a round that lacks a vote: whose, and why; its ids lead to its trace and its record."""
    if outcome == "complete":
        return
    lacking = {peer: "not asked" for peer in context.system.voters() if peer not in ask.requests}
    for answer in answers:
        why = refused.get(answer.peer) or _abstains(answer.opinion)
        if why:
            lacking[answer.peer] = why
    ids = {"round_id": ask.round_id, "trace_id": trace_id_hex(cause.trace)}
    context.log.warning("round_lacks_votes", outcome=outcome, lacking=lacking, **ids)


def _abstains(opinion: Opinion | None) -> str:
    """Return why an opinion that was heard abstains in any symbol."""
    if opinion is None:
        return ""
    why = abstention(int(np.bitwise_or.reduce(array(opinion.abstain).astype(np.int64), initial=0)))
    return f"abstains: {why}" if why else ""


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
    metrics.round_ended(outcome)
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
