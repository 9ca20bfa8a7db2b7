"""What a served definition lacks of ours, as a tree, and values without it. Pure.

In such a tree a field that is lacking stands as None, one that is there with what it lacks below. EACH stands
for the items of a list and the values of a map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

EACH = "[]"
Tree = Mapping[str, Any]


def lacking(ours: Tree, served: Tree) -> dict[str, Any]:
    """Return what of the schema `ours` the server would drop, or refuse when it is applied."""
    if served.get("x-kubernetes-preserve-unknown-fields"):
        return {}
    there = _below(served)
    found: dict[str, Any] = {}
    for name, node in _below(ours).items():
        inner = lacking(node, there[name]) if name in there else None
        if inner != {}:
            found[name] = inner
    return found


def _below(schema: Tree) -> dict[str, Any]:
    """Return the schemas of what stands in a value of this schema."""
    each = schema.get("items") or schema.get("additionalProperties")
    return dict(schema.get("properties") or {}) | ({EACH: each} if isinstance(each, dict) else {})


def without(value: Any, gone: Tree) -> Any:
    """Return a value without what is gone."""
    if not gone:
        return value
    if isinstance(value, dict):
        below = {key: gone.get(key, gone.get(EACH, {})) for key in value}
        return {key: without(value[key], inner) for key, inner in below.items() if inner is not None}
    if isinstance(value, list):
        inner = gone.get(EACH, {})
        return [] if inner is None else [without(item, inner) for item in value]
    return value


def paths(gone: Tree, at: str = "") -> Iterator[str]:
    """Name what is gone, such as `status.agentStatuses[].circuit`."""
    for name, inner in gone.items():
        path = at + name if name == EACH else f"{at}.{name}".lstrip(".")
        if inner is None:
            yield path
        else:
            yield from paths(inner, path)
