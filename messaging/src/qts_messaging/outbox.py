"""Three bounded queues for one destination: order, drop policy, expiry when leaving (pure)."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from qts_messaging.messages import HIGH, LOW, NORMAL

BOUNDS: dict[int, int] = {HIGH: 1024, NORMAL: 1024, LOW: 256}
LOW_EVERY = 32  # one low message after so many others, so that none starves


class Item(msgspec.Struct, kw_only=True):
    """A message on its way out: encoded, but not yet numbered. The collector must see it, for its waiter."""

    id: bytes
    kind: str  # wire name of the type
    lane: str
    body: bytes
    priority: int
    recipient: str | None = None
    correlation_id: bytes | None = None
    ttl_ms: int = 0
    deadline_ns: int = 0
    accepted_ns: int = 0  # sender's wall clock
    trace: bytes | None = None
    drop: str = "oldest"
    waiter: Any = None  # told when a durable message is stored


def expired(item: Item, now_ns: int) -> bool:
    """Tell whether `item` is worth nothing any more."""
    if item.deadline_ns and now_ns >= item.deadline_ns:
        return True
    return bool(item.ttl_ms) and now_ns - item.accepted_ns >= item.ttl_ms * 1_000_000


class Outbox:
    """Queues of one peer or topic."""

    def __init__(self, bounds: dict[int, int] | None = None) -> None:
        self._bounds = bounds or BOUNDS
        self._queues: dict[int, deque[Item]] = {HIGH: deque(), NORMAL: deque(), LOW: deque()}
        self._since_low = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def depth(self, priority: int) -> int:
        """Return how many messages of `priority` wait."""
        return len(self._queues[priority])

    def put(self, item: Item) -> tuple[bool, Item | None]:
        """Queue `item`: (taken, the one dropped for it). High refuses when full, others drop the oldest."""
        queue = self._queues[item.priority]
        if len(queue) < self._bounds[item.priority]:
            queue.append(item)
            self._count += 1
            return True, None
        if item.priority == HIGH or item.drop in ("refuse", "never"):
            return False, None
        victim = next((i for i in queue if i.drop == "newest_wins"), queue[0])
        queue.remove(victim)
        queue.append(item)
        return True, victim

    def put_back(self, item: Item) -> None:
        """Return an item just taken to the head of its queue."""
        self._queues[item.priority].appendleft(item)
        self._count += 1

    def take(self, now_ns: int) -> tuple[Item | None, list[Item]]:
        """Return the next message to send and those that expired while waiting."""
        late: list[Item] = []
        while True:
            queue = self._next()
            if queue is None:
                return None, late
            item = queue.popleft()
            self._count -= 1
            if not expired(item, now_ns):
                return item, late
            late.append(item)

    def _next(self) -> deque[Item] | None:
        """Choose the queue to serve: strictly by priority, low at least every 32nd time."""
        low = self._queues[LOW]
        if low and self._since_low >= LOW_EVERY - 1:
            self._since_low = 0
            return low
        for priority in (HIGH, NORMAL):
            if self._queues[priority]:
                self._since_low += 1
                return self._queues[priority]
        self._since_low = 0
        return low or None
