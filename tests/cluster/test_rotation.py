"""Keys change on a real API server: one write a stage, none before every pod has taken up the last.

Pods run on nodes that kwok plays; what they say at /statusz is played here, so that one of them can be late.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.cluster.speaker import AGENTS, SPEC, point, running, speaking

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.usefixtures("played_node")]


@pytest.fixture
def say(kube: Any, namespace: str) -> Iterator[Callable[..., None]]:
    """Play the pods' /statusz: `say(agent, curve=2)` changes what the pod of an agent answers."""
    held = {name: {"curve": 1, "curve_accepted": 1} for name in AGENTS}
    addresses = {name: f"127.0.77.{number + 1}" for number, name in enumerate(AGENTS)}

    def change(name: str, **generations: int) -> None:
        if not generations:
            point(kube, namespace, name, addresses[name])
        held[name] |= generations

    with ExitStack() as servers:
        for name, address in addresses.items():
            servers.enter_context(speaking(address, {"agent": name, "credentials": held[name]}))
        yield change


def _secret(kube: Any, namespace: str) -> tuple[str, dict[str, str]]:
    secret = kube.get("-n", namespace, "secret/desk-curve")
    files = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    return secret["metadata"]["annotations"]["quantumtrading.io/credentials"], files


def test_keys_change_stage_by_stage_and_no_pod_restarts(kube, namespace, operator, until, say) -> None:
    """Nothing is dropped while one pod is behind, and the status names that pod."""
    operator()
    kube.system(namespace, "desk", SPEC)
    until(lambda: all(running(kube, namespace, a) for a in AGENTS), "five running pods")
    for agent in AGENTS:
        say(agent)
    uids = {a: running(kube, namespace, a)["metadata"]["uid"] for a in AGENTS}
    stage, before = _secret(kube, namespace)
    assert stage == "1"
    kube.patch(namespace, "desk", {"messaging": {"credentialsGeneration": 2}})
    until(lambda: _secret(kube, namespace)[0] == "2 Accepting", "Accepting")
    files = _secret(kube, namespace)[1]
    assert all(before[f"{w}.pub"] in files[f"{w}.pub"].splitlines() for w in ("pads", "quantum_amos"))
    assert files["pads.key"] == before["pads.key"]
    for agent in AGENTS[:-1]:
        say(agent, curve_accepted=2)
    late = running(kube, namespace, "market")["metadata"]["name"]
    sentence = f"desk-curve: generation 2: Accepting, waiting for {late}"
    waits = ("True", "Rotating", sentence)
    until(lambda: kube.condition(namespace, "desk", "Progressing") == waits, "market is waited for")
    assert _secret(kube, namespace)[0] == "2 Accepting"
    say("market", curve_accepted=2)
    until(lambda: _secret(kube, namespace)[0] == "2 Using", "Using")
    files = _secret(kube, namespace)[1]
    assert files["pads.key"] != before["pads.key"]
    assert len(files["pads.pub"].splitlines()) == 2
    for agent in AGENTS:
        say(agent, curve=2)
    until(lambda: _secret(kube, namespace)[0] == "2", "done")
    after = _secret(kube, namespace)[1]
    assert set(after) == set(before)
    assert {text.partition(" ")[2] for text in after.values()} == {"2"}
    until(lambda: kube.condition(namespace, "desk", "Progressing")[1] == "Complete", "Complete")
    assert {a: running(kube, namespace, a)["metadata"]["uid"] for a in AGENTS} == uids
    body = json.dumps({"spec": {"messaging": {"credentialsGeneration": 1}}})
    lower = kube.run("-n", namespace, "patch", "qts", "desk", "--type=merge", "-p", body, check=False)
    assert "messaging.credentialsGeneration can only grow" in lower.stderr


def test_keys_that_are_gone_are_not_made_anew_while_pods_use_them(kube, namespace, operator, until) -> None:
    """CredentialsMissing names the Secret and the way out; once no pod runs, the way out works."""
    first = operator()
    kube.system(namespace, "desk", SPEC)
    until(lambda: all(running(kube, namespace, a) for a in AGENTS), "five running pods")
    first.stop()
    kube.run("-n", namespace, "delete", "secret", "desk-curve")
    operator()
    missing = ("True", "CredentialsMissing")
    until(lambda: kube.condition(namespace, "desk", "Degraded")[:2] == missing, "CredentialsMissing")
    message = kube.condition(namespace, "desk", "Degraded")[2]
    assert message.startswith("Secret desk-curve is gone while pods use what was in it; put it back")
    assert "desk-curve" not in kube.run("-n", namespace, "get", "secrets", "-o", "name").stdout
    kube.patch(namespace, "desk", {"suspend": True})
    until(lambda: "desk-curve" in kube.run("-n", namespace, "get", "secrets", "-o", "name").stdout, "anew")
    until(lambda: kube.condition(namespace, "desk", "Degraded")[0] == "False", "healthy")
