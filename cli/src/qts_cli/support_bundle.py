"""What a support bundle holds, in one table, and how it is gathered: reading only, by the caller's rights."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import tarfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from qts_cli.cluster_status import program
from qts_core import names
from qts_core.errors import ConfigError
from qts_operator.digests import requested
from qts_operator.times import stamp

LIMIT_BYTES = 20_000_000
TIME_S, CALL_S, AT_ONCE = 50.0, 15.0, 6
LOG_LINES, LOG_BYTES = "2000", 400_000
HIDDEN = "***"
SYSTEM = "system.json"
OPERATOR = "quantum-trading-operator"
SYSTEMS = f"{names.PLURAL}.{names.GROUP}"
_CHILDREN = (
    "deployments,statefulsets,services,configmaps,serviceaccounts,networkpolicies,poddisruptionbudgets"
)
_SECRET_KEY = re.compile(r"password|secret(?!ref|name)|token|private|credential", re.IGNORECASE)
_LOGIN = re.compile(r"(\w+://)[^/@\s\"]*@")
_WORD = re.compile(
    r"(?i)(password|token|secret|authorization|api[-_]?key)(\"?\s*[=:]\s*\"?)(?:(?:bearer|basic)\s+)?[^\s\",}&]+"
)
_QUERY = re.compile(r"(\w+://[^\s\"?]+\?)[^\s\"]+")  # where a source of headlines has its key
_ALIVE = "status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!="
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def of_system(namespace: str, name: str) -> dict[str, list[str]]:
    """Return the files about a system and the kubectl call that fills each; no call names a Secret."""
    mine = ["-n", namespace, "get"]
    labelled = ["-l", f"{names.LABEL_SYSTEM}={name}", "-o", "json"]
    return {
        SYSTEM: [*mine, SYSTEMS, name, "-o", "json", "--show-managed-fields"],
        "children.json": [*mine, _CHILDREN, *labelled, "--show-managed-fields"],
        "pods.json": [*mine, "pods", *labelled],
        "events.json": [*mine, "events", "-o", "json"],
    }


def of_cluster(operator_namespace: str) -> dict[str, list[str]]:
    """Return the same of what all systems have in common."""
    operator = ["-l", f"{names.LABEL_NAME}={OPERATOR}", "-o", "json"]
    return {
        "nodes.json": ["get", "nodes", "-o", "json"],
        "usage.json": ["get", "pods", "-A", f"--field-selector={_ALIVE}", "-o", "json"],
        "apis.json": ["get", "--raw", "/apis"],
        "crd.json": ["get", "crd", names.CRD_NAME, "-o", "json"],
        "lease.json": ["-n", operator_namespace, "get", "lease", names.FIELD_MANAGER, "-o", "json"],
        "operator.json": ["-n", operator_namespace, "get", "deployments,pods", *operator],
        "version.json": ["version", "-o", "json"],
    }


class Bundle:
    """Files by name, and what could not be had."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.missing: dict[str, str] = {}
        self.made = stamp(time.time())

    def put(self, name: str, text: str) -> None:
        """Keep a text from which secrets were taken out."""
        self.files[name] = text.encode()

    def put_json(self, name: str, text: str) -> None:
        """Keep a JSON text without secrets; one that is none is missing."""
        try:
            self.put(name, json.dumps(clean(json.loads(text)), indent=1))
        except ValueError as error:
            self.missing[name] = f"not JSON: {error}"

    def take(self, other: Bundle, folder: str = "") -> None:
        """Keep what another one holds and misses, in a folder."""
        self.files |= {folder + name: raw for name, raw in other.files.items()}
        self.missing |= {folder + name: why for name, why in other.missing.items()}

    def write(self, path: Path) -> int:
        """Write the archive with its index, the largest files left out if need be; return its bytes."""
        while (packed := self._pack()) and len(packed) > LIMIT_BYTES:
            largest = max(self.files, key=lambda name: len(self.files[name]))
            self.missing[largest] = "left out: the bundle would be larger than 20 MB"
            del self.files[largest]
        path.write_bytes(packed)
        return len(packed)

    def _pack(self) -> bytes:
        sums = {name: hashlib.sha256(raw).hexdigest() for name, raw in sorted(self.files.items())}
        told = {"made": self.made, "sha256": sums, "missing": dict(sorted(self.missing.items()))}
        index = json.dumps(told, indent=1).encode()
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, raw in [("index.json", index), *sorted(self.files.items())]:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(raw), int(time.time())
                archive.addfile(entry, io.BytesIO(raw))
        return out.getvalue()


