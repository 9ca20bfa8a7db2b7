"""The spool on a disk that is full: what fits stays in order, the rest is refused to its sender, none waits."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from qts_core.errors import LocalError
from qts_core.spec import SYSTEM
from qts_messaging import examples
from qts_messaging.bus import BusOptions, Wires
from qts_messaging.fabric import Fabric
from qts_messaging.memory import Hub, MemoryDirect, MemoryStreams, MemoryTopics
from qts_messaging.spool import Spool


@contextlib.contextmanager
def room(size: int) -> Iterator[None]:
    """Let files of this process grow to `size` bytes: the kernel cuts what goes beyond, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_record_that_did_not_fit_leaves_nothing(tmp_path: Path) -> None:
    """Neither half of it in the file nor all of it in a buffer: what comes after it is read as it was written."""
    path = tmp_path / "a.spool"
    spool = Spool(path)
    spool.append("decisions", b"1" * 3000)
    whole = path.stat().st_size
    with room(4096), pytest.raises(OSError):
        spool.append("decisions", b"2" * 3000)
    assert (path.stat().st_size, len(spool)) == (whole, whole)
    spool.append("risks", b"3" * 10)
    assert spool.head(10) == [("decisions", b"1" * 3000), ("risks", b"3" * 10)]
    assert Spool(path).head(10) == spool.head(10)


def test_without_room_for_its_rest_a_closed_spool_keeps_all(tmp_path: Path) -> None:
    """What was replayed is replayed again, and receivers know it; nothing that waits is given up."""
    path = tmp_path / "a.spool"
    spool = Spool(path)
    for n in (b"1", b"2", b"3"):
        spool.append("decisions", n * 3000)
    spool.head(1)
    spool.advance()
    with room(4096):
        spool.close()
    assert [frame[:1] for _, frame in Spool(path).head(10)] == [b"1", b"2", b"3"]


async def test_a_bus_sends_what_was_whole_and_says_what_was_not(tmp_path: Path) -> None:
    """A next process stores what its spool still holds, and tells of the rest."""
    hub = Hub()
    lives = []
    for _ in range(2):
        streams = MemoryStreams(hub, "pads")
        wires = Wires(MemoryDirect(hub, "pads"), MemoryTopics(hub, "pads"), streams)
        options = BusOptions(name="pads", system_name="damaged", state=tmp_path, peers={})
        lives.append((Fabric(SYSTEM(), options, wires), streams))
        bus, streams = lives[-1]
        await bus.start()
        if len(lives) == 1:
            streams.up = False
            await bus.publish(examples.feedback("d-1"))
            await bus.close(0.0)
            path = tmp_path / "spool" / "pads.spool"
            path.write_bytes(path.read_bytes() + b"no message at all")
    async with asyncio.timeout(5.0):
        while not hub.streams["feedback"]:
            await asyncio.sleep(0.01)
    assert f"{path}: 17 bytes from byte" in bus.lost
    assert (path.parent / "pads.spool.bad").read_bytes() == b"no message at all"
    await bus.close(0.0)


async def test_a_sender_is_told_and_the_next_message_is_stored(tmp_path: Path) -> None:
    """The store is away and the disk full: refused at once. With the store back, what fitted is replayed first."""
    hub = Hub()
    streams = MemoryStreams(hub, "pads")
    wires = Wires(MemoryDirect(hub, "pads"), MemoryTopics(hub, "pads"), streams)
    options = BusOptions(name="pads", system_name="full", state=tmp_path, peers={})
    bus = Fabric(SYSTEM(), options, wires)
    await bus.start()
    streams.up = False
    await bus.publish(examples.feedback("d-1"))
    held = len(bus.durables.spool)
    with room(held + 10):
        async with asyncio.timeout(5.0):
            with pytest.raises(LocalError, match="spool_full"):
                await bus.publish(examples.feedback("d-2"))
    assert len(bus.durables.spool) == held
    streams.up = True
    await bus.publish(examples.feedback("d-3"))
    assert len(bus.durables.spool) == 0
    assert len(hub.streams["feedback"]) == 2
    await bus.close(0.0)
