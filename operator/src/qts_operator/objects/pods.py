"""The pod template of a workload: what a process is told, mounted, probed and forbidden.

A change of the output for the same resource is a new revision (`revisions.py`); the old ones stay.
"""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import msgspec

from qts_core import names, probes
from qts_core.parts import Agent, Placed, Pods, Resources
from qts_core.roster import AGENTS, BY_NAME, Workload
from qts_operator.memo import remembered
from qts_operator.objects.claim_templates import REQUEST, claim
from qts_operator.objects.frame import Frame, short_hash
from qts_operator.objects.quantities import canonical

USER = 10001
_MODE = 0o440
#: the first revision whose pods take their own agent's password for an external Redis
OWN_LOGINS = 4
#: settings that no pod needs a restart for: asking for a device changes the pod of that agent anyway
_UNREAD = frozenset({"gpu_acceleration"})
#: settings that a voter or the feed never looks at; a change of them must not restart it
_DECIDER_ONLY = frozenset({"board_members"} | {f"enable_{w.wire}" for w in AGENTS})


def template(frame: Frame, workload: Workload) -> dict[str, Any]:
    """Return the pod template of `workload`; a pass asks for it twice, and nobody may change it."""
    return _template(frame.of_pods(), workload.name)


@partial(remembered, limit=128, fleeting=True)
def _template(frame: Frame, name: str) -> dict[str, Any]:
    workload = BY_NAME[name]
    pods = frame.spec.pods(workload.name)
    extra = pods if isinstance(pods, Agent) else Agent()
    labels = frame.selector(workload.name) | {
        names.LABEL_NAME: names.APP_NAME,
        names.LABEL_INSTANCE: frame.name,
        names.LABEL_AGENT: workload.name,
    }
    annotations = {names.ANNOTATION_CONFIG_HASH: config_hash(frame, workload)}
    spec: dict[str, Any] = {
        "serviceAccountName": frame.part(names.AGENTS_SERVICE_ACCOUNT),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": extra.termination_grace_period_seconds,
        "securityContext": pod_security(),
        "containers": [_container(frame, workload, pods)],
        "volumes": _volumes(frame, workload),
    }
    _place(spec, pods, extra, frame, workload)
    claimed = claim(frame, workload)
    if claimed:
        spec["resourceClaims"] = [{"name": REQUEST, "resourceClaimTemplateName": claimed}]
    secrets = frame.spec.images.pull_secrets
    if secrets:
        spec["imagePullSecrets"] = [{"name": s.name} for s in secrets]
    return {
        "metadata": {
            "labels": dict(extra.pod_labels) | labels,
            "annotations": dict(extra.pod_annotations) | annotations,
        },
        "spec": spec,
    }


def config_hash(frame: Frame, workload: Workload) -> str:
    """Return the hash of the settings that the workload reads; only their change restarts it.

    A setting at its default is not in `frame.config`: one that a later operator adds moves no hash.
    """
    tree = json.loads(frame.config)
    unread = _UNREAD | {w.wire for w in AGENTS if w.wire != workload.wire}
    if workload.role != "decider":
        unread |= _DECIDER_ONLY
    return short_hash(json.dumps({k: v for k, v in tree.items() if k not in unread}, sort_keys=True))


