"""The lists of what is in the images: from the lock, the same each time, and each image with its own."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def sbom(*arguments: str, epoch: str = "0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/sbom"), *arguments]
    env = dict(os.environ) | {"SOURCE_DATE_EPOCH": epoch}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize(
    ("target", "inside", "outside"),
    [
        ("operator", {"kopf", "aiohttp", "msgspec"}, {"numba", "pyzmq", "pytest", "qts-core"}),
        ("agent", {"numba", "numpy", "pyzmq", "msgspec"}, {"kopf", "numba-cuda", "pytest"}),
        ("agent-gpu", {"numba", "pyzmq", "numba-cuda"}, {"kopf", "pytest"}),
    ],
)
def test_an_image_lists_what_the_lock_gives_it(target: str, inside: set[str], outside: set[str]) -> None:
    """Every package at the lock's version, each linked to the image once, nothing of the tests."""
    made = sbom(target)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    versions = {(package["name"], package.get("version")) for package in lock}
    image, *packages = told["packages"]
    names = {package["name"] for package in packages}
    assert inside <= names
    assert not outside & names
    assert {(package["name"], package["versionInfo"]) for package in packages} <= versions
    ids = [package["SPDXID"] for package in told["packages"]]
    assert len(set(ids)) == len(ids)
    ours = [link for link in told["relationships"] if link["spdxElementId"] == image["SPDXID"]]
    assert [link["relatedSpdxElement"] for link in ours] == ids[1:]


def test_the_images_are_synced_with_the_same_words() -> None:
    """The Dockerfile asks uv for what the lists are made of."""
    text = (ROOT / "Dockerfile").read_text()
    for target, words in runpy.run_path(str(ROOT / "scripts/sbom"))["TARGETS"].items():
        (stage,) = [part for part in text.split("\nFROM ") if f" AS {target}-needs\n" in part]
        assert f"uv sync --frozen {' '.join(words)} --no-dev" in stage


def test_the_same_lock_gives_the_same_bytes() -> None:
    """Twice the same; another time changes the time alone."""
    first, second, later = sbom("operator"), sbom("operator"), sbom("operator", epoch="86400")
    assert first.stdout
    assert first.stdout == second.stdout
    assert later.stdout == first.stdout.replace("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z")


@pytest.mark.parametrize(
    ("arguments", "epoch", "word"),
    [((), "0", "TARGET"), (("x",), "0", "agent-gpu"), (("agent",), "y", "EPOCH")],
)
def test_a_wrong_call_is_refused(arguments: tuple[str, ...], epoch: str, word: str) -> None:
    """Exit code 2 and what would be right."""
    done = sbom(*arguments, epoch=epoch)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr
