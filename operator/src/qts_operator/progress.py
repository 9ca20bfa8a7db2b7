"""What is mere progress of workloads and pods, which tells of no trouble, and what holds a pod. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from qts_operator.snapshot import Child, Pod

ON_ITS_WAY = ("", "ContainerCreating", "PodInitializing")  # what a container waits for that nothing holds
#: by then most images are there: a volume, a Secret or a key of it may be missing, which no status names
SLOW_S = 120.0
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
    )


def comes_up(known: Pod | None, pod: Pod) -> bool:
    """Tell whether a pod is on its way up, or up: nothing holds it, and it was not up before."""
    well = pod.phase in ("Pending", "Running") and not (pod.deleting or pod.exited or pod.reason)
    held = pod.unschedulable or pod.waiting not in ON_ITS_WAY
    return well and not held and (known is None or pod.ready >= known.ready)


def held_by(pods: Iterable[Pod], now: float) -> Cause:
    """Return why pods that are asked for are not ready `now` (s since the epoch), nearest cause first."""
    living = [p for p in pods if not p.deleting]
    for pod in living:
        if pod.unschedulable:
            return Cause("Unschedulable", f"Unschedulable: {short(pod.unschedulable)}")
        if pod.waiting not in ON_ITS_WAY:
            return Cause(pod.waiting, f"{pod.waiting}: {pod.waiting_message}"[:300])
    slow = min((p.name for p in living if _unmade(p) and now - p.started >= SLOW_S), default="")
    if slow:
        where = f"kubectl -n {living[0].namespace} describe pod {slow} says what for"
        return Cause("ContainerCreating", f"ContainerCreating: its containers still wait; {where}")
    return UP if any(p.up and not p.ready for p in living) else STARTING


def again_s(pods: Iterable[Pod], now: float) -> list[float]:
    """Return in how many seconds pods whose containers are being made become slow ones."""
    left = (SLOW_S - (now - p.started) for p in pods if _unmade(p) and not p.deleting)
    return [seconds for seconds in left if seconds > 0]


def _unmade(pod: Pod) -> bool:
    return bool(pod.node and pod.waiting in ON_ITS_WAY[1:])


def short(text: str) -> str:
    """Return the scheduler's message up to its first full stop; what follows changes from try to try."""
    return text.partition(". ")[0].rstrip(".")
