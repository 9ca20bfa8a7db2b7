"""The chart's collector on a real API server, in a namespace that enforces Pod Security "restricted"."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml
from tests.golden.test_charts import SETS

from .conftest import CHART

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
RELEASE = "team"
KINDS = ["ConfigMap", "Deployment", "NetworkPolicy", "Service", "ServiceAccount"]


def rendered(namespace: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the collector's documents of the chart."""
    command = ["helm", "template", RELEASE, str(CHART), "-n", namespace, "-f", "-"]
    text = subprocess.run(
        command, input=json.dumps(values), check=True, capture_output=True, text=True
    ).stdout
    documents = [d for d in yaml.safe_load_all(text) if d]
    return [d for d in documents if d["metadata"]["name"].endswith("-collector")]


@pytest.mark.parametrize("name", ["collector", "collector-exports"])
def test_its_objects_are_taken_and_its_pod_admitted(kube: Any, namespace: str, until: Any, name: str) -> None:
    """Without a warning, every field kept; the pod that the ReplicaSet makes is there, whatever becomes of it."""
    kube.run("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    documents = rendered(namespace, SETS[name][1])
    assert sorted(d["kind"] for d in documents) == KINDS
    for each in documents:
        strict = ("-n", namespace, "apply", "--validate=strict", "-f", "-")
        assert kube.run(*strict, "--dry-run=server", given=each).stderr == ""
        kube.run(*strict, given=each)

    def pods() -> list[dict[str, Any]]:
        label = "app.kubernetes.io/name=quantum-trading-collector"
        return kube.get("-n", namespace, "pods", "-l", label)["items"]

    deployment = next(d for d in documents if d["kind"] == "Deployment")
    until(lambda: len(pods()) == deployment["spec"]["replicas"], "a pod of each replica")
    for pod in pods():
        assert "kube-api-access" not in json.dumps(pod["spec"]["volumes"])
    service = f"{RELEASE}-{CHART.name}-collector"
    assert (
        kube.get("-n", namespace, "service", service)["spec"]["selector"].items()
        <= pods()[0]["metadata"]["labels"].items()
    )


def test_a_pod_that_is_not_restricted_is_refused_there(kube: Any, namespace: str) -> None:
    """So the check above can fail."""
    kube.run("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    deployment = next(d for d in rendered(namespace, SETS["collector"][1]) if d["kind"] == "Deployment")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "collector"}}
    pod["spec"] = deployment["spec"]["template"]["spec"] | {"serviceAccountName": "default"}
    dry = ("-n", namespace, "create", "--dry-run=server", "-f", "-")
    kube.run(*dry, given=pod)
    del pod["spec"]["securityContext"]["seccompProfile"]
    assert 'violates PodSecurity "restricted' in kube.run(*dry, given=pod, check=False).stderr
