"""The chart's optional policy on a real API server: how many GPUs one system may ask for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
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


@pytest.fixture
def policy(kube: Any) -> Iterator[str]:
    command = ["helm", "template", "limits", str(CHART), "--show-only", "templates/admission.yaml"]
    command += ["--set", f"admission.maxGPUsPerSystem={MOST}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    yield text
    kube.run("delete", "--ignore-not-found", "-f", "-", given=text)


def test_a_system_asks_for_no_more_than_the_house_allows(kube, namespace, policy, until) -> None:
    """Created or grown beyond it is refused with numbers and remedy; an older, larger one may shrink."""

    def answer(name: str, spec: dict[str, Any], *how: str) -> str:
        body = {
            "apiVersion": "quantumtrading.io/v1alpha1",
            "kind": "QuantumTradingSystem",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        return kube.run("apply", "-f", "-", *how, given=body, check=False).stderr

    dry = "--dry-run=server"
    assert answer("older", gpus(4, 4)) == ""
    assert answer("desk", gpus(2, 1)) == ""
    kube.run("apply", "-f", "-", given=policy)
    until(lambda: f"spec.agents: 4 {REFUSAL}" in answer("new", gpus(2, 2), dry), "in force")
    assert f"spec.agents: 5 {REFUSAL}" in answer("desk", gpus(2, 1, replicas=2))
    assert answer("new", gpus(2, 1)) == ""
    assert f"spec.agents: 4 {REFUSAL}" in answer("desk", gpus(2, 2))
    assert answer("older", gpus(4, 3)) == ""
    assert f"spec.agents: 8 {REFUSAL}" in answer("older", gpus(4, 4))
