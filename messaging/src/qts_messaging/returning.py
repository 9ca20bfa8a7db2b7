"""How a process that began simulated, for want of a transport, changes over to the real wires by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from qts_core.errors import QtsError
from qts_core.spec import System
from qts_messaging.bus import BusOptions, Wires
from qts_messaging.fabric import Fabric
from qts_messaging.memory import SNAPSHOT
from qts_messaging.real import real_wires
from qts_messaging.redis_connection import AWAY, Door, accepted, shut
from qts_messaging.redis_names import FEED

_log = logging.getLogger(__name__)
RETRY_S = 5.0
STEPS, STEP_S = 200, 0.05  # how long the real wires may take to stand, once Redis answers
TURN_S = 0.2  # what was handed over in the last turn of the simulated wires has arrived by then


async def leave_simulated(system: System, buses: Sequence[tuple[Fabric, BusOptions]]) -> None:
    """Try every 5 s whether real wires open for all `buses` of this process; return after the change.

    All change in one turn of the loop, so none speaks over a wire that another does not hear.
    """
    while not await _changed(system, buses):
        await asyncio.sleep(RETRY_S)


async def _changed(system: System, buses: Sequence[tuple[Fabric, BusOptions]]) -> bool:
    """Open the real wires and change over if all of them stand; leave nothing open if not."""
    opened: list[Wires] = []
    try:
        door = Door(system.redis_url, buses[0][1].secrets, buses[0][1].name)
        await shut(await accepted(door()))
        for bus, options in buses:
            opened.append(real_wires(system, options))
            await bus.open(opened[-1])
        writer = next((n for n, (bus, _) in enumerate(buses) if bus.name == FEED), 0)
        if not await _stand(buses, opened) or not await _carry(buses[writer][0].wires, opened[writer]):
            raise TimeoutError("Redis answers, but not all wires stand")
    except (QtsError, *AWAY) as error:
        _log.info("messaging stays simulated: %.200s", error)
        for wires in opened:
            await _close(wires)
        return False
    before = [bus.adopt(wires) for (bus, _), wires in zip(buses, opened, strict=True)]
    _log.warning("messaging is simulated no more: %d buses use ZeroMQ and Redis", len(before))
    await asyncio.sleep(TURN_S)
    for wires in before:
        await _close(wires)
    return True


async def _stand(buses: Sequence[tuple[Fabric, BusOptions]], opened: Sequence[Wires]) -> bool:
    """Wait until every wire is up and hears, and everybody reaches everybody."""
    names = {bus.name for bus, _ in buses}

    def stands(options: BusOptions, wires: Wires) -> bool:
        others = [peer for peer in options.peers if peer in names and peer != options.name]
        reached = all(wires.direct.reachable(peer) for peer in others)
        return reached and wires.topics.up and wires.topics.listening and wires.durable.up

    for _ in range(STEPS):
        if all(stands(options, wires) for (_, options), wires in zip(buses, opened, strict=True)):
            return True
        await asyncio.sleep(STEP_S)
    return False


async def _carry(before: Wires, after: Wires) -> bool:
    """Take the market snapshot along, so that a feed that starts again goes on where it was.

    The last look does not yield, so that no bar is kept between it and the change.
    """
    carried: list[bytes] = []
    for _ in range(STEPS):
        kept = await before.durable.recall(SNAPSHOT)
        fresh = kept[kept.index(carried[-1]) + 1 :] if carried else kept
        if not fresh:
            return True
        if not await after.durable.remember(fresh):
            return False
        carried = fresh
    return False


async def _close(wires: Wires) -> None:
    """Close what was opened, whatever state it is in."""
    for wire in (wires.durable, wires.topics, wires.direct):
        with contextlib.suppress(*AWAY):
            await wire.close()
