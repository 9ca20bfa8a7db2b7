"""Invalid twins of every field, from the definition itself: each breaks one rule of one field. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

Schema = dict[str, Any]
#: tried in order where a pattern stands; the first that it refuses is the twin
UNLIKELY = ("", " ", "!", "A B", "\u00e9", "x" * 64)
ITEM, ENTRY = "[]", "{}"  # steps of a path into a list, and into a map
PRESERVED = "x-kubernetes-preserve-unknown-fields"
EITHER = "x-kubernetes-int-or-string"


class Twin(msgspec.Struct, frozen=True):
    """A spec with one wrong value, where it is, and which rule it breaks."""

    path: str
    rule: str
    spec: dict[str, Any]


def twins(schema: Schema) -> Iterator[Twin]:
    """Yield the twins of every field below `spec`; `schema` is the structural schema of `spec`."""
    for path, rule, value in _walk(schema, ()):
        yield Twin(
            ".".join(("spec", *(p for p in path if p not in (ITEM, ENTRY)))), rule, _nested(path, value)
        )


def _walk(node: Schema, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    for rule, value in _wrong(node):
        if path or rule == "unknown":
            yield ((*path, "noSuchField"), rule, 1) if rule == "unknown" else (path, rule, value)
    for name, inner in (node.get("properties") or {}).items():
        yield from _walk(inner, (*path, name))
    if node.get("type") == "array":
        yield from _walk(node["items"], (*path, ITEM))
    if isinstance(node.get("additionalProperties"), dict):
        yield from _walk(node["additionalProperties"], (*path, ENTRY))


def _wrong(node: Schema) -> Iterator[tuple[str, Any]]:
    """Yield the rule and the value that breaks it, for each rule of one field."""
    kind = node.get("type")
    if not node.get(EITHER) and not (node.get(PRESERVED) and kind is None):
        yield "type", "a text" if kind != "string" else 7
    if "enum" in node:
        yield "enum", "NoSuchWord"
    if "minimum" in node:
        yield "minimum", node["minimum"] if node.get("exclusiveMinimum") else node["minimum"] - 1
    if "maximum" in node:
        yield "maximum", node["maximum"] if node.get("exclusiveMaximum") else node["maximum"] + 1
    if "maxLength" in node and kind == "string":
        yield "maxLength", "x" * (node["maxLength"] + 1)
    if "pattern" in node:
        refused = [text for text in UNLIKELY if not re.search(node["pattern"], text)]
        if refused:
            yield "pattern", refused[0]
    if node.get("minItems"):
        yield "minItems", []
    if "properties" in node and not node.get(PRESERVED):
        yield "unknown", None


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = [value] if name == ITEM else {"a" if name == ENTRY else name: value}
    return dict(value)
