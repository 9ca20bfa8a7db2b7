"""The operator's own objects and the samples, as plain dicts: what the charts render by default."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from qts_core import names
from qts_core.crd import crd
from qts_operator import alerts, dashboards, rights
from qts_operator.main import VERSION
from qts_operator.middleware import Pace
from qts_operator.objects.frame import Defaults
from qts_operator.objects.pods import container_security, pod_security

Manifest = dict[str, Any]
NAME = "quantum-trading-operator"
REGISTRY = "localhost"
#: host, port and folders, without a scheme and without a slash at the end
REGISTRY_PATTERN = "^[a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*$"
NAMESPACE = "qts-system"
#: the release of the OpenTelemetry Collector's core distribution that tests/otelcol builds
COLLECTOR = "0.159.0"
#: what Grafana's sidecar looks for
DASHBOARD_LABELS = {"grafana_dashboard": "1"}

#: what the operator asks of the API server at most, with the variable that says so
_REQUESTS = {
    "inFlight": "QTS_REQUESTS_IN_FLIGHT",
    "perSecond": "QTS_REQUESTS_PER_SECOND",
    "burst": "QTS_REQUEST_BURST",
}
_PORTS: Manifest = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1, "maximum": 65535},
    "uniqueItems": True,
}
_RESOURCES: Manifest = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def values() -> Manifest:
    """Return the default values of the operator's chart."""
    return {
        "replicas": 2,
        "registry": REGISTRY,
        "image": _pulled("qts-operator", VERSION),
        "images": {
            "agent": f"qts-agent:{VERSION}",
            "agentGPU": f"qts-agent-gpu:{VERSION}",
            "redis": Defaults().redis.removeprefix(f"{REGISTRY}/"),
        },
        "imagePullSecrets": [],
        "crds": {"enabled": True, "keep": True},
        "watch": {"namespaces": []},
        "logLevel": "info",
        "metrics": {"perObject": True},
        "requests": dict(zip(_REQUESTS, (int(n) for n in msgspec.structs.astuple(Pace())), strict=True)),
        "telemetry": {"otlpEndpoint": "", "resourceAttributes": {}},
        "collector": {
            "enabled": False,
            "replicas": 1,
            "image": _pulled("opentelemetry-collector", COLLECTOR),
            "exporters": {},
            "environmentSecret": "",
            "egressPorts": [],
            "resources": _RESOURCES,
        },
        "monitoring": {
            "podMonitor": False,
            "prometheusRule": False,
            "dashboards": False,
            "dashboardLabels": DASHBOARD_LABELS,
            "labels": {},
            "runbookURL": alerts.RUNBOOKS,
            "grafanaURL": "",
            "feedStalledSeconds": alerts.THRESHOLDS["FEED_STALLED_SECONDS"],
            "decisionStaleSeconds": alerts.THRESHOLDS["DECISION_STALE_SECONDS"],
            "gpuIdleSeconds": alerts.THRESHOLDS["GPU_IDLE_SECONDS"],
        },
        "resources": _RESOURCES,
        "nodeSelector": {},
        "tolerations": [],
        "networkPolicy": {"enabled": False, "egressPorts": []},
        "admission": {"maxGPUsPerSystem": 0},
    }


def images() -> list[str]:
    """Return every image that an installation can ask for: the operator's first, the collector's last."""
    given = values()
    operator, collector = (
        f"{image['repository']}:{image['tag']}" for image in (given["image"], given["collector"]["image"])
    )
    return [_image(given, reference) for reference in (operator, *given["images"].values(), collector)]


