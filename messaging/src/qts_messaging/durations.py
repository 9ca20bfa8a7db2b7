"""How long things took, as the buckets of a histogram: a message costs a search and two additions."""

from __future__ import annotations

from bisect import bisect_left

#: 1-2-5 steps from 1 µs to 10 s
BOUNDS_NS = (*(m * 10**e for e in range(3, 10) for m in (1, 2, 5)), 10**10)


class Durations:
    """Counts by bucket, the last one for what is longer than every bound, and the sum."""

    __slots__ = ("counts", "total_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.total_ns = 0

    def add(self, took_ns: int) -> None:
        """Take one."""
        self.counts[bisect_left(BOUNDS_NS, took_ns)] += 1
        self.total_ns += took_ns

    def merged(self, other: Durations) -> Durations:
        """Return both together."""
        both = Durations()
        both.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        both.total_ns = self.total_ns + other.total_ns
        return both
