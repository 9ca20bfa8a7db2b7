"""Copies of a namespace's objects, written where the API server keeps them: into the etcd of a test cluster.

The API server takes a tenth of a second for the objects of one system; etcd takes copies of what it holds
already a hundred times as fast, and the API server shows them to whoever lists and watches. Names in a copy
are as long as those they stand for, so nothing of the stored bytes has to be understood.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import aiohttp

from qts_core.errors import ConfigError

ROOT, SERVER = b"/registry/", "http://127.0.0.1:2379"
BATCH, AT_ONCE = 100, 4  # keys a transaction (etcd takes 128), transactions on their way
Pair = tuple[bytes, bytes]
Live = dict[str, Any]


class Etcd:
    """One etcd by its JSON gateway."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def of(self, namespace: str) -> list[Pair]:
        """Return everything that stands in a namespace."""
        keys = await self._ask("range", _range(ROOT) | {"keys_only": True})
        inside = [key for key in _decoded(keys, "key") if f"/{namespace}/".encode() in key]
        found = [await self._ask("range", {"key": _text(key)}) for key in inside]
        return [
            (key, value) for key, told in zip(inside, found, strict=True) for value in _decoded(told, "value")
        ]

    async def put(self, pairs: Iterable[Pair]) -> int:
        """Write all pairs; return the revision of the last one."""
        return await self._each({"requestPut": {"key": _text(k), "value": _text(v)}} for k, v in pairs)

    async def drop(self, keys: Iterable[bytes]) -> int:
        """Delete all keys; return the revision of the last one."""
        return await self._each({"requestDeleteRange": {"key": _text(key)}} for key in keys)

    async def tidy(self, revision: int) -> None:
        """Forget what was before a revision, as the API server asks every few minutes."""
        await self._ask("compaction", {"revision": revision})

    async def _each(self, operations: Iterator[Live]) -> int:
        """Send operations in transactions, a few at once."""
        last = 0

        async def send() -> None:
            nonlocal last
            while some := list(islice(operations, BATCH)):
                told = await self._ask("txn", {"success": some})
                last = max(last, int(told["header"]["revision"]))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(send())
        return last

    async def _ask(self, what: str, body: Live) -> Live:
        async with self._http.post(f"{SERVER}/v3/kv/{what}", json=body) as answer:
            answer.raise_for_status()
            return dict(await answer.json())


@asynccontextmanager
async def etcd() -> AsyncIterator[Etcd]:
    """Open the etcd of this machine; ConfigError where there is none."""
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(f"{SERVER}/version") as answer:
                answer.raise_for_status()
        except aiohttp.ClientError as error:
            raise ConfigError(
                f"no etcd at {SERVER} ({type(error).__name__}); run where the control plane "
                "runs, such as that of `cluster up --control-plane`"
            ) from None
        yield Etcd(http)


class Mould:
    """A namespace's objects, to be cast again under other names and uids."""

    def __init__(self, pairs: list[Pair], namespace: str, uids: Iterable[str]) -> None:
        self.pairs, self._name = pairs, namespace.encode()
        old = b"|".join(re.escape(text) for text in (self._name, *(uid.encode() for uid in uids)))
        self._old = re.compile(old)

    def cast(self, numbers: range) -> Iterator[Pair]:
        """Yield what stands in the namespaces of these numbers."""
        for number in numbers:
            for key, value in self.pairs:
                yield self._anew(key, number), self._anew(value, number)

    def keys(self, numbers: range) -> Iterator[bytes]:
        """Yield the keys of what stands there."""
        return (self._anew(key, number) for number in numbers for key, _ in self.pairs)

    def _anew(self, text: bytes, number: int) -> bytes:
        def other(found: re.Match[bytes]) -> bytes:
            if found[0] == self._name:
                return b"%0*d" % (len(self._name), number)
            return b"%08x" % number + found[0][8:]

        return self._old.sub(other, text)


def _range(prefix: bytes) -> Live:
    return {"key": _text(prefix), "range_end": _text(prefix[:-1] + bytes([prefix[-1] + 1]))}


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()


def _decoded(told: Live, part: str) -> list[bytes]:
    return [b64decode(pair[part]) for pair in told.get("kvs", ())]
