"""What a system owns, as rendered."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.control_plane.conftest import make_snapshot

from qts_core import config, names
from qts_core.config import convert
from qts_core.parts import IMAGE
from qts_core.roster import ROSTER
from qts_core.spec import SYSTEM
from qts_operator import memo
from qts_operator.objects import KINDS, desired, pods, redis
from qts_operator.objects.frame import Defaults, version_of
from qts_operator.resolve import resolve

#: the workloads of a system that says nothing
USUAL = [w for w in ROSTER if w.enabled]


def _by(frame):
    return {(m["kind"], m["metadata"]["name"]): m for m in desired(frame)}


def _pod(frame, name):
    return _by(frame)[("Deployment", f"desk-1-{name}")]["spec"]["template"]


def test_every_object_of_the_design_is_there(frame_of) -> None:
    """One account, two Secrets, one ConfigMap, 5 + 1 Services, two policies, Redis, five Deployments."""
    kinds = [m["kind"] for m in desired(frame_of())]
    assert {k: kinds.count(k) for k in sorted(set(kinds))} == {
        "ConfigMap": 1,
        "Deployment": 5,
        "NetworkPolicy": 2,
        "Secret": 2,
        "Service": 6,
        "ServiceAccount": 1,
        "StatefulSet": 1,
    }


def test_every_kind_is_in_the_table_of_watches_and_rights(frame_of) -> None:
    """Nothing is rendered that is not watched and allowed."""
    spec = {
        "agents": {
            "amos": {"replicas": 2},
            "quasar": {"gpu": {"mode": "Required", "deviceClassName": "gpu.nvidia.com"}},
        }
    }
    offered = frozenset({"PodMonitor", "ResourceClaimTemplate"})
    rendered = {m["kind"] for m in desired(frame_of(spec, offered=offered))}
    assert rendered == {kind.name for kind in KINDS}


def test_all_objects_have_owner_and_labels(frame_of) -> None:
    """Garbage collection needs the owner, the watch needs the label; no finalizer anywhere."""
    for manifest in desired(frame_of()):
        metadata = manifest["metadata"]
        owner = metadata["ownerReferences"][0]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("u-1", True, False)
        assert metadata["labels"][names.LABEL_MANAGED_BY] == "qts-operator"
        assert "finalizers" not in metadata


@pytest.mark.parametrize("name", [w.name for w in USUAL] + ["redis"])
def test_pods_meet_the_restricted_standard(frame_of, name: str) -> None:
    """Non-root, read-only root, no capabilities, RuntimeDefault, no token."""
    frame = frame_of()
    kind = "StatefulSet" if name == "redis" else "Deployment"
    spec = _by(frame)[(kind, f"desk-1-{name}")]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_a_pod_gets_its_own_key_and_all_public_keys(frame_of) -> None:
    """Another agent's secret key or password is not mounted; the mode gives nothing to others."""
    volume = next(v for v in _pod(frame_of(), "amos")["spec"]["volumes"] if v["name"] == "qts")
    paths = [
        item["path"]
        for source in volume["projected"]["sources"]
        for item in (source.get("secret") or source["configMap"])["items"]
    ]
    public = [f"curve/{w.wire}.pub" for w in USUAL]
    assert sorted(paths) == sorted(
        ["system.json", "curve/quantum_amos.key", "redis/quantum_amos.password", *public]
    )
    assert volume["projected"]["defaultMode"] & 0o007 == 0


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"config": {"decisionTimeout": 1.25, "quasar": {"learningRate": 0.2}}},
        {"market": {"source": "Replay", "replay": {"dataset": "eurusd_1h", "repeat": True}, "fee": 0.002}},
        {"agents": {"amos": {"port": 7001, "enabled": False}, "qbmia": {"gpu": {"mode": "Required"}}}},
        {"observability": {"otlpEndpoint": "http://collector:4318"}, "messaging": {"encryption": "None"}},
    ],
)
def test_the_settings_file_is_what_the_agents_read(frame_of, spec) -> None:
    """system.json converts back to the same settings, though it spells out no default."""
    frame = frame_of(spec)
    assert "message_ttl" not in frame.config
    text = _by(frame)[("ConfigMap", "desk-1-config")]["data"]["system.json"]
    assert convert(json.loads(text)) == frame.system


