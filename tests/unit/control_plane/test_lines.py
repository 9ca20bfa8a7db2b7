"""What of a line of a watch is decoded: the digest of a pod is that of the whole; what is known stays a head."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, cast

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qts_core import names
from qts_core.clock import SystemClock
from qts_operator import digests, lines
from qts_operator.cluster import NODES, PODS, SYSTEMS, Cluster
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND, Kind
from qts_operator.snapshot import Pod
from qts_operator.view import View
from qts_operator.watch import Gone, Reflector, Tools

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
                "name": "agent",
                "started": False,
                "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:30:00Z"}},
            },
        ],
    },
}


def _line(kind: str, live: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": live})


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED"])
def test_the_digest_of_a_pod_is_that_of_the_whole(kind: str) -> None:
    waiting = FULL | {"spec": FULL["spec"] | {"nodeName": None}}  # only then is it told as unschedulable
    waiting["status"] = FULL["status"] | {"containerStatuses": [{"started": True}]}
    wholes = [digests.pod(live) for live in (FULL, waiting)]
    assert [digests.pod(lines.pod(_line(kind, live))["object"]) for live in (FULL, waiting)] == wholes
    none = Pod(namespace="", name="", uid="", version="", system="", agent="", phase="")
    same = [f for f in Pod.__struct_fields__ if all(getattr(w, f) == getattr(none, f) for w in wholes)]
    assert same == [], "the cases must have something in every field"


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


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAME = st.sampled_from(["c", "trading", "u", "5"]) | JSON
METADATA = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("name", "namespace", "uid", "resourceVersion"), NAME),
        **dict.fromkeys(("labels", "annotations", "ownerReferences", "managedFields"), JSON),
    },
)
PARTS = st.fixed_dictionaries(
    {}, optional={"metadata": METADATA | JSON, **dict.fromkeys(("spec", "status", "code"), JSON)}
)
KINDS = st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"])
#: what no server of ours says: any JSON, and what is nearly an event
LINES = JSON | st.fixed_dictionaries(
    {}, optional={"type": KINDS | JSON, "object": PARTS | JSON, "more": JSON}
)
SINKS = ("systems", "pods", "nodes", "children")


def _sink(which: str) -> tuple[Kind, Any]:
    view = View(lambda _: None)
    if which == "children":
        kind = BY_KIND["ConfigMap"]
        sink = view.sink_children(kind.name)
        sink.put(
            {
                "metadata": {
                    "name": "c",
                    "namespace": "trading",
                    "uid": "u",
                    "resourceVersion": "5",
                    "labels": {},
                }
            }
        )
        return kind, sink
    kinds = {"systems": SYSTEMS, "pods": PODS, "nodes": NODES}
    return kinds[which], getattr(view, f"sink_{which}")()


@given(told=LINES, which=st.sampled_from(SINKS))
@example(told={"type": "ADDED", "object": {"metadata": {"name": ["c"]}}}, which="pods")
@example(told={"type": "ADDED", "object": {"metadata": {"name": "c", "namespace": {}}}}, which="children")
def test_a_line_is_an_event_or_is_told_as_none(told: Any, which: str) -> None:
    """Whatever JSON it is, no reader of ours raises anything else."""
    line, (_, sink) = orjson.dumps(told), _sink(which)
    for read in (lines.head, lines.pod, lines.whole, sink.read):
        try:
            event = read(line)
        except lines.NoEventError:
            continue
        assert isinstance(event["type"], str)
        assert isinstance(event["object"].get("metadata", {}), dict)


@pytest.mark.parametrize("line", [b"[" * 10**5, b'{"type":"ADDED","object":{"metadata":{"name":"\xff"}}}'])
def test_what_is_no_json_at_all_is_told_as_that(line: bytes) -> None:
    """However deep it goes, and whatever its bytes are."""
    for read in (lines.head, lines.pod, lines.whole):
        with pytest.raises(orjson.JSONDecodeError):
            read(line)


@given(told=st.lists(LINES, max_size=3), which=st.sampled_from(SINKS))
@example(told=[{"type": "ERROR", "object": {"code": "x"}}], which="systems")
@example(told=[{"type": "BOOKMARK", "object": {"metadata": {"annotations": 5}}}], which="systems")
@example(told=[{"type": "ADDED", "object": {"metadata": {"name": ["c"]}}}], which="nodes")
def test_a_watch_and_a_list_end_in_the_errors_that_a_reflector_knows(told: list[Any], which: str) -> None:
    """What cannot be read of an object is noted, and costs no watch; the rest is no answer."""

    class Told:
        @asynccontextmanager
        async def stream(self, *_: Any, **__: Any) -> AsyncIterator[AsyncIterator[bytes]]:
            async def each() -> AsyncIterator[bytes]:
                for one in told:
                    yield orjson.dumps(one)

            yield each()

    kind, sink = _sink(which)
    tools = Tools(SystemClock(), Random(1), Metrics())
    reflector = Reflector(
        Cluster(cast(Any, Told()), streaming=True), kind, sink, scope=(None, {}), tools=tools
    )
    with suppress(ApiError, Gone):
        asyncio.run(reflector._watch())
    with suppress(ApiError):
        asyncio.run(reflector._list("start"))


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
