"""A bus that ends while messages are on their way: each of them has an ending in the book."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qts_core.errors import LocalError
from qts_core.spec import SYSTEM
from qts_messaging import ending
from qts_messaging.accounts import Record, summary
from qts_messaging.bus import BusOptions, Wires
from qts_messaging.fabric import Fabric
from qts_messaging.ids import new_id
from qts_messaging.incoming import Incoming
from qts_messaging.memory import Hub, MemoryDirect, MemoryStreams, MemoryTopics
from qts_messaging.messages import DecisionResponse, Envelope, RiskAlert
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


class Slow(MemoryTopics):
    """A channel whose server answers the first frame late and says that nobody heard it; then somebody does."""

    def __init__(self, hub: Hub, name: str) -> None:
        super().__init__(hub, name)
        self.frames: list[bytes] = []
        self.answer = asyncio.Event()

    async def publish(self, batch: Sequence[tuple[str, bytes]]) -> list[int] | None:
        """Take a frame."""
        self.frames += [frame for _, frame in batch]
        if len(self.frames) > 1:
            return [1]
        await self.answer.wait()
        return [0]


def stuck_bus(folder: Path, kind: type[MemoryTopics] = Stuck) -> Fabric:
    """Return a bus from which nothing gets through."""
    hub = Hub()
    wires = Wires(Nobody(hub, "qbmia"), kind(hub, "qbmia"), MemoryStreams(hub, "qbmia"))
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


async def waiting_alert(folder: Path) -> tuple[Fabric, asyncio.Task[bytes]]:
    """Return a bus whose queue is full, and the sending of an alert that waits for room there."""
    bus = stuck_bus(folder)
    await bus.start()
    await fill(bus)
    waiting = asyncio.create_task(bus.send(alert(bus), "pads"))
    await asyncio.sleep(0)
    return bus, waiting


def test_an_alert_lives_until_the_moment_it_names(tmp_path: Path) -> None:
    """Its time to live and its deadline are its own, not its type's; one that is over still has a millisecond."""
    bus = stuck_bus(tmp_path)
    found = alert(bus)
    item = bus._item(found, "pads", None, 0, new_id(0))
    assert 0 < item.ttl_ms <= 60_000 < item.ttl_ms + 30_000
    assert item.deadline_ns == found.expires_ns
    assert bus._item(found, "pads", None, 7, new_id(0)).deadline_ns == 7
    assert bus._item(RiskAlert("a", "x", 0.9, (), 0, 1), "pads", None, 0, new_id(0)).ttl_ms == 1


async def test_an_alert_that_waits_for_room_ends_with_its_bus(tmp_path: Path) -> None:
    """The caller is told, and the book says shutdown."""
    bus, waiting = await waiting_alert(tmp_path)
    await bus.close(0.0)
    with pytest.raises(LocalError, match="closed"):
        await waiting
    balanced(bus.record())
    assert bus.record().out["to.pads"].dropped["shutdown"] == 1 + BOUNDS[HIGH]


async def test_an_alert_waits_for_room_and_leaves_when_there_is_some(tmp_path: Path) -> None:
    """Back-pressure instead of a drop: the caller waits while the queue is full, and then its alert is taken."""
    bus, waiting = await waiting_alert(tmp_path)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert bus.record().out["to.pads"].dropped == {}
    room = bus.outgoing._take("to.pads")
    assert room is not None
    bus.outgoing._drop(room, "no_route")
    assert await asyncio.wait_for(waiting, 60.0)
    assert bus.outgoing.depth(HIGH) == BOUNDS[HIGH]
    await bus.close(0.0)
    balanced(bus.record())


async def test_an_alert_whose_caller_gives_up_while_it_waits_is_dropped(tmp_path: Path) -> None:
    """A cancelled caller leaves no message behind that never ends."""
    bus, waiting = await waiting_alert(tmp_path)
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


async def settled() -> None:
    """Let tasks that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_alert_is_not_sent_again_before_the_channel_has_answered(tmp_path: Path) -> None:
    """A copy could be heard while the answer says that nobody was: the book would never end that alert."""
    bus = stuck_bus(tmp_path, Slow)
    slow = bus.wires.topics
    assert isinstance(slow, Slow)
    sent = await bus.send(alert(bus), "pads")
    await settled()
    for held in bus.outgoing._alerts.values():
        held.next_ns = 0  # as half a second later
    bus.outgoing.tick()
    await settled()
    assert len(slow.frames) == 1
    slow.answer.set()
    await settled()
    for held in bus.outgoing._alerts.values():
        held.next_ns = 0
    bus.outgoing.tick()
    await settled()
    assert len(slow.frames) == 2
    bus.outgoing.confirmed(sent, "pads")
    balanced(bus.record())
    assert bus.record().out["to.pads"].left == 1


class FailingLoop:
    """Lets `for_ever` run a loop that fails, on a clock of its own; jitter is left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lasts_s: Callable[[int], float], calls: int) -> None:
        self.now_s, self.calls, self.slept = 0.0, 0, list[float]()
        self._lasts_s, self._most, self._over = lasts_s, calls, asyncio.Event()
        monkeypatch.setattr(ending, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        monkeypatch.setattr(ending, "random", SimpleNamespace(random=lambda: 1.0))
        monkeypatch.setattr(ending, "asyncio", SimpleNamespace(sleep=self._sleep))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        if self.calls == self._most:
            self._over.set()
            await asyncio.Event().wait()

    async def _loop(self) -> None:
        self.calls += 1
        self.now_s += self._lasts_s(self.calls)
        if self.calls == 50:
            raise OSError("another one")
        raise ValueError(f"number {self.calls}")

    async def play(self) -> None:
        """Return after so many calls."""
        task = asyncio.create_task(ending.for_ever(self._loop))
        await self._over.wait()
        task.cancel()


async def test_a_loop_that_always_fails_goes_on_and_fills_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each kind of error is said once a minute, with its traceback and how often it came; waits get longer."""
    loop = FailingLoop(monkeypatch, lambda _: 0.0, 100)
    with caplog.at_level(logging.CRITICAL, "qts_messaging.ending"):
        await loop.play()
    said = [(r.exc_info[0], r.getMessage().partition(" (")[2]) for r in caplog.records if r.exc_info]
    assert said == [
        (ValueError, ""),
        (OSError, ""),
        (ValueError, "62 times more in the last minute)"),
    ]
    assert loop.slept[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert set(loop.slept[5:]) == {1.0}


async def test_a_loop_that_had_run_for_long_is_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures of an hour ago make nobody wait now."""
    loop = FailingLoop(monkeypatch, lambda call: 3600.0 if call == 6 else 0.0, 6)
    await loop.play()
    assert loop.slept == [0.05, 0.1, 0.2, 0.4, 0.8, 0.05]


def test_an_alert_without_room_gets_no_receipt() -> None:
    """With one its sender would forget it, and it comes again without."""
    receipts: list[Envelope] = []
    health, clock = SimpleNamespace(heard={}), SimpleNamespace(monotonic_ns=lambda: 7)
    full: Any = SimpleNamespace(
        _desk=SimpleNamespace(health=health, clock=clock),
        room=lambda: False,
        _receipt=receipts.append,
        _stored=(),
    )
    said = RiskAlert("a", "x", 0.9, (), 0, 1)
    Incoming._admit(
        full, Envelope(id=bytes(16), sender="qbmia", recipient="pads", lane="to.pads", body=said), None
    )
    assert receipts == []
    assert health.heard == {"qbmia": 7}
