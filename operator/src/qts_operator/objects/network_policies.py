"""NetworkPolicies: the system's pods talk to each other, to DNS, Redis and the collector, to nobody else.

An agent whose settings name a URL has a policy of its own beside that, which lets its pods alone ask there.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from qts_core import names
from qts_core.spec import redis_port
from qts_operator.objects.frame import Frame, Manifest

_DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
_NAMESPACE = "kubernetes.io/metadata.name"


def build(frame: Frame) -> list[Manifest]:
    """Return the policies of the agents and, where it is ours, of Redis."""
    if not frame.spec.network_policy.enabled:
        return []
    policies = [_policy(frame, "agents", _agents(frame))]
    for workload in frame.workloads():
        urls = tuple(frame.system.urls(workload.wire).values())
        if urls:
            policies.append(_policy(frame, workload.name, _reader(frame, workload.name, urls)))
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
    operator = _operator(frame)
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


def _operator(frame: Frame) -> dict[str, Any]:
    """Return the operator's pods."""
    return {
        "namespaceSelector": {"matchLabels": {_NAMESPACE: frame.images.namespace}},
        "podSelector": {"matchLabels": {names.LABEL_NAME: "quantum-trading-operator"}},
    }


def _outside(frame: Frame) -> list[dict[str, Any]]:
    """Return what lies beyond the system: the collector, and a Redis of somebody else."""
    rules = []
    endpoint = frame.spec.observability.otlp_endpoint
    if endpoint is not None:
        rules.append({"ports": [_port(endpoint)]})
    redis = frame.spec.redis
    if redis.mode == "External":
        port = redis_port(redis.url) if redis.url else None
        # a Secret that the operator does not read has the address, or sentinels tell it: any port must do
        rules.append({"ports": [_tcp(port)]} if port else {})
    return rules


def _reader(frame: Frame, component: str, urls: tuple[str, ...]) -> dict[str, Any]:
    """Return what lets the pods of one agent ask at `urls`."""
    return {
        "podSelector": {"matchLabels": frame.selector(component)},
        "policyTypes": ["Egress"],
        "egress": [_towards(frame, url) for url in urls],
    }


def _towards(frame: Frame, url: str) -> dict[str, Any]:
    """Return the rule that reaches a URL: its address, the namespace of its Service, or only its port.

    A policy knows no names, and sees a Service's pods behind ports of their own; so a name outside the
    cluster opens the port, a Service opens the TCP ports of its namespace.
    """
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        _, _, namespace = host.removesuffix(".cluster.local").removesuffix(".svc").partition(".")
        if "." not in host:
            namespace = frame.namespace
        elif not host.endswith((".svc", ".svc.cluster.local")):
            return {"ports": [_port(url)]}
        return {
            "to": [{"namespaceSelector": {"matchLabels": {_NAMESPACE: namespace}}}],
            "ports": [{"protocol": "TCP"}],
        }
    return {"to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], "ports": [_port(url)]}


def _port(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return _tcp(parts.port or (443 if parts.scheme == "https" else 80))


def _redis(frame: Frame) -> dict[str, Any]:
    system = {"podSelector": {"matchLabels": frame.selector()}}
    return {
        "podSelector": {"matchLabels": frame.selector(names.REDIS_PART)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [system], "ports": [_tcp(names.PORT_REDIS)]},
            # the side container tells which access list is loaded
            {"from": [_operator(frame)], "ports": [_tcp(names.PORT_HTTP)]},
        ],
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"port": port, "protocol": "TCP"}
