"""What comes up in its time once it is made, resumed or given a new template: no news until it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from qts_core import names
from qts_operator.conditions import said
from qts_operator.progress import SLOW_S, Cause
from qts_operator.snapshot import Snapshot
from qts_operator.times import seconds_of

#: the reason of Ready until a start is over or takes too long
STARTING_UP = "StartingUp"
#: until then the containers are made or are named as slow, and the kubelet gives each three minutes to start
START_S = SLOW_S + 180.0


class Grace(msgspec.Struct, frozen=True):
    """For how many seconds more a start is an ordinary one: of a whole system, and of a new template."""

    system_s: float
    template_s: float

    def covers(self, cause: Cause, *, rolling: bool) -> bool:
        """Tell whether a workload comes up in its time; `rolling`: its newest template never was there."""
        return not cause.holds and (self.system_s > 0 or (rolling and self.template_s > 0))


def grace(snapshot: Snapshot, told: Mapping[str, Any]) -> Grace:
    """Return what is left by the conditions of `told`: what they do not say yet begins now.

    The start of a system is over once it was ready: then Ready changed after Suspended did. That of a
    template begins with the first of roll-outs that follow each other, and is over where one is stuck.
    """
    resumed, ready = said(told, "Suspended"), said(told, "Ready")
    system = _since(resumed, "False", snapshot.now) if resumed else snapshot.created
    fell = _since(ready, "False", system)
    if ready.get("reason") in ("Suspended", STARTING_UP) and _none_before(snapshot, fell):
        system = max(system, fell)  # it was resumed before all its pods were gone: Suspended never was True
    over = ready.get("status") == "True" or (ready and fell > system)
    left_s = 0.0 if over else START_S - (snapshot.now - system)
    return Grace(left_s, _of_a_template(said(told, "Progressing"), snapshot.now))


def again_s(snapshot: Snapshot, told: Mapping[str, Any]) -> list[float]:
    """Return in how many seconds a start that `told` calls one may take too long."""
    left = grace(snapshot, told)
    going = [seconds for seconds in (left.system_s, left.template_s) if seconds > 0]
    return [min(going)] if going and said(told, "Ready").get("reason") == STARTING_UP else []


def _none_before(snapshot: Snapshot, when: float) -> bool:
    """Tell whether no pod of an agent or the feed is older."""
    own = (p for p in snapshot.pods if p.agent != names.REDIS_PART and not p.deleting)
    return all(pod.started >= when for pod in own)


def _of_a_template(progress: Mapping[str, Any], now: float) -> float:
    reason = progress.get("reason", "Complete")
    if reason == "RolloutStuck":
        return 0.0
    began = None if reason == "Complete" else seconds_of(progress.get("lastTransitionTime", ""))
    return START_S if began is None else START_S - (now - began)


def _since(condition: Mapping[str, Any], status: str, now: float) -> float:
    since = seconds_of(condition.get("lastTransitionTime", "")) if condition.get("status") == status else None
    return now if since is None else since
