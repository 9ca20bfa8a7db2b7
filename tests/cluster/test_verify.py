"""What `helm test` asks, against a real API server: well, and each way of not being well."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qts_operator import packaging

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def verify(*arguments: str, config: str = os.environ.get("KUBECONFIG", "")) -> tuple[int, str]:
    """Return exit code and text of the command."""
    way = ["--kubeconfig", config] if config else []
    command = [sys.executable, "-m", "qts_operator.verify", *way, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_an_installation_is_well_while_an_operator_leads(kube, namespace, operator, until) -> None:
    """Without an operator it says what is missing; with one, who leads; nothing is created by asking."""
    code, told = verify("--namespace", namespace)
    assert (code, "no operator holds the Lease" in told) == (1, True), told
    leader = operator()
    kube.system(namespace, "desk")
    until(leader.leads, "leading")
    code, told = verify("--namespace", packaging.NAMESPACE)
    assert (code, told.startswith("a resource is accepted, and operator-")) == (0, True), told
    assert kube.get("-n", packaging.NAMESPACE, "qts")["items"] == []


def test_a_system_that_is_not_ready_says_why(kube, namespace, operator, until) -> None:
    """Missing, not looked at, and waiting for what no node takes, Redis first; reason and message come from its condition."""
    asked = ("--namespace", namespace, "--system", "desk", "--within", "0.1")
    assert verify(*asked) == (1, f"not well: there is no QuantumTradingSystem {namespace}/desk\n")
    kube.system(namespace, "desk")
    assert "no operator has looked at it" in verify(*asked)[1]
    operator()
    until(lambda: kube.condition(namespace, "desk", "Ready")[1] == "RedisNotReady", "looked at")
    until(lambda: _as_told(kube, namespace) in verify(*asked)[1], "told as the status has it")
    assert verify(*asked)[0] == 1


def _as_told(kube, namespace: str) -> str:
    """Reason and message of Ready; whether a node takes the pods decides what stands there besides Redis."""
    _, reason, message = kube.condition(namespace, "desk", "Ready")
    return f"not Ready after 0.1 s: {reason}: {message}"


def test_no_way_to_the_api_server_is_a_wrong_call() -> None:
    """Exit 2 outside a cluster, with the remedy."""
    code, told = verify("--namespace", "x", config="")
    assert (code, "give one, or run in a pod" in told) == (2, True), told
