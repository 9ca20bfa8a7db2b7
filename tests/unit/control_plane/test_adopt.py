"""Who keeps which template revision and image: an upgrade of the operator replaces no pod."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from qts_core.roster import Workload
from qts_operator.digests import child
from qts_operator.objects import desired, pods, redis, revisions
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.plan import line, plan
from qts_operator.resolve import resolve, touched
from qts_operator.snapshot import Child
from qts_operator.status import Facts, build
from qts_operator.writes import begin

OLD, NEW = Defaults(agent="a:1", redis="r:1"), Defaults(agent="a:2", redis="r:2")


def _live(frame: Frame) -> dict[tuple[str, str], Child]:
    """Return what the server has after everything was written."""
    found = {}
    for manifest in desired(frame):
        metadata = manifest["metadata"] | {"uid": manifest["metadata"]["name"], "resourceVersion": "1"}
        kind = manifest["kind"]
        found[(kind, metadata["name"])] = child(manifest | {"metadata": metadata}, kind)
    return found


def _templates(frame: Frame) -> dict[str, Any]:
    workloads = [m for m in desired(frame) if m["kind"] in ("Deployment", "StatefulSet")]
    return {m["metadata"]["name"].removeprefix("desk-1-"): m["spec"]["template"] for m in workloads}


def _images(frame: Frame) -> dict[str, str]:
    return {name: pod["spec"]["containers"][0]["image"] for name, pod in _templates(frame).items()}


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer operator: it renders one revision more, which adds an annotation to every pod of an agent."""
    monkeypatch.setattr(revisions, "LATEST_REVISION", revisions.LATEST_REVISION + 1)
    monkeypatch.setattr("qts_operator.adopt.LATEST_REVISION", revisions.LATEST_REVISION)
    former = pods.template

    def newer(frame: Frame, workload: Workload) -> dict[str, Any]:
        pod = former(frame, workload)
        if frame.made_of(workload.name).revision >= revisions.LATEST_REVISION:
            pod["metadata"]["annotations"]["newer"] = "yes"
        return pod

    monkeypatch.setattr("qts_operator.adopt.template", newer)
    monkeypatch.setattr("qts_operator.objects.deployments.template", newer)
    latest = revisions.LATEST_REVISION
    monkeypatch.setattr(
        "qts_operator.adopt.Made", lambda revision=latest, **more: revisions.Made(revision=revision, **more)
    )


@pytest.mark.usefixtures("upgraded")
def test_an_upgrade_renders_what_is_there(snapshot_of) -> None:
    """New code and new default images on an old system: every template is as before, status says the oldest."""
    before, _ = _made_by_the_old(snapshot_of)
    after, _ = resolve(snapshot_of({}, children=_live(before)), NEW)
    assert _templates(after) == _templates(before)
    assert {m.revision for m in after.made.values()} == {1}


def _made_by_the_old(snapshot_of, spec: dict[str, Any] | None = None):
    """Resolve as the operator of revision 1 did."""
    frame, verdicts = resolve(snapshot_of(spec), OLD)
    made = {part: revisions.Made(revision=1, images=OLD.named()) for part in frame.made}
    return replace(frame, made=made), verdicts


@pytest.mark.usefixtures("upgraded")
def test_only_the_agent_that_rolls_anyway_takes_the_latest(snapshot_of) -> None:
    """A changed field of one agent brings it, and only it, to the new revision and the new image."""
    before, _ = _made_by_the_old(snapshot_of)
    spec = {"agents": {"amos": {"nodeSelector": {"disk": "ssd"}}}}
    after, _ = resolve(snapshot_of(spec, children=_live(before)), NEW)
    assert {part: m.revision for part, m in after.made.items() if m.revision != 1} == {
        "amos": revisions.LATEST_REVISION
    }
    assert _images(after) == _images(before) | {"amos": "a:2"}


@pytest.mark.usefixtures("upgraded")
def test_immediate_takes_the_latest_at_once(snapshot_of) -> None:
    """The resource says so."""
    before, _ = _made_by_the_old(snapshot_of)
    after, _ = resolve(snapshot_of({"upgradePolicy": "Immediate"}, children=_live(before)), NEW)
    assert {m.revision for m in after.made.values()} == {revisions.LATEST_REVISION}
    assert set(_images(after).values()) == {"a:2", "r:2"}


@pytest.mark.usefixtures("upgraded")
def test_a_lost_status_loses_nothing(snapshot_of) -> None:
    """The annotations win over whatever the status says."""
    before, _ = _made_by_the_old(snapshot_of)
    lies = {"images": {"agent": "a:9", "redis": "r:9"}, "templateRevision": 2}
    for status in ({}, lies):
        after, _ = resolve(snapshot_of({}, children=_live(before), status=status), NEW)
        assert _templates(after) == _templates(before)


def test_a_removed_annotation_is_found_by_the_hash(snapshot_of) -> None:
    """Somebody removed the revision: the one whose rendering fits is written again."""
    before, _ = resolve(snapshot_of({}), OLD)
    children = {k: replace(c, revision=0) for k, c in _live(before).items()}
    after, _ = resolve(snapshot_of({}, children=children), NEW)
    assert _templates(after) == _templates(before)


@pytest.mark.parametrize("revision", range(revisions.OLDEST_REVISION, revisions.LATEST_REVISION + 1))
def test_of_all_revisions_that_can_be_rendered_the_one_is_found_that_fits(snapshot_of, revision: int) -> None:
    """The oldest as well as the latest: of Redis all but the fourth render differently."""
    latest, _ = resolve(snapshot_of({}), OLD)
    made = {part: revisions.Made(revision=revision, images=OLD.named()) for part in latest.made}
    before = replace(latest, made=made)
    children = {k: replace(c, revision=0) for k, c in _live(before).items()}
    after, _ = resolve(snapshot_of({}, children=children), NEW)
    same = {redis.BOUNDED: redis.FULL - 1}  # those between changed nothing of Redis
    assert after.made["redis"].revision == same.get(revision, revision)
    assert _templates(after) == _templates(before)


def test_an_unknown_revision_is_left_alone_and_said(snapshot_of) -> None:
    """Neither written nor deleted; Degraded names the part, its revision, ours, and the remedy."""
    before, _ = resolve(snapshot_of({}), OLD)
    children = _live(before)
    key = ("Deployment", "desk-1-quasar")
    children[key] = replace(children[key], revision=99)
    snapshot = snapshot_of({"config": {"systemSeed": 5}}, children=children)
    frame, verdicts = resolve(snapshot, NEW)
    actions = plan(desired(frame), touched(snapshot, frame), frame.uid)
    assert [told for a in actions if "Deployment/desk-1-quasar" in (told := line(a))] == []
    status = build(Facts(snapshot=snapshot, frame=frame, verdicts=verdicts, state=begin([])))
    degraded = next(c for c in status["conditions"] if c["type"] == "Degraded")
    assert (degraded["status"], degraded["reason"]) == ("True", "RevisionUnsupported")
    assert degraded["message"] == (
        "quasar uses template revision 99, this operator renders "
        f"{revisions.OLDEST_REVISION} to {revisions.LATEST_REVISION}; "
        "upgrade the operator, or set spec.upgradePolicy to Immediate, which replaces its pods"
    )
    assert "observedGeneration" not in status
    frame, _ = resolve(snapshot_of({"upgradePolicy": "Immediate"}, children=children), NEW)
    assert frame.unsupported == {}
