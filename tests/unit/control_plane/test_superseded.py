"""A pod that a newer roll-out would wait for: unready, old, and not yet going."""

from __future__ import annotations

import msgspec
import pytest

from qts_operator.snapshot import Child, Pod
from qts_operator.superseded import superseded

SET = Child(
    kind="StatefulSet",
    namespace="n",
    name="desk-redis",
    uid="s",
    version="1",
    generation=2,
    observed=2,
    newest="redis-2",
)
POD = Pod(namespace="n", name="desk-redis-0", uid="p", version="1", agent="redis", template="redis-1")


def test_an_unready_pod_of_an_older_template_is_not_waited_for() -> None:
    """It may never be ready; the one that is asked for may."""
    assert superseded(SET, [POD]) == [POD]


@pytest.mark.parametrize(
    "pod",
    [
        msgspec.structs.replace(POD, ready=True),
        msgspec.structs.replace(POD, deleting=True),
        msgspec.structs.replace(POD, template="redis-2"),
        msgspec.structs.replace(POD, template=""),
    ],
    ids=["ready", "going", "newest", "unknown"],
)
def test_every_other_pod_is_left_to_its_controller(pod: Pod) -> None:
    """A ready one is replaced by the controller, the newest is what was asked for."""
    assert superseded(SET, [pod]) == []


def test_nothing_is_done_before_the_controller_has_seen_the_template() -> None:
    """Until then it names the revision of before."""
    assert superseded(msgspec.structs.replace(SET, observed=1), [POD]) == []
    assert superseded(msgspec.structs.replace(SET, newest=""), [POD]) == []
    assert superseded(None, [POD]) == []
