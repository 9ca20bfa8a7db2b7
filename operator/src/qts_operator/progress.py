"""Which changes of workloads and pods are mere progress: they tell of numbers and of no trouble. Pure."""

from __future__ import annotations

import msgspec

from qts_operator.snapshot import Child, Pod

STARTING = ("", "ContainerCreating", "PodInitializing")  # what a container waits for that is on its way


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
    )


def comes_up(known: Pod | None, pod: Pod) -> bool:
    """Tell whether a pod is on its way up, or up: nothing holds it, and it was not up before."""
    well = pod.phase in ("Pending", "Running") and not (pod.deleting or pod.exited or pod.reason)
    held = pod.unschedulable or pod.waiting not in STARTING
    return well and not held and (known is None or pod.ready >= known.ready)
