"""CONDITIONS: every status and reason that a condition may have, and what binds one status to the next.

What an operator looks at may have changed more than once since it last looked, so any row may follow any
other row of its condition. What binds two statuses is in `broken`: times, generations, and what the
conditions of one status owe each other. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from qts_operator.times import seconds_of

#: what needs a person; it is also the reason of Ready, and of everything while the spec cannot be read
FAULTS = (
    "AccessDenied",
    "CRDOutdated",
    "CredentialsMissing",
    "NamespaceTerminating",
    "GPUUnhealthy",
    "NameTaken",
    "ObjectRejected",
    "RestartBudgetExhausted",
    "RestartDisabled",
    "RevisionUnsupported",
    "SpecRejected",
)
#: rights that are missing and hinder no system; one that does is the reason AccessDenied of the others
RESTRICTED = "Restricted"
#: classes of what keeps workloads from being ready
_NOT_READY = (
    "AgentsNotReady",
    "CrashLooping",
    "FeedNotReady",
    "ImageNotPulled",
    "QuotaExceeded",
    "StartingUp",
)
#: what a Redis that answers refuses to PADS
REFUSES = ("RedisRefusesWrites", "RedisRefusesLogin", "RedisRefusesCommands")
_NO_GPU = (
    "NoGPUNodes",
    "CountTooLarge",
    "GPUsBusy",
    "NoMatchingMIGProfile",
    "NoMatchingNode",
    "UntoleratedTaint",
    "NodesUnavailable",
    "GPUUnhealthy",
    "ClaimNotAllocated",
    "QuotaExceeded",
    "Unschedulable",
    "FallbackToCPU",
)


def said(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the condition `kind` of an object's status, as the server has it; empty where there is none."""
    found: Iterable[Mapping[str, Any]] = status.get("conditions") or ()
    return next((each for each in found if each.get("type") == kind), {})


class Condition(msgspec.Struct, frozen=True):
    """One condition before it is dated."""

    type: str
    status: str
    reason: str
    message: str = ""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One type of condition: its reasons by status, and whether a change of it is an Event."""

    true: tuple[str, ...]
    false: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    good: str = ""  # the status that is good news; "": nobody is told of a change
    always: bool = True  # False: it stands there only while it is True

    def allows(self, status: str, reason: str) -> bool:
        """Tell whether the table has this row."""
        return reason in {"True": self.true, "False": self.false, "Unknown": self.unknown}.get(status, ())


CONDITIONS: dict[str, Kind] = {
    "Ready": Kind(
        true=("AllReady",),
        false=(*_NOT_READY, "RedisNotReady", "MessagingDown", "SpecNotApplied", "Suspended", *FAULTS),
        good="True",
    ),
    "Progressing": Kind(
        true=("Creating", "RollingOut", "Resuming", "Rotating"),
        false=("Complete", "Paused", "RolloutStuck", *FAULTS),
    ),
    "Degraded": Kind(true=(*FAULTS, "QuotaExceeded"), false=("Healthy",), good="False"),
    "Scheduled": Kind(
        true=("Scheduled",),
        false=("Creating", "Unschedulable", "WaitingForGang", "QuotaExceeded", "PodsRefused"),
        unknown=FAULTS,
    ),
    "GPUAvailable": Kind(
        true=("NotRequested", "Allocated"),
        false=_NO_GPU,
        unknown=("Scheduling", "NodesNotVisible", *FAULTS),
        good="True",
    ),
    "RedisReady": Kind(
        true=("Ready", "Reached"),
        false=("StartingUp", "NotReachable", "CredentialsMissing", *REFUSES),
        unknown=("StatusUnreachable", "Suspended", *FAULTS),
    ),
    "MessagingReady": Kind(
        true=("AllHeard",),
        false=("PeersSilent", "Simulated"),
        unknown=("StartingUp", "StatusUnreachable", "Suspended", *FAULTS),
    ),
    "Suspended": Kind(true=("Suspended",), false=("NotSuspended", "Suspending"), unknown=FAULTS),
    RESTRICTED: Kind(true=("AccessDenied",), false=(), always=False),
}


def broken(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what is wrong with a status that follows another one ({}: it is the first)."""
    told = {c["type"]: c for c in after.get("conditions") or ()}
    due = [name for name, kind in CONDITIONS.items() if kind.always or name in told]
    if list(told) != due:
        return [f"conditions {list(told)}, not {due}"]
    former = {c["type"]: c for c in before.get("conditions") or ()}
    found = []
    for name in due:
        kind = CONDITIONS[name]
        if not kind.allows(told[name]["status"], told[name]["reason"]):
            found.append(f"{name} {told[name]['status']}/{told[name]['reason']} is not in the table")
        found += _dates(name, former.get(name), told[name])
    if int(after.get("observedGeneration") or 0) < int(before.get("observedGeneration") or 0):
        found.append("observedGeneration went back")
    return found + _owed(after, told)


def _dates(name: str, before: dict[str, Any] | None, after: dict[str, Any]) -> list[str]:
    """lastTransitionTime moves with the status alone; neither it nor the generation goes back."""
    if before is None:
        return []
    since, now = before["lastTransitionTime"], after["lastTransitionTime"]
    same = before["status"] == after["status"]
    laws = {
        f"{name} is dated anew though its status did not change": same and since != now,
        f"{name} changed before it last changed": (seconds_of(now) or 0.0) < (seconds_of(since) or 0.0),
        f"{name} speaks of an older generation": after["observedGeneration"] < before["observedGeneration"],
    }
    return [text for text, hit in laws.items() if hit]


def _owed(status: dict[str, Any], told: dict[str, dict[str, Any]]) -> list[str]:
    """What the conditions of one status owe each other."""
    is_, why = {n: c["status"] for n, c in told.items()}, {n: c["reason"] for n, c in told.items()}
    ready = is_["Ready"] == "True"
    laws = {
        "Ready without the newest generation": ready
        and status.get("observedGeneration") != told["Ready"]["observedGeneration"],
        "Ready without Redis": ready and is_["RedisReady"] != "True",
        "Ready though peers are silent": ready and is_["MessagingReady"] == "False",
        "Ready though suspended": ready and is_["Suspended"] == "True",
        "Ready though a person is needed": ready and is_["Degraded"] == "True",
        "Ready and Degraded name different faults": is_["Degraded"] == "True"
        and why["Ready"] not in ("Suspended", why["Degraded"]),
        "a fault that Degraded does not name": why["Ready"] in FAULTS and is_["Degraded"] != "True",
        "conditions speak of different generations": len({c["observedGeneration"] for c in told.values()})
        > 1,
    }
    return [text for text, hit in laws.items() if hit]
