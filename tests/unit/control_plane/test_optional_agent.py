"""An agent that is off by default: its line of the roster brings everything, and changes nothing before."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest

from qts_core import names
from qts_core.config import convert
from qts_core.roster import BY_NAME, ROSTER, Workload
from qts_operator.checks import degraded
from qts_operator.credentials import NEEDED, filled
from qts_operator.digests import child
from qts_operator.objects import desired
from qts_operator.objects.frame import Frame
from qts_operator.snapshot import Child
from qts_operator.writes import State

OPTIONAL = [w for w in ROSTER if w.agent and not w.enabled]
EACH = pytest.mark.parametrize("agent", OPTIONAL, ids=lambda w: w.name)
USUAL = [w for w in ROSTER if w.enabled]


def on(agent: Workload, need: str = "headlines.jsonl") -> dict[str, Any]:
    """Return the part of a resource that switches the agent on, with what it needs."""
    given = {"config": {agent.wire: dict.fromkeys(agent.needs, need)}} if agent.needs else {}
    return {"agents": {agent.name: {"enabled": True}}} | given


def made(frame: Frame) -> dict[tuple[str, str], dict[str, Any]]:
    return {(m["kind"], m["metadata"]["name"]): m for m in desired(frame)}


def template(frame: Frame, name: str) -> dict[str, Any]:
    return made(frame)[("Deployment", f"desk-1-{name}")]["spec"]["template"]


def mounted(pod: dict[str, Any]) -> set[str]:
    volume = next(v for v in pod["spec"]["volumes"] if v["name"] == "qts")
    secrets = [s["secret"] for s in volume["projected"]["sources"] if "secret" in s]
    return {item["path"] for secret in secrets for item in secret["items"]}


def peers(pod: dict[str, Any]) -> dict[str, str]:
    env = {e["name"]: e.get("value", "") for e in pod["spec"]["containers"][0]["env"]}
    return dict(json.loads(env[names.ENV_PEERS]))


def secrets(frame: Frame, holders: str | None) -> dict[tuple[str, str], Child]:
    """Return both Secrets as the server has them; None: as this operator makes them."""
    found = {}
    for key, manifest in made(frame).items():
        if key[0] != "Secret":
            continue
        metadata = manifest["metadata"] | {"uid": f"u-{key[1]}", "resourceVersion": "1"}
        if holders is not None:
            metadata |= {"annotations": {names.ANNOTATION_HOLDERS: holders} if holders else {}}
        found[key] = child({"metadata": metadata}, "Secret")
    return found


@EACH
def test_switched_on_it_has_all_that_an_agent_has(agent, frame_of) -> None:
    """Deployment, Service, own key and password, an address that PADS knows, a seat; policies reach its port."""
    frame = frame_of(on(agent))
    objects = made(frame)
    pod = template(frame, agent.name)
    container = pod["spec"]["containers"][0]
    assert container["command"] == ["python", "-m", "qts_agents", agent.name]
    assert agent.port in {p["containerPort"] for p in container["ports"]}
    service = objects[("Service", f"desk-1-{agent.name}")]
    assert agent.port in {p["port"] for p in service["spec"]["ports"]}
    own = {f"curve/{agent.wire}.key", f"curve/{agent.wire}.pub", f"redis/{agent.wire}.password"}
    assert own <= mounted(pod)
    assert f"curve/{agent.wire}.pub" in mounted(template(frame, "pads"))
    assert f"curve/{agent.wire}.key" not in mounted(template(frame, "pads"))
    assert peers(template(frame, "pads"))[agent.wire].endswith(f":{agent.port}")
    system = convert(json.loads(objects[("ConfigMap", "desk-1-config")]["data"]["system.json"]))
    assert agent.wire in system.voters()
    assert system.board()[agent.seat] > 0.0
    policy = objects[("NetworkPolicy", "desk-1-agents")]["spec"]
    asked = policy["podSelector"]
    matched = asked.get("matchLabels", {}).items() <= pod["metadata"]["labels"].items()
    assert matched, "the policy selects its pods"
    for each in asked.get("matchExpressions", ()):
        inside = pod["metadata"]["labels"].get(each["key"]) in each.get("values", ())
        assert inside is (each["operator"] == "In")
    assert agent.port in {p["port"] for rule in policy["ingress"] for p in rule.get("ports", ())}


@EACH
def test_new_secrets_hold_its_key_and_its_user(agent, frame_of) -> None:
    """Also while it is off, so that it can be switched on later."""
    manifests = [m for m in desired(frame_of()) if m["kind"] == "Secret"]
    data = {k: v for m in manifests for k, v in filled(m, os.urandom(NEEDED))["data"].items()}
    assert {f"{agent.wire}.key", f"{agent.wire}.pub", f"{agent.wire}.password"} <= set(data)
    assert f"user {agent.wire} on" in base64.b64decode(data["users.acl"]).decode()


@EACH
def test_switched_off_nothing_of_a_system_tells_of_it(agent, frame_of) -> None:
    """Not one object but the Secrets, which are never written again, has its name in it."""
    others = [m for key, m in made(frame_of()).items() if key[0] != "Secret"]
    assert agent.wire not in json.dumps(others)


@EACH
def test_switching_it_on_rolls_every_pod_once(agent, frame_of) -> None:
    """All must know key and address, and an image that knows the agent: rolling, they take the newest."""
    before, after = frame_of(), frame_of(on(agent))
    rolled = {w.name for w in USUAL if template(before, w.name) != template(after, w.name)}
    assert rolled == {w.name for w in USUAL}


@pytest.mark.parametrize("holders", ["", ",".join(w.wire for w in USUAL)])
@EACH
def test_older_secrets_keep_it_off_and_all_else_as_it_is(agent, frame_of, snapshot_of, holders: str) -> None:
    """No pod may wait for a key that is not there: what runs runs on, and the condition says what to do."""
    old = secrets(frame_of(), holders)
    kept, snapshot = frame_of(on(agent), children=old), snapshot_of(on(agent), children=old)
    assert made(kept) == made(frame_of(children=old))
    found = degraded(snapshot, kept, State(todo=()))
    assert found is not None
    assert found.reason == "CredentialsMissing"
    assert all(word in found.message for word in (agent.name, "desk-1-curve", "desk-1-redis-auth"))


def test_older_secrets_are_no_fault_while_it_is_off(frame_of, snapshot_of) -> None:
    """A disabled agent needs no key."""
    old = secrets(frame_of(), "")
    assert degraded(snapshot_of(children=old), frame_of(children=old), State(todo=())) is None


@EACH
def test_secrets_of_this_operator_let_it_run(agent, frame_of) -> None:
    """What says that it holds its credentials is enough; without CURVE and with a foreign Redis none is needed."""
    assert made(frame_of(on(agent), children=secrets(frame_of(), None))) == made(frame_of(on(agent)))
    foreign = on(agent) | {
        "messaging": {"encryption": "None"},
        "redis": {"mode": "External", "url": "redis://r:1"},
    }
    frame = frame_of(foreign, children=secrets(frame_of(), ""))
    assert ("Deployment", f"desk-1-{agent.name}") in made(frame)


def egress(frame: Frame, name: str) -> list[dict[str, Any]] | None:
    policy = made(frame).get(("NetworkPolicy", f"desk-1-{name}"))
    if policy is None:
        return None
    assert (
        policy["spec"]["podSelector"]["matchLabels"].items()
        <= template(frame, name)["metadata"]["labels"].items()
    )
    assert (
        template(frame, "pads")["metadata"]["labels"].items() & {("app.kubernetes.io/component", name)}
        == set()
    )
    assert policy["spec"]["policyTypes"] == ["Egress"]
    return list(policy["spec"]["egress"])


READER = BY_NAME["sentiment"]


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("https://www.news.example/h.jsonl", {"ports": [{"port": 443, "protocol": "TCP"}]}),
        ("http://www.news.example:8000/h", {"ports": [{"port": 8000, "protocol": "TCP"}]}),
        (
            "http://10.0.0.7/h",
            {"to": [{"ipBlock": {"cidr": "10.0.0.7/32"}}], "ports": [{"port": 80, "protocol": "TCP"}]},
        ),
        (
            "http://[fd00::7]:81/h",
            {"to": [{"ipBlock": {"cidr": "fd00::7/128"}}], "ports": [{"port": 81, "protocol": "TCP"}]},
        ),
        ("http://scores.news.svc:80/h", "news"),
        ("http://scores.news.svc.cluster.local/h", "news"),
        ("http://scores/h", "trading"),
        ("http://scores.news/h", "news, or port 80"),
    ],
)
def test_a_source_on_the_network_may_be_asked_by_its_agent_alone(frame_of, source: str, rule: Any) -> None:
    """Its own policy lets it out, to an address, a namespace's pods or a port; the others' policy is as before."""
    frame = frame_of(on(READER, source))
    rules = [rule]
    if isinstance(rule, str):
        namespace, either, _ = rule.partition(", or port 80")
        chosen = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
        by_port = [{"ports": [{"port": 80, "protocol": "TCP"}]}] if either else []
        rules = [*by_port, {"to": [chosen], "ports": [{"protocol": "TCP"}]}]
    assert egress(frame, READER.name) == rules
    assert egress(frame_of(on(READER, source) | {"networkPolicy": {"enabled": False}}), READER.name) is None
    shared = [made(f)[("NetworkPolicy", "desk-1-agents")]["spec"]["egress"] for f in (frame, frame_of())]
    assert shared[0] == shared[1]


def test_a_source_in_a_file_opens_nothing_and_may_lie_on_a_claim(frame_of) -> None:
    """No policy of its own; the claim is mounted for this agent, read-only, where the feed's is."""
    spec = on(READER, "/data/headlines.jsonl")
    spec["agents"][READER.name]["claimName"] = "news"
    frame = frame_of(spec)
    assert egress(frame, READER.name) is None
    pod = template(frame, READER.name)["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "news", "readOnly": True}} in pod[
        "volumes"
    ]
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert "news" not in json.dumps(template(frame, "pads"))
