"""docs/adding-an-agent.md, followed to the letter: its agent and its line make a whole agent of every part."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.property.agent_properties import VOTERS_UNDER_TEST

from qts_agents.agent import Reader
from qts_agents.evaluation.stage import voter_of
from qts_core.roster import VOTERS
from qts_core.spec import SYSTEM

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-an-agent.md"

#: what must follow from the page alone; runs beside copies of core and the tests with its lines, its package
#: among the agents
FOLLOWS = """
import json
import sys

import qts_agents

qts_agents.__path__.append(sys.argv[1])  # not a copy: compiled kernels are kept by the path of their source

import pytest
from tests.unit.agents.evaluation import stages
from tests.unit.control_plane.conftest import make_frame

from qts_agents.columns import array
from qts_agents.evaluation.stage import Stage
from qts_cli.launch import workloads
from qts_core.config import convert
from qts_core.crd import spec_schema
from qts_core.errors import ConfigError
from qts_core.spec import SYSTEM
from qts_operator.objects import desired

assert "lean" not in SYSTEM().voters()
assert "lean" not in json.dumps([m for m in desired(make_frame()) if m["kind"] != "Secret"])

on = convert({"enable_lean": True, "lean": {"strength": 0.75}})
assert on.voters()[-1] == "lean" and on.board()["lean"] == 0.1 and on.port("lean") == 9099
assert "lean" in {w.name for w in workloads(on)}
try:
    convert({"lean": {"strength": 2.0}})
except ConfigError as error:
    assert "$.lean.strength" in str(error)
else:
    raise AssertionError("limits of the line are not checked")

said = spec_schema()["properties"]
assert said["config"]["properties"]["lean"]["properties"]["strength"]["maximum"] == 1.0
assert said["agents"]["properties"]["lean"]["properties"]["enabled"]["default"] is False
frame = make_frame({"agents": {"lean": {"enabled": True}}, "config": {"lean": {"strength": 0.75}}})
made = {(m["kind"], m["metadata"]["name"]): m for m in desired(frame)}
assert ("Deployment", "desk-1-lean") in made and ("Service", "desk-1-lean") in made
told = convert(json.loads(made[("ConfigMap", "desk-1-config")]["data"]["system.json"]))
assert told.voters()[-1] == "lean" and told.lean.strength == 0.75

for file in ("property/test_agent_properties.py", "unit/agents/test_settings_effects.py"):
    told = pytest.main(["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-k", "lean", "tests/" + file])
    assert told == 0, f"{file}: {told!r}"

system = stages.settings(enable_lean=True)
stage = Stage(system, stages.source(stages.euro(stages.BACKFILL + 30)))
rounds = [bar for bar in stage.bars() if bar.decision is not None]
assert rounds and stage.failures == {}, stage.failures
shares = [dict(zip(r.decision.seats, array(r.decision.share)[0], strict=True)) for r in rounds]
assert all(share["lean"] > 0.0 for share in shares), shares
print("whole")
"""


def blocks() -> dict[str, str]:
    """Return the page's Python by the file, and the table in it, that it belongs into."""
    return dict(re.findall(r"```(?:python|text) (\S+(?: \S+)?)\n(.*?)```", PAGE.read_text(), re.DOTALL))


def into(folder: Path, target: str, line: str) -> None:
    """Write `line` as the first of the table that `target`, a file and a name, says."""
    file, _, table = target.partition(" ")
    written, lines = re.subn(
        rf"(?m)^({table}\b.* = [({{])$", lambda m: f"{m[1]}\n{line[:-1]}", (folder / file).read_text()
    )
    assert lines == 1, target
    (folder / file).write_text(written)


def test_the_agent_of_the_page_passes_the_house_s_linter() -> None:
    """Who follows the page runs `make check` next."""
    agent = "agents/src/qts_agents/lean/agent.py"
    command = [sys.executable, "-m", "ruff", "check", "--quiet", "--ignore=INP001"]  # its folder is not there
    done = subprocess.run(
        [*command, "--stdin-filename", agent, "-"],
        cwd=ROOT,
        input=blocks()[agent],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.timeout(1200)
def test_the_page_makes_a_whole_agent(tmp_path: Path) -> None:
    """Settings, resource, objects, the shared properties and a seat in real rounds, by nothing but the page."""
    code = blocks()
    agent, line = code["agents/src/qts_agents/lean/agent.py"], code["core/src/qts_core/roster.py"]
    shutil.copytree(ROOT / "core/src/qts_core", tmp_path / "qts_core")
    roster = (ROOT / "core/src/qts_core/roster.py").read_text()
    feed = '    Workload(\n        name="market",'
    assert roster.count(feed) == 1
    (tmp_path / "qts_core" / "roster.py").write_text(roster.replace(feed, line + feed))
    package = tmp_path / "added" / "lean"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""The way of the last bar."""\n')
    (package / "agent.py").write_text(agent)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "agents").symlink_to(ROOT / "agents")  # packaged markets
    for target in code:
        if target.startswith("tests/"):
            into(tmp_path, target, code[target])
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWS, str(tmp_path / "added")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert (done.returncode, done.stdout[-6:]) == (0, "whole\n"), (done.stdout + done.stderr)[-3000:]


def test_every_voter_of_the_roster_is_put_through_the_properties() -> None:
    """By a line of the table; readers say nothing without a document and have checks of their own."""
    tested = {entry for _, entry, _, _ in VOTERS_UNDER_TEST}
    left = [w for w in VOTERS if w.entry not in tested]
    assert [w.wire for w in left if not isinstance(voter_of(w.wire, SYSTEM()), Reader)] == []
    assert [w.wire for w in left if not (ROOT / f"tests/unit/agents/test_{w.name}.py").exists()] == []
