"""What is kept of a live object: every field of a full one, and nothing made up of one that is as good as empty."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import asdict

from qts_core import names
from qts_operator import digests
from qts_operator.snapshot import Child, Node, Pod

AT, SINCE = "2026-08-01T09:00:00Z", 1785574800.0
MADE, LATER = "2026-08-01T08:59:55Z", "2026-08-01T09:00:05Z"
BARE: dict[str, Any] = {"metadata": {"name": "x", "uid": "u"}}
WHOLE = {"namespace": "n", "name": "x", "uid": "u", "resourceVersion": "7", "deletionTimestamp": AT}


def _some(told: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in asdict(told).items() if key in wanted}


def test_of_an_empty_object_nothing_is_made_up() -> None:
    """What a server leaves out, and what it tells as null."""
    empty = {"namespace": "", "version": ""}
    for more in ({}, {"spec": None, "status": None}, {"spec": {}, "status": {"conditions": None}}):
        live = BARE | more
        kept = digests.child(live, "Deployment")
        plain = Child(kind="Deployment", name="x", uid="u", digest=kept.digest, **empty)
        assert kept == plain
        assert digests.pod(live) == Pod(name="x", uid="u", **empty)
        assert digests.node(live) == Node(name="x")
        asked = digests.resource(live)
        assert (asked.gpu, asked.gang, asked.deleting) == (False, False, False)
        assert (asked.created, asked.generation) == (0.0, 0)
        assert asked.decoded()[0] == {}


@pytest.mark.parametrize(
    ("agents", "gpu"),
    [
        (None, False),
        ({"quasar": None}, False),
        ({"quasar": {"gpu": None}}, False),
        ({"quasar": {"gpu": {}}}, False),
        ({"quasar": {"gpu": {"mode": "None"}}}, False),
        ({"quasar": {"gpu": {"mode": "None"}}, "amos": {"gpu": {"mode": "Preferred"}}}, True),
        ({"quasar": {"gpu": {"mode": "Required"}}}, True),
    ],
)
def test_a_resource_asks_for_devices_when_one_agent_does(agents: Any, gpu: bool) -> None:
    """Nodes and other people's pods are looked at for those alone."""
    live = {"metadata": WHOLE | {"generation": 3, "creationTimestamp": AT}, "spec": {"agents": agents}}
    told = digests.resource(live)
    assert (told.gpu, told.gang, told.deleting) == (gpu, False, True)
    assert (told.namespace, told.system, told.version) == ("n", "x", "7")
    assert (told.generation, told.created) == (3, SINCE)


@pytest.mark.parametrize(("startup", "gang"), [("AllOrNothing", True), ("Independent", False)])
def test_a_resource_starts_all_or_nothing_when_it_says_so(startup: str, gang: bool) -> None:
    live = BARE | {"spec": {"startup": startup}, "status": {"agents": "1/4"}}
    assert digests.resource(live).gang == gang
    assert digests.resource(live).decoded() == ({"startup": startup}, {"agents": "1/4"})


def test_a_child_is_the_controllers_numbers_and_our_notes() -> None:
    """The owner is the one that controls, and says whose it is; a failure is one that holds."""
    notes = {names.ANNOTATION_TEMPLATE_REVISION: "4", names.ANNOTATION_HOLDERS: "pads"}
    owners = [
        {"kind": "Other", "uid": "o"},
        {"kind": names.KIND, "name": "desk", "uid": "s", "controller": True},
    ]
    metadata = WHOLE | {"generation": 5, "annotations": notes, "ownerReferences": owners}
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "message": "exceeded quota",
        "lastTransitionTime": AT,
    }
    progress = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    numbers = {
        "observedGeneration": 4,
        "replicas": 3,
        "readyReplicas": 2,
        "updatedReplicas": 1,
        "availableReplicas": 6,
    }
    live = {
        "metadata": metadata | {"labels": {names.LABEL_SYSTEM: "another, as somebody wrote"}},
        "spec": {"replicas": 8},
        "status": numbers | {"conditions": [progress, failure], "updateRevision": "r"},
    }
    wanted = {
        "owner_uid": "s", "owner_kind": names.KIND, "system": "desk", "deleting": True, "version": "7",
        "generation": 5, "observed": 4, "replicas": 8, "current": 3, "ready": 2, "updated": 1, "available": 6,
        "revision": 4, "holders": "pads", "newest": "r", "stuck": True, "rolled": False, "failure": "exceeded quota",
        "failing_since": SINCE, "keys": frozenset(), "counts": False,
    }  # fmt: skip
    assert _some(digests.child(live, "Deployment"), wanted) == wanted
    failure["status"], progress["reason"] = "False", "NewReplicaSetAvailable"
    notes[names.ANNOTATION_TEMPLATE_REVISION] = "4a"
    calm = digests.child(live, "Deployment")
    assert (calm.stuck, calm.failure, calm.revision, calm.rolled) == (False, "", 0, True)


