"""What an all-or-nothing start needs, from a frame or from another resource, for `gang.decide`. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from qts_core import names
from qts_core.resource import Spec
from qts_core.roster import AGENTS
from qts_operator import gang, gpu
from qts_operator.objects.frame import Frame
from qts_operator.pruning import without
from qts_operator.snapshot import Child, Need, Node, Other, Snapshot
from qts_operator.times import seconds

Verdicts = dict[str, gpu.Verdict]


def held(frame: Frame, snapshot: Snapshot, verdicts: Verdicts) -> tuple[Frame, Verdicts]:
    """Return frame and verdicts with the GPU agents held at 0 while their start waits."""
    if frame.spec.startup != "AllOrNothing" or frame.spec.suspend:
        return frame, verdicts
    agents = [w for w in AGENTS if frame.placements.get(w.name) == "GPU"]
    live = [snapshot.children.get(("Deployment", frame.part(w.name))) for w in agents]
    timeout = seconds(frame.spec.gang_timeout)
    facts = gang.Facts(
        key=f"{snapshot.namespace}/{snapshot.name}",
        created=snapshot.created,
        needs=needs(frame.spec, [w.name for w in agents], snapshot.nodes),
        live=any(c is not None and c.replicas > 0 for c in live),
        placed=bool(agents) and all(verdicts[w.name].reason == "Allocated" for w in agents),
        timeout_s=timeout,
        others=snapshot.others,
        nodes=snapshot.nodes,
        used=snapshot.used,
        kept=_keeps(snapshot),
    )
    told = gang.decide(facts, gang.read(snapshot.status), snapshot.now)
    if told is None:
        return frame, verdicts
    again = gang.LOOK_S if told.held else max(0.1, told.at + timeout + 1.0 - snapshot.now)
    caps = dict(frame.caps)
    if told.held:
        caps |= {w.name: 0 for w in agents}
    if told.state != "Started":
        looked = {w.name: msgspec.structs.replace(verdicts[w.name], recheck_s=again) for w in agents}
        verdicts = verdicts | looked
    return msgspec.structs.replace(frame, caps=caps, gang=told), verdicts


def _keeps(snapshot: Snapshot) -> bool:
    told = {"status": {"gang": gang.Gang(state="Waiting", at=0.0).told()}}
    return bool(without(told, snapshot.pruned) == told)


def needs(spec: Spec, agents: list[str], nodes: tuple[Node, ...] | None) -> tuple[Need, ...]:
    """Return one need for each pod of the agents."""
    found = []
    for name in agents:
        asked = spec.agent(name)
        demand = gpu.Demand(agent=name, asked=asked, replicas=asked.replicas)
        where = frozenset[str]() if asked.gpu.dra else gpu.eligible(demand, gpu.View(nodes=nodes))
        need = Need(
            agent=name,
            resource=demand.resource,
            count=demand.count,
            nodes=where,
            counted=not asked.gpu.dra and nodes is not None,
        )
        found += [need] * asked.replicas
    return tuple(found)


def other(
    key: str,
    created: float,
    spec: Spec,
    status: dict[str, Any],
    live: list[Child],
    nodes: tuple[Node, ...] | None,
) -> Other:
    """Return another system as the one that decides sees it; `live` are its Deployments."""
    told = {e.get("name"): e.get("placement") for e in status.get("agentStatuses") or ()}
    wanted = [w for w in AGENTS if w.gpu and spec.agent(w.name).enabled]
    asking = [w.name for w in wanted if spec.agent(w.name).gpu.mode != "None" and told.get(w.name) != "CPU"]
    parts = {names.part(key.partition("/")[2], name) for name in asking}
    up = any(c.name in parts and c.replicas > 0 for c in live)
    state = gang.read(status)
    started = state is not None and state.state == "Started"
    paused = spec.suspend or spec.paused
    return Other(
        key=key,
        created=created,
        claiming=up and not started,
        waiting=not up and not started and not paused and not _resting(state),
        needs=needs(spec, asking, nodes),
    )


def _resting(state: gang.Gang | None) -> bool:
    """Tell whether a system gave its start back and pauses; the next one may go first."""
    return state is not None and state.tries > 0
