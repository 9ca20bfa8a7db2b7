"""A release is made once, of a clean tree of one version, with the same bytes each time; helm is played."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHARTS = ("quantum-trading-operator", "quantum-trading-system")
MEMBERS = ("core", "messaging", "agents", "operator", "cli")
CHANGES = (
    "# Changelog\n\n## Unreleased\nAll of it.\n\n- One thing.\n\n## 0.0.9 - 2020-01-01\n- An older one.\n"
)
#: a package is made of what helm's is made of: names, bytes and times, whose order in the folder does not matter
HELM = """#!{python}
import json, pathlib, sys
if sys.argv[1] == "version":
    sys.exit(print("v0.0"))
source, place = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[4])
files = sorted(path for path in source.rglob("*") if path.is_file())
made = place / (source.name + "-1.2.3.tgz")
held = [(str(f.relative_to(source)), f.read_text(), f.stat().st_mtime) for f in files]
made.write_text(json.dumps(held))
print("Successfully packaged chart and saved it to:", made)
"""


def git(tree: Path, *words: str) -> str:
    """Return what git says in a tree, as somebody whom no machine's settings change."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example", "-c", "commit.gpgsign=false")
    return subprocess.run(("git", *who, *words), cwd=tree, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with all that a release reads, committed."""
    place = tmp_path / "tree"
    (place / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/release", place / "scripts/release")
    for member in MEMBERS:
        (place / member).mkdir()
        (place / member / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    for chart in CHARTS:
        (place / "charts" / chart).mkdir(parents=True)
        (place / "charts" / chart / "Chart.yaml").write_text(f"name: {chart}\nversion: 1.2.3\n")
    (place / "CHANGELOG.md").write_text(CHANGES)
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "all")
    return place


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """Return the folder of a helm that packages without being helm."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "helm").write_text(HELM.format(python=sys.executable))
    (place / "helm").chmod(0o755)
    return place


def release(tree: Path, path: Path | None) -> subprocess.CompletedProcess[str]:
    """Run a tree's script; `path` holds helm."""
    env = os.environ | {"PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    command = [sys.executable, str(tree / "scripts/release")]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)


def test_a_release_has_both_charts_their_sums_and_their_commit(tree: Path, played: Path) -> None:
    """What is unreleased becomes the version's, and who released is told what is left to do."""
    done = release(tree, played)
    assert done.returncode == 0, done.stderr
    place = tree / "releases/1.2.3"
    noted = json.loads((place / "release.json").read_text())
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in place.glob("*.tgz")}
    assert noted["sha256"] == sums
    assert set(sums) == {f"{chart}-1.2.3.tgz" for chart in CHARTS}
    assert (noted["commit"], noted["helm"]) == (git(tree, "rev-parse", "HEAD").strip(), "v0.0")
    text = (tree / "CHANGELOG.md").read_text()
    assert text == CHANGES.replace("## Unreleased\n", f"## Unreleased\n\n## 1.2.3 - {noted['date']}\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", noted["date"])
    assert "git tag v1.2.3" in done.stdout
    assert "scripts/image TARGET 1.2.3" in done.stdout


def test_the_same_sources_give_the_same_bytes(tree: Path, played: Path, tmp_path: Path) -> None:
    """In a clone elsewhere, with other times, and after a commit that changes nothing of charts and operator."""
    release(tree, played)
    other = tmp_path / "elsewhere"
    git(tmp_path, "clone", "-q", str(tree), str(other))
    (other / "README.md").write_text("new")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "words")
    assert release(other, played).returncode == 0
    files = [p.relative_to(tree) for p in (tree / "releases").rglob("*") if p.is_file()]
    assert len(files) == 3
    assert all((tree / file).read_bytes() == (other / file).read_bytes() for file in files)


def test_a_version_is_released_once(tree: Path, played: Path) -> None:
    """Also when all of it is committed; what is there stays."""
    release(tree, played)
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "release")
    done = release(tree, played)
    assert (done.returncode, "1.2.3 is released; raise the version" in done.stderr) == (2, True), done
    assert git(tree, "status", "--porcelain") == ""


def test_a_tree_with_changes_is_refused(tree: Path, played: Path) -> None:
    """They are named; nothing is made."""
    (tree / "charts" / CHARTS[0] / "values.yaml").write_text("a: 1\n")
    done = release(tree, played)
    assert (done.returncode, "values.yaml" in done.stderr) == (2, True), done
    assert not (tree / "releases").exists()


def test_several_versions_are_refused(tree: Path, played: Path) -> None:
    """A member that was forgotten."""
    (tree / "agents/pyproject.toml").write_text('[project]\nversion = "1.2.2"\n')
    git(tree, "commit", "-q", "-a", "-m", "forgotten")
    done = release(tree, played)
    assert (done.returncode, "'agents': '1.2.2'" in done.stderr) == (2, True), done


def test_without_helm_nothing_is_left_behind(tree: Path, tmp_path: Path) -> None:
    """It says what is missing, and the changes still say that they are unreleased."""
    found = {name: shutil.which(name) for name in ("git", "tar")}
    (tmp_path / "few").mkdir()
    for name, place in found.items():
        (tmp_path / "few" / name).symlink_to(str(place))
    command = [sys.executable, str(tree / "scripts/release")]
    env = {"PATH": str(tmp_path / "few")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (2, "release: helm is not on PATH; install it\n")
    assert git(tree, "status", "--porcelain") == ""


@pytest.mark.parametrize("place", sorted((ROOT / "releases").glob("*")), ids=lambda place: place.name)
def test_what_was_released_is_as_it_was(place: Path) -> None:
    """Every file has its sum, and a version in its name."""
    noted = json.loads((place / "release.json").read_text())
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.glob("*.tgz")}
    assert noted["sha256"] == sums
    assert {path.name for path in place.iterdir()} == {"release.json", *sums}
    assert set(sums) == {f"{chart}-{place.name}.tgz" for chart in CHARTS}
    assert place.name in {
        line.split()[1] for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line[:3] == "## "
    }
