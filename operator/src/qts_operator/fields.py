"""What we own of an object, as one digest: the values at the fields that our manager applied.

Lists of objects are compared as sets of items, because their order is the server's; lists of plain values
keep their order.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from qts_core import names
from qts_operator.memo import room

#: what a change names where there is nothing
ABSENT = object()
_DEEP, _OBJECTS = frozenset((dict, list, float)), frozenset((dict,))
_PLAIN = frozenset((str, int, bool, float))
_KEPT = 8192  # digests that are remembered, of two hundred bytes each; six a system
#: what identifies an object is never applied, so never owned
_IDENTITY = ("name", "namespace", "uid", "resourceVersion")


class Owned(NamedTuple):
    """What we own of an object: its digest, and whether its number of replicas is ours."""

    digest: str
    counts: bool


_seen = room(_KEPT)


def summary(live: dict[str, Any], manager: str = names.FIELD_MANAGER) -> Owned:
    """Return what `manager` owns of `live`.

    Of what has replicas it is remembered: most of what a watch tells of it are changes of its status, and of
    notes that its controller makes beside ours.
    """
    fields = _fields(live, manager)
    if "replicas" not in (live.get("spec") or {}):
        return _owned(fields, live)
    rest = {key: value for key, value in live.items() if key not in ("metadata", "status")}
    rest |= project(fields, {"metadata": live.get("metadata") or {}})
    key = blake2b(orjson.dumps([fields, rest]), digest_size=16).digest()
    known: Owned | None = _seen.get(key)
    if known is None:
        known = _owned(fields, live)
        _seen.put(key, known)
    return known


def _owned(fields: dict[str, Any], live: dict[str, Any]) -> Owned:
    mine = project(fields, live, ordered=True) if fields else {}
    return Owned(_hash(mine), "replicas" in (mine.get("spec") or {}))


def _fields(live: dict[str, Any], manager: str) -> dict[str, Any]:
    """Return the FieldsV1 tree of what `manager` applied; {} when it applied nothing."""
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        applied = entry.get("operation") == "Apply" and not entry.get("subresource")
        if applied and entry.get("manager") == manager:
            return dict(entry.get("fieldsV1") or {})
    return {}


def owned(live: dict[str, Any], manager: str = names.FIELD_MANAGER) -> Any:
    """Return the values of `live` at the fields that `manager` applied; {} when it applied none."""
    fields = _fields(live, manager)
    return project(fields, live) if fields else {}


def project(fields: dict[str, Any], live: Any, *, ordered: bool = False) -> Any:
    """Return the part of `live` that a FieldsV1 tree names; a leaf names the whole value.

    `ordered`: in the form that `canonical` gives it, in one walk instead of two.
    """
    named = fields and not (len(fields) == 1 and "." in fields)
    if named and isinstance(live, list):
        found = _items(fields, live, ordered)
        return _sorted(found) if ordered else found
    if not (named and isinstance(live, dict)):
        return canonical(live) if ordered else live
    kept = {}
    for key, inner in fields.items():
        name = key[2:]  # of "." nothing is left, and no object has a field of no name
        if name in live:
            value = live[name]
            if inner:
                value = project(inner, value, ordered=ordered)
            elif ordered and type(value) in _DEEP:
                value = canonical(value)
            kept[name] = value
    return kept


def _items(fields: dict[str, Any], live: list[Any], ordered: bool) -> list[Any]:
    """Return the items of a list that a tree names, in its order."""
    found: list[Any] = []
    by: dict[str, dict[Any, list[Any]]] = {}  # each item is looked at once, not once for each name
    for key, inner in fields.items():
        if key == ".":
            continue
        one = _one(key)
        if one is None:
            found += _item(key, inner, live, ordered)
            continue
        field, value = one
        if field not in by:
            by[field] = _by(field, live)
        found += [project(inner, item, ordered=ordered) for item in by[field].get(value, ())]
    return found


def _by(field: str, live: list[Any]) -> dict[Any, list[Any]]:
    """Return the items of a list by what they have in a field."""
    table: dict[Any, list[Any]] = {}
    for item in live:
        if isinstance(item, dict) and type(value := item.get(field)) in _PLAIN:
            table.setdefault(value, []).append(item)
    return table


@lru_cache(4096)
def _one(key: str) -> tuple[str, Any] | None:
    """Return field and value where `k:{…}` names an item by one field, as most lists do."""
    if not key.startswith("k:"):
        return None
    ((field, value), *more) = _named(key).items()
    return None if more or type(value) not in _PLAIN else (field, value)


def _item(key: str, inner: dict[str, Any], live: list[Any], ordered: bool) -> list[Any]:
    """Return the items of a list that `k:{…}`, `v:…` or `i:…` names."""
    if key.startswith("v:"):
        value = _named(key)
        return [canonical(value) if ordered else value] if value in live else []
    if key.startswith("i:"):
        index = int(key[2:])
        return [project(inner, live[index], ordered=ordered)] if index < len(live) else []
    wanted = _named(key).items()
    items = [item for item in live if isinstance(item, dict) and wanted <= item.items()]
    return [project(inner, item, ordered=ordered) for item in items]


@lru_cache(4096)
def _named(key: str) -> Any:
    """Return what a key names; there are few, and every object has them again. Nobody may change it."""
    return orjson.loads(key[2:])


def applied(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a manifest that we will own once it is applied."""
    rest = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}
    rest["metadata"] = {k: v for k, v in manifest["metadata"].items() if k not in _IDENTITY}
    return rest