def test_board_weights_roll_only_the_decider(frame_of) -> None:
    """A changed board reaches PADS by a new pod; the voters, which never read it, stay."""
    before = frame_of()
    after = frame_of({"config": {"boardMembers": {"qar": 0.6, "qstar": 0.4}}})
    rolled = {w.name for w in USUAL if _pod(before, w.name) != _pod(after, w.name)}
    assert rolled == {"pads"}


def test_a_section_rolls_only_its_agent(frame_of) -> None:
    """Constants of one agent restart that agent alone."""
    before, after = frame_of(), frame_of({"config": {"qbmia": {"riskAversion": 6.0}}})
    assert {"qbmia"} == {w.name for w in USUAL if _pod(before, w.name) != _pod(after, w.name)}


def test_enabling_an_agent_rolls_only_the_decider(frame_of) -> None:
    """Peers know every agent's address at all times."""
    before, after = frame_of({"agents": {"amos": {"enabled": False}}}), frame_of()
    kept = [w.name for w in USUAL if w.name != "amos"]
    assert {"pads"} == {n for n in kept if _pod(before, n) != _pod(after, n)}


def test_templates_are_remembered_without_what_no_pod_reads(frame_of) -> None:
    """If a template came to read it, what is remembered would be another policy's."""
    before = frame_of()
    after = frame_of({"networkPolicy": {"enabled": False, "metricsFrom": {"of": "another"}}})
    assert before.of_pods() == after.of_pods()
    for workload in before.workloads():
        anew = [pods._template.__wrapped__(frame, workload.name) for frame in (before, after)]
        assert anew[0] == anew[1] == pods.template(after, workload)
    assert redis.template(before) == redis.template(after)


def test_nothing_that_changes_by_itself_is_in_the_template(frame_of) -> None:
    """Generation, time and status of a resource do not reach the pods."""
    before = frame_of()
    after = frame_of(generation=7, now=2e9, status={"agents": "0/4"})
    assert [_pod(before, w.name) for w in USUAL] == [_pod(after, w.name) for w in USUAL]


def test_suspend_stops_agents_and_keeps_redis(frame_of) -> None:
    """All Deployments go to 0, Redis stays at 1."""
    made = _by(frame_of({"suspend": True}))
    replicas = {k[1]: m["spec"]["replicas"] for k, m in made.items() if "replicas" in m.get("spec", {})}
    assert replicas.pop("desk-1-redis") == 1
    assert set(replicas.values()) == {0}


def test_a_disabled_agent_has_no_objects(frame_of) -> None:
    """Deployment and Service of a disabled agent are not desired."""
    made = _by(frame_of({"agents": {"quasar": {"enabled": False}}}))
    assert ("Deployment", "desk-1-quasar") not in made
    assert ("Service", "desk-1-quasar") not in made


def test_external_market_and_redis_have_no_workload(frame_of) -> None:
    """What somebody else runs is not rendered."""
    made = _by(
        frame_of(
            {"market": {"source": "External"}, "redis": {"mode": "External", "urlSecretRef": {"name": "x"}}}
        )
    )
    assert ("Deployment", "desk-1-market") not in made
    assert not [k for k in made if k[0] == "StatefulSet" or k[1] == "desk-1-redis-auth"]


def test_an_external_redis_may_give_each_agent_its_own_login(frame_of) -> None:
    """Each pod mounts the address, and its own agent's password and no other, where the Secret has one."""
    made = _by(frame_of({"redis": {"mode": "External", "urlSecretRef": {"name": "x", "key": "where"}}}))
    for workload in USUAL:
        pod = made[("Deployment", f"desk-1-{workload.name}")]["spec"]["template"]["spec"]
        sources = [s for v in pod["volumes"] for s in v.get("projected", {}).get("sources", ())]
        mine = [s["secret"] for s in sources if s.get("secret", {}).get("name") == "x"]
        paths = {i["key"]: (i["path"], s.get("optional", False)) for s in mine for i in s["items"]}
        own = f"{workload.wire}.password"
        assert paths == {
            "where": ("redis/url", False),
            "ca.crt": ("redis/ca.crt", True),
            own: (f"redis/{own}", True),
        }


