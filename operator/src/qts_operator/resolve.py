"""A resource as read, plus what is known of the cluster, to the Frame that builders render. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import msgspec

from qts_core import names
from qts_core.config import dump_changed
from qts_core.resource import Spec, read, settings_of
from qts_core.roster import AGENTS, ROSTER
from qts_core.spec import System
from qts_operator import adopt, budget, circuit, gang, gpu, node_loss, rotation, starts
from qts_operator.memo import remembered
from qts_operator.objects import claim_templates, secrets
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.snapshot import Child, Finding, Snapshot
from qts_operator.stages import REMEDY

Verdicts = dict[str, gpu.Verdict]


@remembered
def spec_of(tree: dict[str, Any]) -> Spec:
    """Read a resource's `spec`; ConfigError names the field."""
    return read(tree)


@remembered
def _settings(spec: Spec, namespace: str, name: str) -> tuple[System, str]:
    """Return the settings of the agents, and the text of their file."""
    system = settings_of(spec, namespace, name)
    return system, dump_changed(system).decode()


def resolve(snapshot: Snapshot, defaults: Defaults) -> tuple[Frame, Verdicts]:
    """Return what is to be rendered, and why each agent runs where it does; ConfigError names the field."""
    spec = spec_of(snapshot.spec)
    keyless = secrets.lacking(spec, snapshot.name, snapshot.children)
    spec = _off(spec, keyless)
    system, config = _settings(spec, snapshot.namespace, snapshot.name)
    frame = Frame(
        namespace=snapshot.namespace,
        name=snapshot.name,
        uid=snapshot.uid,
        spec=spec,
        system=system,
        images=defaults,
        config=config,
        offered=snapshot.offered,
        stopped=_stopped(snapshot, auto=system.auto_restart_failed),
        external=external(snapshot, spec),
    )
    frame = msgspec.structs.replace(frame, turns=rotation.turns(frame, snapshot))
    frame = adopt.recorded(frame, snapshot, defaults)
    verdicts = {w.name: _placement(frame, snapshot, w.name) for w in AGENTS if w.gpu and frame.runs(w)}
    placements = {name: v.device for name, v in verdicts.items() if v.device is not None}
    caps = {name: v.cap for name, v in verdicts.items() if v.cap is not None}
    lost = [v for v in verdicts.values() if v.cap is not None]
    gone = rotation.lacking(snapshot, frame)
    faults = tuple(_withheld(snapshot, name, text) for name, text in gone.items())
    faults += tuple(_keyless(name, secret) for name, secret in keyless.items())
    faults += (snapshot.login,) if snapshot.login is not None else ()
    lost += [v for v in verdicts.values() if v.reason == "AccessDenied"]
    faults += tuple(Finding(reason=v.reason, message=v.message) for v in lost)
    frame = msgspec.structs.replace(
        frame, placements=placements, caps=caps, faults=faults, withheld=frozenset(gone)
    )
    frame, verdicts = starts.held(frame, snapshot, verdicts)
    return adopt.adopted(frame, snapshot, defaults), verdicts


def _off(spec: Spec, agents: Collection[str]) -> Spec:
    """Return `spec` with these agents switched off: what runs must not wait for what cannot start."""
    if not agents:
        return spec
    sections = cast(Any, spec).agents
    off = {name: msgspec.structs.replace(getattr(sections, name), enabled=False) for name in agents}
    return msgspec.structs.replace(spec, agents=msgspec.structs.replace(sections, **off))


def _withheld(snapshot: Snapshot, name: str, text: str) -> Finding:
    if name in snapshot.unread:
        return Finding(reason="AccessDenied", message=text)
    return Finding(reason="CredentialsMissing", message=f"{text}; {REMEDY}")


def _keyless(agent: str, listed: list[str]) -> Finding:
    text = (
        f"{agent} stays off: Secret {' and '.join(listed)}"
        " is older than this agent and lacks its credentials; "
        "to enable it, suspend the system, delete what is named here and the pod of Redis, and resume when "
        "the operator has made them anew"
    )
    return Finding(reason="CredentialsMissing", message=text)


def touched(snapshot: Snapshot, frame: Frame) -> dict[tuple[str, str], Child]:
    """Return the children that a plan may change or delete: not those that this operator cannot render."""
    left = {frame.part(part) for part in frame.unsupported}
    workloads = ("Deployment", "StatefulSet")
    wanted = {claim_templates.claim(frame, w) for w in frame.workloads()}
    used = {name for pod in snapshot.pods for name in pod.claims} - wanted
    return {
        (kind, name): child
        for (kind, name), child in snapshot.children.items()
        if not (kind in workloads and name in left) and not (kind == claim_templates.KIND and name in used)
    }


def history(snapshot: Snapshot, name: str) -> dict[str, Any]:
    """Return the workload's entry of the last status."""
    for entry in snapshot.status.get("agentStatuses") or ():
        if entry.get("name") == name:
            return dict(entry)
    return {}


def record_of(snapshot: Snapshot, name: str) -> dict[str, Any]:
    """Return the workload's entry of the last status, and in it what the kubelet restarted since."""
    return budget.seen(history(snapshot, name), snapshot.pods_of(name), snapshot.generation, snapshot.now)


def external(snapshot: Snapshot, spec: Spec) -> dict[str, int]:
    """Return the replicas that somebody else gives each agent: before it was held back, else now.

    A Deployment begins with the number of the resource; from then on the number is its autoscaler's.
    """
    found = {}
    for name in (w.name for w in AGENTS if spec.agent(w.name).replicas_managed_by == "External"):
        child = snapshot.children.get(("Deployment", names.part(snapshot.name, name)))
        if child is not None and child.owner_uid == snapshot.uid:
            found[name] = int(child.parked) if child.parked.isdecimal() else child.replicas
    return found


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
    child = snapshot.children.get(("Deployment", frame.part(name)))
    start = gang.read(snapshot.status)
    waiting = [start.at] if start is not None and start.held else []
    if child is not None and child.failure:
        waiting.append(child.failing_since)
    every = snapshot.pods_of(name)
    lost = node_loss.stranded(every, snapshot.nodes, snapshot.now)
    gone = {p.node for p in lost}
    waiting += [n.unready_since + node_loss.LOST_S for n in snapshot.nodes or () if n.name in gone]
    demand = gpu.Demand(
        agent=name,
        asked=frame.spec.agent(name),
        replicas=frame.wanted(workload),
        pods=tuple(p for p in every if p not in lost),
        lost=frozenset(gone),
        failure=child.failure if child is not None else "",
        waiting=tuple(waiting),
        circuit=circuit.read(history(snapshot, name)),
    )
    claims = claim_templates.KIND in snapshot.offered
    denied = snapshot.barred.get(claim_templates.KIND, "")
    view = gpu.View(
        nodes=snapshot.nodes, used=snapshot.used, claims=claims, denied=denied, absent=snapshot.absent
    )
    return gpu.place(demand, view, on_cpu=_fell_back(frame, snapshot, name), now=snapshot.now)


def _fell_back(frame: Frame, snapshot: Snapshot, name: str) -> bool:
    """Tell whether the agent runs on CPU after a fall-back and nothing else makes it roll."""
    if frame.spec.agent(name).gpu.mode != "Preferred" or history(snapshot, name).get("placement") != "CPU":
        return False
    child = snapshot.children.get(("Deployment", frame.part(name)))
    if child is None or child.replicas == 0:
        return False
    on_cpu = msgspec.structs.replace(frame, placements={name: "CPU"})
    return child.template_hash == adopt.rendered(on_cpu, name, on_cpu.made_of(name))
