"""A bus over ZeroMQ alone, for benchmarks: channels and streams are those of the memory bus."""

from __future__ import annotations

from pathlib import Path

import zmq

from qts_core.spec import SYSTEM, System
from qts_messaging import keys
from qts_messaging.bus import BusOptions, Wires
from qts_messaging.fabric import Fabric
from qts_messaging.memory import Hub, MemoryStreams, MemoryTopics
from qts_messaging.zeromq import ZeroMQ


def patient() -> System:
    """Return settings under which no message is too old, however long the machine leaves us waiting."""
    return SYSTEM(decision_timeout=86_400.0, market_update_interval=86_400.0)


def free_address() -> str:
    """Return an address on loopback that nobody listens on now."""
    with zmq.Context.instance().socket(zmq.DEALER) as socket:
        return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


def direct_bus(
    folder: Path, name: str, addresses: dict[str, str], hub: Hub | None = None, system: System | None = None
) -> Fabric:
    """Return a bus of `name` with the CURVE keys in `folder`, not yet started."""
    wire = ZeroMQ(name, addresses.get(name), addresses, keys.load_curve(folder, name))
    hub = hub or Hub()
    wires = Wires(wire, MemoryTopics(hub, name), MemoryStreams(hub, name))
    options = BusOptions(name=name, system_name="bench", state=folder, peers=addresses)
    return Fabric(system or SYSTEM(), options, wires)
