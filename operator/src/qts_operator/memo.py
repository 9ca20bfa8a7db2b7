"""Remember what a pure function made of the same values: most passes see a system that rests.

The key is the digest of the encoded value, so nothing has to be hashable, nothing can go stale, and a large
value takes no room.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, ParamSpec, TypeVar

import msgspec

P = ParamSpec("P")
R = TypeVar("R")
LIMIT = 4096
_memos: list[OrderedDict[bytes, Any]] = []


def remembered(function: Callable[P, R], limit: int | None = None) -> Callable[P, R]:
    """Keep the last results of a pure function of structs and plain values; nobody may change them.

    `limit` says how many, LIMIT if not given; whole objects take room, and serve the pass that made them.
    """
    known: OrderedDict[bytes, R] = room()
    encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        key = blake2b(encode((args, kwargs)), digest_size=16).digest()
        if key in known:
            known.move_to_end(key)
            return known[key]
        result = known[key] = function(*args, **kwargs)
        if len(known) > (limit or LIMIT):
            known.popitem(last=False)
        return result

    return wrapper


def room() -> OrderedDict[bytes, Any]:
    """Return a place for results that `forget` empties."""
    known: OrderedDict[bytes, Any] = OrderedDict()
    _memos.append(known)
    return known


def forget() -> None:
    """Drop everything: for tests that change what a function does."""
    for known in _memos:
        known.clear()
