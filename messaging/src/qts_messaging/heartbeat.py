"""Who is alive, and how far their clocks are off (pure)."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

PERIOD_S = 5.0
SUSPECT_AFTER, DEAD_AFTER = 3, 6  # missed heartbeats
SKEW_NS = 2_000_000_000
STEP_NS, STEPPED = 1_000_000_000, 3  # so many samples so far beyond the least: a clock was set, no delay
SAME_MACHINE_NS = 5_000_000  # smaller offsets are delays, not clocks


class PeerHealth(msgspec.Struct, frozen=True):
    """What is known of a peer: seconds since it was last heard, and what that means."""

    age_s: float
    state: str  # alive | suspect | dead


class Peers:
    """Heartbeats by peer; any message counts as one."""

    def __init__(self, names: tuple[str, ...], now_ns: int, period_s: float = PERIOD_S) -> None:
        self._period_ns = int(period_s * 1e9)
        self.heard: dict[str, int] = {}  # peer → when its last sign of life came
        self._first_ns = now_ns
        self._names = names
        self._samples: dict[str, deque[int]] = {}
        self._epochs: dict[str, Any] = {}  # whose samples they are: a new process may be on another machine
        self._offsets: dict[str, int] = {}
        self.skewed: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Return all peers that are expected or were heard."""
        return (*self._names, *(n for n in self.heard if n not in self._names))

    def dead(self, peer: str, now_ns: int) -> bool:
        """Tell whether `health` says so; every request asks."""
        return now_ns - self.heard.get(peer, self._first_ns) >= DEAD_AFTER * self._period_ns

    def health(self, peer: str, now_ns: int) -> PeerHealth:
        """Return age and state; a peer never heard is suspect at first, dead when its time is over."""
        age = now_ns - self.heard.get(peer, self._first_ns)
        if self.dead(peer, now_ns):
            state = "dead"
        elif peer not in self.heard or age >= SUSPECT_AFTER * self._period_ns:
            state = "suspect"
        else:
            state = "alive"
        return PeerHealth(age / 1e9, state)

    def sample(self, peer: str, sent_ns: int, received_ns: int, epoch: Any = None) -> None:
        """Take a clock sample of a heartbeat; the least of the last counts, until a clock is set."""
        if self._epochs.setdefault(peer, epoch) != epoch:
            self._epochs[peer] = epoch
            self._samples.pop(peer, None)
        samples = self._samples.setdefault(peer, deque(maxlen=60))
        samples.append(received_ns - sent_ns)
        newest = [*samples][-STEPPED:]
        if len(newest) == STEPPED and min(newest) - min(samples) > STEP_NS:
            samples.clear()
            samples.extend(newest)
        least = min(samples)
        self._offsets[peer] = least if abs(least) >= SAME_MACHINE_NS else 0

    def offset_ns(self, peer: str) -> int:
        """Return how much later our clock shows than the peer's, at least; 0 on one machine."""
        return self._offsets.get(peer, 0)

    def too_old(self, peer: str, sent_ns: int, ttl_ms: int, deadline_ns: int, now_ns: int) -> bool:
        """Tell whether TTL or deadline is over (0: none), by our clock `now_ns` corrected for the peer's.

        A message from the future has age 0 and counts as skewed.
        """
        peers_now_ns = now_ns - self._offsets.get(peer, 0)
        age_ns = peers_now_ns - sent_ns
        if age_ns < -SKEW_NS and ttl_ms:
            self.skewed[peer] = self.skewed.get(peer, 0) + 1
        return 0 < ttl_ms * 1_000_000 <= age_ns or 0 < deadline_ns <= peers_now_ns
