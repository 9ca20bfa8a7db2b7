"""Whose use is asked for: of the nodes that would take a pod; what nobody asked for is neither free nor full."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.conftest import make_snapshot

from qts_operator.cluster import Listing
from qts_operator.gpu import Verdict
from qts_operator.look import NODES_ASKED, Usage
from qts_operator.metrics import Metrics
from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve
from qts_operator.snapshot import Node, Pod, Snapshot
from qts_operator.unread import Unread

GPU = "nvidia.com/gpu"
SENTENCE = "0/30 nodes are available: 30 Insufficient nvidia.com/gpu"
LAST: dict[str, Any] = {"nodeSelector": {"rack": "last"}}


def _nodes(count: int) -> tuple[Node, ...]:
    """Return nodes with 8 devices each; the last two are in a rack of their own."""
    labels = [{"rack": "last"} if i >= count - 2 else {} for i in range(count)]
    return tuple(Node(name=f"gpu-{i:02}", allocatable={GPU: 8}, labels=told) for i, told in enumerate(labels))


class Tenants:
    """An API server on which others hold every device but on the nodes that are `free`."""

    def __init__(self, *free: str) -> None:
        self.free, self.asked = free, []

    async def list(self, _: Any, __: Any, params: dict[str, str], keep: Any) -> Listing[Any]:
        name = params["fieldSelector"].removeprefix("spec.nodeName=")
        self.asked.append(name)
        asks = {"containers": [{"resources": {"limits": {GPU: "8"}}}]}
        return Listing([] if name in self.free else [keep({"metadata": {}, "spec": asks})], "1")


def _snapshot(agents: dict[str, Any], *, nodes: int = 30, refused: str = "", **more: Any) -> Snapshot:
    waiting = Pod(
        namespace="trading",
        name="p",
        uid="u",
        version="1",
        agent="quasar",
        started=1e9 - 600.0,
        unschedulable=refused,
    )
    return make_snapshot({"agents": agents} | more, nodes=_nodes(nodes), pods=(waiting,))


async def _told(api: Tenants, snapshot: Snapshot) -> Verdict:
    used = await Usage(api, Unread(Metrics())).of(snapshot, 0.0, list)  # type: ignore[arg-type]
    seen = make_snapshot(snapshot.spec, nodes=snapshot.nodes, pods=snapshot.pods, used=used)
    return resolve(seen, Defaults())[1]["quasar"]


def _quasar(mode: str = "Required", **more: Any) -> dict[str, Any]:
    return {"quasar": {"gpu": {"mode": mode}} | more}


@pytest.mark.parametrize(
    ("nodes", "agent", "refused", "reason", "message"),
    [
        (20, {}, "", "GPUsBusy", "160 of 160 on 20 matching nodes are in use"),
        (30, {}, "", "Scheduling", "quasar needs 1 nvidia.com/gpu; the scheduler has not placed it yet"),
        (30, {}, f"{SENTENCE}. preemption: none.", "Unschedulable", f"quasar: {SENTENCE}"),
        (30, LAST, "", "GPUsBusy", "16 of 16 on 2 matching nodes are in use"),
    ],
)
async def test_of_nodes_that_are_all_full_none_is_said_to_have_room(
    nodes: int, agent: Any, refused: str, reason: str, message: str
) -> None:
    """Twenty are asked about at most; of the others the scheduler knows."""
    api = Tenants()
    told = await _told(api, _snapshot(_quasar(**agent), nodes=nodes, refused=refused))
    assert told.reason == reason
    assert message in told.message
    assert told.recheck_s == 30.0
    assert len(api.asked) == (2 if agent else NODES_ASKED)


async def test_a_node_with_room_is_found_behind_twenty_that_do_not_matter() -> None:
    """Those that an agent does not select are not asked about."""
    told = await _told(Tenants("gpu-29"), _snapshot(_quasar(**LAST)))
    assert told.message.endswith("gpu-29 has room and the scheduler has not placed it yet")


async def test_where_the_scheduler_refuses_its_sentence_is_told_though_devices_are_free() -> None:
    """Processors, memory and affinity are its business, not ours."""
    said = "0/2 nodes are available: 2 Insufficient cpu"
    told = await _told(Tenants("gpu-00", "gpu-01"), _snapshot(_quasar(), nodes=2, refused=f"{said}. more"))
    assert (told.status, told.reason, told.message) == ("False", "Unschedulable", f"quasar: {said}")


@pytest.mark.parametrize(("refused", "device"), [(f"{SENTENCE}. more", "CPU"), ("", "GPU")])
async def test_an_agent_that_prefers_a_device_falls_back_in_time(refused: str, device: str) -> None:
    """When the scheduler has refused its pod for `fallbackAfter`."""
    told = await _told(Tenants(), _snapshot(_quasar("Preferred"), refused=refused))
    assert told.device == device


async def test_the_agent_with_the_fewest_nodes_is_asked_for_first() -> None:
    """Or the nodes of one agent would leave no question for another's."""
    api = Tenants()
    agents = _quasar(**LAST) | {"amos": {"gpu": {"mode": "Required"}}}
    await Usage(api, Unread(Metrics())).of(_snapshot(agents), 0.0, list)  # type: ignore[arg-type]
    assert api.asked == ["gpu-28", "gpu-29", *(f"gpu-{i:02}" for i in range(18))]


