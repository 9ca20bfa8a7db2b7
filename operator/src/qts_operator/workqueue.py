"""Keys that need a pass: each once, oldest first, one worker a key, back-off for each key of its own."""

from __future__ import annotations

import heapq
from math import inf

FIRST_S, LAST_S = 1.0, 300.0
QUIET_S = 5.0  # without a pass, past or planned: what comes then is no part of a roll-out or a storm


class WorkQueue:
    """Deduplicating queue with delays; the caller tells the time and does the waiting."""

    def __init__(self) -> None:
        self._ready: dict[str, float] = {}  # key → since; insertion order is age; none of them is active
        self._later: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._put_off: dict[str, float] = {}  # key → when what a pass could not do was asked for
        self._active: dict[str, float] = {}  # key → when what it does was asked for
        self._again: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._ended: dict[str, float] = {}  # key → when its last pass ended, QUIET_S long; oldest first

    def waiting(self) -> int:
        """Return how many keys wait for a worker; what is planned for later does not."""
        return len(self._ready)

    def add(self, key: str, now: float) -> None:
        """Ask for a pass; while one runs, for another after it."""
        if key in self._active:
            # what was due earlier may be taken up later
            self._again[key] = min(now, self._again.get(key, now))
        else:
            self._ready.setdefault(key, now)
            self._due.pop(key, None)

    def add_after(self, key: str, delay_s: float, now: float) -> bool:
        """Ask for a pass in `delay_s`; False: one is due earlier, and whoever asked for it has told so."""
        at = now + delay_s
        if key in self._ready or self._due.get(key, at + 1) <= at:
            return False
        self._due[key] = at
        heapq.heappush(self._later, (at, key))
        return True

    def gather(self, key: str, delay_s: float, now: float) -> bool:
        """Ask for a pass: at once after a quiet time, else in `delay_s`, for all that comes until then.

        False: nobody has to be woken for it.
        """
        if not self._quiet(key, now):
            return self.add_after(key, delay_s, now)
        self.add(key, now)
        return True

    def _quiet(self, key: str, now: float) -> bool:
        ended, due = self._ended.get(key, -inf), self._due.get(key, inf)
        return now - ended >= QUIET_S and due - now > QUIET_S and not self.busy(key)

    def take(self, now: float) -> str | None:
        """Return the oldest due key and lock it, None when there is none."""
        while self._later and self._later[0][0] <= now:
            at, key = heapq.heappop(self._later)
            if self._due.get(key) == at:
                del self._due[key]
                self.add(key, at)
        if not self._ready:
            return None
        key = next(iter(self._ready))
        since = self._ready.pop(key)
        self._active[key] = min(since, self._put_off.pop(key, since))
        return key

    def done(self, key: str, now: float) -> None:
        """Unlock a key; asked for meanwhile, it is ready again."""
        self._active.pop(key, None)
        self._note_end(key, now)
        if key in self._again:
            self.add(key, min(now, self._again.pop(key)))

    def _note_end(self, key: str, now: float) -> None:
        self._ended.pop(key, None)
        self._ended[key] = now
        while self._ended[oldest := next(iter(self._ended))] <= now - QUIET_S:
            del self._ended[oldest]

    def put_off(self, key: str, delay_s: float, now: float) -> None:
        """Plan what the running pass could not do; it stays as old as it is."""
        self._put_off[key] = self._active.get(key, now)
        self.add_after(key, delay_s, now)

    def fail(self, key: str, now: float, last_s: float = LAST_S) -> float:
        """Plan the next try after a failure, at most `last_s` away; return the delay in seconds."""
        tries = self._tries.get(key, 0)
        self._tries[key] = tries + 1
        delay = min(last_s, FIRST_S * float(2 ** min(tries, 16)))
        self.add_after(key, delay, now)
        return delay

    def succeed(self, key: str) -> None:
        """Forget earlier failures of a key."""
        self._tries.pop(key, None)

    def since_s(self, key: str, now: float) -> float:
        """Return seconds since what asked for the pass that runs."""
        return now - self._active.get(key, now)

    def busy(self, key: str) -> bool:
        """Tell whether a pass of the key runs or is asked for now; one that is due later does not count."""
        return key in self._ready or key in self._active

    def due_s(self, key: str, now: float) -> float | None:
        """Return seconds until the planned pass of a key, None when none is planned."""
        at = self._due.get(key)
        return None if at is None else max(0.0, at - now)

    def next_s(self, now: float) -> float | None:
        """Return seconds until something may be due, None when nothing is planned."""
        if self._ready:
            return 0.0
        while self._later and self._due.get(self._later[0][1]) != self._later[0][0]:
            heapq.heappop(self._later)
        return max(0.0, self._later[0][0] - now) if self._later else None

    def oldest_s(self, now: float) -> float:
        """Return the age of the oldest waiting key."""
        return max((now - since for since in self._ready.values()), default=0.0)
