"""What needs a person: each check says its own, and the first of several is the one that is told."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.control_plane.conftest import make_frame, make_snapshot

from qts_core.roster import BY_NAME
from qts_operator.checks import degraded
from qts_operator.objects import desired
from qts_operator.snapshot import Finding
from qts_operator.times import seconds
from qts_operator.writes import State

#: the API server may let it in later: no person is needed
LATER = Finding(reason="QuotaExceeded", message="q", condition="Scheduled")


def _finding(reason: str) -> Finding:
    return Finding(reason=reason, message="m")


def test_the_first_of_all_that_is_wrong_is_told() -> None:
    """What stands in the way of every pass, then what one pass met, then single agents; mended one by one."""
    snapshot = make_snapshot(blocked=(_finding("CRDOutdated"),), refused=_finding("AccessDenied"))
    frame = replace(
        make_frame(),
        unsupported={"pads": 99},
        faults=(_finding("GPUUnhealthy"),),
        stopped=frozenset({"quasar", "amos"}),
    )
    state = State(todo=(), findings=(LATER, _finding("NameTaken")))
    found = [degraded(snapshot, frame, state), degraded(snapshot, None, state)]
    snapshot = replace(snapshot, blocked=())
    found += [degraded(snapshot, frame, state), degraded(snapshot, None, state)]
    frame = replace(frame, unsupported={})
    found.append(degraded(snapshot, frame, state))
    state = replace(state, findings=(LATER,))
    found.append(degraded(snapshot, frame, state))
    snapshot = replace(snapshot, refused=None)
    found.append(degraded(snapshot, frame, state))
    frame = replace(frame, faults=())
    found.append(stopped := degraded(snapshot, frame, state))
    found += [degraded(snapshot, replace(frame, stopped=frozenset()), state), degraded(snapshot, None, state)]
    assert [each and each.reason for each in found] == [
        *("CRDOutdated", "CRDOutdated", "RevisionUnsupported", "NameTaken", "NameTaken", "AccessDenied"),
        *("GPUUnhealthy", "RestartDisabled", None, None),
    ]
    assert stopped is not None
    assert stopped.message.startswith(
        "amos, quasar ended and spec.config.autoRestartFailed is false; any change"
    )


@pytest.mark.parametrize(
    ("name", "window"), [("amos", "10m"), ("amos", "10m0ms"), ("market", "60500ms"), ("market", "100s")]
)
def test_what_ended_is_told_with_a_command_that_changes_the_spec_and_nothing_else(
    name: str, window: str
) -> None:
    """It stays the same window, and another text each time: the settings and templates stay as they are."""
    path = BY_NAME[name].section.split(".")
    spec = _within(path, window) | {"config": {"autoRestartFailed": False}}
    frame = make_frame(spec)
    found = degraded(make_snapshot(spec), replace(frame, stopped=frozenset({name})), State(todo=()))
    assert found is not None
    *command, change = shlex.split(found.message.partition("changes nothing else: ")[2])
    assert command == ["kubectl", "-n", "trading", "patch", "qts", "desk-1", "--type", "merge", "-p"]
    told = json.loads(change)["spec"]
    for key in (*path, "restartPolicy"):
        told = told[key]
    assert told["window"] != window
    assert seconds(told["window"]) == seconds(window)
    again = make_frame(_within(path, told["window"]) | {"config": {"autoRestartFailed": False}})
    assert desired(again) == desired(frame)


def _within(path: list[str], window: str) -> dict[str, Any]:
    """Return the spec with a window of restarts at the section `path`."""
    tree: Any = {"restartPolicy": {"window": window}}
    for key in reversed(path):
        tree = {key: tree}
    return dict(tree)
