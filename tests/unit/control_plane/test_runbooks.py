"""Runbooks: one for each alert, in one shape, and a section for each reason that a condition can have."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from qts_core.telemetry import event_of
from qts_operator.alerts import ALERTS, THRESHOLDS, groups
from qts_operator.restricted import GRANT

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "docs" / "runbooks"
SOURCES = ROOT / "operator" / "src" / "qts_operator"
SPEAKERS = (SOURCES, ROOT / "agents" / "src", ROOT / "messaging" / "src")
NAMES = sorted({a.name for a in ALERTS})
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
STEP = re.compile(r"^\d\. (.+?)\n\n {3}```sh\n(.+?)\n {3}```$", re.MULTILINE)
LEVELS = ("debug", "info", "warning", "error", "exception")
COMMAND = re.compile(r"^ {3}```sh\n(.+?)\n {3}```$", re.MULTILINE | re.DOTALL)
#: what carries a condition's or a restart's reason, and where it stands among the arguments
CARRIERS = {"Finding": None, "Verdict": None, "Restart": None, "Condition": 2}


def reasons() -> set[str]:
    """Return every reason that the source can put into a status."""
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CARRIERS:
                place = CARRIERS[node.func.id]
                given = [k.value for k in node.keywords if k.arg == "reason"]
                given += [node.args[place]] if place is not None and len(node.args) > place else []
                found |= {w for value in given for w in _words(value)}
            if path.name == "gpu.py" and isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
                found |= {w for value in node.value.elts for w in _words(value)}
    return found


def lines_of_logs() -> set[str]:
    """Return the names of all lines that the sources write."""
    found: set[str] = set()
    for path in (path for source in SPEAKERS for path in source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            first = node.args[0] if node.args else None
            if node.func.attr in LEVELS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                library = path.is_relative_to(ROOT / "messaging")
                found.add(event_of(first.value) if library else first.value)
    return found


def _words(value: ast.expr) -> list[str]:
    told = [n.value for n in ast.walk(value) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [w for w in told if re.fullmatch(r"([A-Z][A-Za-z]+){2,}", w)]


def test_every_runbook_url_is_a_file() -> None:
    """And no runbook is left of an alert that is gone."""
    urls = {r["annotations"]["runbook_url"] for g in groups(THRESHOLDS)["groups"] for r in g["rules"]}
    assert all((ROOT / url).is_file() for url in urls)
    assert {Path(url).stem for url in urls} | {"conditions"} == {p.stem for p in RUNBOOKS.glob("*.md")}


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_has_four_headings_and_at_most_five_commands(name: str) -> None:
    """Whoever is woken finds the same thing in the same place."""
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert 1 <= len(COMMAND.findall(text)) <= 5
    for link in re.findall(r"\]\(([\w.]+\.md)\)", text):
        assert (RUNBOOKS / link).is_file()
    mitigation = text.partition("## Mitigation\n")[2]
    assert re.match(r"1\. .+", mitigation)


def test_helm_brings_back_what_kubectl_changed() -> None:
    """Each remedy that is an upgrade or rollback says what Helm 4 needs for it: those it refused were no remedy."""
    steps = [s for p in RUNBOOKS.glob("*.md") for s in re.split(r"\n(?=\d\. )", p.read_text())]
    told = [step for step in [*steps, GRANT] if re.search(r"helm (upgrade|rollback)", step)]
    assert len(told) == 6
    assert [step for step in told if "--server-side=true --force-conflicts" not in step] == []


def test_every_reason_has_its_section() -> None:
    """A reason that a person reads in a status leads somewhere."""
    known = reasons()
    assert {"NoGPUNodes", "PeersSilent", "NameTaken", "AllReady", "PodFailed"} <= known
    sections = set(re.findall(r"^### (\w+)", (RUNBOOKS / "conditions.md").read_text(), re.MULTILINE))
    assert known - sections == set()


def test_a_line_of_a_log_that_a_runbook_names_is_written_somewhere() -> None:
    """Whoever looks for a name that nobody writes concludes that all is well."""
    known, named = lines_of_logs(), set()
    for path in RUNBOOKS.glob("Qts*.md"):
        for step, command in STEP.findall(path.read_text()):
            if " logs " in command:
                named |= set(re.findall(r"(?:Look for|\bor) `([a-z]+(?:[_ ][a-z]+)*)`", step))
    assert {"peer_silent", "round_lacks_votes", "pass failed"} <= named
    assert named - known == set()
