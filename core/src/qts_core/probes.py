"""Probe periods, restart back-off and budget as pure machines, and the answers of /statusz and /keptz.

The supervisor of a laptop and the pod template of a cluster read the same numbers here.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any

import msgspec


class Probe(msgspec.Struct, frozen=True):
    """One HTTP probe: path, seconds between tries, failures in a row that decide."""

    path: str
    period_s: float
    failures: int
    timeout_s: float = 2.0


class Probes(msgspec.Struct, frozen=True):
    """The three probes of a process."""

    startup: Probe
    liveness: Probe
    readiness: Probe


def probes(health_check_interval: float) -> Probes:
    """Return the probes for a liveness period in seconds."""
    return Probes(
        startup=Probe("/startupz", 2.0, 90),
        liveness=Probe("/livez", health_check_interval, 3),
        readiness=Probe("/readyz", 2.0, 3),
    )


class Verdict(enum.Enum):
    """What a probe result means."""

    WAIT = "wait"
    OK = "ok"
    KILL = "kill"


class ProbeMachine:
    """Count failures of one probe; `feed` returns KILL when the limit is reached."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.failures = 0
        self.passed = False
        self.next_s = 0.0

    def due(self, now_s: float) -> bool:
        """Tell whether the next try is due at `now_s`."""
        return now_s >= self.next_s

    def feed(self, ok: bool, now_s: float) -> Verdict:
        """Take one result, plan the next try."""
        self.next_s = now_s + self.probe.period_s
        if ok:
            self.failures, self.passed = 0, True
            return Verdict.OK
        self.failures += 1
        return Verdict.KILL if self.failures >= self.probe.failures else Verdict.WAIT


class BackOff:
    """Delay before a restart: at once, then base * 2^n up to a cap, full jitter, reset after health."""

    def __init__(self, base_s: float = 0.5, cap_s: float = 30.0, reset_after_s: float = 60.0) -> None:
        self.base_s, self.cap_s, self.reset_after_s = base_s, cap_s, reset_after_s
        self.tries = 0

    def healthy(self, for_s: float) -> None:
        """Forget earlier failures once a process has been healthy long enough."""
        if for_s >= self.reset_after_s:
            self.tries = 0

    def next(self, fraction: float) -> float:
        """Return seconds to wait; `fraction` in [0, 1) is the jitter's draw."""
        tries, self.tries = self.tries, self.tries + 1
        if tries == 0:
            return 0.0
        ceiling = min(self.cap_s, self.base_s * float(2 ** min(tries - 1, 30)))
        return ceiling * fraction


class RestartBudget:
    """At most `max_restarts` in `window_s`."""

    def __init__(self, max_restarts: int = 5, window_s: float = 600.0) -> None:
        self.max_restarts, self.window_s = max_restarts, window_s
        self._at: deque[float] = deque()

    def spend(self, now_s: float) -> bool:
        """Take one restart; False when the budget is exhausted."""
        while self._at and now_s - self._at[0] >= self.window_s:
            self._at.popleft()
        if len(self._at) >= self.max_restarts:
            return False
        self._at.append(now_s)
        return True


#: kinds of what a Redis that answers refuses; names of a label
REDIS_KINDS = ("memory", "disk", "replica", "password", "rights", "loading", "other")
REFUSED_WRITES = frozenset(("memory", "disk", "replica"))
REFUSED_LOGIN = "password"


class Status(msgspec.Struct, kw_only=True, omit_defaults=False):
    """What /statusz answers, as JSON; at most 2 KB for four symbols."""

    agent: str
    state: str = "starting"  # starting | ready | degraded | draining | ended
    ready: bool = False
    reasons: list[str] = []  # plain words: why not ready, or what is degraded
    past: list[str] = []  # plain words: what was lost since it started, and is no fault any more
    bus_mode: str = "disconnected"
    backend: str = "classical"
    device: str = "cpu"
    #: how that came about: not asked for, found and checked, the error it was given up for
    device_reason: str = ""
    launches: int = 0  # what a device was asked
    device_wait_s: float = 0.0
    config_digest: str = ""
    uptime_s: float = 0.0
    system: str = ""
    messages: dict[str, Any] = {}
    lanes: dict[str, int] = {}
    credentials: dict[str, int] = {}
    peers: dict[str, Any] = {}
    redis_reached: bool = False
    redis_refuses: dict[str, str] = {}  # of the last 30 s: kind → what a Redis that answers refuses, remedy
    redis_away: str = ""  # why Redis is not reached, and what may end that; empty where nobody knows
    strangers: str = ""  # who tried in vain to connect of late: no fault of this process
    board: dict[str, Any] = {}
    feed: dict[str, Any] = {}
    compiles: int = 0
    backends: dict[str, dict[str, int]] = {}  # by kernel: rows from which threads, a device compute it


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stage of a kept round."""

    stage: str
    start_ns: int  # since 1970, UTC
    duration_s: float
    error: str = ""


class KeptRound(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kept round as one process saw it; why it was kept is known to PADS alone."""

    round_id: str
    trace_id: str
    why: str = ""  # expired | error | no_quorum | slow
    sampled: bool = False  # its spans were written anyway
    stages: tuple[Part, ...] = ()


class KeptRounds(msgspec.Struct, frozen=True):
    """What /keptz answers: the last kept rounds, the newest last."""

    agent: str
    rounds: tuple[KeptRound, ...]
