"""The operator process against a real API server, with the rights of the chart and nothing more.

Pods need not start for any of this: images are absent on purpose.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import Any

import pytest

from qts_core import names
from qts_operator.packaging import NAME, NAMESPACE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def _versions(kube: Any, namespace: str) -> dict[str, Any]:
    """Return what our writes would move: generations, and the times of our own field managers."""
    moved = {}
    for key, item in kube.owned(namespace).items():
        ours = [
            m.get("time")
            for m in item["metadata"].get("managedFields") or ()
            if m["manager"].startswith("qts-operator")
        ]
        moved[key] = (item["metadata"]["uid"], item["metadata"].get("generation"), ours)
    return moved


def _all_left(kube: Any) -> bool:
    """Tell whether no namespace is on its way out."""
    return not any("deletionTimestamp" in space["metadata"] for space in kube.get("namespaces")["items"])


def test_creates_everything_and_then_writes_nothing(kube, namespace, operator, until) -> None:
    """All objects come up with an owner; neither time nor a restart of the operator brings another write."""
    first = operator()
    kube.system(namespace, "desk", {"agents": {"qbmia": {"replicas": 2}}})
    until(lambda: kube.applied(namespace))
    made = kube.owned(namespace)
    assert sorted(k for k in made if not k.startswith("Secret")) == [
        "ConfigMap/desk-config",
        "Deployment/desk-amos",
        "Deployment/desk-market",
        "Deployment/desk-pads",
        "Deployment/desk-qbmia",
        "Deployment/desk-quasar",
        "NetworkPolicy/desk-agents",
        "NetworkPolicy/desk-redis",
        "PodDisruptionBudget/desk-qbmia",
        "Service/desk-amos",
        "Service/desk-market",
        "Service/desk-pads",
        "Service/desk-qbmia",
        "Service/desk-quasar",
        "Service/desk-redis",
        "ServiceAccount/desk-agents",
        "StatefulSet/desk-redis",
    ]
    assert {k for k in made if k.startswith("Secret")} == {"Secret/desk-curve", "Secret/desk-redis-auth"}
    assert all(i["metadata"]["ownerReferences"][0]["name"] == "desk" for i in made.values())

    def writes() -> tuple[Any, list[str]]:
        lines = first.told().splitlines()
        return _versions(kube, namespace), [x for x in lines if x.startswith("qts_writes_total")]

    def quiet() -> bool:
        seen = writes()
        time.sleep(8)
        return writes() == seen

    def looked_at() -> bool:
        pods = kube.get("-n", namespace, "pods")["items"]
        seen = [p for p in pods for c in p["status"].get("conditions", ()) if c["type"] == "PodScheduled"]
        asked = [
            i["spec"]["replicas"] for k, i in made.items() if k.startswith(("Deployment", "StatefulSet"))
        ]
        return len(seen) == sum(asked)

    until(looked_at, "the scheduler has looked at every pod")  # pods that are late change the status
    until(
        lambda: _all_left(kube), "the systems of tests before this one are gone"
    )  # to let them go are writes, too
    until(quiet, "a rest")
    before, written = writes()
    time.sleep(8)
    assert writes() == (before, written)
    assert "qts_fields_not_kept_total{" not in first.told()
    assert first.stop() == 0
    second = operator()
    until(lambda: second.passes() >= 1, "a pass of the second one")
    time.sleep(4)
    assert _versions(kube, namespace) == before
    assert "qts_writes_total{" not in second.told()


def test_no_finalizer_and_no_webhook(kube, namespace, operator, until) -> None:
    """Deletion can never hang on us: no finalizer on anything, no webhook in the cluster."""
    operator()
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace))
    every = [*kube.owned(namespace).values(), kube.get("-n", namespace, "qts", "desk")]
    assert [i["metadata"]["name"] for i in every if i["metadata"].get("finalizers")] == []
    hooks = kube.get("validatingwebhookconfigurations,mutatingwebhookconfigurations")["items"]
    assert [h["metadata"]["name"] for h in hooks if "qts" in json.dumps(h)] == []


def test_drift_is_repaired(kube, namespace, operator, until) -> None:
    """An edited field, a deleted child and a removed list item come back; a foreign label stays."""
    operator()
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace))
    kube.run("-n", namespace, "scale", "deployment/desk-amos", "--replicas=3")
    until(lambda: kube.get("-n", namespace, "deployment/desk-amos")["spec"]["replicas"] == 1)
    kube.run("-n", namespace, "set", "image", "deployment/desk-pads", "pads=localhost/evil:1")

    def image() -> str:
        spec = kube.get("-n", namespace, "deployment/desk-pads")["spec"]["template"]["spec"]
        return spec["containers"][0]["image"]

    until(lambda: image() == "localhost/absent:0")
    kube.run("-n", namespace, "delete", "service/desk-quasar")
    until(lambda: "Service/desk-quasar" in kube.owned(namespace))
    kube.run("-n", namespace, "label", "service/desk-quasar", "team=desk")
    patch = [{"op": "remove", "path": "/spec/ports/0"}]
    kube.run("-n", namespace, "patch", "service/desk-quasar", "--type=json", "-p", json.dumps(patch))
    until(lambda: len(kube.get("-n", namespace, "service/desk-quasar")["spec"]["ports"]) == 3)
    assert kube.get("-n", namespace, "service/desk-quasar")["metadata"]["labels"]["team"] == "desk"


def test_board_weights_reach_only_the_decider(kube, namespace, operator, until) -> None:
    """A changed weight is in the settings file, and only the template of PADS differs."""
    operator()
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace))

    def templates() -> dict[str, Any]:
        found = kube.owned(namespace)
        return {k: v["spec"]["template"] for k, v in found.items() if k.startswith("Deployment")}

    before = templates()
    board = {"qar": 0.5, "qstar": 0.05, "antifragility": 0.2, "consensus": 0.15, "adaptability": 0.1}
    kube.patch(namespace, "desk", {"config": {"boardMembers": board}})
    until(lambda: kube.applied(namespace))
    after = templates()
    assert {k for k in after if after[k] != before[k]} == {"Deployment/desk-pads"}
    text = kube.get("-n", namespace, "configmap/desk-config")["data"]["system.json"]
    assert json.loads(text)["board_members"] == board


def test_suspend_pause_and_disable(kube, namespace, operator, until) -> None:
    """Suspend takes replicas to 0 and back, pause only plans, a disabled agent leaves."""
    operator()
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace))

    def replicas() -> dict[str, int]:
        found = kube.owned(namespace)
        return {k: v["spec"]["replicas"] for k, v in found.items() if k.startswith(("Depl", "State"))}

    kube.patch(namespace, "desk", {"suspend": True})
    until(lambda: kube.condition(namespace, "desk", "Suspended")[:2] == ("True", "Suspended"))
    assert {k: n for k, n in replicas().items() if n} == {"StatefulSet/desk-redis": 1}
    assert kube.condition(namespace, "desk", "Ready")[:2] == ("False", "Suspended")
    kube.patch(namespace, "desk", {"suspend": False})
    until(lambda: set(replicas().values()) == {1})
    kube.patch(namespace, "desk", {"paused": True, "agents": {"amos": {"replicas": 3}}})
    until(lambda: kube.status(namespace, "desk").get("plan"))
    assert kube.status(namespace, "desk")["plan"] == [
        "Apply Deployment/desk-amos: spec.replicas",
        "Create PodDisruptionBudget/desk-amos",
    ]
    assert replicas()["Deployment/desk-amos"] == 1
    kube.patch(namespace, "desk", {"paused": False, "agents": {"amos": {"enabled": False}}})
    until(lambda: "Deployment/desk-amos" not in kube.owned(namespace))
    until(lambda: kube.status(namespace, "desk")["agents"].endswith("/3"))


def test_deletion_leaves_nothing_with_the_operator_up_or_down(kube, namespace, operator, until) -> None:
    """Owner references do it all."""
    running = operator()
    for up in (True, False):
        kube.system(namespace, "desk")
        until(lambda: kube.applied(namespace))
        if not up:
            running.stop()
        kube.run("-n", namespace, "delete", "qts", "desk", "--timeout=60s")
        until(lambda: not kube.owned(namespace))


def test_required_without_a_device_says_why(kube, namespace, operator, until) -> None:
    """The pod is asked for and stays; Ready carries the GPU reason. Preferred runs on CPU."""
    operator()
    kube.system(
        namespace,
        "desk",
        {
            "agents": {
                "quasar": {"gpu": {"mode": "Required", "resourceName": "example.com/absent"}},
                "amos": {"gpu": {"mode": "Preferred", "resourceName": "example.com/absent"}},
            }
        },
    )
    until(lambda: kube.applied(namespace))
    count = len(kube.get("nodes")["items"])
    text = f"quasar needs 1 example.com/absent; none of {count} nodes offers it"
    missing = ("False", "NoGPUNodes", text)
    until(lambda: kube.condition(namespace, "desk", "GPUAvailable") == missing, text)
    until(lambda: f"quasar: NoGPUNodes: {text}" in kube.condition(namespace, "desk", "Ready")[2])
    told = {a["name"]: a.get("placement") for a in kube.status(namespace, "desk")["agentStatuses"]}
    assert (told["quasar"], told["amos"], told["pads"]) == ("GPU", "CPU", None)
    limits = {
        name: kube.get("-n", namespace, f"deployment/desk-{name}")["spec"]["template"]["spec"]["containers"][
            0
        ]["resources"]["limits"]
        for name in ("quasar", "amos")
    }
    assert limits["quasar"]["example.com/absent"] == "1"
    assert "example.com/absent" not in limits["amos"]
    assert kube.status(namespace, "desk")["gpus"] == "0/2"


def test_a_strangers_object_is_never_adopted(kube, namespace, operator, until) -> None:
    """The stranger stays as it is, the status names it, the rest comes up."""
    kube.run("-n", namespace, "create", "configmap", "desk-config", "--from-literal=mine=1")
    operator()
    kube.system(namespace, "desk")
    until(lambda: kube.condition(namespace, "desk", "Degraded")[:2] == ("True", "NameTaken"))
    assert "ConfigMap/desk-config" in kube.condition(namespace, "desk", "Degraded")[2]
    assert kube.get("-n", namespace, "configmap/desk-config")["data"] == {"mine": "1"}
    assert len([k for k in kube.owned(namespace) if k.startswith("Deployment")]) == 5
    kube.run("-n", namespace, "delete", "configmap", "desk-config")
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "False", "healthy", 300)


def test_the_standby_takes_over(kube, namespace, operator, until) -> None:
    """SIGTERM hands the Lease over at once, SIGKILL within 15 s; the standby wrote nothing before."""
    first = operator()
    second = operator(lead=False)
    assert not second.leads()
    assert "qts_writes_total{" not in second.told()
    assert first.stop() == 0
    held = kube.get("-n", NAMESPACE, "lease", names.FIELD_MANAGER)["spec"]["holderIdentity"]
    assert held != f"operator-{first.http}", "it left without handing the Lease back"
    until(second.leads, "the one that it was handed to", 5)
    third = operator(lead=False)
    second.process.send_signal(signal.SIGKILL)
    until(third.leads, "the one that waited", 20)
    kube.system(namespace, "desk")
    until(lambda: kube.applied(namespace))


def test_rights_are_the_charts_and_no_more(kube) -> None:
    """The ServiceAccount may not list Secrets, write systems, create pods or touch other namespaces' Leases."""

    def may(verb: str, resource: str, *more: str) -> bool:
        who = f"system:serviceaccount:{NAMESPACE}:operator-{NAME}"
        return (
            kube.run("auth", "can-i", verb, resource, "--as", who, *more, check=False).stdout.strip() == "yes"
        )

    assert may("patch", "deployments.apps", "-n", "default")
    assert may("create", "secrets", "-n", "default")
    refused = [
        ("list", "secrets"),
        ("delete", "secrets"),
        ("update", "quantumtradingsystems.quantumtrading.io"),
    ]
    refused += [("create", "pods"), ("create", "pods/exec"), ("update", "leases.coordination.k8s.io")]
    refused += [("create", "clusterroles.rbac.authorization.k8s.io"), ("patch", "nodes")]
    for verb, resource in refused:
        assert not may(verb, resource, "-n", "default"), f"{verb} {resource}"


