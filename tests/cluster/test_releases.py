"""From every released version to ours and back: helm brings the definition along, and no system changes.

Each folder of releases/ is a version (scripts/release); its operator is that of the commit that it names.
"""

from __future__ import annotations

import json
import runpy
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import ACCOUNT, CHART, QUIET, RELEASE, access_of
from tests.cluster.earlier import ROOT, Story, bring, schema_in, served, tree_of

from qts_core import names
from qts_operator.packaging import NAME

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
SYSTEM_CHART = ROOT / "charts" / "quantum-trading-system"
FOLDERS = sorted((ROOT / "releases").glob("*"))


class Release:
    """A version that was released: its charts, its record, and a folder with its operator."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.version = folder.name
        self.noted = json.loads((folder / "release.json").read_text())
        self.charts = [folder / name for name in sorted(self.noted["sha256"])]
        self.operator_chart, self.system_chart = self.charts
        self.tree = tree_of(self.noted["commit"], place)


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Release:
    """A released version; skipped where its commit is missing."""
    return Release(request.param, tmp_path / "released")


@pytest.fixture
def bare(kube: Any) -> Iterator[None]:
    """A cluster without definition and release, as before the first installation; ours come back."""
    kube.helm("uninstall", RELEASE, "--wait")
    kube.run("delete", "crd", names.CRD_NAME)
    yield
    kube.install(CHART)


def _held(before: Any, now: Any) -> bool:
    """Tell whether all of a value is there as it was; a newer definition may have filled in fields."""
    if isinstance(before, dict):
        return isinstance(now, dict) and all(key in now and _held(before[key], now[key]) for key in before)
    return bool(before == now)


@pytest.mark.usefixtures("bare")
def test_an_upgrade_from_a_release_and_back_changes_no_system(
    kube: Any,
    namespace: str,
    operator: Callable[..., Any],
    until: Callable[..., Any],
    release: Release,
    tmp_path: Path,
) -> None:
    """The released charts make a system by the released operator; ours take it over; helm rolls ours back."""
    story = Story(kube, namespace, until)

    def desk() -> dict[str, Any]:
        return dict(kube.get("-n", namespace, "qts", "desk"))

    def known() -> tuple[str, int]:
        metadata = desk()["metadata"]
        return metadata["uid"], metadata["generation"]

    def led_as_before(made: Any) -> None:
        story.led(made, "desk")
        assert (known(), story.workloads()) == before
        assert _held(spec, desk()["spec"])
        made.stop()

    bring(kube, release.operator_chart)
    kube.run("wait", "--for=condition=Established", f"crd/{names.CRD_NAME}", "--timeout=60s")
    access = access_of(kube, tmp_path, ACCOUNT)
    first = operator(*access, source=release.tree)
    quiet = f"spec.images={json.dumps(QUIET['images'])}"
    kube.helm("install", "desk", str(release.system_chart), "--set-json", quiet, namespace=namespace)
    story.led(first, "desk")
    first.stop()
    before, spec = (known(), story.workloads()), desk()["spec"]
    assert len(story.workloads()) == 6

    bring(kube, CHART)
    kube.helm("upgrade", "desk", str(SYSTEM_CHART), "--reuse-values", namespace=namespace)
    led_as_before(operator(*access))

    kube.helm("rollback", RELEASE, "--wait")
    assert served(kube) == schema_in(release.operator_chart)
    led_as_before(operator(*access, source=release.tree))


def test_a_release_can_be_made_again(release: Release, tmp_path: Path) -> None:
    """Of the commit that it names, to the byte, by the same helm."""
    told = subprocess.run(["helm", "version", "--template", "{{.Version}}"], capture_output=True, text=True)
    if told.stdout.strip() != release.noted["helm"]:
        pytest.skip(f"{release.version} was packaged by helm {release.noted['helm']}, not {told.stdout}")
    package = runpy.run_path(str(ROOT / "scripts" / "release"))["package"]
    again = [package(release.noted["commit"], c, tmp_path) for c in (NAME, SYSTEM_CHART.name)]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in release.charts]
