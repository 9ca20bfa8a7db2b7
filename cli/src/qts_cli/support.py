"""`qts support`: one archive with everything about a system, and what the operator's own checks say of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from qts_cli import support_bundle
from qts_core.errors import ConfigError
from qts_operator import digests, status, writes
from qts_operator.explain import against_nothing
from qts_operator.objects.frame import Defaults
from qts_operator.resolve import resolve
from qts_operator.snapshot import Finding, Snapshot
from qts_operator.times import seconds_of

app = App(name="support", help="Gather a system's state in one archive, or explain such an archive.")
#: what a condition says when all is well
GOOD = {"Ready": "True", "Progressing": "False", "Degraded": "False", "Suspended": "False"}


@app.default
def support(
    name: str,
    *,
    namespace: Annotated[str, Parameter(name=["--namespace", "-n"])] = "default",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    operator_namespace: str = "qts-system",
) -> int:
    """Write NAME's resources, Events, logs, states and metrics into a .tar.gz, without any secret.

    Parameters
    ----------
    name
        A system in the cluster that kubectl talks to.
    namespace
        Namespace of the system.
    output
        The file to write; without it support-NAMESPACE-NAME.tar.gz here.
    operator_namespace
        Namespace of the operator.
    """
    bundle = asyncio.run(support_bundle.gather(namespace, name, operator_namespace))
    if "system.json" in bundle.files:
        try:
            bundle.put("plan.txt", "\n".join(against_nothing(json.loads(bundle.files["system.json"]))) + "\n")
        except ConfigError as error:
            bundle.missing["plan.txt"] = str(error)
    target = output or Path(f"support-{namespace}-{name}.tar.gz")
    size = bundle.write(target)
    print(f"{target}: {len(bundle.files)} files, {size} bytes")
    for file, why in sorted(bundle.missing.items()):
        print(f"missing {file}: {why}")
    return 0


@app.command
def explain(file: Path) -> int:
    """Say what the operator's own checks find in a bundle; exit 1 when they find something.

    Parameters
    ----------
    file
        A .tar.gz of qts support.
    """
    held = read(file)
    told = findings(held)
    for condition in told:
        print(f"{condition['type']}={condition['status']} {condition['reason']}: {condition['message']}")
    for part, why in sorted(held["index.json"]["missing"].items()):
        print(f"not in the bundle: {part}: {why}")
    if not told:
        print("nothing found: every condition is as it should be")
    return 1 if told else 0


def read(file: Path) -> dict[str, Any]:
    """Return the JSON files of a bundle by name; ConfigError when it is none or was altered."""
    try:
        with tarfile.open(file) as archive:
            raw = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ConfigError(f"{file}: not a support bundle: {error}") from None
    if "index.json" not in raw or "system.json" not in raw:
        raise ConfigError(f"{file}: not a support bundle: index.json or system.json is not in it")
    index = json.loads(raw["index.json"])
    for name, digest in index["sha256"].items():
        if hashlib.sha256(raw.get(name, b"")).hexdigest() != digest:
            raise ConfigError(f"{file}: {name} is not what was gathered (its checksum differs)")
    return {name: json.loads(text) for name, text in raw.items() if name.endswith(".json")}


def findings(held: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the conditions that are not as they should be, worked out anew from what the bundle holds."""
    snapshot = _snapshot(held)
    images = snapshot.status.get("images") or {}
    given = Defaults()
    defaults = Defaults(
        agent=images.get("agent") or given.agent,
        agent_gpu=images.get("agentGPU") or given.agent_gpu,
        redis=images.get("redis") or given.redis,
    )
    try:
        frame, verdicts = resolve(snapshot, defaults)
    except ConfigError as error:
        wrong = Finding(reason="SpecRejected", message=str(error))
        return [{"type": "Degraded", "status": "True", "reason": wrong.reason, "message": wrong.message}]
    facts = status.Facts(snapshot=snapshot, frame=frame, verdicts=verdicts, state=writes.State(todo=()))
    conditions = status.build(facts)["conditions"]
    return [c for c in conditions if c["status"] != GOOD.get(c["type"], "True")]


def _snapshot(held: dict[str, Any]) -> Snapshot:
    live = held["system.json"]
    metadata = live["metadata"]

    def items(name: str) -> list[dict[str, Any]]:
        return list((held.get(name) or {}).get("items") or ())

    children = [digests.child(item, item["kind"]) for item in items("children.json")]
    return Snapshot(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=int(metadata.get("generation") or 1),
        now=seconds_of(metadata.get("creationTimestamp") or "") or 0.0,
        spec=live.get("spec") or {},
        status=live.get("status") or {},
        children={(child.kind, child.name): child for child in children},
        pods=tuple(digests.pod(item) for item in items("pods.json")),
        nodes=tuple(digests.node(item) for item in items("nodes.json")) if "nodes.json" in held else None,
    )
