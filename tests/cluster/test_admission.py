"""The chart's optional policy on a real API server: how many GPUs one system may ask for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CHART = Path(__file__).parents[2] / "charts" / "quantum-trading-operator"
MOST = 3
REFUSAL = "GPUs are asked for, one system may have 3; ask for fewer, or raise admission.maxGPUsPerSystem"


def gpus(quasar: int, amos: int, **more: Any) -> dict[str, Any]:
    """Return a spec that asks for devices."""
    return {
        "agents": {
            "quasar": {"gpu": {"mode": "Required", "count": quasar}, **more},
            "amos": {"gpu": {"mode": "Preferred", "count": amos}},
        }
    }


def rendered(*values: str) -> str:
    """Return the policy and its binding as the chart writes them."""
    command = ["helm", "template", "limits", str(CHART), "--show-only", "templates/admission.yaml"]
    for value in (f"admission.maxGPUsPerSystem={MOST}", *values):
        command += ["--set", value]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def enforce(kube: Any) -> Iterator[Callable[..., None]]:
    """Bring the policy into the cluster; it goes with the test."""
    yield lambda *values: kube.run("apply", "-f", "-", given=rendered(*values))
    kube.run("delete", "--ignore-not-found", "-f", "-", given=rendered())


@pytest.fixture
def answer(kube: Any, namespace: str) -> Callable[..., str]:
    """What the API server says against a system of this name; nothing: it was taken."""

    def asked(name: str, spec: dict[str, Any], *how: str, place: str = namespace) -> str:
        body = {
            "apiVersion": "quantumtrading.io/v1alpha1",
            "kind": "QuantumTradingSystem",
            "metadata": {"name": name, "namespace": place},
            "spec": spec,
        }
        return str(kube.run("apply", "-f", "-", *how, given=body, check=False).stderr)

    return asked


def test_a_system_asks_for_no_more_than_the_house_allows(enforce, answer, until) -> None:
    """Created or grown beyond it is refused with numbers and remedy; an older, larger one may shrink."""
    dry = "--dry-run=server"
    assert answer("older", gpus(4, 4)) == ""
    assert answer("desk", gpus(2, 1)) == ""
    enforce()
    until(lambda: f"spec.agents: 4 {REFUSAL}" in answer("new", gpus(2, 2), dry), "in force")
    assert f"spec.agents: 5 {REFUSAL}" in answer("desk", gpus(2, 1, replicas=2))
    assert answer("new", gpus(2, 1)) == ""
    assert f"spec.agents: 4 {REFUSAL}" in answer("desk", gpus(2, 2))
    assert answer("older", gpus(4, 3)) == ""
    assert f"spec.agents: 8 {REFUSAL}" in answer("older", gpus(4, 4))


def test_an_operator_of_some_namespaces_bounds_no_others(enforce, answer, namespace, until) -> None:
    """Whose operator it is not has no value to raise."""
    enforce(f"watch.namespaces={{{namespace}}}")
    dry = "--dry-run=server"
    until(lambda: f"spec.agents: 4 {REFUSAL}" in answer("new", gpus(2, 2), dry), "in force")
    # the bound of a test before this one may be in force for a moment longer
    until(lambda: answer("new", gpus(2, 2), dry, place="default") == "", "others are bound by nothing")
