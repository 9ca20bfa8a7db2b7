"""Redis of a system: one replica, users from the Secret, an append-only file on a claim or an emptyDir."""

from __future__ import annotations

from typing import Any

from qts_core import names
from qts_core.acl import RELOADER
from qts_operator.objects.frame import Frame, Manifest, template_hash
from qts_operator.objects.pods import container_security, place, pod_security, resources
from qts_operator.objects.quantities import canonical, value_of
from qts_operator.objects.revisions import noted
from qts_operator.snapshot import Child

#: the first revision with the side container
RELOADS = 2
#: the first revision whose server takes no argument longer than two of our frames
BOUNDED = 3
#: the first revision whose server has a `maxmemory`: one that its kernel kills reads itself full again and is
#: killed again; one that refuses writes says so, and is emptied by its readers
FULL = 5
_ACL_DIR = "/etc/redis"
_ACL_FILE, _PASSWORD_FILE = "users.acl", f"{RELOADER}.password"
_DATA_DIR = "/data"


def build(frame: Frame) -> list[Manifest]:
    """Return the Service and the StatefulSet, or nothing when Redis is somebody else's."""
    if frame.spec.redis.mode != "Managed":
        return []
    if names.REDIS_PART in frame.unsupported:
        return [_service(frame)]
    return [_service(frame), _stateful_set(frame)]


def _service(frame: Frame) -> Manifest:
    port = names.PORT_REDIS
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": frame.metadata(frame.part(names.REDIS_PART), names.REDIS_PART),
        "spec": {
            "selector": frame.selector(names.REDIS_PART),
            "ports": [{"name": "redis", "port": port, "targetPort": port, "protocol": "TCP"}],
        },
    }


def _stateful_set(frame: Frame) -> Manifest:
    pod = template(frame)
    metadata = frame.metadata(frame.part(names.REDIS_PART), names.REDIS_PART)
    made = frame.made_of(names.REDIS_PART)
    metadata["annotations"] = noted(made, template_hash(pod), ("agent", "redis"))
    spec: dict[str, Any] = {
        "replicas": 1,
        "revisionHistoryLimit": 2,
        "serviceName": frame.part(names.REDIS_PART),
        "selector": {"matchLabels": frame.selector(names.REDIS_PART)},
        "template": pod,
    }
    storage = frame.spec.redis.storage
    if storage is not None:
        spec["volumeClaimTemplates"] = [_claim(frame)]
        spec["persistentVolumeClaimRetentionPolicy"] = {
            "whenDeleted": storage.when_deleted,
            "whenScaled": "Retain",
        }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}


def template(frame: Frame) -> dict[str, Any]:
    """Return the pod template of Redis."""
    reloads = frame.made_of(names.REDIS_PART).revision >= RELOADS
    files = (_ACL_FILE, _PASSWORD_FILE) if reloads else (_ACL_FILE,)
    volumes: list[dict[str, Any]] = [
        {
            "name": "acl",
            "secret": {
                "secretName": frame.part(names.REDIS_SECRET),
                "defaultMode": 0o440,
                "items": [{"key": file, "path": file} for file in files],
            },
        }
    ]
    if frame.spec.redis.storage is None:
        volumes.append({"name": "data", "emptyDir": {}})
    spec: dict[str, Any] = {
        "serviceAccountName": frame.part(names.AGENTS_SERVICE_ACCOUNT),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "containers": [_container(frame), *([_side(frame)] if reloads else [])],
        "volumes": volumes,
    }
    if frame.spec.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": s.name} for s in frame.spec.images.pull_secrets]
    place(spec, frame.spec.redis)
    if frame.spec.redis.priority_class_name:
        spec["priorityClassName"] = frame.spec.redis.priority_class_name
    labels = frame.selector(names.REDIS_PART) | {
        names.LABEL_NAME: names.APP_NAME,
        names.LABEL_INSTANCE: frame.name,
    }
    return {"metadata": {"labels": labels}, "spec": spec}


def _container(frame: Frame) -> dict[str, Any]:
    port = names.PORT_REDIS
    bounded = frame.made_of(names.REDIS_PART).revision >= BOUNDED
    asks = {"tcpSocket": {"port": port}, "timeoutSeconds": 2, "failureThreshold": 3}
    container = {
        "name": names.REDIS_PART,
        "image": frame.image_for(names.REDIS_PART, "redis"),
        "imagePullPolicy": frame.spec.images.pull_policy,
        "command": ["redis-server"],
        "args": [
            *("--port", str(port)),
            *("--aclfile", f"{_ACL_DIR}/{_ACL_FILE}"),
            *("--dir", _DATA_DIR),
            *("--appendonly", "yes"),
            *("--protected-mode", "no"),
            *("--maxmemory-policy", "noeviction"),
            *(("--proto-max-bulk-len", names.REDIS_LONGEST) if bounded else ()),
            *_most_memory(frame),
        ],
        "ports": [{"name": "redis", "containerPort": port, "protocol": "TCP"}],
        "securityContext": container_security(),
        "livenessProbe": asks | {"periodSeconds": 10},
        "readinessProbe": asks | {"periodSeconds": 2},
        "volumeMounts": [
            {"name": "acl", "mountPath": _ACL_DIR, "readOnly": True},
            {"name": "data", "mountPath": _DATA_DIR},
        ],
    }
    asked = resources(frame.spec.redis.resources)
    return container | ({"resources": asked} if asked else {})


def _most_memory(frame: Frame) -> tuple[str, ...]:
    """Return the bound of what is kept; a quarter of the limit stays for buffers and rewriting the file."""
    limit = frame.spec.redis.resources.limits.get("memory")
    if limit is None or frame.made_of(names.REDIS_PART).revision < FULL:
        return ()
    return "--maxmemory", str(max(1, int(value_of(limit) * 3 / 4)))


def _side(frame: Frame) -> dict[str, Any]:
    """Return the container that has Redis load its access list when it changes, and tells which it has."""
    command = ["python", "-m", "qts_messaging.acl", f"{_ACL_DIR}/{_ACL_FILE}"]
    command += [f"redis://127.0.0.1:{names.PORT_REDIS}", f"{_ACL_DIR}/{_PASSWORD_FILE}", str(names.PORT_HTTP)]
    container = {
        "name": names.REDIS_SIDE,
        "image": frame.image_for(names.REDIS_PART, "agent"),
        "imagePullPolicy": frame.spec.images.pull_policy,
        "command": command,
        "ports": [{"name": "http", "containerPort": names.PORT_HTTP, "protocol": "TCP"}],
        "securityContext": container_security(),
        "volumeMounts": [{"name": "acl", "mountPath": _ACL_DIR, "readOnly": True}],
    }
    asked = resources(frame.spec.redis.acl.resources)
    return container | ({"resources": asked} if asked else {})


def deaf(child: Child | None) -> bool:
    """Tell whether a Redis runs without the container that reloads its access list."""
    return child is not None and 0 < child.revision < RELOADS


def _claim(frame: Frame) -> dict[str, Any]:
    """Return the claim with the server's defaults spelled out: the list is compared as one value."""
    storage = frame.spec.redis.storage
    if storage is None:
        raise LookupError("no storage asked for")
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": canonical(storage.size)}},
        "volumeMode": "Filesystem",
    }
    if storage.storage_class_name:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "labels": frame.selector(names.REDIS_PART)},
        "spec": spec,
        "status": {"phase": "Pending"},
    }
