"""A stand whose every connection goes through a proxy that the test can cut, freeze or slow down."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from tests.campaign.schedule import DIALLED, NAMES, Fault
from tests.processes.stand import Stand

from qts_core.clock import SystemClock
from qts_messaging.fabric import Fabric
from qts_messaging.testing import Proxy


class SkewedClock(SystemClock):
    """A machine whose wall clock is wrong."""

    def __init__(self, skew_s: float) -> None:
        self._skew_ns = int(skew_s * 1e9)

    def wall_ns(self) -> int:
        """Return what this machine takes for the time."""
        return super().wall_ns() + self._skew_ns


class LinkedStand(Stand):
    """Buses that reach the server and each other through proxies of their own."""

    def __init__(self, folder: Path, ports: tuple[int, ...], skew_s: dict[str, float]) -> None:
        super().__init__(folder, NAMES, ports)
        self._skew_s = skew_s
        self.redis_links: dict[str, Proxy] = {}
        self.zmq_links: dict[tuple[str, str], Proxy] = {}

    async def open(self) -> None:
        """Start the proxies."""
        for name in NAMES:
            self.redis_links[name] = Proxy("127.0.0.1", self.port)
            for peer in DIALLED:
                if peer != name:
                    self.zmq_links[(name, peer)] = Proxy(
                        "127.0.0.1", int(self.addresses[peer].rpartition(":")[2])
                    )
        for proxy in (*self.redis_links.values(), *self.zmq_links.values()):
            await proxy.start()

    async def shut(self) -> None:
        """End proxies and server."""
        for proxy in (*self.redis_links.values(), *self.zmq_links.values()):
            proxy.open.set()
            await proxy.close()
        self.proceed()
        self.kill()

    def linked_bus(self, name: str) -> Fabric:
        """Return a new bus of `name` that dials through its proxies."""
        peers = {p: f"tcp://127.0.0.1:{proxy.port}" for (n, p), proxy in self.zmq_links.items() if n == name}
        system = self.system(self.redis_links[name].port, message_ttl=5.0)
        return self.bus(name, system=system, peers=peers, clock=SkewedClock(self._skew_s.get(name, 0.0)))

    # -- faults -------------------------------------------------------------------------------------
    def begin(self, fault: Fault) -> Callable[[], None]:
        """Let a fault of a link or the server begin; return what ends it."""
        if fault.kind.startswith("server killed"):
            self.kill()
            if fault.kind.endswith("emptied"):
                for path in self.folder.glob("appendonlydir/*"):
                    path.unlink()
            return self.serve
        if fault.kind == "server stopped":
            self.send(signal.SIGSTOP)
            return self.proceed
        link = self.zmq_links[(fault.whom, fault.peer)] if fault.peer else self.redis_links[fault.whom]
        return _disturb(link, fault.kind.rpartition(" ")[2])

    def send(self, number: signal.Signals) -> None:
        """Signal the server, if there is one."""
        if self.server is not None:
            self.server.send_signal(number)

    def proceed(self) -> None:
        """Let a stopped server go on."""
        self.send(signal.SIGCONT)


def _disturb(link: Proxy, how: str) -> Callable[[], None]:
    """Cut, freeze or slow a link; return what heals it."""
    if how == "cut":
        link.refuse = True
        link.cut()
        return lambda: setattr(link, "refuse", False)
    if how == "slow":
        link.delay_s = 0.1
        return lambda: setattr(link, "delay_s", 0.0)
    link.open.clear()

    def heal() -> None:
        link.cut()  # a machine that was away for long has forgotten its connections
        link.open.set()

    return heal


async def bounded(steps: int, true: Callable[[], bool], step_s: float = 0.02) -> bool:
    """Wait at most `steps` times `step_s` for `true()`."""
    for _ in range(steps):
        if true():
            return True
        await asyncio.sleep(step_s)
    return true()