def test_chart_and_manifest_are_the_same(kube) -> None:
    """`helm template` with the default values gives manifests/install.yaml; both charts pass `helm lint`."""
    import shutil
    from pathlib import Path

    import yaml

    from qts_operator.packaging import install

    if shutil.which("helm") is None:
        pytest.skip("helm is not on PATH")
    charts = Path(__file__).parents[2] / "charts"
    for name in ("quantum-trading-operator", "quantum-trading-system"):
        subprocess.run(["helm", "lint", str(charts / name)], check=True, capture_output=True)
    text = subprocess.run(
        ["helm", "template", NAME, str(charts / NAME), "-n", NAMESPACE, "--skip-tests"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rendered = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(text) if d}
    expected = {(d["kind"], d["metadata"]["name"]): d for d in install() if d["kind"] != "Namespace"}
    assert rendered == {k: json.loads(json.dumps(v)) for k, v in expected.items()}


def test_values_with_a_wrong_key_are_refused(kube) -> None:
    """values.schema.json names the key, for the operator and for a system."""
    import shutil
    from pathlib import Path

    if shutil.which("helm") is None:
        pytest.skip("helm is not on PATH")
    charts = Path(__file__).parents[2] / "charts"
    for chart, setting, words in (
        ("quantum-trading-operator", "replica=3", "replica"),
        ("quantum-trading-system", "spec.agents.pads.gpu.mode=None", "gpu"),
        ("quantum-trading-system", "spec.config.decisionTimeout=-1", "decisionTimeout"),
    ):
        done = subprocess.run(
            ["helm", "template", "x", str(charts / chart), "--set", setting], capture_output=True, text=True
        )
        assert done.returncode != 0
        assert words in done.stderr


def test_kopf_run_starts_the_same_engine(kube, namespace, operator, until, tmp_path) -> None:
    """`kopf run` with the module's handlers brings a system up as `python -m qts_operator` does."""
    import os
    import sys

    log = (tmp_path / "kopf.log").open("w")
    env = dict(os.environ) | {
        "QTS_HTTP_PORT": "0",
        "QTS_METRICS_PORT": "0",
        "QTS_AGENT_IMAGE": "localhost/absent:0",
    }
    command = [sys.executable, "-m", "kopf", "run", "-A", "--standalone", "-m", "qts_operator.handlers"]
    process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        kube.system(namespace, "desk")
        until(lambda: kube.applied(namespace))
        assert len([k for k in kube.owned(namespace) if k.startswith("Deployment")]) == 5
    finally:
        process.terminate()
        process.wait(60)
        log.close()
    assert "Traceback" not in (tmp_path / "kopf.log").read_text()


def test_a_pod_monitor_where_the_cluster_has_that_kind(kube, namespace, operator, until) -> None:
    """With the definition there, a monitor is made with the others and rests; Never removes it."""
    kube.run("apply", "-f", "-", given=_MONITORS)
    try:
        kube.run(
            "wait", "--for=condition=Established", "crd/podmonitors.monitoring.coreos.com", "--timeout=120s"
        )
        running = operator()
        kube.system(namespace, "desk")
        until(lambda: kube.applied(namespace))

        def found() -> list[str]:
            return [i["metadata"]["name"] for i in kube.get("-n", namespace, "podmonitors")["items"]]

        until(lambda: found() == ["desk-agents"])
        assert "qts_fields_not_kept_total{" not in running.told()
        kube.patch(namespace, "desk", {"observability": {"podMonitor": "Never"}})
        until(lambda: found() == [])
    finally:
        kube.run("delete", "crd", "podmonitors.monitoring.coreos.com", "--wait=false")


_MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "podmonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "names": {"kind": "PodMonitor", "plural": "podmonitors"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                        },
                    }
                },
            }
        ],
    },
}
