"""Optional kinds: followed from when a cluster has them, in every watched namespace that lets us see them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from qts_operator.cluster import Api
from qts_operator.middleware import ApiError
from qts_operator.objects import KINDS, Kind
from qts_operator.watch import Reflector, Tools

_log = structlog.get_logger("qts_operator.offers")
CHECK_S = 60.0
Scope = str | None  # a namespace, or None for all of them
Follow = Callable[[Kind, Scope], Reflector]


class Offers:
    """What each scope offers; `changed` is told when another kind can be seen."""

    def __init__(self, api: Api, scopes: Sequence[Scope], params: dict[str, str], tools: Tools) -> None:
        self._api, self._params, self._tools = api, params, tools
        self._wanted = [(kind, scope) for kind in KINDS if kind.optional for scope in scopes]
        self._decided = {(kind.name, scope): asyncio.Event() for kind, scope in self._wanted}
        self._seen: set[tuple[str, Scope]] = set()
        self._barred: dict[tuple[str, Scope], str] = {}

    def of(self, namespace: str) -> frozenset[str]:
        """Return the optional kinds that can be used in a namespace."""
        return frozenset(kind for kind, scope in self._seen if scope in (None, namespace))

    def barred(self, namespace: str) -> dict[str, str]:
        """Return, by optional kind that may not be seen in a namespace, what the server said."""
        return {kind: text for (kind, scope), text in self._barred.items() if scope in (None, namespace)}

    async def decided(self) -> None:
        """Wait until each is either seen or known to be missing."""
        for each in self._decided.values():
            await each.wait()

    def jobs(self, follow: Follow, changed: Callable[[], None]) -> list[Coroutine[Any, Any, None]]:
        """Return what runs for ever, one for each kind and scope."""
        return [self._offer(kind, scope, follow, changed) for kind, scope in self._wanted]

    async def _offer(self, kind: Kind, scope: Scope, follow: Follow, changed: Callable[[], None]) -> None:
        """Follow a kind from when it is there."""
        decided = self._decided[(kind.name, scope)]
        while (again_s := await self._missing_s(kind, scope, changed)) > 0.0:
            decided.set()
            await self._tools.clock.sleep(again_s)
        followed = follow(kind, scope)

        async def announce() -> None:
            await followed.synced.wait()
            self._seen.add((kind.name, scope))
            decided.set()
            changed()

        await asyncio.gather(announce(), followed.run())

    async def _missing_s(self, kind: Kind, scope: Scope, changed: Callable[[], None]) -> float:
        """Return 0 when the kind is served, else the seconds until it is worth asking again."""
        try:
            await self._api.list(kind, scope, self._params, lambda _: None)
        except ApiError as error:
            denied = error.code == 403 and await self._served(kind)
            self._bar((kind.name, scope), error.message if denied else "", changed)
            if denied:
                self._tools.metrics.denied.labels(kind.name).inc()
                _log.warning("an optional kind may not be seen", kind=kind.name, error=error.message)
            if error.code in (403, 404):  # no such kind, or no right to it
                return CHECK_S
            # a definition that was just made answers 429 while its storage is opened
            return max(1.0, error.retry_after or 0.0)
        self._barred.pop((kind.name, scope), None)  # told when its objects are seen
        return 0.0

    async def _served(self, kind: Kind) -> bool:
        """Tell whether who may not list a kind would find any; where nobody can tell, it counts as served."""
        try:
            return await self._api.serves(kind)
        except ApiError:
            return True

    def _bar(self, what: tuple[str, Scope], text: str, changed: Callable[[], None]) -> None:
        """Take note of why a kind may not be seen, "" where that is not the reason."""
        before = self._barred.pop(what, "")
        if text:
            self._barred[what] = text
        if bool(before) != bool(text):
            changed()
