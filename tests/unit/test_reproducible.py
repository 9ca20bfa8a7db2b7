"""Two builds are compared: one image when all parts are equal, named files when not; `buildah` is played."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: an image has a layer with one file, which holds what its builder is told: of $DIFFERS, the name of the turn
BUILDAH = """#!{python}
import io, json, os, sys, tarfile
words = sys.argv[3:]
turn = words[-1].rsplit(":")[-1] if os.environ["DIFFERS"] else ""
if words[0] == "bud":
    turn = words[words.index("-t") + 1].rsplit(":")[-1]
    folder = os.path.join(os.environ["SEEN"], turn)
    os.mkdir(folder)
    open(folder + "/told", "w").write(json.dumps([os.getcwd(), os.environ["CONTAINERS_STORAGE_CONF"], words]))
elif words[0] == "inspect":
    config = {{"rootfs": {{"diff_ids": ["sha256:base", "sha256:layer" + turn]}}, "config": {{"User": "1"}}}}
    print(json.dumps({{"FromImageID": "id" + turn, "OCIv1": config}}))
elif words[0] == "push":
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as out:
        for name, text in {{"opt/same": "a", "opt/kernel": turn}}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            out.addfile(entry, io.BytesIO(text.encode()))
    with tarfile.open(words[-1].split(":")[1], "w") as out:
        entry = tarfile.TarInfo("layer" + turn + ".tar")
        entry.size = len(layer.getvalue())
        out.addfile(entry, io.BytesIO(layer.getvalue()))
"""


def reproducible(*targets: str, path: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script; `path` holds another buildah."""
    found = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
    given = os.environ | {"PATH": found, "PYTHON_IMAGE": ""} | env
    command = [sys.executable, str(ROOT / "scripts/reproducible"), *targets]
    return subprocess.run(command, capture_output=True, text=True, env=given, check=False, timeout=60)


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """Return the folder of a buildah that builds nothing."""
    place = tmp_path / "bin"
    place.mkdir()
    file = place / "buildah"
    file.write_text(BUILDAH.format(python=sys.executable))
    file.chmod(0o755)
    return place


@pytest.mark.parametrize("differs", ["", "yes"])
def test_equal_ids_are_one_image_and_others_are_taken_apart(
    played: Path, tmp_path: Path, differs: str
) -> None:
    """Exit code, the line that evidence is read from, and the one file that differs, by name."""
    (tmp_path / "room").mkdir()
    done = reproducible("agent", path=played, DIFFERS=differs, SEEN=str(tmp_path), TMPDIR=f"{tmp_path}/room")
    row = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, row["value"], row["ok"]) == ((1, 1, False) if differs else (0, 0, True)), done
    assert row["unit"] == "of 2 layers and 1 settings"
    assert ("sha256:layerone: 1 of 2 files differ" in done.stdout) is bool(differs)
    assert ("opt/kernel" in done.stdout) is bool(differs)
    assert "opt/same" not in done.stdout
    assert list((tmp_path / "room").iterdir()) == []


def test_the_second_build_is_of_a_copy_and_none_uses_an_earlier_one(played: Path, tmp_path: Path) -> None:
    """Two folders, one moment, a storage of its own; nothing is taken from a cache."""
    reproducible("operator", path=played, DIFFERS="", SEEN=str(tmp_path))
    told = [json.loads((tmp_path / turn / "told").read_text()) for turn in ("one", "two")]
    (here, storage, words), (elsewhere, other, same) = told
    assert (here, storage) == (str(ROOT), other)
    assert not Path(elsewhere).is_relative_to(ROOT)
    assert Path(storage).parent == Path(elsewhere).parent
    assert "--no-cache" in words
    assert words[:-2] == same[:-2]


def test_a_wrong_call_is_refused() -> None:
    """Exit code 2 and what would be right; without buildah what to install."""
    done = reproducible("agents")
    assert (done.returncode, "agent-gpu, not 'agents'" in done.stderr) == (2, True), done.stderr


def test_without_buildah_it_says_so(tmp_path: Path) -> None:
    """No traceback."""
    (tmp_path / "git").symlink_to("/usr/bin/git")
    done = reproducible("agent", PATH=str(tmp_path), PYTHON_IMAGE="base:1")
    assert (done.returncode, done.stderr) == (2, "reproducible: buildah is not on PATH; install it\n")
