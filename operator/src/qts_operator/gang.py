"""All-or-nothing start: GPU agents of a system get replicas only when all of them fit. Pure.

The oldest system that fits goes first, one at a time; what is not placed within `gangTimeout` is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from qts_operator.snapshot import Need, Node, Other
from qts_operator.times import back_off, seconds_of, stamp

FIRST_S = 30.0
LONGEST_S = 1800.0
LOOK_S = 5.0
State = Literal["Waiting", "Claiming", "Started"]


class Gang(msgspec.Struct, frozen=True, kw_only=True):
    """Where a system stands, as the status keeps it."""

    state: State
    at: float  # since when, seconds since the epoch
    tries: int = 0  # starts given back in a row
    message: str = ""

    @property
    def held(self) -> bool:
        """Tell whether the GPU agents stay at 0."""
        return self.state == "Waiting"

    def told(self) -> dict[str, Any]:
        """Return the entry of the status."""
        return {"state": self.state, "at": stamp(self.at), "tries": self.tries}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision is made from."""

    key: str
    created: float
    needs: tuple[Need, ...]
    live: bool  # a GPU Deployment has replicas
    placed: bool  # every pod has its devices
    timeout_s: float
    others: tuple[Other, ...] = ()
    nodes: tuple[Node, ...] | None = None
    used: Mapping[str, Mapping[str, int]] = {}
    kept: bool = True  # the served definition keeps where a system stands


def read(status: Mapping[str, Any]) -> Gang | None:
    """Return what the status says."""
    told = status.get("gang") or {}
    at, state = seconds_of(told.get("at", "")), told.get("state")
    if at is None or state not in ("Waiting", "Claiming", "Started"):
        return None
    return Gang(state=state, at=at, tries=int(told.get("tries", 0)))


def decide(facts: Facts, former: Gang | None, now: float) -> Gang | None:
    """Return where the system stands now; None when nothing asks for a device."""
    now = float(int(now))
    if not facts.needs:
        return None
    if former is not None and former.state == "Started":
        return former
    if facts.placed:
        return Gang(state="Started", at=now)
    if former is not None and former.state == "Claiming":
        if now - former.at <= facts.timeout_s:
            return former
        return _waiting(facts, Gang(state="Waiting", at=now, tries=former.tries + 1), now)
    if facts.live:  # running before it was asked for, or the status was lost
        return Gang(state="Claiming", at=now, tries=former.tries if former else 0)
    return _waiting(facts, former or Gang(state="Waiting", at=now), now)


def _waiting(facts: Facts, gang: Gang, now: float) -> Gang:
    text = _obstacle(facts, gang, now)
    if text:
        return msgspec.structs.replace(gang, message=text)
    return Gang(state="Claiming", at=now, tries=gang.tries)


def _obstacle(facts: Facts, gang: Gang, now: float) -> str:
    """Return why the system may not start, "" when it may."""
    wanted = _sum(facts.needs)
    if not facts.kept:  # nobody would know when to give it back
        return f"{wanted} wait until the served definition keeps status.gang"
    if gang.tries and now < gang.at + back_off(FIRST_S, gang.tries, LONGEST_S):
        again = stamp(gang.at + back_off(FIRST_S, gang.tries, LONGEST_S))[11:]
        return f"{wanted} were not placed within gangTimeout; next try at {again}"
    claiming = next((o.key for o in facts.others if o.claiming), None)
    if claiming is not None:
        return f"{wanted} wait until {claiming} has started"
    if facts.nodes is None:
        return ""
    mine = (facts.created, facts.key)
    for other in sorted(facts.others, key=lambda o: (o.created, o.key)):
        before = (other.created, other.key) < mine
        if other.waiting and before and fits(other.needs, facts.nodes, facts.used):
            return f"{wanted} wait until {other.key} has started, which is older"
    if not fits(facts.needs, facts.nodes, facts.used):
        return f"{wanted} must be free at once for an all-or-nothing start"
    return ""


def fits(needs: Sequence[Need], nodes: Sequence[Node], used: Mapping[str, Mapping[str, int]]) -> bool:
    """Tell whether all pods find room side by side: largest first, each where it leaves least behind.

    A node that `used` does not name was not asked for, and is not free.
    """
    free = {
        (n.name, resource): count - used[n.name].get(resource, 0)
        for n in nodes
        if n.name in used
        for resource, count in n.allocatable.items()
    }
    for need in sorted((n for n in needs if n.counted), key=lambda n: (-n.count, len(n.nodes), n.agent)):
        room = [n for n in need.nodes if free.get((n, need.resource), 0) >= need.count]
        if not room:
            return False
        best = min(room, key=_left(free, need.resource))
        free[(best, need.resource)] -= need.count
    return True


def _left(free: Mapping[tuple[str, str], int], resource: str) -> Callable[[str], tuple[int, str]]:
    return lambda node: (free[(node, resource)], node)


def _sum(needs: Sequence[Need]) -> str:
    total: dict[str, int] = {}
    for need in needs:
        total[need.resource] = total.get(need.resource, 0) + need.count
    return " and ".join(f"{count} {resource}" for resource, count in sorted(total.items()))
