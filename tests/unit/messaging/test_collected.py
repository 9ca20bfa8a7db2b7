"""What the collector does not look into (`gc=False`) holds plain data only: else a closed bus is never freed."""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pytest

import qts_messaging

PLAIN = (bool, int, float, str, bytes, type(None))
HOLDERS = (tuple, list, dict, set, frozenset, typing.Union, types.UnionType)


def unseen() -> Iterator[type[msgspec.Struct]]:
    """Yield the records of the package that the collector passes over."""
    for module in pkgutil.iter_modules(qts_messaging.__path__):
        for found in vars(importlib.import_module(f"qts_messaging.{module.name}")).values():
            if (
                isinstance(found, type)
                and issubclass(found, msgspec.Struct)
                and not found.__struct_config__.gc
            ):
                yield found


def plain(kind: Any) -> bool:
    """Tell whether nothing of this type can lead back to its holder."""
    if kind in PLAIN or kind is ...:
        return True
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return not kind.__struct_config__.gc
    origin = typing.get_origin(kind)
    if origin is Literal:
        return True
    if origin is typing.Annotated:
        return plain(typing.get_args(kind)[0])
    return origin in HOLDERS and all(plain(each) for each in typing.get_args(kind))


@pytest.mark.parametrize(
    "kind", sorted(set(unseen()), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__
)
def test_a_record_that_the_collector_passes_over_is_plain(kind: type[msgspec.Struct]) -> None:
    """An inbox's record held a callable once; with the frame of a cancelled loop that kept every restarted bus."""
    assert {field.name for field in msgspec.structs.fields(kind) if not plain(field.type)} == set()
