"""Which wires a process gets, from its settings: the one place that knows all transports."""

from __future__ import annotations

from qts_core.spec import System
from qts_messaging.bus import BusOptions
from qts_messaging.fabric import Fabric
from qts_messaging.memory import memory_bus
from qts_messaging.real import real_bus

__all__ = ["BusOptions", "open_bus"]


def open_bus(system: System, options: BusOptions) -> Fabric:
    """Return the bus of one process, not yet started; `use_real_messaging: false` gives the simulated one."""
    return real_bus(system, options) if system.use_real_messaging else memory_bus(system, options)
