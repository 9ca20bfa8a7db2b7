"""Generated files, the plan of a file, and the operator's rights."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qts_core.resource import read, settings_of, unknown_fields
from qts_operator import rights
from qts_operator.generate import check, files, write
from qts_operator.packaging import SAMPLES, install, system

ROOT = Path(__file__).parents[3]


def test_the_tree_holds_what_would_be_generated() -> None:
    """`make generate` would change nothing."""
    assert check(ROOT) == []


def test_write_makes_what_check_misses(tmp_path: Path) -> None:
    """Every file is written once; the second time there is nothing to do."""
    assert sorted(write(tmp_path)) == sorted(files())
    assert write(tmp_path) == []
    (tmp_path / "manifests/crd.yaml").write_text("x")
    assert check(tmp_path) == ["manifests/crd.yaml"]


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_valid_systems(name: str) -> None:
    """Each sample has known fields only and renders."""
    sample = yaml.safe_load((ROOT / f"manifests/samples/{name}.yaml").read_text())
    assert sample == system(name, SAMPLES[name])
    assert unknown_fields(sample["spec"]) == []
    made = settings_of(read(sample["spec"]), "default", name)
    assert made.market.source in ("replay", "simulated")


def test_rights_are_exact() -> None:
    """No wildcard; Secrets are not listed, watched or deleted; systems are never written."""
    every = rights.rules() + rights.cluster_rules() + rights.lease_rules()
    for rule in every:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
    allowed = {r: set(rule["verbs"]) for rule in every for r in rule["resources"]}
    assert allowed["secrets"] == {"get", "create", "patch"}
    assert allowed["quantumtradingsystems"] == {"get", "list", "watch"}
    assert allowed["quantumtradingsystems/status"] == {"patch"}
    assert allowed["pods"] == {"get", "list", "watch", "delete"}


def test_the_operators_pod_runs_restricted() -> None:
    """Read-only, not root."""
    pod = next(m for m in install() if m["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True
