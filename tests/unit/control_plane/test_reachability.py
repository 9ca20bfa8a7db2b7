"""Who can talk to whom under the rendered NetworkPolicies: a table of allowed pairs, and nothing else.

The model follows networking.k8s.io/v1: a pod that a policy selects accepts (or sends) what some policy allows,
any other pod everything; a connection needs both ends. CNIs differ in speed and bugs, not in these rules.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from qts_core import names
from qts_core.roster import ROSTER
from qts_operator.objects import desired
from qts_operator.objects.frame import Frame

Policy = dict[str, Any]
GOLDEN = Path(__file__).parents[2] / "golden/charts"


class End(msgspec.Struct, frozen=True):
    """A pod, or an address outside the cluster (no namespace)."""

    namespace: str
    labels: dict[str, str] = {}


PORTS = (9090, 9091, 9092, 9093, 9099, 8080, 9464, 6379, 53, 4317, 4318, 13133, 443, 6443, 22)
ZMQ = {9090, 9091, 9092, 9093}
NAMESPACES = {
    name: {"kubernetes.io/metadata.name": name}
    for name in ("trading", "qts-system", "monitoring", "other", "east")
}
NAMESPACES["monitoring"]["team"] = "sre"
#: (from, to) → ports; a pair that is not here has none
ALLOWED: dict[tuple[str, str], set[int]] = {
    ("agent", "agent"): ZMQ | {8080, 9464},
    ("agent", "redis"): {6379},
    ("agent", "outside"): {53},
    ("agent", "scraper"): {53},
    ("agent", "stranger"): {53},
    ("agent", "neighbour"): {53},
    ("agent", "operator"): {53},
    ("agent", "twin"): {53},
    ("operator", "agent"): {8080, 9464},
    ("operator", "redis"): {8080},
    ("scraper", "agent"): {9464},
    ("stranger", "agent"): {9464},
    ("neighbour", "agent"): {9464},
    ("twin", "agent"): {9464},
    ("outside", "agent"): {9464},
}
GUARDED = ("agent", "redis")
#: the same for the collector of the operator's chart, as tests/golden/charts has it
COLLECTED: dict[tuple[str, str], set[int]] = {
    ("agent", "collector"): {4318},
    ("operator", "collector"): {4318},
    ("another system", "collector"): {4317, 4318, 13133},
    **{(one, "collector"): {13133} for one in ("scraper", "stranger", "outside")},
    **{("collector", one): {53} for one in ("another system", "scraper", "stranger", "outside")},
}


def ends(frame: Frame) -> dict[str, list[End]]:
    """Return the pods of the system by role, and everybody else."""
    made = desired(frame)
    pods = {
        m["metadata"]["name"]: End(frame.namespace, m["spec"]["template"]["metadata"]["labels"])
        for m in made
        if m["kind"] in ("Deployment", "StatefulSet")
    }
    redis = frame.part(names.REDIS_PART)
    ours = [pod for name, pod in pods.items() if name != redis]
    twin = ours[0].labels | {names.LABEL_SYSTEM: "desk-2", names.LABEL_INSTANCE: "desk-2"}
    return {
        "agent": ours,
        "redis": [pod for name, pod in pods.items() if name == redis],
        "operator": [End("qts-system", {names.LABEL_NAME: "quantum-trading-operator"})],
        "scraper": [End("monitoring", {"app": "prometheus"})],
        "stranger": [
            End("other", {"app": "x"}),
            End("other", ours[0].labels),
            End("qts-system", {"app": "x"}),
        ],
        "neighbour": [
            End(frame.namespace, {"app": "x"}),
            End(frame.namespace, {names.LABEL_SYSTEM: frame.name}),
        ],
        "twin": [End(frame.namespace, twin)],
        "outside": [End("")],
    }


def policies(frame: Frame) -> list[Policy]:
    return [m for m in desired(frame) if m["kind"] == "NetworkPolicy"]


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a label selector selects."""
    if any(labels.get(k) != v for k, v in selector.get("matchLabels", {}).items()):
        return False
    for term in selector.get("matchExpressions", ()):
        has, value = term["key"] in labels, labels.get(term["key"])
        told = {
            "Exists": has,
            "DoesNotExist": not has,
            "In": value in term.get("values", ()),
            "NotIn": value not in term.get("values", ()),
        }
        if not told[term["operator"]]:
            return False
    return True


def peer(rule: dict[str, Any], home: str, other: End) -> bool:
    """Tell whether one `from` or `to` entry names the other end."""
    if not other.namespace:
        return "ipBlock" in rule
    if "namespaceSelector" in rule:
        inside = matches(rule["namespaceSelector"], NAMESPACES[other.namespace])
    else:
        inside = other.namespace == home
    return inside and matches(rule.get("podSelector", {}), other.labels)


