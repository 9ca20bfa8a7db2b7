"""What a support bundle holds, in one table, and how it is gathered: reading only, by the caller's rights."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

from qts_core import names
from qts_core.errors import ConfigError
from qts_operator.digests import requested
from qts_operator.times import stamp

LIMIT_BYTES = 20_000_000
TIME_S, CALL_S, AT_ONCE = 50.0, 15.0, 6
LOG_LINES, LOG_BYTES = "2000", 400_000
HIDDEN = "***"
_CHILDREN = (
    "deployments,statefulsets,services,configmaps,serviceaccounts,networkpolicies,poddisruptionbudgets"
)
_SECRET_KEY = re.compile(r"password|secret(?!ref|name)|token|private|credential", re.IGNORECASE)
_LOGIN = re.compile(r"(\w+://)[^/@\s\"]*@")
_WORD = re.compile(r"(?i)(password|token|secret)(\"?\s*[=:]\s*\"?)[^\s\",}]+")
_ALIVE = "status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!="
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def parts(namespace: str, name: str, operator_namespace: str) -> dict[str, list[str]]:
    """Return the files of a bundle and the kubectl call that fills each; no call names a Secret."""
    mine = ["-n", namespace, "get"]
    of_system = ["-l", f"{names.LABEL_SYSTEM}={name}", "-o", "json"]
    operator = ["-l", f"{names.LABEL_NAME}=quantum-trading-operator", "-o", "json"]
    return {
        "system.json": [*mine, f"{names.PLURAL}.{names.GROUP}", name, "-o", "json", "--show-managed-fields"],
        "children.json": [*mine, _CHILDREN, *of_system, "--show-managed-fields"],
        "pods.json": [*mine, "pods", *of_system],
        "events.json": [*mine, "events", "-o", "json"],
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
    return _WORD.sub(rf"\1\2{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", text))


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


async def gather(namespace: str, name: str, operator_namespace: str) -> Bundle:
    """Return everything that can be had within TIME_S; ConfigError where there is no such system."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise ConfigError("kubectl is not on PATH; install it")
    bundle, slots = Bundle(), asyncio.Semaphore(AT_ONCE)

    async def call(*arguments: str) -> tuple[int, str, str]:
        async with slots:
            process = await asyncio.create_subprocess_exec(
                kubectl, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            try:
                out, err = await asyncio.wait_for(process.communicate(), CALL_S)
            except (TimeoutError, asyncio.CancelledError):
                process.kill()
                await process.wait()
                return 1, "", f"no answer within {CALL_S:g} s"
            return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")

    async def keep(file: str, arguments: list[str]) -> None:
        code, out, err = await call(*arguments)
        if code:
            bundle.missing[file] = hide(err.strip()[-500:])
            return
        tree = json.loads(out)
        if file == "nodes.json":
            tree = {"items": [_node(node) for node in tree["items"]]}
        elif file == "usage.json":
            tree = _usage(tree["items"])
        bundle.put(file, json.dumps(clean(tree), indent=1))

    async def log(pod: str, container: str, previous: bool) -> None:
        more = ["--previous"] if previous else []
        file = f"logs/{pod}.{container}{'.previous' if previous else ''}.log"
        code, out, err = await call(
            "-n", namespace, "logs", pod, "-c", container, f"--tail={LOG_LINES}", *more
        )
        if code:
            bundle.missing[file] = hide(err.strip()[-500:])
        else:
            bundle.put(file, hide(out[-LOG_BYTES:]))

    async def ask(pod: str, port: int, path: str, file: str) -> None:
        target = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}"
        code, out, err = await call("get", "--raw", target)
        if code:
            bundle.missing[file] = hide(err.strip()[-500:])
        elif file.endswith(".json"):
            bundle.put_json(file, out)
        else:
            bundle.put(file, hide(out))

    chosen = parts(namespace, name, operator_namespace)
    await keep("system.json", chosen.pop("system.json"))
    if "NotFound" in bundle.missing.get("system.json", ""):
        raise ConfigError(f"{bundle.missing['system.json']}; kubectl get qts -A lists what there is")
    try:
        async with asyncio.timeout(TIME_S):
            await asyncio.gather(*(keep(file, arguments) for file, arguments in chosen.items()))
            await asyncio.gather(*_of_pods(bundle, log, ask))
    except TimeoutError:
        bundle.missing["rest"] = f"not gathered within {TIME_S:g} s"
    return bundle


def _of_pods(bundle: Bundle, log: Any, ask: Any) -> list[Any]:
    pods = json.loads(bundle.files.get("pods.json", b'{"items": []}'))["items"]
    jobs = []
    for pod in pods:
        name = pod["metadata"]["name"]
        for told in (pod.get("status") or {}).get("containerStatuses") or ():
            jobs.append(log(name, told["name"], False))
            if told.get("restartCount"):
                jobs.append(log(name, told["name"], True))
        agent = (pod["metadata"].get("labels") or {}).get(names.LABEL_AGENT)
        if agent and (pod.get("status") or {}).get("podIP"):
            jobs.append(ask(name, names.PORT_HTTP, names.PATH_STATUS, f"statusz/{name}.json"))
            jobs.append(ask(name, names.PORT_METRICS, names.PATH_METRICS, f"metrics/{name}.txt"))
    return jobs
