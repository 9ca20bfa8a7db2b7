"""The buckets of a histogram of durations."""

from __future__ import annotations

from qts_messaging.durations import BOUNDS_NS, Durations


def test_a_duration_is_in_the_first_bucket_that_holds_it() -> None:
    """A bound belongs to its bucket, as Prometheus' `le` says; what is longer than all has a place, too."""
    took = Durations()
    for ns in (0, 1_000, 1_001, 10**10, 10**10 + 1):
        took.add(ns)
    assert (took.counts[0], took.counts[1], took.counts[-2], took.counts[-1]) == (2, 1, 1, 1)
    both = took.merged(took)
    assert (sum(both.counts), both.total_ns) == (10, 2 * took.total_ns)
    assert len(BOUNDS_NS) == 22
