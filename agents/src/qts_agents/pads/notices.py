"""What PADS says of its own accord: the phase after the backfill, a proposal, a revolt (pure)."""

from __future__ import annotations

from qts_agents.pace import pace_ns
from qts_agents.pads.cycle import Candidate
from qts_agents.pads.desk import Desk
from qts_agents.pads.panarchy import Revolt
from qts_core.spec import System
from qts_messaging.messages import PHASES, PhaseTransition, RiskAlert

NAME = "pads"
ALERT_BARS = 30


def introduction(desk: Desk, epoch: int) -> PhaseTransition:
    """Return the announcement of the phase that the backfill led to; its way there concerns nobody."""
    return PhaseTransition(
        transition_id=f"{NAME}-{epoch}-{desk.seq}-start",
        kind="announcement",
        old_phase=PHASES[-1],
        new_phase=PHASES[desk.panarchy.held],
        scores=_scores(desk),
        indicators={},
        transition_time_ns=desk.asof_ns,
        source=NAME,
        reason="held since the backfill",
    )


def proposal(desk: Desk, candidate: Candidate, epoch: int) -> PhaseTransition:
    """Return our own detector's candidate as a proposal that is judged like anybody's."""
    p, c, r = (float(x) for x in desk.panarchy.meso_pcr)
    return PhaseTransition(
        transition_id=f"{NAME}-{epoch}-{desk.seq}-{PHASES[candidate.new]}",
        kind="proposal",
        old_phase=PHASES[desk.panarchy.held],
        new_phase=PHASES[candidate.new],
        scores=_scores(desk),
        indicators={"potential": p, "connectedness": c, "resilience": r},
        transition_time_ns=desk.asof_ns,
        source=NAME,
        reason="crisis" if candidate.crisis else "detector",
    )


def revolt_alert(desk: Desk, revolt: Revolt, epoch: int, now_ns: int, system: System) -> RiskAlert:
    """Return the alert that a crisis rises from micro to meso; it stands for 30 bars at the present pace."""
    return RiskAlert(
        alert_id=f"{NAME}-revolt-{epoch}-{desk.seq}",
        alert_type="revolt_cascade",
        severity=revolt.severity,
        scope=(),
        raised_ns=now_ns,
        expires_ns=now_ns + ALERT_BARS * pace_ns(system, desk.bar_s),
        sender=NAME,
        evidence={"share": revolt.share},
    )


def _scores(desk: Desk) -> tuple[float, ...]:
    return tuple(float(x) for x in desk.panarchy.scores["meso"])
