"""Leader election as a pure state machine over one Lease: who may write, and until when.

A machine never compares clocks with another one: a foreign lease is dead when it has not changed for its
whole duration on our own monotonic clock.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Verb = Literal["create", "update", "wait"]


class Terms(msgspec.Struct, frozen=True):
    """Seconds: how long a lease lasts, when a holder gives up, how often it and a standby try."""

    duration_s: float = 10.0
    renew_deadline_s: float = 6.0
    retry_s: float = 2.0
    standby_s: float = 0.5  # a lease that was handed back is taken within a second
    try_s: float = 2.0


class Step(msgspec.Struct, frozen=True):
    """What to send: create or update the Lease with `body`, or wait."""

    verb: Verb
    body: dict[str, Any] = {}


class Election:
    """One candidate."""

    def __init__(self, identity: str, terms: Terms | None = None) -> None:
        self.identity = identity
        self.terms = terms or Terms()
        self._renewed: float | None = None  # before the last successful renewal was sent
        self._doubted = float("-inf")
        self._seen: tuple[str, float] | None = None  # version of the foreign lease, since when

    def leads(self, now: float) -> bool:
        """Tell whether a write may be sent at `now` (monotonic seconds)."""
        return self._renewed is not None and now - self._renewed < self.terms.renew_deadline_s

    def decide(self, lease: dict[str, Any] | None, now: float, wall: str) -> Step:
        """Return the request that follows from the Lease as it was just read."""
        if lease is None:
            return Step("create", {"spec": self._spec(None, wall)})
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        version = str((lease.get("metadata") or {}).get("resourceVersion", ""))
        if holder in ("", self.identity):
            return Step("update", {**lease, "spec": self._spec(spec, wall)})
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        lasts = float(spec.get("leaseDurationSeconds") or self.terms.duration_s)
        if now - self._seen[1] >= lasts:
            return Step("update", {**lease, "spec": self._spec(spec, wall)})
        return Step("wait")

    def succeeded(self, sent: float) -> None:
        """Take a renewal that the server confirmed; `sent` is the time before it was sent."""
        if sent >= self._doubted:
            self._renewed, self._seen = sent, None

    def doubt(self, now: float) -> None:
        """Take a pause that ended at `now`: whoever leads by now, what was sent before does not tell."""
        self._renewed, self._doubted = None, now

    def lost(self) -> None:
        """Take a conflict: somebody else wrote the Lease."""
        self._renewed = None

    def holds(self, lease: dict[str, Any]) -> bool:
        """Tell whether the Lease names this candidate."""
        return (lease.get("spec") or {}).get("holderIdentity") == self.identity

    def release(self, lease: dict[str, Any], wall: str) -> dict[str, Any]:
        """Return the body that hands the Lease back at once."""
        self._renewed = None
        spec = (lease.get("spec") or {}) | {"holderIdentity": "", "renewTime": wall}
        return {**lease, "spec": spec | {"leaseDurationSeconds": 1}}

    def _spec(self, former: dict[str, Any] | None, wall: str) -> dict[str, Any]:
        former = former or {}
        count = int(former.get("leaseTransitions") or 0)
        mine = former.get("holderIdentity") == self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self.terms.duration_s),
            "acquireTime": former.get("acquireTime") if mine and former.get("acquireTime") else wall,
            "renewTime": wall,
            "leaseTransitions": count if mine else count + 1,
        }