def open_to(every: list[Policy], mine: End, other: End, port: int, way: str) -> bool:
    """Tell whether policies let `mine` accept ("Ingress") or open ("Egress") a connection on `port`."""
    selecting = [
        p["spec"]
        for p in every
        if mine.namespace == p["metadata"]["namespace"]
        and matches(p["spec"]["podSelector"], mine.labels)
        and way in p["spec"]["policyTypes"]
    ]
    field, side = way.lower(), "from" if way == "Ingress" else "to"
    rules = [rule for spec in selecting for rule in spec.get(field, ())]
    return not selecting or any(
        (not rule.get("ports") or any(p.get("port", port) == port for p in rule["ports"]))
        and (not rule.get(side) or any(peer(each, mine.namespace, other) for each in rule[side]))
        for rule in rules
    )


def reached(every: list[Policy], source: End, target: End) -> set[int]:
    """Return the ports on which a connection from `source` to `target` comes about."""
    return {
        port
        for port in PORTS
        if open_to(every, source, target, port, "Egress") and open_to(every, target, source, port, "Ingress")
    }


def table(frame: Frame) -> dict[tuple[str, str], set[int]]:
    """Return what is reached, for pairs with an end that the system's policies guard."""
    return pairs(policies(frame), ends(frame), GUARDED)


def pairs(
    every: list[Policy], roles: dict[str, list[End]], guarded: tuple[str, ...]
) -> dict[tuple[str, str], set[int]]:
    """Return what is reached, for pairs with an end that is guarded; ends of one role must agree."""
    found = {}
    for one, sources in roles.items():
        for two, targets in roles.items():
            if one not in guarded and two not in guarded:
                continue
            told = [reached(every, s, t) for s in sources for t in targets if s is not t]
            assert all(ports == told[0] for ports in told), (one, two, told)
            if told and told[0]:
                found[(one, two)] = told[0]
    return found


def chart_policies(name: str) -> list[Policy]:
    """Return the policies of the operator's chart with a value set."""
    documents = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())["documents"].values()
    return [d for d in documents if d["kind"] == "NetworkPolicy"]


def collected(frame: Frame, every: list[Policy]) -> dict[tuple[str, str], set[int]]:
    """Return what the collector reaches, and who reaches it."""
    roles = ends(frame)
    strangers = roles.pop("stranger")
    others = [end for end in strangers if names.LABEL_MANAGED_BY in end.labels]
    roles["stranger"] = [end for end in strangers + roles.pop("neighbour") if end not in others]
    roles["another system"] = others + roles.pop("twin")
    roles["collector"] = [End("qts-system", {names.LABEL_NAME: "quantum-trading-collector"})]
    return pairs(every, roles, ("collector",))


def test_only_the_allowed_pairs_reach_each_other(frame_of) -> None:
    """Every other pair has not one port."""
    assert table(frame_of()) == ALLOWED


def test_metrics_may_be_narrowed_to_one_namespace(frame_of) -> None:
    """With `metricsFrom` nobody but those namespaces, and not even the operator, reads metrics."""
    expected = dict(ALLOWED)
    for role in ("stranger", "neighbour", "twin", "outside"):
        del expected[(role, "agent")]
    expected[("operator", "agent")] = {8080}
    expected[("agent", "agent")] = ZMQ | {8080}
    assert table(frame_of({"networkPolicy": {"metricsFrom": {"team": "sre"}}})) == expected


def test_a_collector_and_a_foreign_redis_are_reached_on_their_ports_only(frame_of) -> None:
    """Their addresses are not known to a policy, their ports are."""
    spec = {
        "observability": {"otlpEndpoint": "http://collector.monitoring:4318"},
        "redis": {"mode": "External", "url": "redis://cache:6379"},
    }
    frame = frame_of(spec)
    assert table(frame)[("agent", "outside")] == {53, 4318, 6379}
    assert [p["metadata"]["name"] for p in policies(frame)] == ["desk-1-agents"]


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("redis://[::1]?db=1", {53, 6379}),
        ("rediss://cache:443/2?db=1", {53, 443}),
        ("redis+sentinel://a,b:26379/desk", set(PORTS)),
    ],
)
def test_a_foreign_redis_is_reached_whatever_its_url_looks_like(frame_of, url: str, ports: set[int]) -> None:
    """Where the primary listens only sentinels know."""
    frame = frame_of({"redis": {"mode": "External", "url": url}})
    assert table(frame)[("agent", "outside")] == ports


