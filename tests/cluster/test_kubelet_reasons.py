"""What a real kubelet refuses or ends, told by Ready with agent, reason and remedy; who follows the remedy is ready.

The tests of this file are steps of one story on one cluster; they run in the order they stand in.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tests.cluster.story import OPERATOR, TAG, install_operator, run
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
HERE, SYSTEMS = "kubelet-reasons", ("desk", "nokey", "nosecret")
PATIENCE_S = 240.0
SMALL = {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}
AGENT_IMAGE = f"localhost/qts-agent:{TAG}"
#: each of its processes but PADS has a fault of its own; the liveness probe is quick
DESK: dict[str, Any] = {
    "images": {"pullPolicy": "Never"},
    "config": {"healthCheckInterval": 1},
    "market": {"source": "Replay", "replay": {"dataset": "eurusd_1h", "repeat": True}, "symbols": ["NO/SUCH"]}
    | SMALL,
    "agents": {
        "pads": SMALL,
        "qbmia": {"image": "localhost/x:a:b"} | SMALL,
        "quasar": {"image": "localhost/absent:1"} | SMALL,
        "amos": {"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}}},
    },
}
OUTSIDE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "outside", "labels": {"app": "outside"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "redis",
                "image": "localhost/valkey:9",
                "imagePullPolicy": "Never",
                "command": ["valkey-server", "--protected-mode", "no", "--save", ""],
            }
        ],
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "outside"},
    "spec": {"selector": {"app": "outside"}, "ports": [{"port": 6379}]},
}
OURS = "quantumtrading.io/system"
QUASAR = "quantumtrading.io/system=desk,quantumtrading.io/agent=quasar"
URL = "redis://outside:6379"
#: no connection more: no probe is answered, as of a process that leaks files
NO_FILES = "import resource; resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))"


def _outside(secret: str) -> dict[str, Any]:
    """Return a system of PADS alone whose Redis is elsewhere."""
    agents = {"pads": SMALL} | {name: {"enabled": False} for name in ("qbmia", "quasar", "amos")}
    redis = {"mode": "External", "urlSecretRef": {"name": secret, "key": "url"}}
    return {
        "images": {"pullPolicy": "Never"},
        "redis": redis,
        "market": {"source": "External"},
        "agents": agents,
    }


@pytest.fixture(scope="module", autouse=True)
def installed(kube: Any) -> Iterator[None]:
    """Start the operator, a Redis of somebody else's, and three systems with faults; all is gone in the end."""
    install_operator(kube)
    run("kubectl", "create", "namespace", HERE)
    for thing in (OUTSIDE, SERVICE):
        kube.run("-n", HERE, "apply", "-f", "-", given=thing)
    kube.run("-n", HERE, "create", "secret", "generic", "other", f"--from-literal=address={URL}")
    for name, spec in zip(SYSTEMS, (DESK, _outside("other"), _outside("absent")), strict=True):
        kube.system(HERE, name, spec)
    yield
    run("kubectl", "delete", "qts", "--all", "-n", HERE, check=False)
    run("helm", "uninstall", "operator", "-n", OPERATOR, check=False)
    run("kubectl", "delete", "namespace", HERE, OPERATOR, "--timeout=60s", check=False)


@pytest.fixture
def ready(kube: Any) -> Callable[..., None]:
    """Wait until Ready of a system has a reason and all of these words."""

    def wait(name: str, reason: str, *words: str) -> str:
        def told() -> str:
            _, why, message = kube.condition(HERE, name, "Ready")
            lacking = [each for each in words if not re.search(each, message)]
            if why != reason or lacking:
                raise LookupError(f"{why}: {message}; lacking {lacking}")
            return str(message)

        return str(until(told, PATIENCE_S, f"{name}: {reason}"))

    return wait


def _pods(kube: Any, label: str) -> dict[str, int]:
    """Return how often the containers of each pod with this label were started again, by the pod's uid."""
    found = kube.get("-n", HERE, "pods", "-l", label)["items"]
    told = {p["metadata"]["uid"]: p["status"].get("containerStatuses", []) for p in found}
    return {uid: sum(c["restartCount"] for c in containers) for uid, containers in told.items()}


def _noted(kube: Any, name: str) -> dict[str, str]:
    """Return the newest words of each reason among a system's Events."""
    every = kube.get("-n", HERE, "events.events.k8s.io")["items"]
    return {e["reason"]: e["note"] for e in every if e["regarding"].get("name") == name}


