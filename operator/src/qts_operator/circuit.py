"""The circuit of an agent whose node rejects its pods: open at 3 rejections, then one pod on trial. Pure.

A lost device once left 12,000 failed pods (kubernetes #108152): the ReplicaSet makes a new one each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from qts_operator.snapshot import Pod
from qts_operator.times import back_off, seconds_of, stamp

WINDOW_S = 300.0
REJECTIONS = 3
FIRST_S = 60.0
LONGEST_S = 1800.0


class Circuit(msgspec.Struct, frozen=True, kw_only=True):
    """An open circuit, as the status keeps it."""

    at: float  # when it opened, seconds since the epoch
    tries: int  # how often it opened in a row
    node: str
    reason: str
    count: int

    @property
    def until(self) -> float:
        """Return when one pod is tried."""
        return self.at + back_off(FIRST_S, self.tries, LONGEST_S)

    def told(self) -> dict[str, Any]:
        """Return the entry of the status."""
        inner = {"tries": self.tries, "node": self.node, "reason": self.reason, "count": self.count}
        return {"at": stamp(self.at)} | inner


def read(entry: dict[str, Any]) -> Circuit | None:
    """Return the circuit of a workload's entry of the status."""
    told = entry.get("circuit") or {}
    at = seconds_of(told.get("at", ""))
    if at is None:
        return None
    return Circuit(
        at=at,
        tries=int(told.get("tries", 1)),
        node=str(told.get("node", "")),
        reason=str(told.get("reason", "")),
        count=int(told.get("count", REJECTIONS)),
    )


def rejected(pod: Pod) -> bool:
    """Tell whether a node's kubelet would not take the pod that the scheduler gave it."""
    known = ("UnexpectedAdmissionError", "NodeAffinity")
    return pod.phase == "Failed" and (pod.reason in known or pod.reason.startswith("OutOf"))


def judge(pods: Iterable[Pod], former: Circuit | None, now: float) -> Circuit | None:
    """Return the circuit as it is now: None while closed."""
    every = [p for p in pods if not p.deleting]
    failed = sorted((p for p in every if rejected(p)), key=lambda p: (p.started, p.name))
    if former is None:
        recent = [p for p in failed if now - p.started <= WINDOW_S]
        return _opened(recent, 1, now) if len(recent) >= REJECTIONS else None
    if now < former.until:
        return former
    tried = [p for p in every if p.started >= former.until]
    again = [p for p in tried if rejected(p)]
    if again:
        return _opened(again, former.tries + 1, now)
    if any(p.node and p.phase == "Running" for p in tried):
        return None
    return former


def left_over(pods: Iterable[Pod]) -> list[Pod]:
    """Return the rejected pods that nobody needs: all but the newest 3."""
    failed = sorted((p for p in pods if rejected(p) and not p.deleting), key=lambda p: (p.started, p.name))
    return failed[:-REJECTIONS]


def _opened(failed: list[Pod], tries: int, now: float) -> Circuit:
    last = failed[-1]
    return Circuit(at=float(int(now)), tries=tries, node=last.node, reason=last.reason, count=len(failed))