async def test_an_all_or_nothing_start_knows_the_nodes_of_older_systems_too() -> None:
    """They may fit where this one's pods may not go."""
    api = Tenants()
    await Usage(api, Unread(Metrics())).of(
        _snapshot(_quasar(**LAST), nodes=5, startup="AllOrNothing"), 0.0, list
    )  # type: ignore[arg-type]
    assert api.asked == ["gpu-03", "gpu-04", "gpu-00", "gpu-01", "gpu-02"]


async def test_a_spec_that_cannot_be_read_asks_for_nothing() -> None:
    """Its fault is told elsewhere."""
    api = Tenants()
    assert (
        await Usage(api, Unread(Metrics())).of(_snapshot({"quasar": {"gpu": {"mode": "Perhaps"}}}), 0.0, list)
        == {}
    )  # type: ignore[arg-type]
    assert api.asked == []


@pytest.mark.parametrize(("ago_s", "asked"), [(59.0, []), (60.0, ["gpu-03", "gpu-00", "gpu-01", "gpu-02"])])
async def test_whoever_lost_a_device_asks_who_uses_the_others(ago_s: float, asked: list[str]) -> None:
    """Though no pod waits for one; of the nodes that would take the pod first, never of the lost one."""
    api, lost = Tenants(), Node(name="lost", ready=False, unready_since=1e9 - ago_s, allocatable={GPU: 8})
    pods = tuple(
        Pod(namespace="trading", name=n, uid=n, version="1", agent=n, node=on, limits={GPU: 1})
        for n, on in (("quasar", "lost"), ("amos", "gpu-00"))
    )
    agents = _quasar(nodeSelector={"rack": "last"}) | {"amos": {"gpu": {"mode": "Required"}}}
    nodes = (lost, *_nodes(4)[:3], Node(name="gpu-03", allocatable={GPU: 8}, labels={"rack": "last"}))
    plain = tuple(msgspec.structs.replace(n, labels={}) if n.name == "gpu-02" else n for n in nodes)
    snapshot = make_snapshot({"agents": agents}, nodes=plain, pods=pods)
    used = await Usage(api, Unread(Metrics())).of(snapshot, 0.0, lambda: list(pods))  # type: ignore[arg-type]
    assert api.asked == asked
    assert used.get("gpu-00", {}).get(GPU) == (9 if asked else None)


async def test_a_device_of_another_kind_is_asked_for_too() -> None:
    """Which the resource names among what an agent is limited to."""
    kind = "vendor.com/card"
    pod = Pod(namespace="n", name="p", uid="p", version="1", agent="amos", node="lost", limits={kind: 1})
    nodes = (
        Node(name="lost", ready=False, unready_since=1e9 - 60.0),
        Node(name="spare", allocatable={kind: 1}),
    )
    api = Tenants("spare")
    used = await Usage(api, Unread(Metrics())).of(make_snapshot({}, nodes=nodes, pods=(pod,)), 0.0, list)  # type: ignore[arg-type]
    assert used == {"spare": {}}
