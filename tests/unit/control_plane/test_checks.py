"""What needs a person: each check says its own, and the first of several is the one that is told."""

from __future__ import annotations

from msgspec.structs import replace
from tests.unit.control_plane.conftest import make_frame, make_snapshot

from qts_operator.checks import degraded
from qts_operator.snapshot import Finding
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
    text = "amos, quasar ended and config.autoRestartFailed is false; change the spec to start again"
    assert stopped.message == text
