"""What a resource would bring about, in words: `qts plan`, and the plan of a paused system. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qts_core.errors import ConfigError
from qts_core.resource import unknown_fields
from qts_operator.fields import applied, differences, owned
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Action, Apply, line, plan
from qts_operator.resolve import resolve
from qts_operator.snapshot import Snapshot

Manifest = dict[str, Any]


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


def against_nothing(cr: Manifest, defaults: Defaults | None = None) -> list[str]:
    """Return one line for each object that would be created in an empty namespace."""
    wanted = manifests(cr, defaults)
    return [line(action) for action in plan(wanted, {}, (cr.get("metadata") or {}).get("uid") or "unknown")]


def lines(actions: list[Action], live: Mapping[tuple[str, str], Manifest]) -> list[str]:
    """Return one line for each action, with the fields that differ where the live object is given."""
    told = []
    for action in actions:
        text = line(action)
        if isinstance(action, Apply) and action.uid is not None:
            key = (action.manifest["kind"], action.manifest["metadata"]["name"])
            paths = differences(owned(live.get(key, {})), applied(action.manifest))
            text += f": {', '.join(paths[:3])}" if paths else ""
        told.append(text[:1000])
    return told
