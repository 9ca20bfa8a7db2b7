"""What buses keep is bounded by lanes and peers, not by how much was said."""

from __future__ import annotations

import asyncio
from pathlib import Path

from qts_core.spec import SYSTEM
from qts_messaging import examples
from qts_messaging.bus import BusOptions
from qts_messaging.fabric import Fabric
from qts_messaging.memory import KEPT, Hub, memory_bus
from qts_messaging.messages import Envelope, PerformanceFeedback


def bus(name: str, folder: Path, hub: Hub) -> Fabric:
    """Return a bus of `name` at `hub`."""
    return memory_bus(SYSTEM(), BusOptions(name=name, system_name="bounded", state=folder), hub)


async def say(sender: Fabric, first: int, count: int) -> None:
    """Store `count` messages, some at once."""
    for start in range(first, first + count, 64):
        ids = range(start, min(start + 64, first + count))
        await asyncio.gather(*(sender.publish(examples.feedback(f"d-{n}")) for n in ids))


async def test_streams_keep_the_last_entries_for_late_readers(tmp_path: Path) -> None:
    """Every reader here gets all; one that comes later gets what is kept; nothing more is held."""
    hub, heard = Hub(), {"quasar": 0, "qbmia": 0}
    buses = {name: bus(name, tmp_path, hub) for name in ("pads", "quasar", "qbmia")}
    for name in heard:

        async def note(_: Envelope, name: str = name) -> None:
            heard[name] += 1

        buses[name].subscribe(PerformanceFeedback, note)
    await buses["pads"].start()
    await buses["quasar"].start()
    count = KEPT + 500
    await say(buses["pads"], 0, count)
    for _ in range(500):
        if heard["quasar"] == count:
            break
        await asyncio.sleep(0.01)
    assert heard["quasar"] == count
    assert len(hub.streams["feedback"]) == KEPT
    await buses["qbmia"].start()
    for _ in range(500):
        if heard["qbmia"] == KEPT:
            break
        await asyncio.sleep(0.01)
    assert heard["qbmia"] == KEPT
    for each in buses.values():
        await each.close()


async def test_a_closed_bus_lets_go_of_its_tables(tmp_path: Path) -> None:
    """A process that opens a bus again and again keeps no frames of the earlier ones."""
    hub = Hub()
    sender, receiver = bus("pads", tmp_path, hub), bus("quasar", tmp_path, hub)
    for each in (sender, receiver):
        await each.start()
    await say(sender, 0, 200)
    for _ in range(500):
        if receiver.accounts().delivered == 200:
            break
        await asyncio.sleep(0.01)
    assert (receiver.accounts().delivered, len(sender.durables._kept)) == (200, 200)
    for each in (sender, receiver):
        await each.close()
    assert len(sender.durables._kept) == 0


async def test_what_a_store_forgets_again_and_again_is_remembered_once(tmp_path: Path) -> None:
    """Each time all was stored again it was remembered again too, beside what was remembered before."""
    hub = Hub()
    sender = bus("pads", tmp_path, hub)
    await sender.start()
    await say(sender, 0, 3)
    for times in (1, 2, 3):
        sender.wires.durable.wiped = True
        for _ in range(500):
            if sender.durables.readded >= 3 * times and not len(sender.durables.spool):
                break
            await asyncio.sleep(0.01)
        assert (sender.durables.readded, len(sender.durables._kept)) == (3 * times, 3)
    await sender.close()
