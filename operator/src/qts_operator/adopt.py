"""Which template revision and default images each workload is rendered with. Pure.

The annotations of the live workload win over everything remembered. A workload takes the latest revision, and
the operator's newer default images, only when it rolls anyway or when the resource says so.
"""

from __future__ import annotations

from typing import Any

import msgspec

from qts_core import names
from qts_core.roster import BY_NAME
from qts_operator import rotation
from qts_operator.memo import remembered
from qts_operator.objects import redis
from qts_operator.objects.frame import Defaults, Frame, template_hash
from qts_operator.objects.pods import template
from qts_operator.objects.revisions import LATEST_REVISION, OLDEST_REVISION, Made, images_of, known
from qts_operator.snapshot import Child, Finding, Snapshot


def recorded(frame: Frame, snapshot: Snapshot, defaults: Defaults) -> Frame:
    """Return the frame that renders every workload as it was made; what is not there yet as the latest."""
    made, unsupported = {}, {}
    images = defaults.named() | (snapshot.status.get("images") or {})
    for part in parts(frame):
        child = _child(frame, snapshot, part)
        if child is None or frame.spec.upgrade_policy == "Immediate" or _untold(frame, part, child):
            made[part] = _latest(frame, snapshot, part, defaults)
        elif child.revision and not known(child.revision):
            unsupported[part] = child.revision
        else:
            made[part] = _found(frame, part, child, {**images, **images_of(child.default_images)})
    return msgspec.structs.replace(frame, made=made, unsupported=unsupported)


def _untold(frame: Frame, part: str, child: Child) -> bool:
    """Tell a Redis that nobody can tell of new passwords: it is replaced once, when they first change."""
    changes = part == names.REDIS_PART and redis.deaf(child)
    return changes and not frame.turns[names.REDIS_SECRET].stage.settled


def adopted(frame: Frame, snapshot: Snapshot, defaults: Defaults) -> Frame:
    """Return the frame in which every workload that rolls anyway takes the latest."""
    made, hashes = dict(frame.made), _hashes(frame.of_pods())
    for part in frame.made:
        child = _child(frame, snapshot, part)
        if child is not None and hashes[part] != child.template_hash:
            made[part] = _latest(frame, snapshot, part, defaults)
    return msgspec.structs.replace(frame, made=made)


def _latest(frame: Frame, snapshot: Snapshot, part: str, defaults: Defaults) -> Made:
    """Return what a workload that rolls is made with; Redis only what its Secret has the files for."""
    reloads = part != names.REDIS_PART or rotation.reloads(frame, snapshot)
    revision = LATEST_REVISION if reloads else redis.RELOADS - 1
    return Made(revision=revision, images=defaults.named())


def parts(frame: Frame) -> list[str]:
    """Return the names of everything with pods."""
    managed = [names.REDIS_PART] if frame.spec.redis.mode == "Managed" else []
    return [w.name for w in frame.workloads()] + managed


@remembered
def _hashes(frame: Frame) -> dict[str, str]:
    """Return the hash of every part's template as the part was made."""
    return {part: rendered(frame, part, made) for part, made in frame.made.items()}


def rendered(frame: Frame, part: str, made: Made) -> str:
    """Return the hash of the template of `part` as `made` says."""
    as_made = msgspec.structs.replace(frame, made=frame.made | {part: made})
    if part == names.REDIS_PART:
        return template_hash(redis.template(as_made))
    return template_hash(template(as_made, BY_NAME[part]))


def finding(frame: Frame) -> Finding | None:
    """Return why a workload is left as it is: its revision is not known here, and is never guessed."""
    for part, revision in sorted(frame.unsupported.items()):
        ours = f"{OLDEST_REVISION} to {LATEST_REVISION}"
        text = (
            f"{part} uses template revision {revision}, this operator renders {ours}; "
            "upgrade the operator, or set spec.upgradePolicy to Immediate, which replaces its pods"
        )
        return Finding(reason="RevisionUnsupported", message=text)
    return None


def _child(frame: Frame, snapshot: Snapshot, part: str) -> Child | None:
    kind = "StatefulSet" if part == names.REDIS_PART else "Deployment"
    child = snapshot.children.get((kind, frame.part(part)))
    return child if child is not None and child.owner_uid == frame.uid and not child.deleting else None


def _found(frame: Frame, part: str, child: Child, images: dict[str, Any]) -> Made:
    """Return what the annotations say; where somebody removed the revision, the one whose hash fits."""
    if child.revision:
        return Made(revision=child.revision, images=images)
    tried = [Made(revision=r, images=images) for r in range(LATEST_REVISION, OLDEST_REVISION - 1, -1)]
    return next((m for m in tried if rendered(frame, part, m) == child.template_hash), tried[0])
