"""`qts support` against a real cluster: complete, without a secret, and explained by the operator's own checks."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.control_plane_campaign.judge import opened
from tests.kwok import every_pod

from qts_operator.session import from_kubeconfig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CANARY = "canary-7f3a91"


def _qts(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qts_cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=180, env=dict(os.environ))


def test_a_bundle_holds_everything_but_secrets(kube, namespace, operator, until, tmp_path: Path) -> None:
    """Canaries in a Secret, a variable and a login are in the cluster and not in the archive; explain agrees."""
    operator()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": namespace}}
    kube.run("apply", "-f", "-", given=secret | {"stringData": {"url": f"redis://u:{CANARY}@host"}})
    gpu = {"gpu": {"mode": "Required"}, "env": [{"name": "KEY", "value": CANARY}]}
    kube.system(namespace, "desk", {"agents": {"quasar": gpu}})
    until(lambda: kube.condition(namespace, "desk", "GPUAvailable")[0] == "False", "no device")
    event = kube.run("-n", namespace, "get", "events", "-o", "name").stdout
    done = _qts("support", "-n", namespace, "desk", "-o", "b.tar.gz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        held = {m.name: archive.extractfile(m).read().decode() for m in archive}
    index = json.loads(held["index.json"])
    assert set(index["sha256"]) == set(held) - {"index.json"}
    wanted = {
        "system.json",
        "children.json",
        "pods.json",
        "events.json",
        "nodes.json",
        "usage.json",
        "apis.json",
        "crd.json",
        "lease.json",
    }
    assert wanted | {"operator.json", "version.json", "plan.txt"} <= set(held)
    assert (tmp_path / "b.tar.gz").stat().st_size < 20_000_000
    password = kube.get("-n", namespace, "secret", "desk-redis-auth")["data"]
    hidden = [
        CANARY,
        *password.values(),
        *(base64.b64decode(v).decode(errors="replace") for v in password.values()),
    ]
    texts = "\n".join(held.values())
    assert CANARY in kube.run("-n", namespace, "get", "qts", "desk", "-o", "json").stdout
    assert [word for word in hidden if len(word) > 7 and word in texts] == []
    children = json.loads(held["children.json"])["items"]
    assert "# nothing to do" in held["plan.txt"], held["plan.txt"]
    assert {"Deployment", "StatefulSet", "ConfigMap", "Service"} <= {c["kind"] for c in children}
    assert all("managedFields" in c["metadata"] for c in children)
    assert not event or json.loads(held["events.json"])["items"]
    told = _qts("support", "explain", "b.tar.gz", cwd=tmp_path)
    status, reason, message = kube.condition(namespace, "desk", "GPUAvailable")
    assert told.returncode == 1, told.stderr
    assert f"GPUAvailable={status} {reason}: {message}" in told.stdout


def test_what_is_missing_is_listed_and_bad_input_named(kube, namespace, tmp_path: Path) -> None:
    """No such system: exit 2 with a remedy; an altered archive is refused."""
    done = _qts("support", "-n", namespace, "nobody", cwd=tmp_path)
    assert done.returncode == 2
    assert "kubectl get qts -A" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "x.tar.gz").write_text("no archive")
    done = _qts("support", "explain", "x.tar.gz", cwd=tmp_path)
    assert (done.returncode, "not a support bundle" in done.stderr) == (2, True)


@pytest.mark.usefixtures("played_nodes")
async def test_explain_says_of_a_running_system_what_the_operator_says(
    kube, namespace, operator, until, tmp_path: Path
) -> None:
    """Healthy is called healthy, though a bundle holds no Secret; a write that was refused is what is shown."""

    def compare() -> None:
        operator()
        kube.run("-n", namespace, "create", "configmap", "taken-config", "--from-literal=mine=1")
        for name in ("desk", "taken"):
            kube.system(namespace, name)
        until(lambda: kube.condition(namespace, "desk", "Ready")[0] == "True", "desk is Ready", 300)
        until(lambda: kube.condition(namespace, "taken", "RedisReady")[0] == "True", "taken is up", 300)
        for name in ("desk", "taken"):
            done = _qts("support", "-n", namespace, name, "-o", f"{name}.tar.gz", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        with tarfile.open(tmp_path / "desk.tar.gz") as archive:
            index = json.load(archive.extractfile("index.json"))
        asked = [*index["sha256"], *index["missing"]]  # nothing answers in played pods
        for folder in ("statusz", "keptz"):
            of = {name.split("/")[1].split("-")[1] for name in asked if name.startswith(f"{folder}/")}
            assert of == {"pads", "qbmia", "quasar", "amos", "market"}, asked
        well = _qts("support", "explain", "desk.tar.gz", cwd=tmp_path)
        assert (well.returncode, well.stderr) == (0, ""), well.stdout
        assert "healthy: every condition is as it should be" in well.stdout
        assert "Ready=True AllReady" in well.stdout
        assert "CredentialsMissing" not in well.stdout
        ill = _qts("support", "explain", "taken.tar.gz", cwd=tmp_path)
        text = kube.condition(namespace, "taken", "Degraded")[2]
        assert ill.returncode == 1, ill.stdout
        assert f"Degraded=True NameTaken: {text}" in ill.stdout
        assert "CredentialsMissing" not in ill.stdout
        assert "healthy" not in ill.stdout
        both = _qts("support", "-n", namespace, "--all", "-o", "all.tar.gz", cwd=tmp_path)
        assert both.returncode == 0, both.stderr
        with tarfile.open(tmp_path / "all.tar.gz") as archive:
            folders = {f"{namespace}/{name}" for name in ("desk", "taken")}
            assert {f"{one}/plan.txt" for one in folders} <= {*archive.getnames()}
        told = _qts("support", "explain", "all.tar.gz", cwd=tmp_path)
        assert told.returncode == 1, told.stdout
        assert f"Degraded=True NameTaken: {text}" in told.stdout
        assert told.stdout.count("gathered at") == 2
        assert _qts("support", "--all", "-o", "everywhere.tar.gz", cwd=tmp_path).returncode == 0

    async with opened(from_kubeconfig(os.environ["KUBECONFIG"])) as judge, every_pod(judge.api):
        await asyncio.to_thread(compare)
