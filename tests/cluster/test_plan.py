"""`qts plan --cluster`: the API server refuses first, and the plan is the one that the operator tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qts_operator.packaging import NAMESPACE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
TWO_DEVICES = {"mode": "Required", "resourceName": "nvidia.com/gpu", "deviceClassName": "gpu.example.com"}
#: what only the API server tells: name, spec, and its words
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("1desk", {}, "metadata.name must be at most 40 characters"),
    ("d" * 50, {}, "metadata.name must be at most 40 characters"),
    ("desk", {"agents": {"pads": {"enabled": False}}}, "pads decides and cannot be disabled"),
    ("desk", {"redis": {"mode": "External"}}, "exactly one in mode External"),
    ("desk", {"agents": {"amos": {"env": [{"name": "QTS_X", "value": "1"}]}}}, "env must not use QTS_*"),
    ("desk", {"agents": {"quasar": {"gpu": TWO_DEVICES}}}, "at most one of resourceName, deviceClassName"),
    (
        "desk",
        {"agents": {"quasar": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}},
        "resources must not name a GPU",
    ),
    (
        "desk",
        {"agents": {"quasar": {"gpu": {"mode": "Required", "fallbackAfter": "60s"}}}},
        "fallbackAfter may be set only with mode Preferred",
    ),
    ("desk", {"agents": {"amos": {"restartPolicy": {"window": "10s"}}}}, "window must be between 1m and 24h"),
    (
        "desk",
        {"agents": {"amos": {"podLabels": {"quantumtrading.io/x": "y"}}}},
        "podLabels must not use quantumtrading.io/",
    ),
]


def _plan(folder: Path, namespace: str, name: str, spec: dict[str, Any], *more: str) -> tuple[int, str, str]:
    file = folder / "cr.yaml"
    cr = {"apiVersion": "quantumtrading.io/v1alpha1", "kind": "QuantumTradingSystem"}
    file.write_text(json.dumps(cr | {"metadata": {"name": name}, "spec": spec}))
    command = [sys.executable, "-m", "qts_cli", "plan", "-f", str(file), "-n", namespace, "--cluster", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("name", "spec", "words"), REFUSED, ids=[words[:30] for *_, words in REFUSED])
def test_what_the_api_server_refuses_is_refused(
    kube, namespace, tmp_path: Path, name: str, spec: dict[str, Any], words: str
) -> None:
    """Exit 2, one line with the server's words, and nothing is made."""
    code, out, err = _plan(tmp_path, namespace, name, spec)
    assert (code, out) == (2, ""), err
    assert words in err
    assert "Traceback" not in err
    assert kube.get("-n", namespace, "qts")["items"] == []


def test_a_namespace_that_is_not_there_is_named(kube, tmp_path: Path) -> None:
    """As the API server says it."""
    code, _, err = _plan(tmp_path, "t-nowhere", "desk", {})
    assert code == 2
    assert 'namespaces "t-nowhere" not found' in err


def test_a_plan_is_what_the_operator_plans(kube, namespace, operator, until, tmp_path: Path) -> None:
    """Nothing to do for what is applied; for a change the lines of status.plan, which pods roll, and why."""
    chart = kube.get("-n", NAMESPACE, "deployments", "-l", "app.kubernetes.io/name=quantum-trading-operator")
    env = chart["items"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
    told = {each["name"]: each.get("value") for each in env}
    images = [
        *("--agent-image", told["QTS_AGENT_IMAGE"], "--agent-gpu-image", told["QTS_AGENT_GPU_IMAGE"]),
        *("--redis-image", told["QTS_REDIS_IMAGE"]),
    ]
    operator(*images)
    spec: dict[str, Any] = {"images": {"pullPolicy": "Never"}}
    kube.system(namespace, "desk", spec)
    until(lambda: kube.applied(namespace), "applied")
    code, out, err = _plan(tmp_path, namespace, "desk", spec)
    assert (code, err) == (0, "")
    assert "# nothing to do" in out
    change = {
        "agents": {"amos": {"enabled": False}, "quasar": {"env": [{"name": "A", "value": "1"}]}},
        "config": {"decisionTimeout": 7.5},
    }
    _, out, _ = _plan(tmp_path, namespace, "desk", spec | change)
    assert '#   spec.template.spec.containers[quasar].env[A]: nothing → {"name":"A","value":"1"}' in out
    assert "#   rolls the pods of desk-quasar: spec.template" in out
    assert "# Delete Deployment/desk-amos" in out
    assert "decision_timeout" in out
    code, out, _ = _plan(tmp_path, namespace, "desk", spec | change, "--summary")
    lines = [line for line in out.splitlines() if not line.startswith("#")]
    kube.patch(namespace, "desk", {"paused": True} | change)
    until(lambda: kube.status(namespace, "desk").get("plan"), "a plan")
    assert lines[:20] == kube.status(namespace, "desk")["plan"]


def test_an_object_of_somebody_else_is_seen_before_anything_is_made(kube, namespace, tmp_path: Path) -> None:
    """Against an empty namespace everything is made but what a stranger has the name of."""
    kube.run("-n", namespace, "create", "configmap", "desk-config", "--from-literal=mine=1")
    code, out, _ = _plan(tmp_path, namespace, "desk", {}, "--summary")
    assert code == 0
    assert "Refuse ConfigMap/desk-config: it belongs to somebody else" in out
    assert "Create Deployment/desk-quasar" in out