def rivals(manifest: dict[str, Any], live: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the merge patch that takes away what our manifest cannot stand beside; {} without anything.

    `field` is what the server refused: of several forms that exclude each other somebody has written another
    one (a default that came with it counts). It goes in one step with what is ours there, or its default
    would come back; a list is ours as a whole then, as a patch cannot name its items.
    """
    steps = field.partition("[")[0].split(".")
    ours, theirs = _at(manifest, steps), _at(live, steps)
    if isinstance(ours, list):
        change: Any = ours
    elif isinstance(ours, dict) and isinstance(theirs, dict):
        change = ours | dict.fromkeys(theirs.keys() - ours.keys())
    elif ours is None and theirs is not None:
        steps, gone = steps[:-1], steps[-1]
        change = (_at(manifest, steps) or {}) | {gone: None}
    else:
        return {}
    for step in reversed(steps):
        change = {step: change}
    return change if set(change) == {"spec"} else {}


def _at(tree: Any, steps: list[str]) -> Any:
    for step in steps:
        tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def canonical(value: Any) -> Any:
    """Return a value whose JSON, with its keys in order, is equal for equal meaning; nobody may change it."""
    if isinstance(value, dict):
        if _DEEP.isdisjoint(map(type, value.values())):
            return value  # as most are; to ask for all values at once takes a fraction of looking at each
        return {key: canonical(inner) if type(inner) in _DEEP else inner for key, inner in value.items()}
    if isinstance(value, list):
        if _DEEP.isdisjoint(map(type, value)):
            return value
        return _sorted([canonical(item) if type(item) in _DEEP else item for item in value])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _sorted(items: list[Any]) -> list[Any]:
    """Put a list of objects in the order of their texts; of others the order says something."""
    if len(items) > 1 and _OBJECTS.issuperset(map(type, items)):
        items.sort(key=_text)
    return items


def digest(value: Any) -> str:
    """Return 32 hex digits, equal exactly for values of equal meaning."""
    return _hash(canonical(value))


def _hash(ordered: Any) -> str:
    return blake2b(_text(ordered), digest_size=16).hexdigest()


def differences(live: Any, wanted: Any) -> list[str]:
    """Return the paths at which two projections differ, in order."""
    return [path for path, _, _ in changes(live, wanted)]


def changes(live: Any, wanted: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return where two projections differ, in order, and what is there: ABSENT where there is nothing."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        return [
            change
            for key in sorted(live.keys() | wanted.keys())
            for change in changes(
                live.get(key, ABSENT), wanted.get(key, ABSENT), f"{path}.{key}" if path else key
            )
        ]
    named = _by_name(live), _by_name(wanted)
    if named[0] is not None and named[1] is not None:
        return [
            change
            for key in sorted(named[0].keys() | named[1].keys())
            for change in changes(named[0].get(key, ABSENT), named[1].get(key, ABSENT), f"{path}[{key}]")
        ]
    # as text, as digests are: to Python False is 0
    if live is not ABSENT and wanted is not ABSENT and _text(canonical(live)) == _text(canonical(wanted)):
        return []
    return [(path, live, wanted)]


def replaced(live: Any, mine: Any, wanted: Any) -> Any:
    """Return the part of `live` that an apply of `wanted` replaces: what is `mine`, and the fields it takes.

    What somebody else wrote last is theirs, and still it is what stands there.
    """
    if isinstance(live, dict):
        ours, asked = (each if isinstance(each, dict) else {} for each in (mine, wanted))
        return {
            key: replaced(value, ours.get(key, ABSENT), asked.get(key, ABSENT))
            for key, value in live.items()
            if key in ours or key in asked
        }
    there, ours, asked = _by_name(live), _by_name(mine) or {}, _by_name(wanted) or {}
    if there is not None and (ours or asked):
        return [
            replaced(item, ours.get(name, ABSENT), asked.get(name, ABSENT))
            for name, item in there.items()
            if name in ours or name in asked
        ]
    return live if mine is ABSENT else mine


def _by_name(value: Any) -> dict[str, Any] | None:
    """Return a list of named items by name, None for anything else."""
    if isinstance(value, list) and value and all(isinstance(i, dict) and "name" in i for i in value):
        return {item["name"]: item for item in value}
    return None


def _text(value: Any) -> bytes:
    # orjson takes a tenth of json's time, and a pass does this for every object
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