def values_schema() -> Manifest:
    """Return the schema of the operator's values; unknown keys are refused."""
    text: Manifest = {"type": "string", "maxLength": 512}
    flag: Manifest = {"type": "boolean"}
    positive: Manifest = {"type": "integer", "minimum": 1}
    quantities: Manifest = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}
    resources = closed({"requests": quantities, "limits": quantities})
    image = closed(
        {
            "repository": text | {"minLength": 1},
            "tag": text,
            "digest": text | {"pattern": "^(sha256:[0-9a-f]{64})?$"},
            "pullPolicy": _one_of("Always", "IfNotPresent", "Never"),
        }
    )
    secret = closed({"name": text}, ["name"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **closed(
            {
                "replicas": {"type": "integer", "minimum": 0, "maximum": 5},
                "registry": text | {"pattern": REGISTRY_PATTERN},
                "image": image,
                "images": closed(dict.fromkeys(("agent", "agentGPU", "redis"), text | {"minLength": 1})),
                "imagePullSecrets": {"type": "array", "items": secret},
                "crds": closed({"enabled": flag, "keep": flag}),
                "watch": closed({"namespaces": {"type": "array", "items": text, "uniqueItems": True}}),
                "metrics": closed({"perObject": flag}),
                "requests": closed(dict.fromkeys(_REQUESTS, positive)),
                "telemetry": closed(
                    {
                        "otlpEndpoint": text | {"pattern": "^(https?://.+)?$"},
                        "resourceAttributes": {"type": "object", "additionalProperties": text},
                    }
                ),
                "collector": _collector(flag, text, image, resources),
                "monitoring": closed(
                    {
                        "podMonitor": flag,
                        "prometheusRule": flag,
                        "dashboards": flag,
                        "dashboardLabels": {"type": "object", "additionalProperties": text},
                        "labels": {"type": "object", "additionalProperties": text},
                        "runbookURL": text,
                        "grafanaURL": text,
                        "feedStalledSeconds": positive,
                        "decisionStaleSeconds": positive,
                        "gpuIdleSeconds": positive,
                    }
                ),
                "logLevel": _one_of("debug", "info", "warning", "error"),
                "resources": resources,
                "nodeSelector": {"type": "object", "additionalProperties": text},
                "tolerations": {"type": "array", "items": {"type": "object"}},
                "networkPolicy": closed({"enabled": flag, "egressPorts": _PORTS}),
                "admission": closed({"maxGPUsPerSystem": {"type": "integer", "minimum": 0}}),
                "global": {"type": "object"},
            }
        ),
    }


def _collector(flag: Manifest, text: Manifest, image: Manifest, resources: Manifest) -> Manifest:
    """Return the schema of the collector's values; an exporter has settings of its own, or none."""
    return closed(
        {
            "enabled": flag,
            "replicas": {"type": "integer", "minimum": 0, "maximum": 16},
            "image": image,
            "exporters": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
            "environmentSecret": text,
            "egressPorts": _PORTS,
            "resources": resources,
        }
    )


def install() -> list[Manifest]:
    """Return what `helm template` of the operator's chart gives with its defaults, and the namespace."""
    labels = _labels()
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
    }
    role = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    local = {"name": NAME, "namespace": NAMESPACE, "labels": labels}
    wide = {"name": NAME, "labels": labels}
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        definition(),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": local},
        role | {"kind": "ClusterRole", "metadata": wide, "rules": rights.rules() + rights.cluster_rules()},
        binding
        | {
            "kind": "ClusterRoleBinding",
            "metadata": wide,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME},
        },
        role | {"kind": "Role", "metadata": local, "rules": rights.lease_rules()},
        binding
        | {
            "kind": "RoleBinding",
            "metadata": local,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": NAME},
        },
        deployment(),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": local,
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector()}},
        },
    ]


def people() -> list[Manifest]:
    """Return the ClusterRoles by which Kubernetes' own view, edit and admin roles hold systems too."""
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": f"quantum-trading-{role}",
                "labels": _labels() | {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"},
            },
            "rules": rules,
        }
        for role, rules in rights.people_rules().items()
    ]


def boards() -> list[Manifest]:
    """Return one ConfigMap for each dashboard."""
    labels = _labels() | DASHBOARD_LABELS
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{NAME}-{name}", "namespace": NAMESPACE, "labels": labels},
            "data": {f"qts-{name}.json": json.dumps(dashboards.board(name), indent=1)},
        }
        for name in dashboards.BOARDS
    ]


