"""Sequence numbers of one lane and the ids already seen: gaps, duplicates, late finds (pure)."""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW = 1024  # open holes a lane remembers
DEDUPE = 65_536


class Lane:
    """What has arrived of one (sender, epoch, lane): everything in (base, high] but holes and lost ones."""

    __slots__ = ("base", "gap", "high", "holes", "lost")

    def __init__(self, base: int) -> None:
        self.base = base  # what came before was not for this process
        self.high = base
        self.holes: dict[int, int] = {}  # sequence → when it was missed, ns
        self.lost: OrderedDict[int, None] = OrderedDict()  # given up, may still be found
        self.gap = 0  # given up in all, less what was found afterwards

    def observe(self, sequence: int, now_ns: int) -> bool:
        """Take an arrival; False when this sequence was here before."""
        if sequence > self.high:
            self._miss(self.high + 1, sequence, now_ns)
            self.high = sequence
            return True
        if sequence in self.holes:
            del self.holes[sequence]
            return True
        if sequence in self.lost:
            del self.lost[sequence]
            self.gap -= 1
            return True
        if sequence <= self.base:  # older than the first one seen: another wire was slower
            first, self.base = self.base, sequence - 1
            self._miss(sequence + 1, first + 1, now_ns)
            return True
        return False

    def note_high(self, sequence: int, now_ns: int) -> None:
        """Learn from a heartbeat that `sequence` was sent, though it has not arrived."""
        if sequence > self.high:
            self._miss(self.high + 1, sequence + 1, now_ns)
            self.high = sequence

    def sweep(self, now_ns: int, grace_ns: int) -> int:
        """Give up holes older than `grace_ns`; return how many."""
        late = [s for s, since in self.holes.items() if now_ns - since >= grace_ns]
        for sequence in late:
            del self.holes[sequence]
            self._lose(sequence)
        return len(late)

    def _miss(self, start: int, stop: int, now_ns: int) -> None:
        """Open a hole for each sequence of [start, stop)."""
        if stop - start > WINDOW:  # a long absence: the oldest are beyond remembering
            self.gap += stop - start - WINDOW
            start = stop - WINDOW
        for sequence in range(start, stop):
            self.holes[sequence] = now_ns
        while len(self.holes) > WINDOW:
            oldest = next(iter(self.holes))
            del self.holes[oldest]
            self._lose(oldest)

    def _lose(self, sequence: int) -> None:
        """Count one as lost, but know it again should it come."""
        self.gap += 1
        self.lost[sequence] = None
        if len(self.lost) > WINDOW:
            self.lost.popitem(last=False)


class Seen:
    """The last `bound` message ids, to apply each once."""

    def __init__(self, bound: int = DEDUPE) -> None:
        self._bound = bound
        self._ids: set[bytes] = set()
        self._order: deque[bytes] = deque()

    def add(self, message_id: bytes) -> bool:
        """Take an id; False when it is known."""
        if message_id in self._ids:
            return False
        self._ids.add(message_id)
        self._order.append(message_id)
        if len(self._order) > self._bound:
            self._ids.discard(self._order.popleft())
        return True

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._ids
