"""Structs to the CustomResourceDefinition: structural schema, defaults, CEL rules, columns.

A section that the user leaves out stays out of the stored resource: the operator's structs have the same
defaults, and each write of a resource costs the API server what all of it weighs. A section with a rule
about changes (`oldSelf`) is filled in, else adding or removing all of it would be no change of its fields.
Such a default is spelled out in full: a rule on a struct with `default: {}` is evaluated on that bare default
when the definition is applied, and fails.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
from msgspec import inspect

from qts_core import names
from qts_core.cel import ROOT_RULES, RULES
from qts_core.resource import ABSENT, SPEC
from qts_core.roster import ROSTER
from qts_core.wording import worded

ANNOTATION_SCHEMA = f"{names.GROUP}/schema-hash"
#: largest whole number that a JSON number holds exactly; beyond it a bound says nothing
_EXACT = 2**53
EMPTY: tuple[Any, ...] = ({}, (), [])
_TEXT: dict[str, Any] = {"type": "string", "maxLength": 1024}
_COUNT: dict[str, Any] = {"type": "integer", "format": "int32"}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time", "maxLength": 64}
COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Agents", "string", ".status.agents", 0),
    ("GPUs", "string", ".status.gpus", 0),
    ("Redis", "string", '.status.conditions[?(@.type=="RedisReady")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Revision", "integer", ".status.templateRevision", 1),
    ("Suspended", "string", '.status.conditions[?(@.type=="Suspended")].status', 1),
    ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1),
)


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition as a plain dict, keys in a stable order."""
    schema = _root()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.CRD_NAME, "annotations": {ANNOTATION_SCHEMA: schema_hash(schema)}},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": [names.SHORT],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
                    "schema": {"openAPIV3Schema": worded(schema)},
                }
            ],
        },
    }


