"""What of a line of a watch is decoded: the digest of a pod is that of the whole; what is known stays a head."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from qts_core import names
from qts_operator import digests, lines
from qts_operator.snapshot import Pod
from qts_operator.view import View

FULL: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "desk-pads-1",
        "namespace": "trading",
        "uid": "u-1",
        "resourceVersion": "7",
        "labels": {
            names.LABEL_SYSTEM: "desk",
            names.LABEL_COMPONENT: "pads",
            "controller-revision-hash": "h-1",
        },
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-01T01:00:00Z",
        "managedFields": [{"manager": "kubelet"}],
    },
    "spec": {
        "nodeName": "node-1",
        "containers": [{"name": "agent", "resources": {"limits": {"nvidia.com/gpu": "2", "cpu": "1"}}}],
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "desk-gpu"}],
        "volumes": [{"name": "x"}],
    },
    "status": {
        "phase": "Failed",
        "reason": "Evicted",
        "podIP": "10.0.0.1",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"},
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes", "lastProbeTime": None},
        ],
        "containerStatuses": [
            {
                "started": True,
                "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": {"finishedAt": "2026-01-01T00:30:00Z"}},
            }
        ],
    },
}


def _line(kind: str, live: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": live})


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED"])
def test_the_digest_of_a_pod_is_that_of_the_whole(kind: str) -> None:
    told, whole = digests.pod(lines.pod(_line(kind, FULL))["object"]), digests.pod(FULL)
    assert told == whole
    none = Pod(namespace="", name="", uid="", version="", system="", agent="", phase="")
    same = [field for field in Pod.__struct_fields__ if getattr(whole, field) == getattr(none, field)]
    assert same == [], "the case must have something in every field"


def test_most_of_a_pod_is_passed_over() -> None:
    told = lines.pod(_line("MODIFIED", FULL))["object"]
    assert "managedFields" not in told["metadata"]
    assert "volumes" not in told["spec"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9", "annotations": {"a": "b"}}}},
        {"type": "MODIFIED", "object": {"metadata": {"name": 1}, "status": {"phase": 5}}},
    ],
    ids=["error", "bookmark", "another form"],
)
def test_what_has_another_form_is_decoded_whole(event: dict[str, Any]) -> None:
    assert lines.pod(orjson.dumps(event)) == event


@pytest.mark.parametrize("read", [lines.pod, lines.head, View(lambda _: None).sink_pods().read])
def test_a_spoilt_line_is_told_as_one(read: Any) -> None:
    """The reflector knows this error: it watches anew."""
    with pytest.raises(orjson.JSONDecodeError):
        read(b'{"type": "ADDED", "obj')


def test_of_what_is_known_no_more_than_the_head_is_decoded_and_it_moves_nothing() -> None:
    asked: list[str] = []
    view = View(asked.append)
    sink = view.sink_children("ConfigMap")
    owner = {"controller": True, "kind": names.KIND, "name": "desk", "uid": "o-1"}
    metadata = {"name": "c", "namespace": "trading", "uid": "u", "ownerReferences": [owner]}

    def shown(version: str, kind: str = "MODIFIED", uid: str = "u") -> dict[str, Any]:
        line = _line(
            kind, {"metadata": metadata | {"resourceVersion": version, "uid": uid}, "data": {"v": version}}
        )
        return sink.read(line)["object"]

    sink.put(shown("5"))
    assert (len(asked), view.children["ConfigMap"].get("trading", "c").version) == (1, "5")
    echo = shown("5")
    assert "data" not in echo
    assert echo["metadata"]["resourceVersion"] == "5"
    sink.put(echo)
    assert len(asked) == 1
    for other in (shown("6"), shown("5", uid="v"), shown("5", "DELETED")):
        assert "data" in other