@pytest.mark.parametrize(
    ("endpoint", "scraper", "outside"),
    [
        ("http://otel.monitoring:4318", {53, 4318}, {53, 4318}),
        ("http://otel.monitoring", set(PORTS), {53}),  # its Service has port 80, its pods any
        ("http://otel.monitoring.svc.cluster.local:443", set(PORTS), {53, 443}),
        ("https://otel.vendor.example", {53, 443}, {53, 443}),
        ("http://10.0.0.7:443", {53, 443}, {53, 443}),
    ],
)
def test_a_collector_is_reached_behind_the_port_of_its_service(
    frame_of, endpoint: str, scraper: set[int], outside: set[int]
) -> None:
    """A policy sees the port of the pod, which is the Service's only by custom; port 80 is not in the table."""
    found = table(frame_of({"observability": {"otlpEndpoint": endpoint}}))
    assert (found[("agent", "scraper")], found[("agent", "outside")]) == (scraper, outside)


def test_a_redis_is_reached_behind_the_port_of_its_service(frame_of) -> None:
    """The same for a Redis of another namespace."""
    found = table(frame_of({"redis": {"mode": "External", "url": "redis://cache.monitoring.svc:443"}}))
    assert (found[("agent", "scraper")], found[("agent", "outside")]) == (set(PORTS), {53, 443})


def test_a_changed_port_is_followed_and_a_disabled_agent_is_not_waited_for(frame_of) -> None:
    """The policy follows the agents that there are."""
    frame = frame_of({"agents": {"amos": {"port": 9099}, "quasar": {"enabled": False}}})
    assert table(frame)[("agent", "agent")] == {9090, 9091, 9099, 8080, 9464}
    assert len(ends(frame)["agent"]) == len([w for w in ROSTER if w.enabled]) - 1


def sending(frame_of: Any) -> Frame:
    """Return a system whose spans go where NOTES.txt of the chart says."""
    return frame_of(
        {"observability": {"otlpEndpoint": "http://quantum-trading-operator-collector.qts-system:4318"}}
    )


def test_the_collector_of_the_chart_takes_spans_of_ours_only(frame_of) -> None:
    """Anybody may ask for its health; a pod without a system's labels sends it nothing; it asks for names alone."""
    frame = sending(frame_of)
    policies_of_both = policies(frame) + chart_policies("collector")
    assert {p["metadata"]["namespace"] for p in policies_of_both} == {frame.namespace, "qts-system"}
    assert collected(frame, policies_of_both) == COLLECTED


def test_the_collector_follows_its_exporters_and_the_watched_namespaces() -> None:
    """The ports of two addresses and two that are given; systems of namespaces that nobody watches are strangers."""
    every = chart_policies("collector-exports")
    collector = End("qts-system", {names.LABEL_NAME: "quantum-trading-collector"})
    assert reached(every, collector, End("")) == {53, 4317, 443, 9092, 9093}
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    assert reached(every, End("east", labels), collector) == {4317, 4318, 13133}
    assert reached(every, End("other", labels), collector) == {13133}


@pytest.mark.parametrize("hole", ["from", "pods", "egress"])
def test_the_model_sees_a_hole_of_the_collector(frame_of, hole: str) -> None:
    """Whoever may send, a policy that selects nobody, a way out more: the table differs."""
    frame = sending(frame_of)
    every = policies(frame) + chart_policies("collector")
    spec = next(p["spec"] for p in every if p["metadata"]["name"].endswith("-collector"))
    if hole == "from":
        del spec["ingress"][0]["from"]
    elif hole == "pods":
        spec["podSelector"] = {"matchLabels": {"app": "nobody"}}
    else:
        spec["egress"].append({"ports": [{"port": 9464, "protocol": "TCP"}]})
    assert collected(frame, every) != COLLECTED


@pytest.mark.parametrize("hole", ["namespace", "port", "pods"])
def test_the_model_sees_a_hole(frame_of, monkeypatch: pytest.MonkeyPatch, hole: str) -> None:
    """A selector less, a port less, a policy that selects nobody: the table differs."""
    frame = frame_of()
    every = policies(frame)
    agents = every[0]["spec"]
    if hole == "namespace":
        agents["ingress"][1]["from"][0]["namespaceSelector"] = {}
        del agents["ingress"][1]["from"][0]["podSelector"]
    elif hole == "port":
        del agents["ingress"][0]["ports"]
    else:
        agents["podSelector"] = {"matchLabels": {"app": "nobody"}}
    monkeypatch.setitem(globals(), "policies", lambda _: every)
    with pytest.raises(AssertionError):
        assert table(frame) == ALLOWED