@pytest.mark.parametrize(
    ("status", "rolled"),
    [
        ({}, True),  # its controller has not looked yet: the numbers say so
        ({"currentRevision": "a", "updateRevision": "a"}, True),
        ({"currentRevision": "a", "updateRevision": "b"}, False),
    ],
)
def test_a_stateful_set_whose_newest_template_was_ready_has_one_revision(status: Any, rolled: bool) -> None:
    """Its controller takes the new one for the current one once all pods of it are ready."""
    assert digests.child(BARE | {"status": status}, "StatefulSet").rolled is rolled


@pytest.mark.parametrize(
    ("status", "entries", "since"),
    [
        ({}, [], SINCE - 5.0),  # nobody says: since it was made
        ({"replicas": 0}, [{"subresource": "status", "time": AT}, {"time": LATER}], SINCE),
        ({"replicas": 1}, [{"subresource": "status", "time": AT}], 0.0),
    ],
)
def test_since_when_a_stateful_set_has_no_pod_its_last_status_tells(
    status: Any, entries: Any, since: float
) -> None:
    """By the time of its field manager: it has no condition for that."""
    metadata = BARE["metadata"] | {"managedFields": entries, "creationTimestamp": MADE}
    live = BARE | {"status": status, "metadata": metadata}
    assert digests.child(live, "StatefulSet").failing_since == since


def test_of_a_secret_the_names_of_its_files_are_known_and_of_nothing_else() -> None:
    """By whoever manages them; `.` is the map itself."""
    entries: list[Any] = [
        {"fieldsV1": {"f:data": {"f:a.key": {}, ".": {}}}},
        {"fieldsV1": {"f:data": {"f:b.pub": {}}, "f:type": {}}},
        {"fieldsV1": None},
        {},
    ]
    live = {"metadata": BARE["metadata"] | {"managedFields": entries}}
    assert digests.child(live, "Secret").keys == {"a.key", "b.pub"}
    assert digests.child(live, "ConfigMap").keys == frozenset()


def _container(**more: Any) -> dict[str, Any]:
    return {"restartCount": 0, "state": {"running": {}}} | more


def _pod(**status: Any) -> Pod:
    return digests.pod(BARE | {"status": status})


def test_a_pod_is_up_when_each_container_has_passed_its_start() -> None:
    """One that was ready once stays up while it runs, ready or not."""
    up, waits, old = _container(started=True), _container(started=False), _container()
    told = {"": [], "u": [up], "uu": [up, up], "uw": [up, waits], "o": [old]}
    assert [k for k, c in told.items() if _pod(containerStatuses=c).up] == ["u", "uu"]