def hide(text: str) -> str:
    """Return a text without logins in addresses and without what follows password, token or secret."""
    return _WORD.sub(rf"\1\2{HIDDEN}", _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", text)))


def clean(tree: Any, key: str = "") -> Any:
    """Return an object without values of variables, of keys that name a secret, and of Secrets."""
    if isinstance(tree, dict):
        kept = {k: v for k, v in tree.items() if k not in (_LAST_APPLIED, "stringData", "binaryData")}
        return {k: HIDDEN if _secret(k, v) else clean(v, k) for k, v in kept.items()}
    if isinstance(tree, list):
        if key == "env":
            return [e | {"value": HIDDEN} if isinstance(e, dict) and "value" in e else e for e in tree]
        return [clean(each, key) for each in tree]
    return hide(tree) if isinstance(tree, str) else tree


def _secret(key: str, value: Any) -> bool:
    return isinstance(value, str) and bool(_SECRET_KEY.search(key)) and not key.startswith("f:")


def _node(tree: dict[str, Any]) -> dict[str, Any]:
    """Return what scheduling needs of a node."""
    metadata, status = tree.get("metadata") or {}, tree.get("status") or {}
    return {
        "metadata": {k: metadata.get(k) for k in ("name", "uid", "labels", "resourceVersion")},
        "spec": {k: v for k, v in (tree.get("spec") or {}).items() if k in ("taints", "unschedulable")},
        "status": {k: status.get(k) for k in ("allocatable", "conditions")},
    }


def _usage(pods: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return node → resource → count of all pods; nothing else of other people's pods is kept."""
    used: dict[str, dict[str, int]] = {}
    for spec in (pod["spec"] for pod in pods):
        for resource, count in requested(spec).items():
            on = used.setdefault(spec["nodeName"], {})
            on[resource] = on.get(resource, 0) + count
    return used


class Gatherer:
    """Fills a bundle by calls of kubectl, a few at once; what cannot be had is listed in it."""

    def __init__(self, kubectl: str, bundle: Bundle, slots: asyncio.Semaphore) -> None:
        self._kubectl, self.bundle, self._slots = kubectl, bundle, slots

    async def all(self, files: dict[str, list[str]]) -> None:
        """Keep each of these."""
        await asyncio.gather(*(self.keep(file, arguments) for file, arguments in files.items()))

    async def keep(self, file: str, arguments: list[str]) -> None:
        """Keep objects as JSON, of nodes and of other people's pods only what scheduling needs."""
        text = await self._text(file, arguments)
        if text is None:
            return
        tree = json.loads(text)
        if file == "nodes.json":
            tree = {"items": [_node(node) for node in tree["items"]]}
        elif file == "usage.json":
            tree = _usage(tree["items"])
        self.bundle.put(file, json.dumps(clean(tree), indent=1))

    async def log(self, namespace: str, pod: str, container: str, *, previous: bool = False) -> None:
        """Keep the last lines of a container, or of its predecessor."""
        more = ["--previous"] if previous else []
        file = f"logs/{pod}.{container}{'.previous' if previous else ''}.log"
        text = await self._text(
            file, ["-n", namespace, "logs", pod, "-c", container, f"--tail={LOG_LINES}", *more]
        )
        if text is not None:
            self.bundle.put(file, hide(text[-LOG_BYTES:]))

    async def ask(self, namespace: str, pod: str, port: int, path: str, file: str) -> None:
        """Keep what a pod answers."""
        target = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}"
        text = await self._text(file, ["get", "--raw", target])
        if text is not None and file.endswith(".json"):
            self.bundle.put_json(file, text)
        elif text is not None:
            self.bundle.put(file, hide(text))

    async def agent(self, namespace: str, pod: str) -> None:
        """Keep an agent's status and its kept rounds; silence is not waited for twice."""
        status, kept = f"statusz/{pod}.json", f"keptz/{pod}.json"
        await self.ask(namespace, pod, names.PORT_HTTP, names.PATH_STATUS, status)
        if why := self.bundle.missing.get(status):
            self.bundle.missing[kept] = why
        else:
            await self.ask(namespace, pod, names.PORT_HTTP, names.PATH_KEPT, kept)

    async def _text(self, file: str, arguments: list[str]) -> str | None:
        """Return what kubectl prints; None when it fails, and why is noted."""
        async with self._slots:
            process = await asyncio.create_subprocess_exec(
                self._kubectl, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            try:
                out, err = await asyncio.wait_for(process.communicate(), CALL_S)
            except (TimeoutError, asyncio.CancelledError):
                process.kill()
                await process.wait()
                self.bundle.missing[file] = f"no answer within {CALL_S:g} s"
                return None
        if process.returncode:
            self.bundle.missing[file] = hide(err.decode(errors="replace").strip()[-500:])
            return None
        return out.decode(errors="replace")


async def gather(namespace: str, name: str, operator_namespace: str) -> Bundle:
    """Return what can be had of a system within TIME_S; ConfigError where there is no such system."""
    bundle = await _gather({"": (namespace, name)}, operator_namespace)
    if not bundle.files:
        raise _no_answer(bundle, SYSTEM, f"-n {namespace}")
    return bundle


async def gather_all(namespace: str | None, operator_namespace: str) -> Bundle:
    """Return the same of every system of a namespace, or of all, each in a folder; ConfigError: none."""
    found = Bundle()
    where = ["-A"] if namespace is None else ["-n", namespace]
    lister = Gatherer(program(), found, asyncio.Semaphore(1))
    await lister.keep("systems.json", ["get", SYSTEMS, *where, "-o", "json"])
    if "systems.json" in found.missing:
        raise _no_answer(found, "systems.json", " ".join(where))
    items = json.loads(found.files["systems.json"])["items"]
    keys = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items]
    if not keys:
        raise ConfigError("no system there; kubectl get qts -A lists what there is")
    return await _gather({f"{space}/{name}/": (space, name) for space, name in keys}, operator_namespace)


def _no_answer(found: Bundle, file: str, where: str) -> ConfigError:
    """Return what to say where nothing was had: the last line of kubectl's words on a file."""
    return ConfigError(f"{found.missing[file].splitlines()[-1]}; kubectl get qts {where} must work")


async def _gather(systems: dict[str, tuple[str, str]], operator_namespace: str) -> Bundle:
    """Gather systems by the folder that each has, and what they have in common."""
    bundle, slots, kubectl = Bundle(), asyncio.Semaphore(AT_ONCE), program()
    common = Gatherer(kubectl, bundle, slots)
    each = [(Gatherer(kubectl, Bundle(), slots), of_system(*key)) for key in systems.values()]
    if "" in systems:
        ((only, files),) = each
        await only.keep(SYSTEM, files.pop(SYSTEM))
        if "NotFound" in (gone := only.bundle.missing.get(SYSTEM, "")):
            raise ConfigError(f"{gone}; kubectl get qts -A lists what there is")
    try:
        async with asyncio.timeout(TIME_S):
            wanted = [(common, of_cluster(operator_namespace)), *each]
            await asyncio.gather(*(one.all(files) for one, files in wanted))
            asked = [job for one, _ in each for job in _of_pods(one, "pods.json")]
            await asyncio.gather(*_of_pods(common, "operator.json"), *asked)
    except TimeoutError:
        bundle.missing["rest"] = f"not gathered within {TIME_S:g} s"
    for folder, (one, _) in zip(systems, each, strict=True):
        bundle.take(one.bundle, folder)
    return bundle


def _of_pods(gatherer: Gatherer, file: str) -> list[Coroutine[Any, Any, None]]:
    """Return what asks the pods of a file for logs, metrics, and agents for their state and kept rounds."""
    jobs = []
    for pod in _pods(gatherer.bundle, file):
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        labels, told = pod["metadata"].get("labels") or {}, pod.get("status") or {}
        for container in told.get("containerStatuses") or ():
            jobs.append(gatherer.log(namespace, name, container["name"]))
            if container.get("restartCount"):
                jobs.append(gatherer.log(namespace, name, container["name"], previous=True))
        agent, up = labels.get(names.LABEL_AGENT), bool(told.get("podIP"))
        if agent and up:
            jobs.append(gatherer.agent(namespace, name))
        if up and (agent or labels.get(names.LABEL_NAME) == OPERATOR):
            file = f"metrics/{name}.txt"
            jobs.append(gatherer.ask(namespace, name, names.PORT_METRICS, names.PATH_METRICS, file))
    return jobs


def _pods(bundle: Bundle, file: str) -> list[dict[str, Any]]:
    items = json.loads(bundle.files.get(file, b'{"items": []}'))["items"]
    return [item for item in items if item.get("kind") == "Pod"]
