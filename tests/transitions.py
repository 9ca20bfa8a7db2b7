"""Valid changes of every single field, from the definition itself; whether one is valid the server says. Pure.

Of a number the smallest, the next and the largest; of a word each; of a text two; lists and maps of none, one and two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from tests.twins import EITHER, ENTRY, ITEM, PRESERVED, Schema

from qts_operator.testing import merged

Tree = dict[str, Any]
LITTLE = 0.001
#: two texts for each pattern of the definition
TEXTS: dict[str, tuple[str, str]] = {
    "^([0-9]+(ms|s|m|h))+$": ("90s", "15m"),
    "^[a-z0-9]+([-._:/@a-zA-Z0-9])*$": ("registry.example/own:1", "registry.example/own:2"),
    "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": ("first", "second"),
    "^[0-9]+(\\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$": ("1", "1500m"),
    "^[A-Z][A-Z0-9_]*$": ("FIRST", "SECOND"),
    "^[^/].*$": ("2026/first.csv", "2026/second.csv"),
    "^(redis|rediss|redis\\+sentinel)://[^@]+$": ("redis://first:6379", "redis://second:6379"),
    "^https?://[^\\s/]+$": ("http://first:4318", "http://second:4318"),
    "^(https?://[^\\s@]+|[^\\s:][^:]*)$": ("http://first/headlines", "headlines.jsonl"),
    "^[a-z0-9.-]+/[a-zA-Z0-9._-]+$": ("example.com/first", "example.com/second"),
}
KEYS = ("first", "second")
RESOURCES = {"cpu": "4", "memory": "4Gi"}  # not below what a pod asks for where nothing is said
BOARDS = ({"qar": 0.5, "qstar": 0.5}, {"qar": 0.6, "qstar": 0.3, "consensus": 0.1})
#: what must stand beside a field for it to be valid or to mean anything, by the beginning of its path
BESIDE: dict[str, Tree] = {
    "market.replay": {"market": {"source": "Replay", "replay": {"dataset": "eurusd_1h"}}},
    "market.replay.claimName": {
        "market": {"source": "Replay", "replay": {"claimName": "a", "path": "a.csv"}}
    },
    "market.replay.path": {"market": {"source": "Replay", "replay": {"claimName": "a", "path": "a.csv"}}},
    "redis.url": {"redis": {"mode": "External", "url": "redis://cache:6379"}},
    "redis.urlSecretRef": {"redis": {"mode": "External", "url": None, "urlSecretRef": {"name": "redis"}}},
    "agents.prediction": {"agents": {"prediction": {"enabled": True}}},
    "agents.sentiment": {"agents": {"sentiment": {"enabled": True}}},
    "config.sentiment": {"agents": {"sentiment": {"enabled": True}}},
    "config.prediction": {"agents": {"prediction": {"enabled": True}}},
    **{
        f"agents.{name}.gpu": {"agents": {name: {"gpu": {"mode": "Preferred"}}}}
        for name in ("qbmia", "quasar", "amos")
    },
}


class Transition(msgspec.Struct, frozen=True):
    """Two specs that differ in one field."""

    path: str
    before: Tree
    after: Tree


def transitions(schema: Schema, base: Tree) -> Iterator[Transition]:
    """Yield the changes of every field below `spec`; `base` is in every spec."""
    for path, value in _values(schema, ()):
        dotted = ".".join(p for p in path if p not in (ITEM, ENTRY))
        before = base
        for start, beside in BESIDE.items():
            if f"{dotted}.".startswith(f"{start}."):
                before = merged(before, beside)
        if ITEM in path:  # a field of an item: the item is there before
            before = _put(before, path[: path.index(ITEM)], [_item(schema, path)])
        after = _put(before, path, value)
        if after != before:
            yield Transition(dotted, before, after)


def _values(node: Schema, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every field's path with each value to try."""
    if path:
        yield from ((path, value) for value in _tried(node, path))
    for name, inner in (node.get("properties") or {}).items():
        yield from _values(inner, (*path, name))
    if node.get("type") == "array" and node["items"].get("type") == "object":
        yield from _values(node["items"], (*path, ITEM))


def _tried(node: Schema, path: tuple[str, ...]) -> list[Any]:
    kind = node.get("type")
    if path[-1] == ITEM:
        return []
    if "enum" in node:
        return list(node["enum"])
    if kind == "boolean":
        return [False, True]
    if kind in ("integer", "number") and not node.get(EITHER):
        return _numbers(node)
    if kind == "array":
        one, two = _sample(node["items"], 0), _sample(node["items"], 1)
        return [some for some in ([], [one], [one, two]) if len(some) >= node.get("minItems", 0)]
    if node.get(PRESERVED):
        return [{}, {"podAntiAffinity": {}}]
    if isinstance(node.get("additionalProperties"), dict):
        return _maps(node["additionalProperties"], path)
    if kind == "object":
        return [{}]
    return list(_texts(node))


def _numbers(node: Schema) -> list[Any]:
    whole = node["type"] == "integer"
    low, high = node.get("minimum"), node.get("maximum")
    step = 1 if whole else LITTLE
    found = []
    if low is not None:
        found += [] if node.get("exclusiveMinimum") else [low]
        found += [low + step, low + 1]
    if high is not None:
        found.append(high - step if node.get("exclusiveMaximum") else high)
    most = float("inf") if high is None else found[-1]
    return [n for n in dict.fromkeys(found or [0, 1]) if n <= most]


def _maps(node: Schema, path: tuple[str, ...]) -> list[Tree]:
    if path[-1] == "boardMembers":
        return [{}, *BOARDS]
    if path[-1] in ("requests", "limits"):
        return [{}, {"cpu": RESOURCES["cpu"]}, RESOURCES]
    first, second = KEYS
    return [{}, {first: _sample(node, 0)}, {first: _sample(node, 0), second: _sample(node, 0)}]


def _texts(node: Schema) -> tuple[str, str]:
    return TEXTS[node["pattern"]] if "pattern" in node else KEYS


def _sample(node: Schema, nth: int) -> Any:
    """Return one valid value of a node."""
    tried = _tried(node, ("",))
    if node.get("type") != "object" or not node.get("properties"):
        return tried[min(nth, len(tried) - 1)]
    needed = node.get("required") or [next(iter(node["properties"]))]
    # what names an item differs from item to item
    names = {"name", "key", "topologyKey"}
    return {n: _sample(node["properties"][n], nth if n in names else 0) for n in needed}


def _item(schema: Schema, path: tuple[str, ...]) -> Any:
    """Return an item of the list on the way of a path, in which its field may be."""
    node = schema
    for name in path[: path.index(ITEM)]:
        node = node["properties"][name]
    found = _sample(node["items"], 0)
    return found | {"effect": "NoExecute"} if path[-1] == "tolerationSeconds" else found


def _put(tree: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    if path[0] == ITEM:
        return [_put(tree[0], path[1:], value), *tree[1:]]
    return (tree or {}) | {path[0]: _put((tree or {}).get(path[0]), path[1:], value)}
