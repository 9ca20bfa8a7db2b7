"""What is mere progress of workloads and pods, which tells of no trouble, and what holds a pod. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from qts_core import names
from qts_core.roster import BY_NAME
from qts_operator.snapshot import Child, Pod

ON_ITS_WAY = ("", "ContainerCreating", "PodInitializing")  # what a container waits for that nothing holds
#: by then most images are there: a volume, a Secret or a key of it may be missing, which no status names
SLOW_S = 120.0
AGENT_IMAGE = "spec.images.agent"  # that of the container beside Redis
SAID = 240  # characters of the kubelet's words about an image, or of a container's last ones
#: by container of the pod of Redis: the part of the spec that says how it runs
SECTIONS = {names.REDIS_PART: "redis", names.REDIS_SIDE: "redis.acl"}
#: how a process ends that was told to: by the kubelet, whose reasons only its Events have, or by a person
TOLD_TO = ("exit code 0", "exit code 137", "exit code 143")
#: the class of what ends again and again
LOOPS = "CrashLooping"
#: a pause between two tries to pull; the cause of the last one follows
_PAUSE = re.compile(r'Back-off pulling image "[^"]*": (\w+): (.*)', re.DOTALL)
#: what a container waits for that has no image; the kubelet's words
NO_IMAGE = (
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RegistryUnavailable",
    "SignatureValidationFailed",
)


class Cause(msgspec.Struct, frozen=True):
    """Why a workload is not ready: a word to decide by, and what people are told."""

    reason: str
    text: str

    @property
    def holds(self) -> bool:
        """Tell whether something holds the pods, more than that they are not ready."""
        return self.reason not in (STARTING.reason, UP.reason)


#: of pods that nothing holds: they have not started yet, or have and are not ready
STARTING, UP = Cause("Starting", "starting"), Cause("NotReady", "not ready")


def grows(known: Child | None, child: Child) -> bool:
    """Tell whether a workload differs in its numbers alone, and none of its pods is lost."""
    if known is None or child.ready < known.ready or child.available < known.available:
        return False
    return child == msgspec.structs.replace(
        known,
        version=child.version,
        observed=child.observed,
        current=child.current,
        ready=child.ready,
        updated=child.updated,
        available=child.available,
        rolled=child.rolled,
        failing_since=child.failing_since,
    )


def comes_up(known: Pod | None, pod: Pod) -> bool:
    """Tell whether a pod is on its way up, or up: nothing holds it, and it was not up before."""
    well = pod.phase in ("Pending", "Running") and not (pod.deleting or pod.exited or pod.reason)
    held = pod.unschedulable or pod.waiting not in ON_ITS_WAY
    return well and not held and (known is None or pod.ready >= known.ready)


def held_by(pods: Iterable[Pod], now: float, image: str) -> Cause:
    """Return why pods that are asked for are not ready `now` (s since the epoch), nearest cause first.

    `image`: the field of the spec that names their image. Of two templates the newer one's pods tell.
    """
    there = (p for p in pods if not p.deleting and p.phase not in ("Failed", "Succeeded"))
    every = sorted(there, key=lambda p: p.started)
    living = [p for p in every if p.template == every[-1].template]
    for pod in living:
        if pod.unschedulable:
            text = short(pod.unschedulable)
            more = _kept_room(pod, every) if "Insufficient " in text else _unclaimed(pod, text)
            return Cause("Unschedulable", f"Unschedulable: {text}{more}")
        if pod.waiting in NO_IMAGE:
            return _no_image(pod, image)
        if pod.ending:
            return _ended(pod)
        if pod.waiting not in ON_ITS_WAY:
            return Cause(pod.waiting, f"{pod.waiting}: {pod.waiting_message}"[:300])
    slow = min((p.name for p in living if _unmade(p) and now - p.started >= SLOW_S), default="")
    if slow:
        where = f"kubectl -n {living[0].namespace} describe pod {slow} says what for"
        return Cause("ContainerCreating", f"ContainerCreating: its containers still wait; {where}")
    return UP if any(p.up and not p.ready for p in living) else STARTING


def _kept_room(pod: Pod, every: Iterable[Pod]) -> str:
    """Return which older pod keeps the room of `pod` though none of them will serve, and what helps.

    A Deployment keeps them until the newer one is ready.
    """
    older = [p for p in every if p.template != pod.template]
    if not older or not all(p.loops for p in older):
        return ""
    name = older[0].name
    remedy = f"kubectl -n {pod.namespace} delete replicaset {name.rpartition('-')[0]}"
    return f"; {name}, which ends again and again, keeps its room until it is taken away: {remedy}"


def _unclaimed(pod: Pod, told: str) -> str:
    """Return what helps where it is a claim of files that keeps a pod from its node."""
    if pod.agent in BY_NAME and re.search(r'persistentvolumeclaim ".*" not found', told):
        section = BY_NAME[pod.agent].section + ("" if BY_NAME[pod.agent].agent else ".replay")
        return f"; make it in namespace {pod.namespace}, or correct spec.{section}.claimName"
    if pod.agent == names.REDIS_PART and "unbound immediate PersistentVolumeClaims" in told:
        return f"; kubectl -n {pod.namespace} describe pvc data-{pod.name} says why"
    return ""


def _no_image(pod: Pod, field: str) -> Cause:
    """Return what the kubelet says of an image, alike while it tries and while it pauses, and what helps."""
    pause = _PAUSE.fullmatch(pod.waiting_message)
    reason, said = (pause[1], pause[2]) if pause else (pod.waiting, pod.waiting_message)
    field = AGENT_IMAGE if pod.waits == names.REDIS_SIDE else field
    remedy = f"correct {field}"
    if reason == "ErrImageNeverPull":
        remedy = f"load it onto {pod.node}, or correct {field} or spec.images.pullPolicy"
    elif reason in ("ErrImagePull", "ImagePullBackOff"):
        remedy = f"correct {field} or spec.images.pullSecrets"
    return Cause(reason, f"{reason}: {ends_of(said)}; {remedy}")


def ends_of(text: str) -> str:
    """Return a long text without its middle: what is meant comes first, what went wrong or helps last."""
    half = SAID // 2
    return text if len(text) <= SAID else f"{text[:half]} … {text[-half:]}"


def _ended(pod: Pod) -> Cause:
    """Return how a container ended, and what helps or where to look."""
    if pod.ending == "OOMKilled":
        section = BY_NAME[pod.agent].section if pod.agent in BY_NAME else SECTIONS.get(pod.down, pod.down)
        text = f"OOMKilled: it needs more memory than its limit; raise spec.{section}.resources.limits.memory"
        return Cause(LOOPS if pod.loops else "OOMKilled", text)
    where = f"kubectl -n {pod.namespace} logs {pod.name} -c {pod.down} --previous has its last words"
    if pod.ending in TOLD_TO:
        where = f"kubectl -n {pod.namespace} describe pod {pod.name} says who ended it: a failed probe, say"
    if pod.loops:
        return Cause(LOOPS, f"CrashLoopBackOff: it ends again and again, last with {pod.ending}; {where}")
    return Cause("Restarted", f"starting again after {pod.ending}; {where}")


def again_s(pods: Iterable[Pod], now: float) -> list[float]:
    """Return in how many seconds pods whose containers are being made become slow ones."""
    left = (SLOW_S - (now - p.started) for p in pods if _unmade(p) and not p.deleting)
    return [seconds for seconds in left if seconds > 0]


def _unmade(pod: Pod) -> bool:
    return bool(pod.node and pod.waiting in ON_ITS_WAY[1:])


def short(text: str) -> str:
    """Return the scheduler's message up to its first full stop; what follows changes from try to try."""
    return text.partition(". ")[0].rstrip(".")