def pod_security() -> dict[str, Any]:
    """Return the pod's security context: Pod Security Standard "restricted"."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Return the container's half of "restricted"."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def resources(asked: Resources) -> dict[str, dict[str, str]]:
    """Return requests and limits in canonical quantities, empty ones left out."""
    pairs = {"requests": asked.requests, "limits": asked.limits}
    return {
        name: {key: canonical(value) for key, value in items.items()}
        for name, items in pairs.items()
        if items
    }


def _container(frame: Frame, workload: Workload, pods: Pods) -> dict[str, Any]:
    asked = resources(pods.resources)
    listed: dict[str, Any] = dict(asked)
    if claim(frame, workload):
        listed["claims"] = [{"name": REQUEST}]
    elif frame.on_gpu(workload) and isinstance(pods, Agent):
        listed["limits"] = asked.get("limits", {}) | {pods.gpu.device: str(pods.gpu.count)}
    mounts = [
        {"name": "qts", "mountPath": names.DIR_CONFIG, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the pod
        {"name": "cache", "mountPath": names.DIR_CACHE},
        {"name": "state", "mountPath": names.DIR_STATE},
    ]
    if _claim(frame, workload):
        mounts.append({"name": "data", "mountPath": names.DIR_DATA, "readOnly": True})
    container = {
        "name": workload.name,
        "image": frame.image(workload),
        "imagePullPolicy": frame.spec.images.pull_policy,
        "command": ["python", "-m", "qts_agents", workload.name],
        "env": _env(frame, workload, pods),
        "ports": _ports(frame, workload),
        "securityContext": container_security(),
        "volumeMounts": mounts,
        **_probes(frame),
    }
    return container | ({"resources": listed} if listed else {})


def _env(frame: Frame, workload: Workload, pods: Pods) -> list[dict[str, Any]]:
    fields = {
        "POD_NAME": "metadata.name",
        "POD_UID": "metadata.uid",
        "NODE_NAME": "spec.nodeName",
    }
    values = {
        names.ENV_CONFIG: f"{names.DIR_CONFIG}/{names.CONFIG_FILE}",
        names.ENV_SECRETS: names.DIR_CONFIG,
        names.ENV_STATE: names.DIR_STATE,
        names.ENV_SYSTEM: f"{frame.namespace}.{frame.name}",
        names.ENV_PEERS: json.dumps(frame.peers(), sort_keys=True),
        names.ENV_BIND: "0.0.0.0",  # noqa: S104 - reachable by the system's pods; CURVE and policy guard it
        names.ENV_HTTP_PORT: str(names.PORT_HTTP),
        names.ENV_METRICS_PORT: str(names.PORT_METRICS),
        "NUMBA_CACHE_DIR": names.DIR_CACHE,
        "OTEL_RESOURCE_ATTRIBUTES": (
            f"service.namespace={frame.namespace},qts.system={frame.name},qts.agent={workload.name},"
            f"k8s.namespace.name={frame.namespace},k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),"
            f"k8s.node.name=$(NODE_NAME),k8s.container.name={workload.name},"
            f"k8s.deployment.name={frame.part(workload.name)}"
        ),
    }
    own = {e.name: e.value for e in pods.env}
    listed: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in fields.items()
    ]
    # the server drops an empty value, so it is not sent
    return listed + [{"name": k, "value": v} if v else {"name": k} for k, v in (values | own).items()]


def _ports(frame: Frame, workload: Workload) -> list[dict[str, Any]]:
    ports = [
        {"name": "http", "containerPort": names.PORT_HTTP, "protocol": "TCP"},
        {"name": "metrics", "containerPort": names.PORT_METRICS, "protocol": "TCP"},
    ]
    if workload.agent:
        port = frame.spec.agent(workload.name).port
        ports.insert(0, {"name": "zmq", "containerPort": port, "protocol": "TCP"})
    return ports


def _probes(frame: Frame) -> dict[str, Any]:
    told = probes.probes(frame.system.health_check_interval)
    pairs = {
        "startupProbe": told.startup,
        "livenessProbe": told.liveness,
        "readinessProbe": told.readiness,
    }
    return {
        name: {
            "httpGet": {"path": probe.path, "port": names.PORT_HTTP},
            "periodSeconds": max(1, math.ceil(probe.period_s)),
            "failureThreshold": probe.failures,
            "timeoutSeconds": max(1, math.ceil(probe.timeout_s)),
        }
        for name, probe in pairs.items()
    }


def _claim(frame: Frame, workload: Workload) -> str | None:
    """Return the claim that holds the file which the feed replays, or those which an agent reads."""
    if workload.agent:
        return frame.spec.agent(workload.name).claim_name
    replay = frame.spec.market.replay
    return replay.claim_name if replay is not None else None


def _volumes(frame: Frame, workload: Workload) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "qts", "projected": {"defaultMode": _MODE, "sources": _sources(frame, workload)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        {"name": "cache", "emptyDir": {"sizeLimit": "512Mi"}},
        {"name": "state", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    claim = _claim(frame, workload)
    if claim:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    return volumes


def _sources(frame: Frame, workload: Workload) -> list[dict[str, Any]]:
    """Return what lies under /etc/qts: the settings, own keys, the public keys of all members."""
    config = {"name": frame.part(names.CONFIG_PART), "items": [_item(names.CONFIG_FILE, names.CONFIG_FILE)]}
    sources: list[dict[str, Any]] = [{"configMap": config}]
    if frame.spec.messaging.encryption == "Curve":
        files = [f"{workload.wire}.key", *(f"{w.wire}.pub" for w in frame.members())]
        items = [_item(file, f"curve/{file}") for file in files]
        sources.append({"secret": {"name": frame.part(names.CURVE_SECRET), "items": items}})
    redis = frame.spec.redis
    if redis.mode == "Managed":
        file = f"{workload.wire}.password"
        sources.append(
            {"secret": {"name": frame.part(names.REDIS_SECRET), "items": [_item(file, f"redis/{file}")]}}
        )
    elif redis.url_secret_ref is not None:
        ref = redis.url_secret_ref
        sources.append({"secret": {"name": ref.name, "items": [_item(ref.key, "redis/url")]}})
        items = [_item("ca.crt", "redis/ca.crt")]
        if frame.made_of(workload.name).revision >= OWN_LOGINS:
            own = f"{workload.wire}.password"  # without it the login of the address serves all
            items.append(_item(own, f"redis/{own}"))
        sources.extend({"secret": {"name": ref.name, "items": [i], "optional": True}} for i in items)
    return sources


def _item(key: str, path: str) -> dict[str, str]:
    return {"key": key, "path": path}


def place(spec: dict[str, Any], where: Placed) -> None:
    """Add which nodes pods may run on, as the resource says."""
    if where.node_selector:
        spec["nodeSelector"] = dict(where.node_selector)
    if where.tolerations:
        listed = [msgspec.to_builtins(t) for t in where.tolerations]
        spec["tolerations"] = [{k: v for k, v in t.items() if v is not None} for t in listed]
    if where.affinity:
        spec["affinity"] = where.affinity


def _place(spec: dict[str, Any], pods: Pods, extra: Agent, frame: Frame, workload: Workload) -> None:
    """Add where and how the pods may run, as the resource says."""
    place(spec, pods)
    if extra.topology_spread_constraints:
        spec["topologySpreadConstraints"] = [
            msgspec.to_builtins(c) | {"labelSelector": {"matchLabels": frame.selector(workload.name)}}
            for c in extra.topology_spread_constraints
        ]
    if extra.priority_class_name:
        spec["priorityClassName"] = extra.priority_class_name
    if extra.runtime_class_name:
        spec["runtimeClassName"] = extra.runtime_class_name
