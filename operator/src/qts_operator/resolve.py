"""A resource as read, plus what is known of the cluster, to the Frame that builders render. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from qts_core.config import dump
from qts_core.errors import ConfigError
from qts_core.resource import Spec, read, settings_of
from qts_core.roster import AGENTS, ROSTER
from qts_operator import gpu
from qts_operator.objects.frame import Defaults, Frame, template_hash
from qts_operator.objects.pods import template
from qts_operator.snapshot import Snapshot

Verdicts = dict[str, gpu.Verdict]


def spec_of(tree: dict[str, Any]) -> Spec:
    """Read a resource's `spec`; ConfigError names the field."""
    try:
        return read(tree)
    except msgspec.ValidationError as error:
        raise ConfigError(f"spec: {error}") from None


def resolve(snapshot: Snapshot, defaults: Defaults) -> tuple[Frame, Verdicts]:
    """Return what is to be rendered, and why each agent runs where it does; ConfigError names the field."""
    spec = spec_of(snapshot.spec)
    system = settings_of(spec, snapshot.namespace, snapshot.name)
    frame = Frame(
        namespace=snapshot.namespace,
        name=snapshot.name,
        uid=snapshot.uid,
        spec=spec,
        system=system,
        images=_images(spec, snapshot.status, defaults),
        config=dump(system).decode(),
        offered=snapshot.offered,
        stopped=_stopped(snapshot, auto=system.auto_restart_failed),
    )
    verdicts = {w.name: _placement(frame, snapshot, w.name) for w in AGENTS if w.gpu and frame.runs(w)}
    placements = {name: v.device for name, v in verdicts.items() if v.device is not None}
    return msgspec.structs.replace(frame, placements=placements), verdicts


def history(snapshot: Snapshot, name: str) -> dict[str, Any]:
    """Return the workload's entry of the last status."""
    for entry in snapshot.status.get("agentStatuses") or ():
        if entry.get("name") == name:
            return dict(entry)
    return {}


def _images(spec: Spec, status: dict[str, Any], defaults: Defaults) -> Defaults:
    """Return the images: what is said, else what was resolved before, else the operator's default."""
    former = {} if spec.upgrade_policy == "Immediate" else status.get("images") or {}
    images = spec.images
    return Defaults(
        agent=images.agent or former.get("agent") or defaults.agent,
        agent_gpu=images.agent_gpu or former.get("agentGPU") or defaults.agent_gpu,
        redis=images.redis or former.get("redis") or defaults.redis,
        namespace=defaults.namespace,
    )


def _stopped(snapshot: Snapshot, *, auto: bool) -> frozenset[str]:
    """Return the workloads that stay at 0 after their first exit; a change of the spec clears them."""
    if auto:
        return frozenset()
    same = snapshot.status.get("observedGeneration") == snapshot.generation
    held = {w.name for w in ROSTER if same and history(snapshot, w.name).get("stopped")}
    ended = {p.agent for p in snapshot.pods if p.exited and not p.deleting}
    return frozenset(held | {w.name for w in ROSTER if w.name in ended})


def _placement(frame: Frame, snapshot: Snapshot, name: str) -> gpu.Verdict:
    workload = next(w for w in AGENTS if w.name == name)
    demand = gpu.Demand(
        agent=name,
        asked=frame.spec.agent(name),
        replicas=frame.wanted(workload),
        pods=snapshot.pods_of(name),
    )
    view = gpu.View(nodes=snapshot.nodes, used=snapshot.used)
    return gpu.place(demand, view, on_cpu=_fell_back(frame, snapshot, name), now=snapshot.now)


def _fell_back(frame: Frame, snapshot: Snapshot, name: str) -> bool:
    """Tell whether the agent runs on CPU after a fall-back and nothing else makes it roll."""
    if frame.spec.agent(name).gpu.mode != "Preferred" or history(snapshot, name).get("placement") != "CPU":
        return False
    child = snapshot.children.get(("Deployment", frame.part(name)))
    if child is None or child.replicas == 0:
        return False
    workload = next(w for w in AGENTS if w.name == name)
    on_cpu = msgspec.structs.replace(frame, placements={name: "CPU"})
    return child.template_hash == template_hash(template(on_cpu, workload))
