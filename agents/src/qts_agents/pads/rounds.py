"""When a round opens, whom it asks, when it is over: votes, quorum, deadline, circuits (pure)."""

from __future__ import annotations

import hashlib

import msgspec

from qts_agents.pace import decided_every, lockstep, pace_ns
from qts_agents.pads.actions import Answer
from qts_core.spec import System

#: lockstep: a feed silent for so long, and for more than a round may take, waits for a decision that we do
#: not owe by count
STALLED_NS, SPARE_NS = 2_000_000_000, 250_000_000
GRACE_NS = 1_000_000_000  # after its deadline a round that nobody brought back is given up


class Circuit(msgspec.Struct):
    """A voter's record of silence."""

    timeouts: int = 0
    open_until_ns: int = 0


class Open(msgspec.Struct, frozen=True):
    """The round under way."""

    round_id: str
    decision_id: str
    number: int
    asof_ns: int  # of the window that was asked about, as the next two: bars may come before the votes do
    seq: int
    sha256: str
    opened_ns: int
    deadline_ns: int
    asked: tuple[str, ...]


class Rounds:
    """One round at a time; at speed 0 the rule is a pure function of the count of live bars."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._voters = system.voters()
        self._circuits = {peer: Circuit() for peer in self._voters}
        self.lockstep = lockstep(system)
        self.every = decided_every(system)
        self.interval_ns = int(system.decision_interval * 1e9)
        self.stalled_ns = max(STALLED_NS, int(system.decision_timeout * 1e9) + SPARE_NS)
        self.current: Open | None = None
        self.number = 0
        self.first_seq: int | None = None
        self.last_open_ns: int | None = None
        self.live_since_ns: int | None = None
        self.last_bar_ns = 0
        self.opened_seq: int | None = None

    def on_live_bar(self, seq: int, now_ns: int) -> None:
        """Note a live bar; the first one begins the count."""
        self._not_ahead(now_ns)
        if self.first_seq is None:
            self.first_seq, self.live_since_ns = seq, now_ns
        self.last_bar_ns = now_ns

    def _not_ahead(self, now_ns: int) -> None:
        """Begin anew from now what lies ahead: a clock was set back, and no round would open till then."""
        if self.last_open_ns is not None:
            self.last_open_ns = min(self.last_open_ns, now_ns)
        if self.live_since_ns is not None:
            self.live_since_ns = min(self.live_since_ns, now_ns)
        self.last_bar_ns = min(self.last_bar_ns, now_ns)
        longest = now_ns + int(self._system.pads.circuit_s * 1e9)
        for circuit in self._circuits.values():
            circuit.open_until_ns = min(circuit.open_until_ns, longest)

    def due(self, seq: int, ready: frozenset[str], warm: bool, now_ns: int) -> bool:
        """Tell whether the live bar `seq` opens a round."""
        if self.current is not None or self.first_seq is None or self.opened_seq == seq:
            return False
        early = warm and len(self.available(ready, now_ns)) >= 2
        if self.lockstep:
            count = seq - self.first_seq + 1
            return count % self.every == 0 or (count == 1 and early)
        if self.last_open_ns is None:
            return early or now_ns - (self.live_since_ns or now_ns) >= self.interval_ns
        return now_ns - self.last_open_ns >= self.interval_ns

    def due_by_timer(self, seq: int, bar_s: float, now_ns: int) -> bool:
        """Tell whether a round must open although no bar came.

        Where bars are farther apart than decisions, two of them must be missing: a round between two bars
        would decide anew on what was decided.
        """
        if self.current is not None or self.first_seq is None:
            return False
        self._not_ahead(now_ns)
        if self.lockstep:
            if now_ns - self.last_bar_ns < self.stalled_ns or self.opened_seq == seq:
                return False
            # joined late, our count is off the feed's: this is where it waits, count from here
            self.first_seq = seq - self.every + 1
            return True
        patience = 2 * max(self.interval_ns, pace_ns(self._system, bar_s))
        since = self.last_open_ns if self.last_open_ns is not None else self.live_since_ns
        return since is not None and now_ns - since >= patience

    def available(self, ready: frozenset[str], now_ns: int) -> tuple[str, ...]:
        """Return the voters that may be asked, in fixed order: ready and circuit closed."""
        return tuple(
            peer for peer in self._voters if peer in ready and self._circuits[peer].open_until_ns <= now_ns
        )

    def open(self, window: tuple[int, int, str], epoch: int, ready: frozenset[str], now_ns: int) -> Open:
        """Begin a round on a `window` (seq, time, SHA-256); ids are the same in a replay."""
        seq, asof_ns, sha256 = window
        self.number += 1
        asked = self.available(ready, now_ns)
        timeout = int(self._system.decision_timeout * 1e9)
        self.current = Open(
            round_id=self._id("round", epoch, asof_ns),
            decision_id=self._id("decision", epoch, asof_ns),
            number=self.number,
            asof_ns=asof_ns,
            seq=seq,
            sha256=sha256,
            opened_ns=now_ns,
            deadline_ns=now_ns + timeout,
            asked=asked if len(asked) >= 2 else (),
        )
        self.last_open_ns, self.opened_seq = now_ns, seq
        return self.current

    def _id(self, kind: str, epoch: int, asof_ns: int) -> str:
        text = f"{kind}/{self._system.system_seed}/{epoch}/{asof_ns}/{self.number}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def close(self, answers: tuple[Answer, ...], now_ns: int) -> None:
        """End the round and keep the circuits: three silences in a row skip a voter for a while."""
        self.current = None
        for answer in answers:
            circuit = self._circuits.get(answer.peer)
            if circuit is None:
                continue
            if answer.opinion is not None and not answer.late:
                circuit.timeouts = 0
            elif answer.reason in ("timeout", "dead", "no_route", "full") or answer.late:
                circuit.timeouts += 1
                if circuit.timeouts >= self._system.pads.circuit_timeouts:
                    circuit.open_until_ns = now_ns + int(self._system.pads.circuit_s * 1e9)

    def overdue(self, now_ns: int) -> bool:
        """Tell whether the open round's answers never came back."""
        return self.current is not None and now_ns > self.current.deadline_ns + GRACE_NS

    def circuits(self) -> dict[str, int]:
        """Return peer → consecutive timeouts."""
        return {peer: circuit.timeouts for peer, circuit in self._circuits.items()}
