"""NetworkPolicies: the system's pods talk to each other, to DNS, Redis and the collector, to nobody else.

An agent whose settings name a URL has a policy of its own beside that, which lets its pods alone ask there.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
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
        urls = frame.system.urls(workload.wire).values()
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
    rules: list[dict[str, Any]] = []
    endpoint = frame.spec.observability.otlp_endpoint
    if endpoint is not None:
        rules += _reached(frame, endpoint, _port(endpoint), names.PORT_OTLP)
    redis = frame.spec.redis
    if redis.mode == "External":
        port = redis_port(redis.url) if redis.url else None
        # a Secret that the operator does not read has the address, or sentinels tell it: any port must do
        rules += _reached(frame, redis.url, port, names.PORT_REDIS) if redis.url and port else [{}]
    return rules


def _reached(frame: Frame, url: str, port: int, usual: int) -> list[dict[str, Any]]:
    """Return what reaches a server by its port; a Service with another port than usual has pods behind it."""
    rules: list[dict[str, Any]] = [{"ports": [_tcp(port)]}]
    namespace = _namespace(frame, urlsplit(url).hostname or "")
    return rules if port == usual or not namespace else [*rules, _all_of(namespace)]


def _reader(frame: Frame, component: str, urls: Iterable[str]) -> dict[str, Any]:
    """Return what lets the pods of one agent ask at `urls`."""
    return {
        "podSelector": {"matchLabels": frame.selector(component)},
        "policyTypes": ["Egress"],
        "egress": [rule for url in urls for rule in _towards(frame, url)],
    }


def _towards(frame: Frame, url: str) -> list[dict[str, Any]]:
    """Return what reaches a URL: its address, the namespace of its Service, or only its port.

    A policy knows no names, and sees a Service's pods behind ports of their own; so a name outside the
    cluster opens the port, a Service opens the TCP ports of its namespace, and `a.b`, which may be either,
    both.
    """
    host, by_port = urlsplit(url).hostname or "", {"ports": [_tcp(_port(url))]}
    if (address := _address(host)) is not None:
        return [{"to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], **by_port}]
    namespace = _namespace(frame, host)
    if not namespace:
        return [by_port]
    return [by_port, _all_of(namespace)] if host.count(".") == 1 else [_all_of(namespace)]


def _namespace(frame: Frame, host: str) -> str:
    """Return the namespace of the Service that a name may mean, "" where it can be none."""
    if _address(host) is not None:
        return ""
    short = host.removesuffix(".cluster.local").removesuffix(".svc")
    _, dot, namespace = short.partition(".")
    return ("" if "." in namespace else namespace) if dot else frame.namespace


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _all_of(namespace: str) -> dict[str, Any]:
    to = [{"namespaceSelector": {"matchLabels": {_NAMESPACE: namespace}}}]
    return {"to": to, "ports": [{"protocol": "TCP"}]}


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


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
