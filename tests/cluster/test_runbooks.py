"""Every command that a runbook tells to copy, against a cluster with one system."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
COMMAND = re.compile(r"^ {3}```sh\n(.+?)\n {3}```$", re.MULTILINE | re.DOTALL)


def test_every_diagnosis_command_runs(kube, namespace, operator, until) -> None:
    """What is copied at three o'clock in the morning answers, and nothing in it is misspelt."""
    operator()
    kube.system(namespace, "desk")
    until(lambda: kube.status(namespace, "desk").get("conditions"), "conditions")
    commands = sorted({c.strip() for p in RUNBOOKS.glob("*.md") for c in COMMAND.findall(p.read_text())})
    assert len(commands) > 30
    env = os.environ | {"NAMESPACE": namespace, "SYSTEM": "desk"}

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], env=env, capture_output=True, text=True, timeout=180
        )

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, commands))
    failed = [(c, d.stderr[-300:]) for c, d in zip(commands, done, strict=True) if d.returncode]
    assert failed == []
    answers = dict(zip(commands, done, strict=True))
    reasons = [d.stdout for c, d in answers.items() if "status.conditions" in c]
    assert reasons
    assert all("Ready=False" in text for text in reasons)
