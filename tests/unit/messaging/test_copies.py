"""A stored message whose live copy came first: it counts as handled only when that was, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qts_core.spec import SYSTEM
from qts_messaging import dispatch, examples
from qts_messaging.bus import BusOptions
from qts_messaging.fabric import Fabric
from qts_messaging.ids import new_id
from qts_messaging.memory import Hub, memory_bus
from qts_messaging.messages import Envelope, PerformanceFeedback


class Reader:
    """A bus whose handler can be held or made to fail, and what ended of the stored copies."""

    def __init__(self, folder: Path) -> None:
        hub = Hub()
        self.pads, self.bus = (
            memory_bus(
                SYSTEM(use_real_messaging=False),
                BusOptions(name=name, system_name="s", state=folder / name),
                hub,
            )
            for name in ("pads", "qbmia")
        )
        self.go, self.fails = asyncio.Event(), False
        self.handled: list[str] = []
        self.ended: list[str] = []
        self.bus.subscribe(PerformanceFeedback, self._handle)

    async def _handle(self, envelope: Envelope) -> None:
        await self.go.wait()
        if self.fails:
            raise ValueError("not today")
        self.handled.append(envelope.body.decision_id)  # type: ignore[union-attr]

    def frame(self, name: str) -> bytes:
        """Return what PADS would store and copy."""
        item = self.pads._item(examples.feedback(name), None, None, 0, new_id(0))
        self.pads._desk.book.accepted(item.lane, item.kind, "*")
        frame = self.pads.outgoing.frame(item)
        self.pads.outgoing.left(item)
        return frame

    def live(self, frame: bytes) -> None:
        """Let the copy arrive that nobody stored."""
        self.bus.incoming.arrived(frame, "pads")

    def stored(self, frame: bytes) -> None:
        """Let the stored one arrive."""
        self.bus.incoming.arrived(frame, "pads", self.ended.append)


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    """Give a reader that is at work."""
    found = Reader(tmp_path)
    await found.bus.start()
    yield found
    await closed(found.bus)
    await closed(found.pads)


async def closed(bus: Fabric) -> None:
    """Close a bus at once."""
    await bus.close(0.0)


async def settled() -> None:
    """Let all that can happen now happen."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("begun", [False, True])
async def test_the_stored_one_ends_when_its_copy_was_handled(reader: Reader, begun: bool) -> None:
    """Until then it stays unacknowledged: a process that dies now leaves it to its successor."""
    frame = reader.frame("a")
    reader.live(frame)
    if begun:  # its handler runs when the stored one comes
        await settled()
    reader.stored(frame)
    await settled()
    assert (reader.handled, reader.ended) == ([], [])
    reader.go.set()
    await settled()
    assert (reader.handled, reader.ended) == (["a"], ["ok"])
    reader.stored(frame)
    assert reader.ended == ["ok", "ok"]


async def test_a_copy_that_nobody_handled_leaves_the_stored_one(reader: Reader) -> None:
    """The process ends while both wait: neither is acknowledged."""
    first, second = reader.frame("a"), reader.frame("b")
    reader.live(first)
    reader.live(second)
    reader.stored(second)
    await settled()
    await reader.bus.close(0.0)
    assert (reader.handled, reader.ended) == ([], [])
    assert reader.bus.accounts().in_flight == 0


async def test_a_copy_whose_handler_failed_is_tried_with_the_stored_one(reader: Reader) -> None:
    """What fails again goes to the dead letters with its reason; what does not is handled."""
    reader.go.set()
    reader.fails = True
    first, second = reader.frame("a"), reader.frame("b")
    reader.live(first)
    reader.live(second)
    await settled()
    reader.stored(first)
    await settled()
    assert reader.ended == ["ValueError: not today"]
    reader.fails = False
    reader.stored(second)
    await settled()
    assert (reader.handled, reader.ended) == (["b"], ["ValueError: not today", "ok"])


async def test_a_copy_without_room_is_left_to_the_store(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither counted nor known: the stored one is the first."""
    frame = reader.frame("a")
    with monkeypatch.context() as full:
        full.setattr(dispatch, "INBOX", 0)
        reader.live(frame)
    reader.go.set()
    reader.stored(frame)
    await settled()
    assert (reader.handled, reader.ended) == (["a"], ["ok"])
    assert sum(count.duplicates for count in reader.bus.record().into.values()) == 0
