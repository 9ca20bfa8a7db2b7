"""RedisReady and MessagingReady: what the agents reach, and what of Ready follows from it. Pure."""

from __future__ import annotations

from typing import Any

from qts_core import names
from qts_core.probes import REFUSED_LOGIN, REFUSED_WRITES, Status
from qts_core.roster import VOTERS
from qts_operator.conditions import REFUSES, Condition, said
from qts_operator.objects.frame import Frame
from qts_operator.progress import held_by
from qts_operator.refusals import redis_without_pod
from qts_operator.snapshot import Snapshot
from qts_operator.starting import Grace

FRESH_S = 15.0
REDIS_IMAGE = "spec.images.redis"
#: policies of others are what keeps the operator from a pod whose probes hold
_ADMIT = f"; a ready PADS must admit the operator to port {names.PORT_HTTP}: look at its NetworkPolicies"
UNASKED = f"PADS cannot be asked whether it reaches Redis{_ADMIT}"


def redis(snapshot: Snapshot, frame: Frame) -> Condition:
    """Return RedisReady: of our own Redis by its StatefulSet and pod, of another by what PADS says.

    What either refuses only PADS knows.
    """
    if frame.spec.redis.mode == "Managed":
        return _managed(snapshot, suspended=frame.spec.suspend)
    login, told = snapshot.login, snapshot.statusz
    if login is not None and login.reason == "CredentialsMissing":
        return Condition("RedisReady", "False", login.reason, login.message)
    if told is None and frame.spec.suspend:
        return Condition("RedisReady", "Unknown", "Suspended", "no agent runs")
    if told is None:
        return Condition("RedisReady", "Unknown", "StatusUnreachable", UNASKED)
    if told.redis_refuses:
        return _refused(told)
    if told.redis_reached:
        return Condition("RedisReady", "True", "Reached", f"PADS reaches Redis{_shared(told, frame)}")
    why = f": {told.redis_away}" if told.redis_away else ""
    return Condition("RedisReady", "False", "NotReachable", f"PADS does not reach Redis{why}"[:1000])


def explains(told: Condition, snapshot: Snapshot) -> bool:
    """Tell whether agents that are not ready follow from Redis: not from one that starts beside them."""
    pods = snapshot.pods_of(names.REDIS_PART)
    beside = told.reason == "StartingUp" and not held_by(pods, snapshot.now, REDIS_IMAGE).holds
    return told.status == "False" and not beside


def starts(told: Condition, snapshot: Snapshot, grace: Grace) -> bool:
    """Tell whether Redis comes up in its time, or it is soon known whether another one is reached."""
    if told.reason == "StatusUnreachable":
        return grace.system_s > 0
    child, first = snapshot.owned("StatefulSet", names.REDIS_PART), told.reason == "StartingUp"
    if not first and (child is None or told.reason != "NotReachable"):
        return False
    why = held_by(snapshot.pods_of(names.REDIS_PART), snapshot.now, REDIS_IMAGE)
    return grace.covers(why, rolling=first or (child is not None and child.rolling))


def _managed(snapshot: Snapshot, *, suspended: bool) -> Condition:
    child, told = snapshot.owned("StatefulSet", names.REDIS_PART), snapshot.statusz
    if child is not None and child.ready >= 1 and child.observed >= child.generation:
        if told is not None and told.redis_refuses:
            return _refused(told)
        former = said(snapshot.status, "RedisReady").get("reason")
        if told is None and not suspended and former in (*REFUSES, "StatusUnreachable"):
            text = "Redis refused PADS, which cannot be asked now whether it still does"
            return Condition("RedisReady", "Unknown", "StatusUnreachable", text)
        return Condition("RedisReady", "True", "Ready", "Redis is ready")
    why = held_by(snapshot.pods_of(names.REDIS_PART), snapshot.now, REDIS_IMAGE)
    cause = f": {why.text}" if why.holds else ""
    if where := redis_without_pod(snapshot):
        cause = f": it has no pod; {where}, if it stays so"
    if _was_ready(snapshot):
        return Condition("RedisReady", "False", "NotReachable", f"Redis is not ready any more{cause}")
    return Condition("RedisReady", "False", "StartingUp", f"Redis is starting up{cause}")


def _refused(told: Status) -> Condition:
    """Return what Redis refuses: all of it in the message, the worst as the reason."""
    what = told.redis_refuses
    text = f"PADS: {'; '.join(what[kind] for kind in sorted(what))}"[:1000]
    if REFUSED_LOGIN in what:
        return Condition("RedisReady", "False", "RedisRefusesLogin", text)
    if what.keys() <= REFUSED_WRITES:
        return Condition("RedisReady", "False", "RedisRefusesWrites", text)
    return Condition("RedisReady", "False", "RedisRefusesCommands", text)


def _was_ready(snapshot: Snapshot) -> bool:
    """Tell whether Redis has been ready, as the last status has it."""
    former = said(snapshot.status, "RedisReady")
    lost = ("NotReachable", "StatusUnreachable", *REFUSES)
    return former.get("status") == "True" or former.get("reason") in lost


def _shared(told: Status, frame: Frame) -> str:
    """Name the agents that an external Redis does not know by logins of their own, of those heard."""
    held = {name: peer.get("credentials") or {} for name, peer in told.peers.items() if _heard(peer)}
    held[told.agent] = told.credentials
    shared = ", ".join(w.wire for w in frame.workloads() if "redis" not in held.get(w.wire, {"redis": 0}))
    return f"; it does not prove who speaks where one login is shared: {shared}" if shared else ""


def messaging(snapshot: Snapshot, frame: Frame) -> Condition:
    """Return MessagingReady, as PADS tells it."""
    if frame.spec.suspend:
        return Condition("MessagingReady", "Unknown", "Suspended", "no agent runs")
    told = snapshot.statusz
    if told is None:
        if not any(p.ready for p in snapshot.pods_of("pads")):
            return Condition("MessagingReady", "Unknown", "StartingUp", "PADS is not ready yet")
        return Condition("MessagingReady", "Unknown", "StatusUnreachable", f"PADS cannot be asked{_ADMIT}")
    if told.bus_mode == "simulated":
        text = "spec.config.useRealMessaging is false: the pods do not hear each other"
        return Condition("MessagingReady", "False", "Simulated", text)
    if quiet := silent(told, frame):
        text = f"PADS does not hear {', '.join(quiet)}"
        return Condition("MessagingReady", "False", "PeersSilent", text)
    return Condition("MessagingReady", "True", "AllHeard", "PADS hears every enabled agent")


def silent(told: Status, frame: Frame) -> list[str]:
    """Return the names of the enabled voters that PADS does not hear, in roster order."""
    return [w.name for w in VOTERS if frame.runs(w) and not _heard(told.peers.get(w.wire))]


def _heard(peer: Any) -> bool:
    if not isinstance(peer, dict):
        return False
    age = peer.get("age_s")
    return peer.get("state") == "alive" and age is not None and float(age) < FRESH_S
