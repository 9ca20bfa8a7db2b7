"""A verdict as it is sent, journalled and shown (pure)."""

from __future__ import annotations

from typing import Any

import numpy as np

from qts_agents.columns import column
from qts_agents.pads.board import Situation, Verdict
from qts_agents.pads.desk import Desk
from qts_agents.pads.outcomes import Resolved
from qts_agents.pads.records import RoundBody
from qts_agents.pads.rounds import Open
from qts_agents.pads.sizing import FACTORS
from qts_agents.pads.styles import OVERRIDES
from qts_agents.pads.tables import REASONS, STYLES
from qts_messaging.messages import ACTIONS, PHASES, PerformanceFeedback
from qts_messaging.records import Column, Decision, Position


def to_decision(
    verdict: Verdict, phase: int, symbols: tuple[str, ...], position: Position, current: Open
) -> Decision:
    """Return the DECISION columns of the round `current`."""
    return Decision(
        decision_id=current.decision_id,
        round_id=current.round_id,
        asof_ns=current.asof_ns,
        phase=PHASES[phase],
        symbols=symbols,
        actions=ACTIONS,
        action=column(verdict.action, "u1"),
        p=column(verdict.pool.p),
        signal=column(verdict.signal),
        confidence=column(verdict.confidence),
        information=column(verdict.information),
        dissent=column(verdict.pool.dissent),
        size=column(verdict.size),
        reasons=REASONS,
        reason=column(verdict.reason, "u1"),
        seats=verdict.seats,
        share=column(verdict.pool.share),
        position=position,
        stop=column(verdict.stop),
        targets=column(verdict.targets),
        styles=STYLES,
        style=column(verdict.style, "u1"),
        veto=column(verdict.veto, "u4"),
        quorum=column(verdict.quorum, "u1"),
    )


def journal_columns(verdict: Verdict, now: Situation, close: Any) -> dict[str, Column]:
    """Return what a `round` record holds beside the decision."""
    floats = {
        "pi": verdict.pi,
        "votes": verdict.votes,
        "omega": verdict.omega,
        "prior": verdict.prior,
        "q": verdict.pool.q,
        "leave_one_out": verdict.pool.leave_one_out,
        "mean_vote": verdict.mean_vote,
        "agreement": verdict.agreement,
        "appetite": now.appetite,
        "af": now.af,
        "factors": verdict.factors,
        "prospect": verdict.prospect,
        "expected": verdict.expected,
        "opportunity": verdict.opportunity,
        "exposure": now.exposure,
        "close": close,
    }
    columns = {name: column(values) for name, values in floats.items()}
    columns["fired"] = column(verdict.fired.astype(np.uint8), "u1")
    columns["override"] = column(verdict.override, "u1")
    # people overweigh small chances: where V and the expected value differ in sign, that is the bias
    biased = (verdict.prospect > 0.0) != (verdict.expected > 0.0)
    columns["biased"] = column(biased.astype(np.uint8), "u1")
    return columns


def round_body(
    desk: Desk, current: Open, now: Situation, verdict: Verdict, sent: tuple[int, str, int, bytes]
) -> RoundBody:
    """Return the journal's record of a round; `sent`: seed, outcome, time, the decision's bytes."""
    seed, outcome, now_ns, decision = sent
    return RoundBody(
        round_id=current.round_id,
        decision_id=current.decision_id,
        number=current.number,
        asof_ns=current.asof_ns,
        opened_ns=current.opened_ns,
        decided_ns=now_ns,
        window_seq=current.seq,
        window_sha256=current.sha256,
        seed=seed,
        outcome=outcome,
        reputation=now.reputation,
        weights=now.weights,
        psi=desk.risk.psi,
        threshold=verdict.threshold,
        safe=verdict.safe,
        regime=now.regime,
        panarchy=desk.panarchy.describe(),
        columns=journal_columns(verdict, now, desk.panarchy.scales["micro"].close()),
        factor_names=FACTORS,
        overrides=OVERRIDES,
        decision=decision,
    )


def feedback(
    one: Resolved, seats: tuple[str, ...], symbols: tuple[str, ...], b: float
) -> PerformanceFeedback:
    """Return the message that tells what became of a decision."""
    w = one.waiting
    return PerformanceFeedback(
        decision_id=w.decision_id,
        round_id=w.round_id,
        asof_ns=w.asof_ns,
        symbols=symbols,
        outcome=column(one.outcome, "u1"),
        ret=column(one.ret),
        cost=column(w.cost),
        pnl=column(one.pnl),
        seats=seats,
        log_score=column(one.hindsight.said),
        marginal=column(b * one.hindsight.added),
    )


def score_columns(one: Resolved) -> dict[str, Column]:
    """Return what an `outcome` record holds beside the feedback."""
    return {"g": column(one.hindsight.score)}


def told(verdict: Verdict, decision: Decision, appetite: Any) -> tuple[dict[str, Any], dict[str, float], str]:
    """Return what /statusz shows of the newest decision: itself in short, gauges, and the usual style."""
    style = STYLES[int(np.bincount(verdict.style).argmax())]
    return in_short(verdict, decision), gauges(verdict, appetite), style


def gauges(verdict: Verdict, appetite: Any) -> dict[str, float]:
    """Return the board metrics, means over symbols."""
    values = {
        "consensus_level": verdict.agreement,
        "conviction_level": verdict.information,
        "risk_appetite": appetite,
        "opportunity_score": verdict.opportunity,
        "voting_quorum": verdict.quorum,
        "dissent_level": verdict.pool.dissent,
    }
    return {name: _mean(np.asarray(x, dtype=np.float64)) for name, x in values.items()}


def _mean(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else 0.0


def in_short(verdict: Verdict, decision: Decision) -> dict[str, Any]:
    """Return the newest decision as /statusz shows it."""
    counts = np.bincount(verdict.action, minlength=len(ACTIONS))
    first = range(min(4, len(decision.symbols)))
    return {
        "id": decision.decision_id,
        "asof_ns": decision.asof_ns,
        "phase": decision.phase,
        "reason": REASONS[int(np.bincount(verdict.reason).argmax())],
        "actions": {ACTIONS[a]: int(n) for a, n in enumerate(counts) if n},
        "symbols": {
            decision.symbols[s]: {
                "action": ACTIONS[int(verdict.action[s])],
                "reason": REASONS[int(verdict.reason[s])],
                "confidence": float(verdict.confidence[s]),
                "size": float(verdict.size[s]),
                "votes": _votes(verdict, s),
            }
            for s in first
        },
    }


def _votes(verdict: Verdict, s: int) -> dict[str, list[float] | None]:
    """Return seat → its p in symbol `s`, None where it was silent."""
    rows = verdict.pi[s]
    return {
        seat: [float(x) for x in rows[i]] if np.isfinite(rows[i]).all() else None
        for i, seat in enumerate(verdict.seats)
    }
