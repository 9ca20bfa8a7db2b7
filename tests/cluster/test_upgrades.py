"""An operator with newer defaults takes over a running system on a real API server."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def _workloads(kube: Any, namespace: str) -> dict[str, tuple[str, int, str]]:
    """Return uid, generation and image of every workload by name."""
    items = kube.get("-n", namespace, "deployments,statefulsets")["items"]
    return {
        i["metadata"]["name"]: (
            i["metadata"]["uid"],
            i["metadata"]["generation"],
            i["spec"]["template"]["spec"]["containers"][0]["image"],
        )
        for i in items
    }


def test_newer_defaults_touch_no_pod_until_an_agent_rolls_anyway(kube, namespace, operator, until) -> None:
    """Upgrade and downgrade change no workload; a changed agent takes the new image, the others stay."""
    kube.system(namespace, "desk", {})
    first = operator("--agent-image", "localhost/agent:1")
    until(lambda: kube.applied(namespace), "applied")
    before = _workloads(kube, namespace)
    assert len(before) == 6
    first.stop()
    second = operator("--agent-image", "localhost/agent:2")
    until(lambda: second.passes() >= 1, "a pass of the new operator")
    assert _workloads(kube, namespace) == before
    kube.patch(namespace, "desk", {"agents": {"amos": {"terminationGracePeriodSeconds": 31}}})
    until(lambda: kube.applied(namespace), "the change applied")
    after = _workloads(kube, namespace)
    assert after["desk-amos"][2] == "localhost/agent:2"
    assert {k: v for k, v in after.items() if k != "desk-amos"} == {
        k: v for k, v in before.items() if k != "desk-amos"
    }
    second.stop()
    third = operator("--agent-image", "localhost/agent:1")
    until(lambda: third.passes() >= 1, "a pass of the older operator")
    assert _workloads(kube, namespace) == after


def test_a_revision_of_a_newer_operator_is_left_alone(kube, namespace, operator, until) -> None:
    """The workload stays as it is, the status says why and what to do; Immediate takes it over."""
    operator()
    kube.system(namespace, "desk", {})
    until(lambda: kube.applied(namespace), "applied")
    note = "quantumtrading.io/template-revision=99"
    kube.run("-n", namespace, "annotate", "--overwrite", "deployment/desk-quasar", note)
    until(lambda: kube.condition(namespace, "desk", "Degraded")[1] == "RevisionUnsupported", "Degraded")
    message = kube.condition(namespace, "desk", "Degraded")[2]
    assert message.startswith("quasar uses template revision 99, this operator renders 1 to ")
    assert message.endswith(
        "; upgrade the operator, or set spec.upgradePolicy to Immediate, which replaces its pods"
    )
    before = _workloads(kube, namespace)
    kube.patch(namespace, "desk", {"config": {"systemSeed": 5}})
    until(lambda: _workloads(kube, namespace)["desk-amos"] != before["desk-amos"], "amos rolled")
    assert _workloads(kube, namespace)["desk-quasar"] == before["desk-quasar"]
    assert not kube.applied(namespace)
    kube.patch(namespace, "desk", {"upgradePolicy": "Immediate"})
    until(lambda: kube.applied(namespace), "taken over")
    assert kube.condition(namespace, "desk", "Degraded")[1] == "Healthy"
