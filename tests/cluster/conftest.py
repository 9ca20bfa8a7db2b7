"""A cluster from $KUBECONFIG, the operator's definition and rights on it, and operator processes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.kwok import awake
from tests.waiting import NoAnswerError, until

from qts_cli.sockets import free_ports
from qts_operator.packaging import NAME, NAMESPACE
from qts_operator.session import from_kubeconfig

RELEASE = "operator"
ACCOUNT = f"{RELEASE}-{NAME}"
CHART = Path(__file__).parents[2] / "charts" / NAME
SHARED = Path(__file__).parents[3] / "shared" / "cluster" / "cluster"
TEST_IMAGES = ("--agent-image", "localhost/absent:0", "--agent-gpu-image", "localhost/absent-gpu:0")
#: pods of these tests never start, also where there is a node
QUIET: dict[str, Any] = {"images": {"pullPolicy": "Never", "redis": "localhost/absent-redis:0"}}

#: on a busy machine; it costs time only where something fails
PATIENCE_S = 120.0
#: what the operator owns
KINDS = "deployments,statefulsets,services,configmaps,serviceaccounts,networkpolicies,poddisruptionbudgets,secrets"


class Kube:
    """kubectl with JSON in and out."""

    def run(self, *args: str, given: Any = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        text = given if isinstance(given, str) or given is None else json.dumps(given)
        done = subprocess.run(["kubectl", *args], input=text, capture_output=True, text=True, timeout=180)
        if check and done.returncode:
            raise NoAnswerError(f"kubectl {' '.join(args)}: {done.stderr}")
        return done

    def helm(self, *args: str, namespace: str = NAMESPACE) -> None:
        command = ["helm", *args, "-n", namespace]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        if done.returncode:
            raise NoAnswerError(f"{' '.join(command)}: {done.stderr}")

    def install(self, chart: Path) -> None:
        """Bring the release to a chart of the operator, without a pod of it."""
        self.helm("upgrade", "--install", RELEASE, str(chart), "--set", "replicas=0")

    def get(self, *args: str) -> Any:
        return json.loads(self.run("get", *args, "-o", "json", "--show-managed-fields").stdout)

    def system(self, namespace: str, name: str, spec: dict[str, Any] | None = None) -> None:
        self.run(
            "apply",
            "-f",
            "-",
            given={
                "apiVersion": "quantumtrading.io/v1alpha1",
                "kind": "QuantumTradingSystem",
                "metadata": {"name": name, "namespace": namespace},
                "spec": QUIET | (spec or {}),
            },
        )

    def patch(self, namespace: str, name: str, spec: dict[str, Any]) -> None:
        self.run("-n", namespace, "patch", "qts", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def status(self, namespace: str, name: str) -> dict[str, Any]:
        return self.get("-n", namespace, "qts", name).get("status") or {}

    def owned(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Return the operator's objects by kind and name."""
        items = self.get("-n", namespace, KINDS, "-l", "app.kubernetes.io/managed-by=qts-operator")["items"]
        return {f"{i['kind']}/{i['metadata']['name']}": i for i in items}

    def applied(self, namespace: str, name: str = "desk") -> bool:
        """Tell whether the status speaks of the newest generation."""
        told = self.get("-n", namespace, "qts", name)
        return (told.get("status") or {}).get("observedGeneration") == told["metadata"]["generation"]

    def condition(self, namespace: str, name: str, kind: str) -> tuple[str, str, str]:
        for told in self.status(namespace, name).get("conditions", ()):
            if told["type"] == kind:
                return told["status"], told["reason"], told["message"]
        return "", "", ""


def counted(told: str, *samples: str) -> int:
    """Return the sum of the samples that begin with one of these texts, of an answer of /metrics."""
    lines = told.splitlines()
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith(samples))


