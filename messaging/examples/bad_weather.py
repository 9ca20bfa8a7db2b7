"""A bus in bad weather: one frame in five is lost, one in ten doubled; the books explain each message."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from qts_core.spec import SYSTEM
from qts_messaging import examples
from qts_messaging.bus import BusOptions
from qts_messaging.memory import memory_bus
from qts_messaging.messages import AgentStatus, MarketUpdate
from qts_messaging.reconcile import reconcile
from qts_messaging.testing import Faults, FaultyHub


async def main() -> None:
    """Publish 200 bars through a hub that misbehaves, then in good weather say how far the lanes have got."""
    hub, state = FaultyHub(Faults(), seed=7), Path(tempfile.mkdtemp())
    names = ("market", "pads")
    buses = {n: memory_bus(SYSTEM(), BusOptions(name=n, system_name="demo", state=state), hub) for n in names}
    heard: list[int] = []

    async def note(envelope: object) -> None:
        heard.append(1)

    buses["pads"].subscribe(MarketUpdate, note)
    for bus in buses.values():
        await bus.start()
    market = buses["market"]
    await market.publish(examples.update(0))
    await asyncio.sleep(0.05)
    hub.faults.loss, hub.faults.duplication = 0.2, 0.1
    for n in range(1, 200):
        await market.publish(examples.update(n))
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    hub.faults.loss = hub.faults.duplication = 0.0
    fields = market.status_fields()
    lanes, accounts, clock = fields.lanes, fields.accounts, fields.clock_ns
    await market.publish(
        AgentStatus("market", "ready", "ok", "classical", market.mode, lanes, accounts, clock, "")
    )
    await asyncio.sleep(0.1)
    for bus in buses.values():
        await bus.close()
    total = reconcile([bus.record() for bus in buses.values()])
    print(f"sent {total.sent}, delivered {total.delivered}, lost {total.lost}, doubled {total.duplicates}")
    print("handled:", len(heard), "| lost by the hub:", hub.lost, "| unaccounted:", total.unaccounted)


if __name__ == "__main__":
    asyncio.run(main())
