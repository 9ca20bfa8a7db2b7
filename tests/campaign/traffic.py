"""What three processes say to each other while faults happen, and what each of them heard."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import msgspec

from qts_core.errors import LocalError
from qts_messaging import examples
from qts_messaging.fabric import Fabric
from qts_messaging.messages import (
    MESSAGE_TYPES,
    AgentStatus,
    DecisionRequest,
    DecisionResponse,
    Envelope,
    RiskAlert,
)

REQUEST, TRANSITION = examples.messages()[0], examples.messages()[2]
Speak = Callable[[int], Awaitable[object]]


class Traffic:
    """Speakers of all routes at fixed rates; every handler's view is noted by process and its start."""

    def __init__(self, buses: dict[str, Fabric], factor: float = 1.0) -> None:
        self.buses, self._factor = buses, factor
        self.applied: dict[tuple[str, int], dict[bytes, int]] = {}  # (process, start) → id → times handled
        self.last_ns: dict[str, int] = {}  # process → when it last handled anything, monotonic
        self.stored: set[bytes] = set()  # durable messages to all that the bus has taken
        self.handled = 0
        self.twice = 0
        self.crossed = 0  # answers to another question
        self.answered = self.unanswered = self.refused = 0
        self.slow: dict[str, float] = {}  # process → seconds a handler takes
        self.giving_up = False
        self._starts = 0

    def join(self, bus: Fabric) -> None:
        """Subscribe a bus to every type."""
        self._starts += 1
        seen = self.applied.setdefault((bus.name, self._starts), {})

        async def handler(envelope: Envelope) -> None:
            seen[envelope.id] = seen.get(envelope.id, 0) + 1
            self.twice += seen[envelope.id] > 1
            self.handled += 1
            self.last_ns[bus.name] = time.monotonic_ns()
            if isinstance(envelope.body, DecisionRequest):
                await bus.reply(envelope, DecisionResponse(envelope.body.round_id))
            pause = self.slow.get(bus.name)
            if pause:
                await asyncio.sleep(pause)

        for kind in MESSAGE_TYPES:
            bus.subscribe(kind, handler)

    def never_reached(self) -> dict[str, int]:
        """Return process → how many durable messages none of its starts has handled."""
        reached: dict[str, set[bytes]] = {}
        for (name, _), seen in self.applied.items():
            reached.setdefault(name, set()).update(seen)
        left = {name: len(self.stored - ids) for name, ids in reached.items() if name != "pads"}
        return {name: count for name, count in left.items() if count}

    # -- speaking -----------------------------------------------------------------------------------
    def speakers(self) -> list[tuple[float, Speak]]:
        """Return (messages a second, how to say the n-th) for every route."""
        rates = [
            (60, self._ask),
            (60, self._bar),
            (25, self._feedback),
            (15, self._proposal),
            (8, self._alert),
        ]
        return [(rate * self._factor, speak) for rate, speak in rates] + [(4.0, self.beat)]

    def start(self, over: asyncio.Event) -> list[asyncio.Task[None]]:
        """Let everybody speak until `over`."""
        return [asyncio.create_task(self.run(speak, rate, over)) for rate, speak in self.speakers()]

    async def run(self, speak: Speak, rate: float, over: asyncio.Event) -> None:
        """Speak `rate` times a second until `over`; what the bus refuses is counted there too."""
        loop, n, first = asyncio.get_running_loop(), 0, asyncio.get_running_loop().time()
        pending: set[asyncio.Task[object]] = set()
        while not over.is_set():
            await asyncio.sleep(max(0.0, first + n / rate - loop.time()))
            task = asyncio.ensure_future(self._said(speak, n))
            pending.add(task)
            task.add_done_callback(pending.discard)
            n += 1
        if pending:
            await asyncio.wait(pending, timeout=5.0)

    async def _said(self, speak: Speak, n: int) -> object:
        try:
            return await speak(n)
        except LocalError:  # full, spool_full, closed: told to the caller, and in the books
            self.refused += 1
            return None

    async def _ask(self, n: int) -> None:
        request = msgspec.structs.replace(REQUEST, round_id=f"r-{n}")
        asking = asyncio.ensure_future(self.buses["pads"].ask(request, "qbmia", 0.3))
        if self.giving_up and n % 2:
            asyncio.get_running_loop().call_later(random.random() / 100, asking.cancel)
        try:
            reply = await asking
        except asyncio.CancelledError:
            return
        if reply.envelope is None:
            self.unanswered += 1
        else:
            self.answered += 1
            self.crossed += getattr(reply.envelope.body, "round_id", "") != request.round_id

    async def _bar(self, n: int) -> None:
        await self.buses["market"].publish(examples.update(n))

    async def _feedback(self, n: int) -> None:
        self.stored.add(await self.buses["pads"].publish(examples.feedback(f"d-{n}")))

    async def _proposal(self, n: int) -> None:
        await self.buses["qbmia"].send(TRANSITION, "pads")

    async def _alert(self, n: int) -> None:
        bus = self.buses["qbmia"]
        now = bus._clock.wall_ns()
        await bus.send(RiskAlert(f"a-{n}", "x", 0.9, (), now, now + 3_000_000_000), "pads")

    async def beat(self, n: int = 0) -> None:
        """Send everybody's heartbeat."""
        for name, bus in list(self.buses.items()):
            fields = msgspec.structs.asdict(bus.status_fields())
            await bus.publish(AgentStatus(name, "ready", "ok", "classical", config_digest="", **fields))

    async def burst(self, whom: str, count: int = 1500) -> None:
        """Say more at once than queues hold."""
        bus = self.buses[whom]
        for n in range(count):
            try:
                if whom == "market":
                    await bus.publish(examples.update(n))
                else:
                    await bus.send(DecisionResponse(f"b-{n}"), "qbmia" if whom == "pads" else "pads")
            except LocalError:
                self.refused += 1
