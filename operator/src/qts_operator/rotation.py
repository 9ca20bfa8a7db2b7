"""When the next step of a change of keys or passwords may be taken: when all have taken the last. Pure.

TAKEN says for each stage who must have done what. Nothing is dropped before everybody has the new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from qts_core import names
from qts_core.acl import RELOADER
from qts_core.resource import Spec
from qts_core.roster import BY_NAME
from qts_operator.objects.frame import Frame, Turn
from qts_operator.snapshot import Child, Pod, Snapshot
from qts_operator.stages import PHASES, Stage, after, read

AGAIN_S = 2.0
#: Secrets are not watched: one that is put back, or may be read again, is seen at the next look
MENDED_S = 15.0


class Step(msgspec.Struct, frozen=True):
    """What the next step is judged by."""

    frame: Frame
    snapshot: Snapshot
    secret: Child
    stage: Stage

    def waits_for_pods(self, kind: str) -> str:
        """Return which pods do not say yet that they use this generation of `kind`; "" when all do."""
        waits = []
        for workload in self.frame.workloads():
            pods = [p for p in self.snapshot.pods_of(workload.name) if p.phase not in ("Failed", "Succeeded")]
            # a pod without a node has not mounted anything yet: it will mount what is there then
            behind = [p.name for p in pods if p.node and self._generation(p, kind) < self.stage.generation]
            waits += behind
            if not behind and len(pods) < self.frame.wanted(workload):
                waits.append(f"{self.frame.part(workload.name)} (no pod yet)")
        return ", ".join(waits[:5])

    def waits_for_redis(self) -> str:
        """Return whose access list is not the Secret's yet; "" when Redis has loaded it."""
        pods = [p for p in self.snapshot.pods_of(names.REDIS_PART) if not p.deleting]
        behind = [p.name for p in pods if self._acl(p) != self.secret.acl]
        if behind or not pods:
            return f"{', '.join(behind) or self.frame.part(names.REDIS_PART)} to load the access list"
        return ""

    def _generation(self, pod: Pod, kind: str) -> int:
        told = self.snapshot.heard.get(pod.uid)
        return told.credentials.get(kind, 0) if told is not None else 0

    def _acl(self, pod: Pod) -> str:
        told = self.snapshot.heard.get(pod.uid)
        return told.acl if told is not None else ""


#: what must hold before a stage ends; the answer says who is waited for
TAKEN: dict[tuple[str, str], Callable[[Step], str]] = {
    (names.CURVE_SECRET, "Accepting"): lambda step: step.waits_for_pods("curve_accepted"),
    (names.CURVE_SECRET, "Using"): lambda step: step.waits_for_pods("curve"),
    (names.REDIS_SECRET, "Accepting"): Step.waits_for_redis,
    (names.REDIS_SECRET, "Using"): lambda step: step.waits_for_pods("redis"),
    (names.REDIS_SECRET, "Dropping"): Step.waits_for_redis,
}


def turns(frame: Frame, snapshot: Snapshot) -> dict[str, Turn]:
    """Return, by Secret, the stage that it should be in now, and who is waited for."""
    found = {}
    for part in PHASES:
        asked = generation(frame.spec, part)
        child = secret_of(snapshot, part)
        if child is None or child.owner_uid != frame.uid:
            found[part] = Turn(Stage(asked))
            continue
        stage = read(child.credentials)
        if stage.settled:
            begins = asked > stage.generation
            found[part] = Turn(Stage(asked, PHASES[part][0]) if begins else stage)
            continue
        waits = TAKEN[(part, stage.phase)](Step(frame, snapshot, child, stage))
        found[part] = Turn(stage, waits) if waits else Turn(after(part, stage))
    return found


def generation(spec: Spec, part: str) -> int:
    """Return the generation that the resource asks for."""
    asked = spec.messaging if part == names.CURVE_SECRET else spec.redis
    return asked.credentials_generation


def asks(spec: Spec, system: str, children: Mapping[tuple[str, str], Child]) -> bool:
    """Tell whether the pods must be asked what they use: a change is under way, or one begins."""
    for part in PHASES:
        child = children.get(("Secret", names.part(system, part)))
        if child is not None:
            stage = read(child.credentials)
            if not stage.settled or stage.generation < generation(spec, part):
                return True
    return False


def secret_of(snapshot: Snapshot, part: str) -> Child | None:
    """Return one of the system's Secrets as it was last read."""
    return snapshot.children.get(("Secret", names.part(snapshot.name, part)))


def reloads(frame: Frame, snapshot: Snapshot) -> bool:
    """Tell whether Redis can be told to load its access list: its Secret holds a password for that.

    A Secret that is still to be made will hold one; one that was made before this existed gets one when its
    first change begins.
    """
    child = secret_of(snapshot, names.REDIS_SECRET)
    if child is None:
        return ("StatefulSet", frame.part(names.REDIS_PART)) not in snapshot.children
    return RELOADER in child.holders.split(",")


def under_way(frame: Frame, snapshot: Snapshot) -> str:
    """Return what is changing and who is waited for; "" when nothing is, by what the Secrets say."""
    told = []
    for part in sorted(frame.held_secrets):
        turn, child = frame.turns[part], secret_of(snapshot, part)
        if not turn.stage.settled or (child is not None and not read(child.credentials).settled):
            waits = f", waiting for {turn.waits}" if turn.waits else ""
            told.append(f"{frame.part(part)}: generation {turn.stage.generation}: {turn.stage.phase}{waits}")
    return "; ".join(told)[:1000]


def lacking(snapshot: Snapshot, frame: Frame) -> dict[str, str]:
    """Return, by the name of a Secret that must not be made anew, what is wrong with it.

    Keys are made once. What is missing while pods run with it would be made different from what they hold.
    """
    found = {}
    for part in sorted(frame.held_secrets):
        name, child = frame.part(part), secret_of(snapshot, part)
        parts = {w.name for w in BY_NAME.values()} | (
            {names.REDIS_PART} if part == names.REDIS_SECRET else set()
        )
        runs = any(p.phase == "Running" and p.agent in parts and not p.deleting for p in snapshot.pods)
        if name in snapshot.unread:
            found[name] = snapshot.unread[name]
        elif child is None and runs:
            found[name] = f"Secret {name} is gone while pods use what was in it"
        elif child is not None and child.keys and child.owner_uid == frame.uid:
            missing = sorted(_needed(frame, part, reloads(frame, snapshot)) - child.keys)
            if missing:
                found[name] = f"Secret {name} lacks {', '.join(missing[:3])}"
    return found


def _needed(frame: Frame, part: str, reloading: bool) -> set[str]:
    """Return the keys that pods mount; that of Redis' side container where the Secret is to hold it."""
    wires = [w.wire for w in frame.members()]
    if part == names.CURVE_SECRET:
        return {f"{wire}.{end}" for wire in wires for end in ("key", "pub")}
    users = [*wires, RELOADER] if reloading else wires
    return {f"{user}.password" for user in users} | {"users.acl"}
