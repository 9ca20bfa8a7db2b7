"""The message types without any code of ours in the decoder: what bare msgspec does with the same bytes."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec


def twin(kind: Any, made: dict[Any, Any] | None = None) -> Any:
    """Return a type like `kind` whose records, at any depth, have the same fields and limits, no methods.

    `made` holds the twins of records that were met before.
    """
    made = {} if made is None else made
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in made:
            how: dict[str, Any] = {"frozen": True, "gc": False, "array_like": True, "kw_only": True}
            fields = [_field(f, made) for f in msgspec.structs.fields(kind)]
            made[kind] = msgspec.defstruct(kind.__name__, fields, tag=kind.__struct_config__.tag, **how)
        return made[kind]
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return typing.Union[tuple(twin(option, made) for option in typing.get_args(kind))]  # noqa: UP007
    return kind


def _field(field: msgspec.structs.FieldInfo, made: dict[Any, Any]) -> tuple[str, Any, Any]:
    """Return the definition of one field; a default that is made anew stays so."""
    default = msgspec.field() if field.required else msgspec.field(default=field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        default = msgspec.field(default_factory=field.default_factory)
    return field.name, twin(field.type, made), default