def test_a_pod_is_where_it_is_and_how_it_is() -> None:
    """Times are seconds since the epoch."""
    labels = {names.LABEL_SYSTEM: "desk", names.LABEL_COMPONENT: "amos", "controller-revision-hash": "r"}
    conditions = [
        {"type": "Ready", "status": "True", "lastTransitionTime": AT},
        {"type": "PodScheduled", "status": "True", "message": "of old"},
    ]
    live = {
        "metadata": WHOLE | {"labels": labels, "creationTimestamp": AT},
        "spec": {"nodeName": "gpu-a", "resourceClaims": [{"name": "x"}, {"resourceClaimTemplateName": "t"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "reason": "why", "conditions": conditions},
    }
    wanted = {
        "system": "desk", "agent": "amos", "template": "r", "deleting": True, "started": SINCE,
        "node": "gpu-a", "claims": ("t",), "phase": "Running", "ip": "10.0.0.1", "reason": "why",
        "ready": True, "ready_since": SINCE, "unschedulable": "", "namespace": "n", "version": "7",
        "exited": False, "restarts": 0, "ended": 0.0, "waiting": "", "waiting_message": "",
    }  # fmt: skip
    assert _some(digests.pod(live), wanted) == wanted
    refused = [
        {"type": "PodScheduled", "status": "False", "message": "0/3"},
        {"type": "Ready", "status": "False"},
    ]
    assert (_pod(conditions=refused).unschedulable, _pod(conditions=refused).ready) == ("0/3", False)


def test_a_pod_that_has_a_node_is_not_unschedulable() -> None:
    """The API server bound it and the scheduler, which got no answer, says that it could not."""
    lost = {"type": "PodScheduled", "status": "False", "reason": "SchedulerError", "message": "timed out"}
    live = BARE | {"spec": {"nodeName": "a"}, "status": {"conditions": [lost]}}
    assert digests.pod(live).unschedulable == ""
    assert digests.pod(live | {"spec": {}}).unschedulable == "timed out"


@pytest.mark.parametrize(
    ("status", "exited"),
    [
        ({"containerStatuses": [_container()]}, False),
        ({"containerStatuses": [_container(), _container(restartCount=1)]}, True),
        ({"containerStatuses": [_container(state={"terminated": {"exitCode": 0}})]}, True),
        ({"containerStatuses": [_container(lastState={"terminated": {"exitCode": 1}})]}, True),
        ({"containerStatuses": [{"restartCount": None, "state": None, "lastState": None}]}, False),
        ({"phase": "Failed"}, True),
        ({"phase": "Succeeded"}, False),
    ],
)
def test_a_container_has_ended_at_least_once(status: dict[str, Any], exited: bool) -> None:
    """Now, before this one, or with a pod that the kubelet gave up before any was told of."""
    assert _pod(**status).exited == exited


def _end(lived_s: int = 5, **more: Any) -> dict[str, Any]:
    times = {"startedAt": AT, "finishedAt": f"2026-08-01T09:{lived_s // 60:02}:{lived_s % 60:02}Z"}
    return {"terminated": {"exitCode": 1, "reason": "Error"} | times | more}


PAUSE = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
TRIES = {"started": False, "restartCount": 2}
NO_FILE = {"reason": "StartError", "exitCode": 128, "message": "exec: no such file\n"}


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ({}, ("", "", False)),
        ({"restartCount": 1, "started": True, "lastState": _end()}, ("", "", False)),
        ({"restartCount": 1, "lastState": _end()}, ("a", "exit code 1", False)),
        ({"state": _end(reason="Completed", exitCode=0)}, ("a", "exit code 0", False)),
        ({"restartCount": 1, "lastState": _end(), "state": PAUSE}, ("a", "exit code 1", True)),
        (TRIES | {"lastState": _end(reason="OOMKilled")}, ("a", "OOMKilled", True)),
        (TRIES | {"lastState": _end(599)}, ("a", "exit code 1", True)),
        (TRIES | {"lastState": _end(600)}, ("a", "exit code 1", False)),
        (TRIES | {"state": _end(), "lastState": _end(600)}, ("a", "exit code 1", True)),
        (TRIES | {"lastState": _end(message="no file")}, ("a", "exit code 1: no file", True)),
        (
            TRIES | {"lastState": _end(message="xy" * 121)},
            ("a", f"exit code 1: {'xy' * 60} … {'xy' * 60}", True),
        ),
        (
            TRIES | {"lastState": _end(message="or set market.replay.ts_unit to s, ms")},
            ("a", "exit code 1: or set spec.market.replay.tsUnit to S, Ms", True),
        ),
        (TRIES | {"lastState": _end(**NO_FILE)}, ("a", "StartError: exec: no such file", True)),
        ({"restartCount": 1, "lastState": None}, ("a", "exit code 0", False)),
    ],
)
def test_a_container_that_is_down_says_how_it_ended_and_whether_again(
    container: dict[str, Any], told: tuple[str, str, bool]
) -> None:
    """While it is tried again too, until it is up; a life of ten minutes begins a new count."""
    found = _pod(containerStatuses=[_container(started=True, name="b"), _container(name="a") | container])
    assert (found.down, found.ending, found.loops) == told