def schema_hash(schema: dict[str, Any]) -> str:
    """Return 16 hex digits of a schema without its fields' sentences: what the operator compares."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:16]


def spec_schema() -> dict[str, Any]:
    """Return the schema of `spec` alone."""
    return _struct(inspect.type_info(SPEC), "SystemSpec")


def chart_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a structural schema as plain JSON Schema for a chart: closed objects, no CEL, no defaults."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    dropped = ("default", "format")
    plain = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes-") and k not in dropped}
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.title()}"
        if plain.pop(exclusive, False):
            plain[exclusive] = plain.pop(bound)
    if "properties" in plain:
        plain["properties"] = {k: chart_schema(v) for k, v in plain["properties"].items()}
        plain["additionalProperties"] = False
    elif isinstance(plain.get("additionalProperties"), dict):
        plain["additionalProperties"] = chart_schema(plain["additionalProperties"])
    if "items" in plain:
        plain["items"] = chart_schema(plain["items"])
    return plain


def _root() -> dict[str, Any]:
    spec = spec_schema()
    return {
        "type": "object",
        "description": "A multi-agent trading decision system: PADS decides, QBMIA, QUASAR and AMOS vote.",
        "required": ["spec"],
        "x-kubernetes-validations": [_rule(rule, message) for rule, message in ROOT_RULES],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _status(),
        },
    }


def _column(name: str, kind: str, path: str, priority: int) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    return column | ({"priority": priority} if priority else {})


def _rule(rule: str, message: str) -> dict[str, str]:
    return {"rule": rule, "message": message}


def _struct(info: Any, owner: str) -> dict[str, Any]:
    """Return the schema of a struct; `owner` is its name in RULES."""
    properties, required = {}, []
    for field in info.fields:
        if (owner, field.name) in ABSENT:
            continue
        node = _node(field.type)
        rules = RULES.get(f"{owner}.{field.name}", ())
        if rules:
            node["x-kubernetes-validations"] = [_rule(*rule) for rule in rules]
        default = _default(field)
        if _stored(default, node):
            node["default"] = _filled(default)
        properties[field.encode_name] = node
        if field.required:
            required.append(field.encode_name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if owner in RULES:
        schema["x-kubernetes-validations"] = [_rule(*rule) for rule in RULES[owner]]
    if info.cls.__doc__ and not info.cls.__doc__.startswith(("Parent", owner)):
        schema["description"] = info.cls.__doc__.split("\n")[0]
    return schema


def _default(field: Any) -> Any:
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else None
    return value


def _stored(default: Any, node: dict[str, Any]) -> bool:
    """Tell whether a default is worth its place in every resource that leaves the field out."""
    if isinstance(default, msgspec.Struct):
        return _changes(node)
    return default is not None and default not in EMPTY


def _changes(node: dict[str, Any]) -> bool:
    """Tell whether a rule of a node, or of one below it, is about changes."""
    rules = node.get("x-kubernetes-validations", ())
    return any("oldSelf" in r["rule"] for r in rules) or any(
        map(_changes, node.get("properties", {}).values())
    )


def _filled(value: Any) -> Any:
    """Return a default as JSON, with the defaults of every struct below it spelled out that say anything."""
    if not isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    owner = type(value).__name__
    fields = msgspec.structs.fields(value)
    pairs = [(f.encode_name, getattr(value, f.name)) for f in fields if (owner, f.name) not in ABSENT]
    return {key: _filled(item) for key, item in pairs if item is not None and item not in EMPTY}


def _node(info: Any) -> dict[str, Any]:
    """Return the schema of one type."""
    if isinstance(info, inspect.Metadata):
        extra = dict(info.extra_json_schema or {})
        if extra.get("x-kubernetes-preserve-unknown-fields"):
            return {"type": "object", **extra}
        node = _node(info.type)
        if extra.get("x-kubernetes-int-or-string"):
            return {**{k: v for k, v in node.items() if k != "type"}, **extra, **_EITHER}
        return {**node, **extra}
    if isinstance(info, inspect.UnionType):
        (inner,) = [t for t in info.types if not isinstance(t, inspect.NoneType)]
        return _node(inner)
    if isinstance(info, inspect.StructType):
        return _struct(info, info.cls.__name__)
    return _leaf(info)


_EITHER: dict[str, Any] = {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def _leaf(info: Any) -> dict[str, Any]:
    match info:
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.LiteralType():
            kind = "integer" if all(isinstance(v, int) for v in info.values) else "string"
            return {"type": kind, "enum": list(info.values)}
        case inspect.StrType():
            bounds = {"minLength": info.min_length, "maxLength": info.max_length, "pattern": info.pattern}
            return {"type": "string"} | {k: v for k, v in bounds.items() if v is not None}
        case inspect.IntType():
            return {"type": "integer", "format": "int64"} | _bounds(info)
        case inspect.FloatType():
            return {"type": "number"} | _bounds(info)
        case inspect.DictType():
            most = {"maxProperties": info.max_length or 64}
            return {"type": "object", "additionalProperties": _node(info.value_type), **most}
        case inspect.VarTupleType() | inspect.ListType():
            least = {"minItems": info.min_length} if info.min_length else {}
            return {"type": "array", "items": _node(info.item_type), "maxItems": info.max_length, **least}
        case _:
            raise TypeError(f"no schema for {info!r}")


def _bounds(info: Any) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    low = info.ge if info.ge is not None else info.gt
    if low is not None:
        bounds["minimum"] = low
    if info.gt is not None:
        bounds["exclusiveMinimum"] = True
    high = info.le if info.le is not None else info.lt
    if high is not None and high <= _EXACT:
        bounds["maximum"] = high
    if info.lt is not None:
        bounds["exclusiveMaximum"] = True
    return bounds


def _status() -> dict[str, Any]:
    restart = {"podUID": _TEXT, "at": _TIME, "reason": _TEXT}
    times = {"type": "array", "maxItems": 20, "items": _TIME}
    counted = {"type": "object", "maxProperties": 64, "additionalProperties": _COUNT}
    recent = {"generation": {"type": "integer", "format": "int64"}, "at": times, "counted": counted}
    circuit = {"at": _TIME, "tries": _COUNT, "node": _TEXT, "reason": _TEXT, "count": _COUNT}
    gang = {"state": _TEXT, "at": _TIME, "tries": _COUNT}
    agent = {
        "name": {"type": "string", "maxLength": 64},
        "desired": _COUNT,
        "ready": _COUNT,
        "placement": {"type": "string", "enum": ["GPU", "CPU"]},
        "templateRevision": _COUNT,
        "restarts": _COUNT,
        "stopped": {"type": "boolean"},
        "lastRestart": {"type": "object", "properties": restart},
        "recentRestarts": {"type": "object", "properties": recent},
        "circuit": {"type": "object", "properties": circuit},
    }
    condition = {
        "type": {"type": "string", "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": {"type": "string", "maxLength": 1024, "minLength": 1},
        "message": {"type": "string", "maxLength": 32768},
        "lastTransitionTime": _TIME,
        "observedGeneration": {"type": "integer", "format": "int64"},
    }
    return {
        "type": "object",
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64"},
            "templateRevision": _COUNT,
            "agents": _TEXT,
            "gpus": _TEXT,
            "images": {"type": "object", "properties": dict.fromkeys(("agent", "agentGPU", "redis"), _TEXT)},
            "gang": {"type": "object", "properties": gang},
            "plan": {"type": "array", "items": _TEXT, "maxItems": 20, "x-kubernetes-list-type": "atomic"},
            "agentStatuses": _keyed("name", agent, ["name"], len(ROSTER) + 11),
            "conditions": _keyed("type", condition, list(condition)[:5], 16),
        },
    }


def _keyed(key: str, properties: dict[str, Any], required: list[str], most: int) -> dict[str, Any]:
    return {
        "type": "array",
        "maxItems": most,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
        "items": {"type": "object", "required": required, "properties": properties},
    }