def _run_told(kube: Any, message: str, verb: str) -> str:
    """Run the kubectl that a message names and return what it prints."""
    found = re.search(rf"kubectl (-n {HERE} {verb} .*?) (has its last words|says who ended it)", message)
    assert found, message
    return str(kube.run(*found[1].split()).stdout)


def test_01_each_fault_is_named_with_its_remedy(kube: Any, ready: Callable[..., str]) -> None:
    """By `kubectl get`, `kubectl describe` and `qts status`; a new Secret or key is asked for in words of its own."""
    what = "spec.redis.urlSecretRef"
    ready(
        "nokey",
        "CredentialsMissing",
        f"Secret other of {what} has no key url.*; add it, or correct {what}.key$",
    )
    ready(
        "nosecret",
        "CredentialsMissing",
        f"Secret absent of {what} does not exist.*; make it in namespace {HERE} ",
    )
    message = ready(
        "desk",
        "ImageNotPulled",
        "^qbmia: InvalidImageName: .*; correct spec.agents.qbmia.image; ",
        "; quasar: ErrImageNeverPull: .*; load it onto .*, or correct spec.agents.quasar.image or spec.images.pullPolicy; ",
        "; amos: OOMKilled: .*; raise spec.agents.amos.resources.limits.memory; ",
        "; market: CrashLoopBackOff: .* with exit code 2: spec.market.symbols: .*NO/SUCH.*; kubectl ",
    )
    assert "NO/SUCH" in _run_told(kube, message, "logs")
    shown = run(sys.executable, "-m", "qts_cli", "status", "-n", HERE, "desk", check=False)
    assert "localhost/x:a:b" in "".join(shown.split())
    # told once: of the one that the kubelet looked at first
    first = _noted(kube, "desk")["ImageNotPulled"]
    assert re.match("(qbmia: InvalidImageName|quasar: ErrImageNeverPull): ", first), first
    assert _noted(kube, "nokey")["CredentialsMissing"].endswith(f"{what}.key")


def test_02_who_follows_the_remedies_is_ready_and_nothing_else_restarts(
    kube: Any, ready: Callable[..., str]
) -> None:
    """The images first: then the crash loops are the reason. What had no fault is the pod that it was."""
    pads = _pods(kube, "quantumtrading.io/agent=pads")
    kube.patch(HERE, "desk", {"agents": {name: {"image": AGENT_IMAGE} for name in ("qbmia", "quasar")}})
    kube.run("-n", HERE, "patch", "secret", "other", "-p", json.dumps({"stringData": {"url": URL}}))
    kube.run("-n", HERE, "create", "secret", "generic", "absent", f"--from-literal=url={URL}")
    ready("desk", "CrashLooping", "^amos: OOMKilled: ", "; market: CrashLoopBackOff: ")
    assert "CrashLooping" in _noted(kube, "desk")
    for name in ("nokey", "nosecret"):
        ready(name, "AllReady")
    assert _pods(kube, "quantumtrading.io/agent=pads") == pads
    limits = {"resources": {"limits": {"memory": "1Gi"}}}
    kube.patch(HERE, "desk", {"agents": {"amos": limits}, "market": {"symbols": None}})
    ready("desk", "AllReady")
    until(lambda: len(_pods(kube, OURS)) == 5 + 1 + 2, PATIENCE_S, "the pods that were replaced are gone")
    assert set(_pods(kube, OURS).values()) == {0}


def test_03_a_process_that_answers_no_probe_is_ended_again_and_again(
    kube: Any, ready: Callable[..., str]
) -> None:
    """How it ended and where the kubelet says why; it is ready again by itself."""

    def serves(times: int) -> bool:
        """Tell whether it is ready and was started again as often."""
        (pod,) = kube.get("-n", HERE, "pods", "-l", QUASAR)["items"]
        (container,) = pod["status"]["containerStatuses"]
        return bool(container["ready"]) and container["restartCount"] == times

    for times in range(2):
        until(partial(serves, times), PATIENCE_S, f"ready, started again: {times}")
        kube.run("-n", HERE, "exec", "deploy/desk-quasar", "--", "python", "-c", NO_FILES)
    message = ready("desk", "CrashLooping", r"^quasar: CrashLoopBackOff: .* exit code (0|137|143); kubectl ")
    assert "Liveness probe failed" in _run_told(kube, message, "describe")
    ready("desk", "AllReady")
    assert serves(2)
