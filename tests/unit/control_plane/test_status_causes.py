"""Which cause of several Ready names for a workload that is not ready, with what helps against it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.systems import DOWN, GPU, LATELY, ZERO, pods, seen, told

from qts_operator.snapshot import Node

ONE = {"nvidia.com/gpu": 1}
LOG = "kubectl -n trading logs quasar-0 -c quasar --previous has its last words"
DESCRIBE = "kubectl -n trading describe pod quasar-0 says who ended it: a failed probe, say"
MEMORY = "OOMKilled: it needs more memory than its limit; raise spec.agents.quasar.resources.limits.memory"
WAITS = "kubectl -n trading describe pod quasar-0 says what for"
USED = "1 nvidia.com/gpu; 1 of 1"
KEEPS = (
    "which ends again and again, keeps its room until it is taken away: "
    "kubectl -n trading delete replicaset desk-quasar-a"
)
NO_CLAIM = 'persistentvolumeclaim "x" not found'
MAKE = "make it in namespace trading, or correct"
FULL = "0/1 fit: 1 Insufficient cpu. more"
OLDER = {
    "name": "desk-quasar-a-0",
    "template": "a",
    "started": 8.0,
    "ending": "exit code 1",
    "down": "quasar",
}
WHY: dict[str, tuple[dict[str, Any], str]] = {
    "no device": (
        {"spec": GPU, "nodes": (), "quasar": DOWN | LATELY | {"failure": "other"}},
        "NoGPUNodes: quasar needs 1 nvidia.com/gpu; none of 0 nodes offers it",
    ),
    "no device yet": ({"spec": GPU}, "starting"),
    "its device is lost": (
        {
            "spec": GPU,
            "nodes": (Node(name="a", ready=False, unready_since=1e9 - 60.0), Node(name="b", allocatable=ONE)),
            "used": {"b": ONE},
            "pods": pods(node="a", limits=ONE, up=True, ready=False),
        },
        f"GPUsBusy: quasar needs {USED} on 1 matching node are in use; its pod stays on a, which is lost",
    ),
    "on the CPU": (
        {"spec": {"agents": {"quasar": {"gpu": {"mode": "Preferred"}}}}, "nodes": ()},
        "starting",
    ),
    "no pod may be made": ({"quasar": DOWN | LATELY | {"failure": "f" * 400}}, "f" * 300),
    "no node": (
        {"pods": pods(unschedulable="0/3 nodes fit. preemption: none.")},
        "Unschedulable: 0/3 nodes fit",
    ),
    "no claim": (
        {"pods": pods(unschedulable=f"0/3 nodes: {NO_CLAIM}. more")},
        f"Unschedulable: 0/3 nodes: {NO_CLAIM}; {MAKE} spec.agents.quasar.claimName",
    ),
    "a container that waits for something": (
        {"pods": pods(waiting="CreateContainerConfigError", waiting_message="c" * 400)},
        f"CreateContainerConfigError: {'c' * 272}",
    ),
    "ended once": (
        {"pods": pods(down="quasar", ending="exit code 1")},
        f"starting again after exit code 1; {LOG}",
    ),
    "told to end": (
        {"pods": pods(down="quasar", ending="exit code 0")},
        f"starting again after exit code 0; {DESCRIBE}",
    ),
    "killed for memory once": ({"pods": pods(down="quasar", ending="OOMKilled")}, MEMORY),
    "of an older template": (
        {"pods": [*pods(template="b", started=9.0), *pods(template="a", started=8.0, waiting="X")]},
        "starting",
    ),
    "of the newer template": (
        {"pods": [*pods(template="a", started=8.0), *pods(template="b", started=9.0, waiting="X")]},
        "X: ",
    ),
    "of the newer template, for which an older one that ends again and again leaves no room": (
        {"pods": [*pods(**OLDER | {"loops": True}), *pods(template="b", started=9.0, unschedulable=FULL)]},
        f"Unschedulable: 0/1 fit: 1 Insufficient cpu; desk-quasar-a-0, {KEEPS}",
    ),
    "of the newer template, while an older one starts again": (
        {"pods": [*pods(**OLDER), *pods(template="b", started=9.0, unschedulable=FULL)]},
        "Unschedulable: 0/1 fit: 1 Insufficient cpu",
    ),
    "of the newer template, while an older one serves": (
        {
            "pods": [
                *pods(**OLDER | {"loops": True}),
                *pods(template="a", started=8.0, ready=True),
                *pods(template="b", started=9.0, unschedulable=FULL),
            ]
        },
        "Unschedulable: 0/1 fit: 1 Insufficient cpu",
    ),
    "of the same template": (
        {"pods": [*pods(template="a", started=9.0), *pods(template="a", started=8.0, waiting="X")]},
        "X: ",
    ),
    "failed, and what took its place starts": (
        {"pods": [*pods(phase="Failed", down="quasar", ending="exit code 137"), *pods()]},
        "starting",
    ),
    "another's image": (
        {"pods": [msgspec.structs.replace(p, agent="amos") for p in pods(waiting="X")]},
        "starting",
    ),
    "started": ({"pods": pods(up=True, ready=False)}, "not ready"),
    "started, and goes": ({"pods": pods(up=True, ready=False, deleting=True)}, "starting"),
    "a container is made": ({"pods": pods(waiting="ContainerCreating", started=1e9 - 119.0)}, "starting"),
    "a pod is begun": ({"pods": pods(waiting="PodInitializing", started=1e9 - 119.0)}, "starting"),
    "a container is not made for two minutes": (
        {"pods": pods(waiting="ContainerCreating", started=1e9 - 120.0)},
        f"ContainerCreating: its containers still wait; {WAITS}",
    ),
    "no node for two minutes, nor anything known of it": (
        {"pods": pods(waiting="ContainerCreating", started=1e9 - 120.0, node="")},
        "starting",
    ),
    "its autoscaler": (
        {"spec": {"agents": {"quasar": {"replicasManagedBy": "External"}}}, "quasar": ZERO},
        "its autoscaler keeps it at 0 replicas",
    ),
}
AGAIN = "CrashLoopBackOff: it ends again and again, last with"
OWN_IMAGE = "spec.agents.quasar.image"
OWN = {"agents": {"quasar": {"image": "own"}}}
#: causes with a class of their own: (what is seen, reason of Ready, the agent's words)
CLASSES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no image": (
        {"pods": pods(waiting="ImagePullBackOff", waiting_message="h" * 121 + "m" * 9 + "t" * 121)},
        "ImageNotPulled",
        f"ImagePullBackOff: {'h' * 120} … {'t' * 120}; correct spec.images.agent or spec.images.pullSecrets",
    ),
    "no image, between two tries": (
        {
            "pods": pods(
                waiting="ImagePullBackOff", waiting_message='Back-off pulling image "x:1": ErrImagePull: none'
            )
        },
        "ImageNotPulled",
        "ErrImagePull: none; correct spec.images.agent or spec.images.pullSecrets",
    ),
    "no image of a device": (
        {"spec": GPU, "nodes": (Node(name="a", allocatable=ONE),), "pods": pods(waiting="InvalidImageName")},
        "ImageNotPulled",
        "InvalidImageName: ; correct spec.images.agentGPU",
    ),
    "no image of its own": (
        {"spec": OWN, "pods": pods(waiting="ErrImageNeverPull", waiting_message="not there", node="a")},
        "ImageNotPulled",
        f"ErrImageNeverPull: not there; load it onto a, or correct {OWN_IMAGE} or spec.images.pullPolicy",
    ),
    "ends again and again": (
        {"pods": pods(down="quasar", ending="exit code 1", loops=True)},
        "CrashLooping",
        f"{AGAIN} exit code 1; {LOG}",
    ),
    "is ended again and again": (
        {"pods": pods(down="quasar", ending="exit code 137", loops=True)},
        "CrashLooping",
        f"{AGAIN} exit code 137; {DESCRIBE}",
    ),
    "is killed for memory again and again": (
        {"pods": pods(down="quasar", ending="OOMKilled", loops=True)},
        "CrashLooping",
        MEMORY,
    ),
}


@pytest.mark.parametrize("case", WHY)
def test_an_agent_that_is_not_ready_says_its_nearest_cause(case: str) -> None:
    """The message of Ready, which is all that most people look at; what merely starts has a class of its own."""
    more, expected = WHY[case]
    facts = seen(**({"quasar": DOWN} | more))
    reason = "StartingUp" if expected in ("starting", "not ready") else "AgentsNotReady"
    assert told(facts, "Ready") == ("False", reason, f"quasar: {expected}")


@pytest.mark.parametrize("case", CLASSES)
def test_a_cause_that_a_person_mends_has_a_class_and_a_remedy(case: str) -> None:
    """`kubectl get qts` shows the class, and its first time is an Event."""
    more, reason, expected = CLASSES[case]
    assert told(seen(**({"quasar": DOWN} | more)), "Ready") == ("False", reason, f"quasar: {expected}")


@pytest.mark.parametrize(("part", "section"), [("market", "market"), ("pads", "agents.pads")])
def test_the_limit_to_raise_is_that_of_the_part(part: str, section: str) -> None:
    """What stands in the way comes before what merely starts."""
    killed = pods(part, down=part, ending="OOMKilled")
    _, _, text = told(seen(amos=DOWN, pads=DOWN, market=DOWN, pods=killed), "Ready")
    words = f"{part}: OOMKilled: it needs more memory than its limit; raise spec.{section}.resources.limits.memory"
    assert text.startswith(f"{words}; ")
    assert text.count(": starting") == 2


def test_a_claim_that_is_not_there_is_named_by_its_field_of_the_feed() -> None:
    """The feed reads files of a replay alone."""
    waits = pods("market", unschedulable=f"0/1: {NO_CLAIM}")
    _, _, text = told(seen(market=DOWN, pods=waits), "Ready")
    assert text.endswith(f"; {MAKE} spec.market.replay.claimName")


def test_every_process_that_is_held_has_room_for_its_remedy() -> None:
    """All five at once, each with an image that cannot be pulled and a long story of why."""
    why = {"waiting": "ErrImagePull", "waiting_message": "m" * 400}
    every = [msgspec.structs.replace(p, **why) for p in pods()]
    down = dict.fromkeys(("pads", "qbmia", "quasar", "amos", "market"), DOWN)
    _, _, text = told(seen(pods=every, **down), "Ready")
    assert text.count("correct spec.images.agent or spec.images.pullSecrets") == len(down)