def test_the_template_of_a_pod_is_what_its_controller_calls_it() -> None:
    labels = {"pod-template-hash": "d", "other": "x"}
    assert digests.pod({"metadata": BARE["metadata"] | {"labels": labels}}).template == "d"


def test_of_several_containers_restarts_add_up_and_the_last_end_counts() -> None:
    """And the first that waits says why."""
    later = "2026-08-01T09:00:30Z"
    told = _pod(
        containerStatuses=[
            _container(restartCount=1, lastState={"terminated": {"finishedAt": AT}}),
            _container(restartCount=2, lastState={"terminated": {"finishedAt": later}}),
            _container(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            _container(state={"waiting": {"reason": "Other"}}),
        ]
    )
    assert (told.restarts, told.ended) == (3, SINCE + 30.0)
    assert (told.waiting, told.waiting_message) == ("ImagePullBackOff", "no such image")


def test_devices_of_all_containers_add_up_and_nothing_else_is_one() -> None:
    """Extended resources have a domain before their name."""
    limits = ({"nvidia.com/gpu": "1", "cpu": "2", "memory": "1Gi"}, {"nvidia.com/gpu": 2, "amd.com/gpu": "1"})
    spec = {"containers": [{"resources": {"limits": each}} for each in limits] + [{}, {"resources": None}]}
    assert digests.requested(spec) == {"nvidia.com/gpu": 3, "amd.com/gpu": 1}


def test_a_node_is_what_it_offers_and_whom_it_lets_in() -> None:
    """One that says nothing of its readiness is ready; a ready one is not unready since anything."""
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": AT}
    taints = [{"key": "k", "value": "v", "effect": "NoSchedule"}, {}]
    live = {
        "metadata": WHOLE | {"labels": {"zone": "a"}},
        "spec": {"taints": taints, "unschedulable": True},
        "status": {"allocatable": {"nvidia.com/gpu": "8", "cpu": "64"}, "conditions": [{"type": "X"}, ready]},
    }
    node = Node(
        name="x",
        labels={"zone": "a"},
        taints=(("k", "v", "NoSchedule"), ("", "", "")),
        allocatable={"nvidia.com/gpu": 8},
        unschedulable=True,
    )
    assert digests.node(live) == node
    ready["status"] = "Unknown"
    assert (digests.node(live).ready, digests.node(live).unready_since) == (False, SINCE)


def test_what_objects_of_a_system_share_is_kept_once() -> None:
    """A system's objects repeat its names and its uid some twenty times."""

    def live() -> dict[str, Any]:
        owner = {"controller": True, "uid": "".join(["u", "-1"]), "kind": "".join(["Quantum", "System"])}
        labels = {names.LABEL_SYSTEM: "".join(["de", "sk"])}
        metadata = {"namespace": "".join(["tra", "ding"]), "name": "desk", "uid": "c-1"}
        return {"metadata": metadata | {"ownerReferences": [owner], "labels": labels}}

    one, two = digests.child(live(), "Service"), digests.child(live(), "Secret")
    for field in ("namespace", "name", "system", "owner_uid", "owner_kind"):
        assert getattr(one, field) is getattr(two, field)


@pytest.mark.parametrize(("note", "revision"), [("3", 3), ("²", 0), ("٣", 0), ("-1", 0), ("9" * 5000, 0)])
def test_a_revision_is_a_number_or_none(note: str, revision: int) -> None:
    """Anybody may write the annotation."""
    live = {"metadata": WHOLE | {"annotations": {names.ANNOTATION_TEMPLATE_REVISION: note}}}
    assert digests.child(live, "Deployment").revision == revision
