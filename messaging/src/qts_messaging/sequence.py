"""Sequence numbers of one lane: gaps, duplicates, late finds (pure)."""

from __future__ import annotations

from bisect import bisect_right, insort

RANGES = 1024  # holes a lane remembers, whatever their length
NEVER = -(2**63)


class Spans:
    """Sequence numbers as ranges [start, stop) in order, each with the time it was missed."""

    __slots__ = ("_ranges", "count")

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, int]] = []  # start, stop, since ns
        self.count = 0  # numbers in all ranges

    def __len__(self) -> int:
        return self.count

    def add(self, start: int, stop: int, since_ns: int) -> None:
        """Enter [start, stop), which overlaps no range here."""
        if start < stop:
            insort(self._ranges, (start, stop, since_ns))
            self.count += stop - start

    def take(self, sequence: int) -> bool:
        """Take one number out; False when it is not here."""
        at = bisect_right(self._ranges, sequence, key=_start) - 1
        if at < 0 or sequence >= self._ranges[at][1]:
            return False
        start, stop, since_ns = self._ranges[at]
        left, right = (start, sequence, since_ns), (sequence + 1, stop, since_ns)
        self._ranges[at : at + 1] = [span for span in (left, right) if span[0] < span[1]]
        self.count -= 1
        return True

    def give_up(self, before_ns: int) -> list[tuple[int, int]]:
        """Take out the ranges missed before `before_ns`, and the oldest beyond `RANGES`."""
        surplus = max(0, len(self._ranges) - RANGES)
        old = [span for n, span in enumerate(self._ranges) if n < surplus or span[2] <= before_ns]
        if old:
            gone = set(old)
            self._ranges = [span for span in self._ranges if span not in gone]
            self.count -= sum(stop - start for start, stop, _ in old)
        return [(start, stop) for start, stop, _ in old]


def _start(span: tuple[int, int, int]) -> int:
    return span[0]


class Lane:
    """What has arrived of one (sender, epoch, lane): everything in (base, high] but holes and lost ones."""

    __slots__ = ("base", "gap", "high", "holes", "lost")

    def __init__(self, base: int) -> None:
        self.base = base  # what came before was not for this process
        self.high = base
        self.holes = Spans()  # missed, may still come
        self.lost = Spans()  # given up, may still be found
        self.gap = 0  # given up in all, less what was found afterwards

    def observe(self, sequence: int, now_ns: int) -> bool:
        """Take an arrival; False when this sequence was here before."""
        if sequence > self.high:
            if sequence > self.high + 1:
                self._miss(self.high + 1, sequence, now_ns)
            self.high = sequence
            return True
        if self.holes.take(sequence):
            return True
        if self.lost.take(sequence):
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
        return self._lose(now_ns - grace_ns) if self.holes.count else 0

    def _miss(self, start: int, stop: int, now_ns: int) -> None:
        """Open a hole for [start, stop)."""
        self.holes.add(start, stop, now_ns)
        self._lose(NEVER)

    def _lose(self, before_ns: int) -> int:
        """Count old holes as lost, but know their numbers again should they come."""
        lost = 0
        for start, stop in self.holes.give_up(before_ns):
            self.lost.add(start, stop, 0)
            lost += stop - start
        self.gap += lost
        self.lost.give_up(NEVER)
        return lost