def test_strategies_never_double_decider_feed_or_device(frame_of) -> None:
    """PADS and the feed are recreated, an agent on a device frees it first, others surge."""
    made = _by(frame_of({"agents": {"quasar": {"gpu": {"mode": "Required"}}}}))
    strategy = {w.name: made[("Deployment", f"desk-1-{w.name}")]["spec"]["strategy"] for w in USUAL}
    assert strategy["pads"] == strategy["market"] == {"type": "Recreate"}
    assert strategy["quasar"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert strategy["amos"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_device_brings_image_and_limit(frame_of) -> None:
    """An agent with mode Required has the GPU image and the resource; one without has neither."""
    frame = frame_of({"agents": {"quasar": {"gpu": {"mode": "Required", "count": 2}}}})
    quasar = _pod(frame, "quasar")["spec"]["containers"][0]
    amos = _pod(frame, "amos")["spec"]["containers"][0]
    assert quasar["image"] == frame.images.agent_gpu
    assert quasar["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert amos["image"] == frame.images.agent
    assert "nvidia.com/gpu" not in amos["resources"]["limits"]


def test_budget_only_with_a_spare(frame_of) -> None:
    """One replica has no PodDisruptionBudget, two have."""
    made = _by(frame_of({"agents": {"qbmia": {"replicas": 2}}}))
    assert [k for k in made if k[0] == "PodDisruptionBudget"] == [("PodDisruptionBudget", "desk-1-qbmia")]


def test_probes_follow_the_health_check_interval(frame_of) -> None:
    """The liveness period is the setting, in whole seconds."""
    container = _pod(frame_of({"config": {"healthCheckInterval": 7.5}}), "pads")["spec"]["containers"][0]
    assert container["livenessProbe"]["periodSeconds"] == 8
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] == 180


def test_policies_let_only_the_system_in(frame_of) -> None:
    """Redis hears the system's pods, its side container the operator, neither hears others; metrics follow metricsFrom."""
    frame = frame_of({"networkPolicy": {"metricsFrom": {"team": "sre"}}})
    made = _by(frame)
    redis = made[("NetworkPolicy", "desk-1-redis")]["spec"]
    assert redis["ingress"] == [
        {
            "from": [{"podSelector": {"matchLabels": frame.selector()}}],
            "ports": [{"port": 6379, "protocol": "TCP"}],
        },
        {
            "from": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "qts-system"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "quantum-trading-operator"}},
                }
            ],
            "ports": [{"port": 8080, "protocol": "TCP"}],
        },
    ]
    assert "egress" not in redis
    metrics = made[("NetworkPolicy", "desk-1-agents")]["spec"]["ingress"][2]
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {"team": "sre"}}}]


def test_placement_fields_reach_the_pod(frame_of) -> None:
    """Selector, tolerations, affinity, spread, classes, labels, env and grace period are rendered."""
    asked = {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"x": 1}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "podLabels": {"team": "desk"},
        "podAnnotations": {"note": "x"},
        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY"}],
        "terminationGracePeriodSeconds": 45,
    }
    pod = _pod(frame_of({"agents": {"amos": asked}}), "amos")
    spec = pod["spec"]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == asked["tolerations"]
    assert spec["affinity"] == asked["affinity"]
    assert (
        spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"][names.LABEL_SYSTEM] == "desk-1"
    )
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("high", "nvidia")
    assert pod["metadata"]["labels"]["team"] == "desk"
    assert pod["metadata"]["annotations"]["note"] == "x"
    assert spec["terminationGracePeriodSeconds"] == 45
    env = spec["containers"][0]["env"]
    assert {"name": "A", "value": "1"} in env
    assert {"name": "EMPTY"} in env


