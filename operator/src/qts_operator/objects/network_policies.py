"""NetworkPolicies: the system's pods talk to each other, to DNS, Redis and the collector, to nobody else."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from qts_core import names
from qts_operator.objects.frame import Frame, Manifest

_DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
_NAMESPACE = "kubernetes.io/metadata.name"


def build(frame: Frame) -> list[Manifest]:
    """Return the policies of the agents and, where it is ours, of Redis."""
    if not frame.spec.network_policy.enabled:
        return []
    policies = [_policy(frame, "agents", _agents(frame))]
    if frame.spec.redis.mode == "Managed":
        policies.append(_policy(frame, names.REDIS_PART, _redis(frame)))
    return policies


def _policy(frame: Frame, name: str, spec: dict[str, Any]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": frame.metadata(frame.part(name), name),
        "spec": spec,
    }


def _agents(frame: Frame) -> dict[str, Any]:
    zmq = [_tcp(frame.spec.agent(w.name).port) for w in frame.workloads() if w.agent]
    system = {"podSelector": {"matchLabels": frame.selector()}}
    operator = {
        "namespaceSelector": {"matchLabels": {_NAMESPACE: frame.images.namespace}},
        "podSelector": {"matchLabels": {names.LABEL_NAME: "quantum-trading-operator"}},
    }
    metrics: dict[str, Any] = {"ports": [_tcp(names.PORT_METRICS)]}
    if frame.spec.network_policy.metrics_from:
        selector = {"matchLabels": dict(frame.spec.network_policy.metrics_from)}
        metrics["from"] = [{"namespaceSelector": selector}]
    return {
        "podSelector": {
            "matchLabels": frame.selector(),
            "matchExpressions": [{"key": names.LABEL_AGENT, "operator": "Exists"}],
        },
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [system], "ports": zmq},
            {"from": [operator, system], "ports": [_tcp(names.PORT_HTTP)]},
            metrics,
        ],
        "egress": [{"to": [system]}, {"ports": _DNS}, *_outside(frame)],
    }


def _outside(frame: Frame) -> list[dict[str, Any]]:
    """Return what lies beyond the system: the collector, and a Redis of somebody else."""
    rules = []
    endpoint = frame.spec.observability.otlp_endpoint
    if endpoint is not None:
        parts = urlsplit(endpoint)
        rules.append({"ports": [_tcp(parts.port or (443 if parts.scheme == "https" else 80))]})
    redis = frame.spec.redis
    if redis.mode == "External":
        ports = sorted(_redis_ports(redis.url)) if redis.url else []
        # the address is in a Secret that the operator does not read, so any port must do
        rules.append({"ports": [_tcp(p) for p in ports]} if ports else {})
    return rules


def _redis_ports(url: str) -> set[int]:
    hosts = url.partition("://")[2].partition("/")[0].split(",")
    return {int(host.rpartition(":")[2]) if ":" in host else names.PORT_REDIS for host in hosts}


def _redis(frame: Frame) -> dict[str, Any]:
    system = {"podSelector": {"matchLabels": frame.selector()}}
    return {
        "podSelector": {"matchLabels": frame.selector(names.REDIS_PART)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [system], "ports": [_tcp(names.PORT_REDIS)]}],
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"port": port, "protocol": "TCP"}
