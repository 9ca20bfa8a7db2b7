"""What QBMIA tells PADS unasked: thin markets, suspected manipulation, proposals of a phase."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import Outgoing
from qts_agents.qbmia import machiavellian, regime
from qts_agents.qbmia.flow import DAY_S, window_s
from qts_agents.qbmia.regime import Reading
from qts_agents.qbmia.state import Seen, State
from qts_messaging.messages import PhaseTransition, RiskAlert

F8 = NDArray[np.float64]
ALERT_BARS = 30  # until an alert expires
QUIET_BARS = 5  # between alerts of one type
DECIDER, SENDER = "pads", "qbmia"


def thin(symbols: tuple[str, ...], illiquidity: F8, level: float) -> tuple[str, ...]:
    """Return the symbols whose illiquidity is above the alert level."""
    return tuple(name for name, value in zip(symbols, illiquidity, strict=True) if value > level)


def illiquidity(state: State, bar: int, now_ns: int, expires_ns: int) -> list[Outgoing]:
    """Return an alert for the thin symbols of the newest request, at most one in 5 bars."""
    seen = state.seen
    if seen is None or not seen.symbols or bar - seen.bar > 1 or not _rested(state, "illiquidity", bar):
        return []
    evidence = {"illiquidity": seen.worst, "mean": seen.illiquidity}
    return [_alert("illiquidity", seen.worst, seen.symbols, (bar, now_ns, expires_ns), evidence)]


def level(bar_s: float, false_alarms: float) -> float:
    """Return the p-value below which so many windows a day are suspicious by chance."""
    return min(0.05, false_alarms * window_s(bar_s) / DAY_S)


def manipulation(state: State, bar: int, now_ns: int, expires_ns: int, alpha: float) -> list[Outgoing]:
    """Return an alert for the symbols with 2 of 3 windows below the level `alpha`."""
    suspected = {
        name: score
        for name, (combined, score) in state.findings.items()
        if machiavellian.alarm(combined, alpha) and math.isfinite(score)
    }
    if not suspected or not _rested(state, "manipulation_suspected", bar):
        return []
    worst = max(suspected.values())
    scope = tuple(sorted(suspected))
    evidence = {f"score.{name}": suspected[name] for name in scope[:16]}
    return [_alert("manipulation_suspected", worst, scope, (bar, now_ns, expires_ns), evidence)]


def _rested(state: State, kind: str, bar: int) -> bool:
    """Tell whether an alert of this type may be sent, and note that it is."""
    if bar - state.alerted.get(kind, -QUIET_BARS) < QUIET_BARS:
        return False
    state.alerted[kind] = bar
    return True


def _alert(
    kind: str,
    severity: float,
    scope: tuple[str, ...],
    times: tuple[int, int, int],
    evidence: dict[str, float],
) -> Outgoing:
    """Build a report to PADS; times = bar, raised, expires."""
    bar, raised_ns, expires_ns = times
    alert = RiskAlert(
        alert_id=f"{SENDER}-{kind}-{bar}",
        alert_type=kind,
        severity=min(1.0, severity),
        scope=scope,
        raised_ns=raised_ns,
        expires_ns=expires_ns,
        sender=SENDER,
        evidence=evidence,
    )
    return Outgoing(alert, DECIDER)


def reading(state: State, seen: Seen) -> Reading:
    """Return the regime indicators at the newest request."""
    before = state.strategy_before(seen.bar - regime.LOOKBACK)
    now = state.strategy_before(seen.bar)
    return Reading(
        resource=1.0 - seen.illiquidity,
        connectedness=seen.meso[1] if len(seen.meso) > 1 else 0.5,
        stability=regime.stability(state.signals),
        innovation=0.0 if now is None else regime.innovation(now, before),
        crisis=regime.crisis(seen.meso[3] if len(seen.meso) > 3 else 0.0, seen.manipulation, seen.psi),
    )


def transition(state: State, bar: int) -> list[Outgoing]:
    """Evaluate the regime when there is new evidence; return a proposal when a rule has held long enough."""
    seen, monitor = state.seen, state.monitor
    if seen is None or not monitor.due(bar, seen.bar):
        return []
    known = reading(state, seen)
    wanted = monitor.step(seen.phase, known, seen.bar)
    if wanted is None:
        return []
    monitor.outstanding = f"{SENDER}-{seen.bar}-{seen.phase}-{wanted}"
    proposal = PhaseTransition(
        transition_id=monitor.outstanding,
        kind="proposal",
        old_phase=seen.phase,
        new_phase=wanted,
        scores=seen.scores,
        indicators={name: float(getattr(known, name)) for name in known.__struct_fields__},
        transition_time_ns=seen.asof_ns,
        source=SENDER,
    )
    return [Outgoing(proposal, DECIDER)]
