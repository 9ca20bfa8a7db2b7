"""What a resource would bring about, in words: `qts plan`, and the plan of a paused system. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from qts_core.errors import ConfigError
from qts_core.resource import unknown_fields
from qts_operator.fields import ABSENT, applied, changes, owned, replaced
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Action, Apply, line
from qts_operator.resolve import resolve
from qts_operator.snapshot import Snapshot

Manifest = dict[str, Any]
LONGEST = 120  # characters of a value


def manifests(cr: Manifest, defaults: Defaults | None = None) -> tuple[Manifest, ...]:
    """Return every object that a resource asks for; ConfigError names the first wrong field."""
    metadata = cr.get("metadata") or {}
    unknown = unknown_fields(cr.get("spec") or {})
    if unknown:
        raise ConfigError(f"{unknown[0]}: unknown field")
    snapshot = Snapshot(
        namespace=metadata.get("namespace") or "default",
        name=metadata.get("name") or "",
        uid=metadata.get("uid") or "unknown",
        generation=1,
        now=0.0,
        spec=cr.get("spec") or {},
    )
    frame, _ = resolve(snapshot, defaults or Defaults())
    return desired(frame)


def lines(actions: list[Action], live: Mapping[tuple[str, str], Manifest]) -> list[str]:
    """Return one line for each action, with the fields that differ where the live object is given."""
    told = []
    for action in actions:
        text = line(action)
        paths = [path for path, _, _ in changed(action, live)]
        text += f": {', '.join(paths[:3])}" if paths else ""
        told.append(text[:1000])
    return told


def changed(action: Action, live: Mapping[tuple[str, str], Manifest]) -> list[tuple[str, Any, Any]]:
    """Return path, value now and then of each field that an action changes in an object that is there."""
    if not isinstance(action, Apply) or action.uid is None:
        return []
    found = live.get((action.manifest["kind"], action.manifest["metadata"]["name"]), {})
    wanted = applied(action.manifest)
    told = changes(replaced(found, owned(found), wanted), wanted)
    # a number that is left out stays: it was handed over before
    return [change for change in told if change[0] != "spec.replicas" or change[2] is not ABSENT]


def details(action: Action, live: Mapping[tuple[str, str], Manifest]) -> list[str]:
    """Return a line for each field that changes, with both values, and one for pods that roll, and why."""
    found = changed(action, live)
    told = [f"{path}: {_value(now)} → {_value(then)}" for each in found for path, now, then in _within(each)]
    rolling = [path for path, _, _ in found if path.startswith("spec.template")]
    if rolling and isinstance(action, Apply):
        told.append(f"rolls the pods of {action.manifest['metadata']['name']}: {', '.join(rolling[:3])}")
    return told


def _within(change: tuple[str, Any, Any]) -> list[tuple[str, Any, Any]]:
    """Return the changes inside a text that is JSON on both sides, as the settings are; else the change."""
    path, now, then = change
    trees = _tree(now), _tree(then)
    if trees[0] is None or trees[1] is None:
        return [change]
    return changes(*trees, path) or [change]


def _tree(value: Any) -> Manifest | None:
    try:
        tree = orjson.loads(value) if isinstance(value, str) else None
    except orjson.JSONDecodeError:
        return None
    return tree if isinstance(tree, dict) else None


def _value(value: Any) -> str:
    """Return a value on one line, cut where it is long."""
    text = "nothing" if value is ABSENT else orjson.dumps(value).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
