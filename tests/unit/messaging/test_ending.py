"""A bus that ends while messages are on their way: each of them has an ending in the book."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from qts_core.errors import LocalError
from qts_core.spec import SYSTEM
from qts_messaging.accounts import Record, summary
from qts_messaging.bus import BusOptions, Wires
from qts_messaging.fabric import Fabric
from qts_messaging.memory import Hub, MemoryDirect, MemoryStreams, MemoryTopics
from qts_messaging.messages import DecisionResponse, RiskAlert
from qts_messaging.outbox import BOUNDS, HIGH


class Nobody(MemoryDirect):
    """A direct wire that reaches nobody."""

    def send(self, peer: str, frame: bytes) -> bool:
        """Refuse."""
        return False


class Stuck(MemoryTopics):
    """A channel whose server takes frames and never answers."""

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> list[int] | None:
        """Wait until cancelled."""
        await asyncio.Event().wait()
        return [len(batch)]


def stuck_bus(folder: Path) -> Fabric:
    """Return a bus from which nothing gets through."""
    hub = Hub()
    wires = Wires(Nobody(hub, "qbmia"), Stuck(hub, "qbmia"), MemoryStreams(hub, "qbmia"))
    options = BusOptions(name="qbmia", system_name="ending", state=folder, peers={"pads": "tcp://x:1"})
    return Fabric(SYSTEM(), options, wires)


def alert(bus: Fabric) -> RiskAlert:
    """Return an alert that is good for a minute."""
    now = bus.status_fields().clock_ns
    return RiskAlert("a", "x", 0.9, (), now, now + 60_000_000_000)


def balanced(record: Record) -> None:
    """Check that nothing of a closed book is still under way."""
    assert {lane: out.queued for lane, out in record.out.items()} == dict.fromkeys(record.out, 0)
    assert summary(record).unaccounted == 0


async def fill(bus: Fabric) -> None:
    """Let one message be on its way and the queue behind it be full."""
    for n in range(1 + BOUNDS[HIGH]):
        await bus.send(DecisionResponse(f"r-{n}"), "pads")
        await asyncio.sleep(0) if n == 0 else None


async def test_an_alert_that_waits_for_room_ends_with_its_bus(tmp_path: Path) -> None:
    """The caller is told, and the book says shutdown."""
    bus = stuck_bus(tmp_path)
    await bus.start()
    await fill(bus)
    waiting = asyncio.create_task(bus.send(alert(bus), "pads"))
    await asyncio.sleep(0)
    await bus.close(0.0)
    with pytest.raises(LocalError, match="closed"):
        await waiting
    balanced(bus.record())
    assert bus.record().out["to.pads"].dropped["shutdown"] == 1 + BOUNDS[HIGH]


async def test_an_alert_whose_caller_gives_up_while_it_waits_is_dropped(tmp_path: Path) -> None:
    """A cancelled caller leaves no message behind that never ends."""
    bus = stuck_bus(tmp_path)
    await bus.start()
    await fill(bus)
    waiting = asyncio.create_task(bus.send(alert(bus), "pads"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bus.record().out["to.pads"].dropped == {"full": 1}
    await bus.close(0.0)
    balanced(bus.record())


async def test_a_detour_that_never_began_has_left(tmp_path: Path) -> None:
    """A message is numbered before its task runs; an end in between counts it as sent."""
    bus = stuck_bus(tmp_path)
    await bus.send(DecisionResponse("r"), "pads")
    bus.outgoing.settle()
    await asyncio.sleep(0)
    balanced(bus.record())
    assert bus.record().out["to.pads"].left == 1
