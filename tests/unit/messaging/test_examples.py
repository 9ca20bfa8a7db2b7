"""The examples of the package run and say what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "messaging" / "examples"


def run(name: str) -> str:
    """Run one example as its reader would; return what it printed."""
    done = subprocess.run([sys.executable, FOLDER / name], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_two_agents_answer_each_other() -> None:
    """A request is answered, and nothing is left unexplained."""
    assert run("two_agents.py") == "answer: DecisionResponse\nmode: simulated | unaccounted: 0\n"


def test_bad_weather_is_explained() -> None:
    """The gaps in the books are what the hub has lost."""
    text = run("bad_weather.py")
    lost, gap = re.search(r"lost by the hub: (\d+)", text), re.search(r"'gap': (\d+)", text)
    assert lost is not None
    assert gap is not None
    assert int(lost[1]) == int(gap[1]) > 10
    assert text.endswith("unaccounted: 0\n")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda p: p.name)
def test_every_example_is_named_in_the_readme(path: Path) -> None:
    """A reader of the README finds it."""
    assert f"examples/{path.name}" in (FOLDER.parent / "README.md").read_text()
