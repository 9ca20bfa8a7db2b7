"""What a support bundle tells: what the operator stored, and what follows from the rest. Pure but for `read`.

A bundle holds no Secret, no other system and no answer of the API server. What depends on these is never
worked out again: the operator saw them, so what it stored is what counts.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from qts_cli import support_rounds, unseen
from qts_cli.support_bundle import SYSTEM
from qts_core.errors import ConfigError
from qts_core.probes import Status
from qts_operator import digests, gang, status, writes
from qts_operator.objects import KINDS
from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve
from qts_operator.snapshot import Pod, Snapshot
from qts_operator.times import seconds_of

Held = dict[str, Any]
#: what a condition says when all is well
GOOD = {"Ready": "True", "Progressing": "False", "Degraded": "False", "Suspended": "False"}
#: without these nothing can be worked out again, and without those nothing about devices
NEEDED = ("children.json", "pods.json")
OF_DEVICES = ("nodes.json", "usage.json", "apis.json")
#: seconds without a word from the leader after which another one would have taken over
LEASE_S = 60.0


def read(file: Path) -> list[Held]:
    """Return each system's JSON files by name; ConfigError when it is no bundle or was altered."""
    try:
        with tarfile.open(file) as archive:
            raw = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise ConfigError(f"{file}: not a support bundle: {' '.join(str(error).split())}") from None
    folders = [name.removesuffix(SYSTEM) for name in raw if f"/{name}".endswith(f"/{SYSTEM}")]
    if "index.json" not in raw or not folders:
        raise ConfigError(f"{file}: not a support bundle: index.json or system.json is not in it")
    held = {name: _json(file, name, text) for name, text in raw.items() if name.endswith(".json")}
    for name, digest in held["index.json"]["sha256"].items():
        if hashlib.sha256(raw.get(name, b"")).hexdigest() != digest:
            raise ConfigError(f"{file}: {name} is not what was gathered (its checksum differs)")
    return [_below(held, folder) for folder in folders]


def _below(held: Held, folder: str) -> Held:
    """Return what is said of the system of a folder, and what all systems have in common."""
    if not folder:
        return held
    index, depth = held["index.json"], folder.count("/")

    def mine(files: dict[str, Any]) -> dict[str, Any]:
        common = {name: value for name, value in files.items() if name.count("/") < depth}
        return common | {n.removeprefix(folder): value for n, value in files.items() if n.startswith(folder)}

    return mine(held) | {"index.json": index | {"missing": mine(index["missing"])}}


