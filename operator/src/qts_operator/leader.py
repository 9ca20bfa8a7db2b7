"""Hold the Lease: read, decide by `lease.py`, write, again every 2 s ± 20 % (a standby: 0.5 s)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar

import structlog

from qts_core.clock import Clock
from qts_operator.apply import error_of
from qts_operator.cluster import LEASES, Api
from qts_operator.lease import Election
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.watch import DOUBT_S
from qts_operator.writes import lacks_right

_log = structlog.get_logger("qts_operator.leader")
NAME = "qts-operator"
T = TypeVar("T")


def boot_s() -> float:
    """Return seconds since boot, pauses of the machine included where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Leader:
    """Keeps one Election going against one Lease object."""

    def __init__(
        self, api: Api, election: Election, namespace: str, tools: tuple[Clock, Random, Metrics]
    ) -> None:
        self._api, self._election, self._namespace = api, election, namespace
        self._clock, self._random, self._metrics = tools
        self._led = False
        self._asking = asyncio.Lock()  # one conversation with the Lease at a time
        self._released = False
        self.denied = ""  # what the server said: without this right nobody leads, and no status can tell
        self._answered_s: float | None = None

    def leads(self) -> bool:
        """Tell whether a write may be sent now."""
        return not self._released and self._election.leads(boot_s())

    def doubt(self) -> bool:
        """Take a pause of this process: the Lease is renewed before the next write. Tell whether it led."""
        self._election.doubt(boot_s())
        return self._led

    async def run(self, won: Callable[[], None]) -> None:
        """Try for ever; call `won` each time the Lease becomes ours."""
        while not self._released:
            answered = True
            try:
                async with self._asking:
                    await self.once()
                self.denied, self._answered_s = "", boot_s()
            except ApiError as error:
                answered = False
                if error.code == 409:
                    self._election.lost()
                self._refused(error)
                _log.warning("lease", code=error.code, error=error.message)
            leads = self.leads()
            self._metrics.leader.set(int(leads))
            if leads and not self._led:
                self._metrics.transitions.inc()
                _log.info("leading", identity=self._election.identity)
                won()
            self._led = leads
            terms = self._election.terms
            # who leads and got no answer has no 2 s to lose: another such try would cost the Lease
            again_s = terms.retry_s if leads and answered else terms.standby_s
            await self._clock.sleep(again_s * self._random.uniform(0.8, 1.2))

    def _refused(self, error: ApiError) -> None:
        """Say that a right is missing once that is no start of a server."""
        begun = self._answered_s is None or boot_s() - self._answered_s >= DOUBT_S
        if begun and lacks_right(error_of(error)):
            self.denied = f"Lease: {error.message}"
            self._metrics.denied.labels("Lease").inc()

    async def once(self) -> None:
        """Read the Lease and do what follows."""
        if self._released:
            return
        lease = await self._soon(self._api.get(LEASES, self._namespace, NAME))
        sent = boot_s()
        step = self._election.decide(lease, sent, _wall())
        if step.verb == "wait":
            return
        if step.verb == "create":
            metadata = {"name": NAME, "namespace": self._namespace}
            body: dict[str, Any] = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            await self._soon(self._api.create(LEASES, body | {"metadata": metadata} | step.body))
        else:
            await self._soon(self._api.update(LEASES, step.body))
        if not self.leads():
            # it had run out, if only for a moment, in which passes ended without a write: they are due again
            self._led = False
        self._election.succeeded(sent)

    async def release(self) -> None:
        """Hand the Lease back for good, so that the other replica need not wait until it runs out.

        Whether it is ours is asked of the object: a renewal whose answer was late may have been written.
        """
        self._released = True
        async with self._asking:  # a renewal on its way would make this write a conflict
            try:
                lease = await self._soon(self._api.get(LEASES, self._namespace, NAME))
                if lease is not None and self._election.holds(lease):
                    await self._soon(self._api.update(LEASES, self._election.release(lease, _wall())))
            except ApiError as error:
                _log.warning("lease not released", code=error.code, error=error.message)

    async def _soon(self, request: Awaitable[T]) -> T:
        """Wait for an answer no longer than a try may take: one that hangs must not cost the Lease."""
        limit_s = self._election.terms.try_s
        try:
            async with asyncio.timeout(limit_s):
                return await request
        except TimeoutError:
            raise ApiError(0, "NoAnswer", f"Lease/{NAME}: no answer within {limit_s:g} s") from None


def _wall() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
