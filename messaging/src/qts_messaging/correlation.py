"""Request id → who waits for it, until when; late answers are known as such (pure)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

import msgspec

BOUND = 4096
T = TypeVar("T")


class Waiter(msgspec.Struct, Generic[T], frozen=True):
    """One request that is out: whom it went to, who is told, when it is given up (monotonic ns)."""

    peer: str
    token: T
    deadline_ns: int
    timeout_ns: int

    @property
    def forget_ns(self) -> int:
        """Return when an answer to it is no longer known as late."""
        return self.deadline_ns + 2 * self.timeout_ns


class Correlation(Generic[T]):
    """The table of requests that are out, and tombstones of those whose time is over."""

    def __init__(self, bound: int = BOUND) -> None:
        self._bound = bound
        self._open: OrderedDict[bytes, Waiter[T]] = OrderedDict()
        self._tombs: OrderedDict[bytes, Waiter[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def register(self, request: bytes, peer: str, token: T, deadline_ns: int, timeout_ns: int) -> bool:
        """Enter a request; False when the table is full."""
        if len(self._open) >= self._bound:
            return False
        self._open[request] = Waiter(peer, token, deadline_ns, timeout_ns)
        return True

    def resolve(self, request: bytes, sender: str) -> tuple[str, T | None]:
        """Take an answer: ("answer", token), ("late", None) or ("unknown", None).

        An answer from another peer than the one asked is unknown: nobody answers for somebody else.
        """
        waiter = self._open.get(request)
        if waiter is not None and waiter.peer == sender:
            del self._open[request]
            return "answer", waiter.token
        tomb = self._tombs.get(request)
        return ("late" if tomb is not None and tomb.peer == sender else "unknown"), None

    def fail(self, request: bytes) -> T | None:
        """Give a request up now (no route, caller gone); what comes after is late."""
        waiter = self._open.pop(request, None)
        if waiter is None:
            return None
        self._bury(request, waiter)
        return waiter.token

    def fail_peer(self, peer: str) -> list[T]:
        """Give up all requests to a dead peer."""
        ids = [request for request, waiter in self._open.items() if waiter.peer == peer]
        return [token for request in ids if (token := self.fail(request)) is not None]

    def expire(self, now_ns: int) -> list[T]:
        """Give up what is past its deadline; forget old tombstones."""
        over = [request for request, waiter in self._open.items() if waiter.deadline_ns <= now_ns]
        for request in [r for r, tomb in self._tombs.items() if tomb.forget_ns <= now_ns]:
            del self._tombs[request]
        return [token for request in over if (token := self.fail(request)) is not None]

    def earliest(self) -> int | None:
        """Return when the next deadline is over or the next tombstone can be forgotten (monotonic ns)."""
        ends = [waiter.deadline_ns for waiter in self._open.values()]
        ends += [tomb.forget_ns for tomb in self._tombs.values()]
        return min(ends, default=None)

    def _bury(self, request: bytes, waiter: Waiter[T]) -> None:
        """Keep a tombstone, within the bound."""
        self._tombs[request] = waiter
        if len(self._tombs) > self._bound:
            self._tombs.popitem(last=False)