def _json(file: Path, name: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{file}: {name} is not JSON: {error}") from None


def explain(held: Held) -> tuple[list[str], bool]:
    """Return what there is to say line by line, and whether all is well."""
    live, index = held[SYSTEM], held["index.json"]
    made = seconds_of(index.get("made") or "") or 0.0
    stored: list[dict[str, Any]] = list((live.get("status") or {}).get("conditions") or ())
    odd, (anew, unseen) = [*_unheard(held, stored, made)], findings(held, made)
    lines = [
        f"{live['metadata']['namespace']}/{live['metadata']['name']}, gathered at {index.get('made')}",
        "stored by the operator:",
        *(f"  {_line(c)}{_age(c, made)}" for c in stored),
        *(f"  {each}" for each in odd),
    ]
    if anew:
        lines += ["worked out again from the bundle, where it differs:", *(f"  {_line(c)}" for c in anew)]
    lines += support_rounds.told(held, made)
    lines += [f"not worked out again: {each}" for each in unseen]
    lines.append("not in a bundle: Secrets; of them there is only what the operator stored")
    lines += [f"not in the bundle: {part}: {why}" for part, why in sorted(index["missing"].items())]
    well = not odd and not anew and not any(_bad(c) for c in stored)
    return [*lines, "healthy: every condition is as it should be"] if well else lines, well


def findings(held: Held, made: float) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the conditions that are not as they should be and not stored so, and what could not be told."""
    missing = [name for name in NEEDED if name not in held]
    if missing:
        return [], [f"anything: {', '.join(missing)} is not in the bundle"]
    start = gang.read(held[SYSTEM].get("status") or {})
    if start is not None and start.state != "Started":
        return [], ["anything: an all-or-nothing start depends on other systems, which are not in a bundle"]
    blind = [name for name in OF_DEVICES if name not in held]
    told = [c for c in _conditions(held, made) if _bad(c) and not (blind and c["type"] == "GPUAvailable")]
    known = {_mark(c) for c in (held[SYSTEM].get("status") or {}).get("conditions") or ()}
    return (
        # which template revisions are rendered is the operator's to say, not that of the qts at hand
        [c for c in told if _mark(c) not in known and c["reason"] != "RevisionUnsupported"],
        [f"GPUAvailable: {', '.join(blind)} is not in the bundle"] if blind else [],
    )


def _conditions(held: Held, made: float) -> list[dict[str, Any]]:
    snapshot = _snapshot(held, made)
    images, given = snapshot.status.get("images") or {}, Defaults()
    defaults = Defaults(
        agent=images.get("agent") or given.agent,
        agent_gpu=images.get("agentGPU") or given.agent_gpu,
        redis=images.get("redis") or given.redis,
    )
    try:
        secrets = unseen.secrets(snapshot.namespace, snapshot.name, snapshot.uid, snapshot.spec)
        snapshot = msgspec.structs.replace(snapshot, children=snapshot.children | secrets)
        frame, verdicts = resolve(snapshot, defaults)
    except ConfigError as error:
        return [{"type": "Degraded", "status": "True", "reason": "SpecRejected", "message": str(error)}]
    facts = status.Facts(snapshot=snapshot, frame=frame, verdicts=verdicts, state=writes.State(todo=()))
    return list(status.build(facts)["conditions"])


def _unheard(held: Held, stored: list[dict[str, Any]], made: float) -> Iterator[str]:
    """Say when what is stored is not of now: no operator has looked since."""
    generation = int(held[SYSTEM]["metadata"].get("generation") or 1)
    if not stored:
        yield "no condition: no operator has looked at this system"
    elif (of := int(stored[0].get("observedGeneration") or 0)) < generation:
        yield f"the conditions are of generation {of}; generation {generation} has not been looked at yet"
    lease = (held.get("lease.json") or {}).get("spec") or {}
    renewed = seconds_of(lease.get("renewTime") or "")
    if renewed is not None and (not lease.get("holderIdentity") or made - renewed > LEASE_S):
        yield f"no operator led when this was gathered: the Lease was renewed {_span(made - renewed)} before"


def _line(condition: dict[str, Any]) -> str:
    text = f"{condition['type']}={condition['status']} {condition['reason']}"
    return text + (f": {condition['message']}" if condition.get("message") else "")


def _age(condition: dict[str, Any], made: float) -> str:
    since = seconds_of(condition.get("lastTransitionTime") or "")
    return "" if since is None else f" (for {_span(made - since)})"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _bad(condition: dict[str, Any]) -> bool:
    """Tell whether it says that something is wrong; Unknown says nothing of the system."""
    return condition["status"] not in (GOOD.get(condition["type"], "True"), "Unknown")


def _mark(condition: dict[str, Any]) -> tuple[str, str, str]:
    return condition["type"], condition["status"], condition["reason"]


def _snapshot(held: Held, made: float) -> Snapshot:
    live = held[SYSTEM]
    metadata = live["metadata"]

    def items(name: str) -> list[dict[str, Any]]:
        return list((held.get(name) or {}).get("items") or ())

    children = [digests.child(item, item["kind"]) for item in items("children.json")]
    pods = tuple(digests.pod(item) for item in items("pods.json"))
    return Snapshot(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=int(metadata.get("generation") or 1),
        now=made,
        created=seconds_of(metadata.get("creationTimestamp") or "") or 0.0,
        spec=live.get("spec") or {},
        status=live.get("status") or {},
        children={(child.kind, child.name): child for child in children},
        pods=pods,
        nodes=tuple(digests.node(item) for item in items("nodes.json")) if "nodes.json" in held else None,
        used=held.get("usage.json") or {},
        offered=_offered(held.get("apis.json") or {}),
        statusz=_statusz(held, pods),
    )


def _offered(apis: dict[str, Any]) -> frozenset[str]:
    """Return the optional kinds whose group and version the API server serves."""
    served = {v["groupVersion"] for g in apis.get("groups") or () for v in g.get("versions") or ()}
    return frozenset(kind.name for kind in KINDS if kind.optional and kind.api_version in served)


def _statusz(held: Held, pods: tuple[Pod, ...]) -> Status | None:
    """Return what PADS answered, None when it did not, or not in the way of this qts."""
    for pod in pods:
        told = held.get(f"statusz/{pod.name}.json") if pod.agent == "pads" and not pod.deleting else None
        if told is not None:
            try:
                return msgspec.convert(told, Status)
            except msgspec.ValidationError:
                return None
    return None