def test_a_pod_monitor_has_the_labels_that_prometheus_selects_by() -> None:
    """They are the operator's to say; ours stay ours, and no other object has them."""
    snapshot = make_snapshot(None, offered=frozenset({"PodMonitor"}))
    given = {"release": "prometheus", names.LABEL_SYSTEM: "another"}
    plain, labelled = (
        _by(resolve(snapshot, defaults)[0]) for defaults in (Defaults(), Defaults(monitor_labels=given))
    )
    key = ("PodMonitor", "desk-1-agents")
    before, after = (objects.pop(key)["metadata"]["labels"] for objects in (plain, labelled))
    assert after == before | {"release": "prometheus"}
    assert plain == labelled


def test_a_pod_monitor_only_where_there_is_such_a_kind_and_it_is_wanted(frame_of) -> None:
    """Auto follows the cluster; Never wins. It selects every process with metrics and nothing else."""
    there = {"offered": frozenset({"PodMonitor"})}
    key = ("PodMonitor", "desk-1-agents")
    assert key not in _by(frame_of())
    assert key not in _by(frame_of({"observability": {"podMonitor": "Never"}}, **there))
    spec = _by(frame_of(None, **there))[key]["spec"]
    labels = _pod(frame_of(), "market")["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert spec["selector"]["matchExpressions"][0]["key"] in labels
    given = {e["targetLabel"]: e["sourceLabels"] for e in spec["podMetricsEndpoints"][0]["relabelings"]}
    meta = {f"__meta_kubernetes_pod_label_{re.sub('[^a-zA-Z0-9]', '_', name)}" for name in labels}
    assert set(given) == {"system", "agent"}
    assert all(set(sources) <= meta for sources in given.values())
    ports = _pod(frame_of(), "market")["spec"]["containers"][0]["ports"]
    assert spec["podMetricsEndpoints"][0]["port"] in {p["name"] for p in ports}


def _wider() -> type:
    """Return the settings of a later version: one key more at the top, one more in a section."""
    old = SYSTEM()
    pads = msgspec.defstruct("P", [("later", float, 2.5)], bases=(type(old.pads),), frozen=True, kw_only=True)
    fields: list[Any] = [("much_later", bool, True), ("pads", pads, pads())]
    return msgspec.defstruct("S", fields, bases=(SYSTEM,), frozen=True, kw_only=True)


def test_a_setting_that_a_later_operator_knows_restarts_nobody(frame_of, monkeypatch) -> None:
    """Templates stay equal, and the file is one that an agent image of before still reads."""
    spec = {"config": {"decisionTimeout": 1.25, "pads": {"baseSize": 0.03}}}
    before = frame_of(spec)
    monkeypatch.setattr(config, "SYSTEM", _wider())
    memo.forget()
    after = frame_of(spec)
    assert (after.system.much_later, after.system.pads.later) == (True, 2.5)
    assert [_pod(before, w.name) for w in USUAL] == [_pod(after, w.name) for w in USUAL]
    monkeypatch.undo()
    assert convert(json.loads(after.config)) == before.system


def test_a_later_setting_that_somebody_sets_does_restart(frame_of, monkeypatch) -> None:
    """What is left out of the hash is the default, not the key."""
    monkeypatch.setattr(config, "SYSTEM", _wider())
    frame = frame_of()
    text = config.dump_changed(msgspec.structs.replace(frame.system, much_later=False)).decode()
    changed = msgspec.structs.replace(frame, config=text)
    assert all(_pod(frame, w.name) != _pod(changed, w.name) for w in USUAL)


@given(st.from_regex(IMAGE, fullmatch=True))
@example("localhost/x:a:b")
@example("x:v1_")
@example(f"x:{'a' * 62}-{'b' * 20}")
def test_every_image_that_a_spec_may_name_gives_a_label(image: str) -> None:
    """Else the server refuses the Deployment for a label that nobody wrote, valid tags of 64 characters included."""
    value = version_of(image)
    assert len(value) <= 63
    assert re.fullmatch(r"[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?", value)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry:5000/x:0.3.0", "0.3.0"),
        ("x:0.3.0@sha256:abc", "0.3.0"),
        ("registry:5000/x", "latest"),
        ("x:a:b", "a-b"),
        ("x:-_.", "latest"),
    ],
)
def test_the_label_is_the_tag_where_it_can_be(image: str, version: str) -> None:
    """Of a registry's port and a digest nothing is taken."""
    assert version_of(image) == version