def definition() -> Manifest:
    """Return the definition as the chart installs it: it stays when the release goes."""
    built = crd()
    built["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep"
    return built


def deployment() -> Manifest:
    """Return the operator's Deployment."""
    given = values()
    pod = {
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [_apart()]}},
        "containers": [
            {
                "name": "operator",
                "image": images()[0],
                "imagePullPolicy": given["image"]["pullPolicy"],
                "command": ["python", "-m", "qts_operator"],
                "env": _env(given),
                "ports": [
                    {"name": "http", "containerPort": names.PORT_HTTP},
                    {"name": "metrics", "containerPort": names.PORT_METRICS},
                ],
                "startupProbe": _probe("/healthz", 2, 30),
                "livenessProbe": _probe("/healthz", 10, 3),
                "readinessProbe": _probe("/readyz", 5, 3),
                "resources": given["resources"],
                "securityContext": container_security(),
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - inside the pod
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": _labels()},
        "spec": {
            "replicas": given["replicas"],
            "selector": {"matchLabels": _selector()},
            "template": {"metadata": {"labels": _selector()}, "spec": pod},
        },
    }


def system(name: str, spec: Manifest, namespace: str | None = None) -> Manifest:
    """Return a resource as the system chart renders it."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}


_REPLAY: Manifest = {"source": "Replay", "replay": {"dataset": "eurusd_1h", "repeat": True}}
SAMPLES: dict[str, Manifest] = {
    "minimal": {"market": _REPLAY},
    "simulated": {"market": {"source": "Simulated", "symbols": ["BTC/USDT", "ETH/USDT"]}},
    "gpu-required": {"market": _REPLAY, "agents": {"quasar": {"gpu": {"mode": "Required"}}}},
    "gpu-preferred": {
        "market": _REPLAY,
        "agents": {"quasar": {"gpu": {"mode": "Preferred", "fallbackAfter": "60s"}}},
    },
    "external-redis": {
        "market": _REPLAY,
        "redis": {"mode": "External", "urlSecretRef": {"name": "desk-redis", "key": "url"}},
    },
}


def closed(properties: Manifest, required: list[str] | None = None) -> Manifest:
    """Return the schema of an object that has these properties and no others."""
    schema: Manifest = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": required} if required else {})


def _labels() -> dict[str, str]:
    return _selector() | {names.LABEL_VERSION: VERSION}


def _selector() -> dict[str, str]:
    return {names.LABEL_NAME: NAME}


def _apart() -> Manifest:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": _selector()}}
    return {"weight": 100, "podAffinityTerm": term}


def _env(given: Manifest) -> list[Manifest]:
    return [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "QTS_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "QTS_AGENT_IMAGE", "value": _image(given, given["images"]["agent"])},
        {"name": "QTS_AGENT_GPU_IMAGE", "value": _image(given, given["images"]["agentGPU"])},
        {"name": "QTS_REDIS_IMAGE", "value": _image(given, given["images"]["redis"])},
        {"name": "QTS_WATCH_NAMESPACES", "value": ",".join(given["watch"]["namespaces"])},
        {"name": "QTS_LOG_LEVEL", "value": given["logLevel"]},
        {"name": "QTS_METRICS_PER_OBJECT", "value": str(given["metrics"]["perObject"]).lower()},
        *({"name": _REQUESTS[key], "value": str(value)} for key, value in given["requests"].items()),
    ]


def _pulled(repository: str, tag: str) -> Manifest:
    return {"repository": repository, "tag": tag, "digest": "", "pullPolicy": "IfNotPresent"}


def _image(given: Manifest, reference: str) -> str:
    return f"{given['registry']}/{reference}"


def _probe(path: str, period: int, failures: int) -> Manifest:
    asks = {"path": path, "port": "http"}
    return {"httpGet": asks, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 3}


def _one_of(*choices: str) -> Manifest:
    return {"type": "string", "enum": list(choices)}
