"""Pods that the server refuses: after a minute a person is needed, and nobody is once they are made."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.control_plane.test_status_reasons import BEHIND, DOWN, LATELY, ZERO, seen, told
from tests.unit.control_plane.test_steps import at_rest, played

from qts_operator.refusals import AFTER_S
from qts_operator.snapshot import Snapshot

WORDS = 'pods "desk-1-quasar-x" is forbidden: no PriorityClass with name urgent was found'
NOW = 1e9
FOR_LONG = {"failure": WORDS, "failing_since": NOW - AFTER_S}
AUTOSCALED = {"agents": {"quasar": {"replicasManagedBy": "External"}}}
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "no pod": ({"quasar": DOWN | FOR_LONG}, True),
    "a replacement, while the older pod runs on": ({"quasar": BEHIND | FOR_LONG}, True),
    "only just": ({"quasar": DOWN | FOR_LONG | LATELY}, False),
    "by a quota, which may let it in later": (
        {"quasar": DOWN | FOR_LONG | {"failure": "exceeded quota: q"}},
        False,
    ),
    "pods are made": ({"quasar": DOWN}, False),
    "of a suspended system": ({"spec": {"suspend": True}, "quasar": ZERO | FOR_LONG}, False),
    "of an autoscaler's agent all": ({"spec": AUTOSCALED, "quasar": DOWN | FOR_LONG}, True),
    "of an autoscaler's agent the spares": (
        {"spec": AUTOSCALED, "quasar": {"replicas": 3} | FOR_LONG},
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_pods_need_a_person_after_a_minute(case: str) -> None:
    """Object, the server's words, where to look and the remedy; a quota and a moment are no fault."""
    more, fault = CASES[case]
    status, reason, message = told(seen(**more), "Degraded")
    assert (status, reason) == (("True", "ObjectRejected") if fault else ("False", "Healthy"))
    if fault:
        assert message.startswith(
            f"Deployment/desk-1-quasar: its pods are refused: {WORDS}; kubectl -n trading "
        )
        assert message.endswith("; change the spec, or make or change what refuses them")


def refused(since: float) -> Snapshot:
    """Return a system at rest, one of whose agents lacks its pod since then."""
    calm = at_rest()
    key = ("Deployment", "desk-1-quasar")
    child = type(calm.children[key])(
        **{n: getattr(calm.children[key], n) for n in calm.children[key].__struct_fields__}
        | DOWN
        | {"failure": WORDS, "failing_since": since}
    )
    return at_rest(children=calm.children | {key: child})


@pytest.mark.parametrize(("age_s", "left_s"), [(0.0, AFTER_S), (45.0, AFTER_S - 45.0), (AFTER_S, None)])
def test_the_system_is_looked_at_again_when_the_minute_is_over(age_s: float, left_s: float | None) -> None:
    """No event tells of a minute that ends; once told, nobody looks more often."""
    state = played([refused(NOW - age_s)])[0]
    assert [s for s in state.recheck_s if s <= AFTER_S] == ([] if left_s is None else [left_s])
