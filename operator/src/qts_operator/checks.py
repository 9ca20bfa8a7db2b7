"""CHECKS: what needs a person, as named facts in order; the first is the condition Degraded. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from qts_core.roster import BY_NAME
from qts_operator import adopt, refusals
from qts_operator.objects.frame import Frame
from qts_operator.snapshot import Finding, Snapshot
from qts_operator.writes import State

Check = Callable[[Snapshot, Frame | None, State], Finding | None]


def blocked(snapshot: Snapshot, _: Frame | None, __: State) -> Finding | None:
    """Report what stands in the way of every pass: rights, an old definition, a wrong field."""
    return snapshot.blocked[0] if snapshot.blocked else None


def refused(_: Snapshot, __: Frame | None, state: State) -> Finding | None:
    """Report the first object that the server or its owner did not let us write."""
    return next((f for f in state.findings if f.condition == "Degraded"), None)


def barred(snapshot: Snapshot, _: Frame | None, __: State) -> Finding | None:
    """Report a pod that was to be restarted and could not be deleted."""
    return snapshot.refused


def stopped(snapshot: Snapshot, frame: Frame | None, __: State) -> Finding | None:
    """Report agents that stay down because `config.autoRestartFailed` is false."""
    if frame is None or not frame.stopped:
        return None
    listed = sorted(frame.stopped)
    text = (
        f"{', '.join(listed)} ended and spec.config.autoRestartFailed is false; any change of the spec starts"
    )
    text += f" what ended again, and this changes nothing else: {_change(snapshot, frame, listed[0])}"
    return Finding(reason="RestartDisabled", message=text)


def _change(snapshot: Snapshot, frame: Frame, name: str) -> str:
    """Return a command that changes the spec and nothing that it means: a window is told in other words."""
    window = frame.spec.pods(name).restart_policy.window
    shorter = re.sub(r"(?<=[smh])0ms$", "", window)
    change: Any = {"restartPolicy": {"window": shorter if shorter != window else f"{window}0ms"}}
    for key in reversed(["spec", *BY_NAME[name].section.split(".")]):
        change = {key: change}
    change = json.dumps(change, separators=(",", ":"))
    return f"kubectl -n {snapshot.namespace} patch qts {snapshot.name} --type merge -p '{change}'"


def unsupported(_: Snapshot, frame: Frame | None, __: State) -> Finding | None:
    """Report a workload whose template revision this operator does not render."""
    return None if frame is None else adopt.finding(frame)


def unhealthy(_: Snapshot, frame: Frame | None, __: State) -> Finding | None:
    """Report an agent whose node rejects its pods: the circuit holds it back."""
    return next(iter(frame.faults), None) if frame is not None else None


def full(snapshot: Snapshot, _: Frame | None, state: State) -> Finding | None:
    """Report an object that a quota has not let us write for a minute."""
    told = next((f for f in state.findings if f.condition == "Scheduled"), None)
    return None if told is None else refusals.unwritten(snapshot, told)


def unmade(snapshot: Snapshot, frame: Frame | None, _: State) -> Finding | None:
    """Report a workload whose pods the server refuses to its controller."""
    return None if frame is None else refusals.finding(snapshot, frame)


CHECKS: tuple[Check, ...] = (blocked, unsupported, refused, barred, unhealthy, stopped, full, unmade)


def degraded(snapshot: Snapshot, frame: Frame | None, state: State) -> Finding | None:
    """Return the first hit."""
    for check in CHECKS:
        found = check(snapshot, frame, state)
        if found is not None:
            return found
    return None
