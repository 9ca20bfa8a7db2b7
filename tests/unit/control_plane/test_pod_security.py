"""Every pod that anything of ours can make passes Pod Security Standard "restricted" (Kubernetes 1.34)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tests.golden.test_templates import FOLDER, REVISIONS, rendered

from qts_operator.packaging import deployment

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
Tree = dict[str, Any]


def violations(spec: Tree) -> list[str]:
    """Return what the standard forbids in a pod's spec, by the list of controls in its documentation."""
    pod = spec.get("securityContext") or {}
    found = [f"{key} is true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [
        f"volume {v['name']}" for v in spec.get("volumes") or () if not (v.keys() - {"name"}) <= VOLUMES
    ]
    if pod.get("runAsUser") == 0 or pod.get("sysctls"):
        found.append("pod: runAsUser 0 or sysctls")
    containers = [
        c for key in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(key) or ()
    ]
    for each in containers:
        own = each.get("securityContext") or {}
        caps = own.get("capabilities") or {}
        seccomp = own.get("seccompProfile") or pod.get("seccompProfile") or {}
        checks = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": "ALL" in caps.get("drop", ()),
            "capabilities.add": set(caps.get("add", ())) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": own.get("runAsNonRoot", pod.get("runAsNonRoot")) is True,
            "runAsUser": own.get("runAsUser") != 0,
            "seccompProfile": seccomp.get("type") in ("RuntimeDefault", "Localhost"),
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any(p.get("hostPort") for p in each.get("ports") or ()),
            "probe host": not any(
                (each.get(p) or {}).get(k, {}).get("host")
                for p in ("startupProbe", "livenessProbe", "readinessProbe")
                for k in ("httpGet", "tcpSocket")
            ),
        }
        found += [f"{each['name']}: {name}" for name, fine in checks.items() if not fine]
    return found


@pytest.mark.parametrize("revision", REVISIONS)
def test_all_pods_of_all_golden_resources_are_restricted(revision: int) -> None:
    """Fifty resources at every revision that this operator renders; none mounts a token, none may write its root."""
    count = 0
    for spec in json.loads((Path(FOLDER) / "systems.json").read_text()):
        for part, pod in rendered(spec, revision).items():
            assert violations(pod["spec"]) == [], part
            assert pod["spec"]["automountServiceAccountToken"] is False
            assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in pod["spec"]["containers"])
            count += 1
    assert count > 200


def test_the_operators_own_pod_is_restricted() -> None:
    """As the chart renders it by default."""
    assert violations(deployment()["spec"]["template"]["spec"]) == []


BREAKS: list[tuple[str, Any, str]] = [
    ("hostNetwork", True, "hostNetwork is true"),
    ("volumes", [{"name": "h", "hostPath": {"path": "/"}}], "volume h"),
    ("securityContext", {}, "operator: runAsNonRoot"),
]


@pytest.mark.parametrize(("field", "value", "words"), BREAKS)
def test_the_check_sees_what_is_forbidden(field: str, value: Any, words: str) -> None:
    """A pod that is not restricted is told so."""
    spec = copy.deepcopy(deployment()["spec"]["template"]["spec"])
    spec[field] = value
    assert words in violations(spec)
    spec = copy.deepcopy(deployment()["spec"]["template"]["spec"])
    spec["containers"][0]["securityContext"]["capabilities"] = {"add": ["SYS_ADMIN"]}
    assert violations(spec) == ["operator: capabilities.drop", "operator: capabilities.add"]
