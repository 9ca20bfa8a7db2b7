"""One system on a real cluster, as the user of the two charts sees it: kubectl, conditions, a process's own words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import NoAnswerError, until

NAMESPACE, NAME, OPERATOR = "trading", "desk-1", "qts-system"
TAG = os.environ.get("TAG", "dev")
CHARTS = Path(__file__).parents[2] / "charts"
#: on a busy machine; it costs time only where something fails
PATIENCE_S = 180.0


def run(*command: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=400)
    if check and done.returncode != 0:
        raise NoAnswerError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def install_operator(kube: Any) -> None:
    """Run the operator in the cluster, from its chart; skipped where no kubelet would run it."""
    if "node" not in kube.run("get", "nodes", "-o", "name").stdout:
        pytest.skip("the cluster has no node: `cluster up` without --control-plane")
    run(
        "helm", "upgrade", "--install", "operator", str(CHARTS / "quantum-trading-operator"),
        "-n", OPERATOR, "--create-namespace",
        "--set", f"image.tag={TAG},images.agent=localhost/qts-agent:{TAG}",
        "--set", f"images.agentGPU=localhost/qts-agent:{TAG},replicas=1",
    )  # fmt: skip


def kubectl(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """Run kubectl in the system's namespace."""
    return run("kubectl", "-n", NAMESPACE, *arguments, check=check, stdin=stdin)


def system() -> dict[str, Any]:
    """Return the resource."""
    found: dict[str, Any] = json.loads(kubectl("get", "qts", NAME, "-o", "json"))
    return found


def condition(kind: str) -> dict[str, Any]:
    """Return one condition of the resource, or an empty one."""
    conditions = system().get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {"status": "", "reason": "", "message": ""})


def settled(agents: int = 4) -> bool:
    """Tell whether the status of this generation says that all `agents` are Ready."""
    now = system()
    status = now.get("status", {})
    return (
        status.get("agents") == f"{agents}/{agents}"
        and status.get("observedGeneration") == now["metadata"]["generation"]
        and condition("Ready")["status"] == "True"
        and condition("Progressing")["status"] == "False"
    )


def eventually(fact: Callable[[], Any], within_s: float, what: str) -> Any:
    """Return the first true answer of `fact`; the failure shows the resource and its pods."""
    try:
        return until(fact, within_s, what, every_s=1.0)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{_shown()}") from error


def _shown() -> str:
    """Return what there is to see of the system, as far as anything answers."""
    own = "app.kubernetes.io/name"
    return "\n".join(
        (
            kubectl("get", "qts,pods", "-o", "wide", check=False),
            kubectl("get", "qts", NAME, "-o", "jsonpath={.status}", check=False),
            kubectl("logs", f"deploy/{NAME}-pads", "--tail=15", check=False),
            run("kubectl", "-n", OPERATOR, "logs", "-l", own, "--tail=30", check=False),
        )
    )


def statusz(agent: str, pod: str = "") -> dict[str, Any]:
    """Ask an agent's /statusz from inside `pod`, by default any of its pods; {} where nobody answers."""
    code = (
        "import urllib.request;"
        "print(urllib.request.urlopen('http://127.0.0.1:8080/statusz', timeout=5).read().decode())"
    )
    text = kubectl("exec", pod or f"deploy/{NAME}-{agent}", "--", "python", "-c", code, check=False)
    return dict(json.loads(text)) if text.strip().startswith("{") else {}


def said(agent: str, pod: str = "") -> dict[str, Any]:
    """Return an agent's /statusz; one that does not answer just now is asked again."""
    return dict(eventually(lambda: statusz(agent, pod), PATIENCE_S, f"/statusz of {pod or agent}"))


def complete_rounds() -> int:
    """Return in how many rounds all have answered."""
    return int(said("pads")["board"]["rounds"].get("complete", 0))


def restarts(label: str) -> dict[str, int]:
    """Return how often the containers of each pod with this label were started again, by the pod's uid."""
    found = json.loads(kubectl("get", "pods", "-l", f"quantumtrading.io/{label}", "-o", "json"))
    told = {p["metadata"]["uid"]: p["status"].get("containerStatuses", []) for p in found["items"]}
    return {uid: sum(s["restartCount"] for s in containers) for uid, containers in told.items()}


def allocatable() -> str:
    """Return how many devices the nodes say they can give."""
    path = "jsonpath={.items[*].status.allocatable.nvidia\\.com/gpu}"
    return run("kubectl", "get", "nodes", "-o", path).strip()


def patch(spec: dict[str, Any]) -> None:
    """Merge `spec` into the resource."""
    kubectl("patch", "qts", NAME, "--type=merge", "-p", json.dumps({"spec": spec}))
