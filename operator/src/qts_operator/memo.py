"""Remember what a pure function made of the same values: most passes see a system that rests.

The key is the digest of the encoded value, so nothing has to be hashable, nothing can go stale, and a large
value takes no room.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec

P = ParamSpec("P")
R = TypeVar("R")
LIMIT = 4096


@functools.lru_cache(1024)
def alike(*items: tuple[str, Any]) -> dict[str, Any]:
    """Return one dictionary for all that hold the same, in the same order; nobody may change it."""
    return dict(items)


class Recent(Generic[R]):
    """The last results by key; who is asked for stays, the others go by half of the limit at a time.

    Two plain tables take half the room of one that knows its order, for tens of thousands of entries.
    """

    def __init__(self, limit: int | None = None, *, fleeting: bool = False) -> None:
        self._limit, self.fleeting = limit, fleeting
        self._new: dict[bytes, R] = {}
        self._old: dict[bytes, R] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, key: bytes) -> R | None:
        """Return a result; None when it is not known any more."""
        found = self._new.get(key)
        if found is None and (found := self._old.pop(key, None)) is not None:
            self.put(key, found)
        return found

    def put(self, key: bytes, result: R) -> None:
        """Take a result, which is never None."""
        self._new[key] = result
        if len(self._new) > (self._limit or LIMIT) // 2:
            self._new, self._old = {}, self._new

    def clear(self) -> None:
        """Drop everything."""
        self._new, self._old = {}, {}


_memos: list[Recent[Any]] = []


def remembered(
    function: Callable[P, R], limit: int | None = None, *, fleeting: bool = False
) -> Callable[P, R]:
    """Keep the last results of a pure function of structs and plain values; nobody may change them.

    `limit` says how many, LIMIT if not given. `fleeting`: whole objects, which take room and serve the pass
    that made them.
    """
    known: Recent[R] = room(limit, fleeting=fleeting)
    encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        key = blake2b(encode((args, kwargs)), digest_size=16).digest()
        found = known.get(key)
        if found is None:
            found = function(*args, **kwargs)
            known.put(key, found)
        return found

    return wrapper


def room(limit: int | None = None, *, fleeting: bool = False) -> Recent[Any]:
    """Return a place for results that `forget` empties."""
    known: Recent[Any] = Recent(limit, fleeting=fleeting)
    _memos.append(known)
    return known


def let_go() -> None:
    """Drop what served the passes of a moment: some megabytes that nobody asks for at rest."""
    for known in _memos:
        if known.fleeting:
            known.clear()


def forget() -> None:
    """Drop everything: for tests that change what a function does."""
    for known in _memos:
        known.clear()