class Operator:
    """One operator process with a ServiceAccount's token; `source`: another tree whose packages it runs."""

    def __init__(self, access: list[str], folder: Path, *more: str, source: Path | None = None) -> None:
        self.http, self.metrics = free_ports(2)
        self._log = (folder / f"operator-{self.http}.log").open("w")
        self._args = [
            *(sys.executable, "-m", "qts_operator", *access, "--host", "127.0.0.1"),
            *("--http-port", str(self.http), "--metrics-port", str(self.metrics)),
            *("--identity", f"operator-{self.http}", *TEST_IMAGES, *more),
        ]
        env = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"}
        if source is not None:
            packages = (source / each / "src" for each in ("core", "messaging", "operator"))
            env["PYTHONPATH"] = os.pathsep.join(map(str, packages))
        self.process = subprocess.Popen(self._args, stdout=self._log, stderr=subprocess.STDOUT, env=env)

    def ready(self) -> bool:
        return self._get(self.http, "/readyz") == "ok"

    def healthy(self) -> bool:
        return self._get(self.http, "/healthz") == "ok"

    def leads(self) -> bool:
        return "qts_leader 1.0" in self._get(self.metrics, "/metrics")

    def told(self) -> str:
        """Return the metrics; a busy process is asked again, for what is not told must not be taken for nothing."""
        return str(until(lambda: self._get(self.metrics, "/metrics"), PATIENCE_S, "metrics of the operator"))

    def passes(self) -> int:
        """Return how many passes have ended well."""
        return self.counted(
            'qts_reconcile_total{reason="",result="ok', 'qts_reconcile_total{reason="",result="noop'
        )

    def counted(self, *samples: str) -> int:
        """Return the sum of the samples that begin with one of these texts."""
        return counted(self.told(), *samples)

    def log(self) -> str:
        return Path(self._log.name).read_text()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(5)
            self._log.close()

    def _get(self, port: int, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.read().decode()
        except (OSError, HTTPException):
            return ""


@cache
def _refusal() -> str:
    """Return why no cluster answers; "" when one does: from then on its silence is a failure, and skips nothing."""
    try:
        until(lambda: Kube().run("get", "--raw", "/readyz"), 30)
    except AssertionError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def kube() -> Kube:
    """A cluster that answers, with the operator's chart at 0 replicas; skipped with the reason otherwise.

    Every module of these tests installs the same release, so any order of modules works.
    """
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: $KUBECONFIG is not set")
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no cluster: {tool} is not on PATH")
    made = Kube()
    if why := _refusal():
        pytest.skip(f"no cluster: {why[:200]}")
    command = ["upgrade", "--install", RELEASE, str(CHART), "--create-namespace", "--set", "replicas=0"]
    # a campaign that was cut short leaves a definition without helm's marks
    command.append("--take-ownership")

    def installed() -> bool:
        # a namespace that an earlier module is removing must be gone first
        made.helm(*command)
        return True

    until(installed, 300, "helm install")
    definition = "crd/quantumtradingsystems.quantumtrading.io"
    made.run("wait", "--for=condition=Established", definition, "--timeout=120s")
    label = "app.kubernetes.io/name=quantum-trading-operator"
    made.run("-n", NAMESPACE, "wait", "--for=delete", "pod", "-l", label, "--timeout=120s", check=False)
    return made


@pytest.fixture(scope="module")
def access(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that make an operator process the chart's ServiceAccount."""
    return access_of(kube, tmp_path_factory.mktemp("access"), ACCOUNT)


def access_of(kube: Kube, folder: Path, account: str) -> list[str]:
    """Return arguments that make an operator process this ServiceAccount; their files are in `folder`."""
    token = kube.run("-n", NAMESPACE, "create", "token", account, "--duration=2h").stdout.strip()
    (folder / "token").write_text(token)
    config = json.loads(kube.run("config", "view", "--raw", "--minify", "-o", "json").stdout)
    cluster = config["clusters"][0]["cluster"]
    if "certificate-authority-data" in cluster:
        (folder / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    else:
        shutil.copy(cluster["certificate-authority"], folder / "ca.crt")
    return [
        *("--server", cluster["server"], "--token-file", str(folder / "token")),
        *("--ca-file", str(folder / "ca.crt")),
    ]


@contextmanager
def _played(kube: Kube, count: int, gpus: int = 0) -> Iterator[None]:
    """Nodes fake-0 and on that kwok plays, without a gap in their heartbeat; skipped where nobody plays nodes."""
    if not SHARED.exists():
        pytest.skip("fake nodes come with the shared cluster")
    command = [str(SHARED), "fake-nodes", str(count), "--gpus", str(gpus)]
    nodes = [f"fake-{number}" for number in range(count)]

    def made() -> bool:
        # of nodes that somebody left some may have fallen silent, and the tool counts all
        kube.run("delete", "node", "-l", "type=kwok", "--timeout=60s")
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        if done.returncode:
            raise NoAnswerError(done.stderr)
        return True

    until(made, 300, "nodes that kwok plays")
    with awake(from_kubeconfig(os.environ.get("KUBECONFIG")), nodes):
        yield
    kube.run("delete", "node", *nodes, "--wait=false", check=False)


@pytest.fixture(scope="module")
def played(kube: Kube) -> Callable[..., AbstractContextManager[None]]:
    """Make nodes that kwok plays: `with played(3, gpus=2):`."""
    return partial(_played, kube)


@pytest.fixture(scope="module")
def played_node(played: Callable[..., AbstractContextManager[None]]) -> Iterator[None]:
    """One node that kwok plays."""
    with played(1):
        yield


@pytest.fixture(scope="module")
def played_nodes(played: Callable[..., AbstractContextManager[None]]) -> Iterator[None]:
    """Eight nodes of eight devices each that kwok plays."""
    with played(8, gpus=8):
        yield


@pytest.fixture
def namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, gone afterwards."""
    name = f"t-{abs(hash(request.node.nodeid)) % 10**8}-{time.time_ns() % 10**6}"
    kube.run("create", "namespace", name)
    yield name
    kube.run("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture(name="until")
def until_fixture(kube: Kube, namespace: str) -> Callable[..., Any]:
    """Wait for a fact; a failure shows the status of the namespace's system `desk`."""

    def wait(check: Callable[[], Any], what: str = "", seconds: float = PATIENCE_S) -> Any:
        try:
            return until(check, seconds, what)
        except AssertionError as error:
            told = kube.run("-n", namespace, "get", "qts", "desk", "-o", "jsonpath={.status}", check=False)
            raise AssertionError(f"{error}; status {told.stdout or told.stderr}") from None

    return wait


@pytest.fixture(scope="module")
def leading(access: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One operator for all tests of a module that need no start of their own; it ends without a traceback."""
    made = Operator(access, tmp_path_factory.mktemp("operator"))
    try:
        until(made.ready, PATIENCE_S, "operator ready")
        until(made.leads, PATIENCE_S, "operator leads")
        yield made
    finally:
        made.stop()
    assert "Traceback" not in made.log()


@pytest.fixture
def operator(access: list[str], tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Start operator processes that lead or stand by; all are stopped in the end, without a traceback."""
    started: list[Operator] = []

    def start(*more: str, lead: bool = True, source: Path | None = None) -> Operator:
        made = Operator(access, tmp_path, *more, source=source)
        started.append(made)
        until(made.ready, PATIENCE_S, "operator ready")
        if lead:
            until(made.leads, PATIENCE_S, "operator leads")
        return made

    yield start
    with ExitStack() as ending:  # whatever becomes of one, the others end too: who leads would go on leading
        for made in started:
            ending.callback(made.stop)
    assert [made.log() for made in started if "Traceback" in made.log()] == []
