"""Keys and passwords change while three processes talk: nothing is lost, nothing fails, the old ones end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio
import zmq
from redis.exceptions import AuthenticationError
from tests.campaign.traffic import Traffic
from tests.conftest import Report
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand

from qts_core.acl import RELOADER, users_acl
from qts_core.files import replace_file
from qts_messaging import codec, keys
from qts_messaging.messages import Envelope, SystemCommand
from qts_messaging.zap import Curtain

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
RELOADING = "reloader"
HONEST = {"late", "expired"}  # what a slow machine adds; a gap or a missing way is none of it


def put(path: Path, *lines: str) -> None:
    """Replace a file at once."""
    replace_file(path, "".join(f"{line}\n" for line in lines).encode())


def publics(stand: Stand) -> dict[str, str]:
    """Return the public key of every name as its file holds it."""
    return {name: (stand.secrets / "curve" / f"{name}.pub").read_text().split()[0] for name in stand.names}


async def load_acl(stand: Stand, passwords: dict[str, str | list[str]]) -> None:
    """Let the server accept these passwords."""
    put(stand.acl, users_acl(SYSTEM_NAME, passwords | {RELOADER: RELOADING}).rstrip())
    async with redis.asyncio.Redis(
        port=stand.port, username=RELOADER, password=RELOADING, protocol=2
    ) as server:
        await server.execute_command("ACL", "LOAD")


def says(stand: Stand, kind: str, generation: int) -> bool:
    """Tell whether every process says it has got so far."""
    return all(bus.status_fields().credentials[kind] == generation for bus in stand.buses.values())


async def rotate_redis(stand: Stand, generation: int) -> None:
    """Go through the phases of a password's change."""
    old = stand.passwords
    new = {name: f"next-{generation}-{name}" for name in stand.names}
    await load_acl(stand, {name: [old[name], new[name]] for name in stand.names})
    for name, password in new.items():
        put(stand.secrets / "redis" / f"{name}.password", f"{password} {generation}")
    await until(lambda: says(stand, "redis", generation))
    await load_acl(stand, dict(new))
    stand.passwords = new


async def rotate_curve(stand: Stand, generation: int) -> None:
    """Go through the phases of the keys' change."""
    curve, old = stand.secrets / "curve", publics(stand)
    pairs = {name: tuple(key.decode() for key in zmq.curve_keypair()) for name in stand.names}
    for name, (public, _) in pairs.items():
        put(curve / f"{name}.pub", f"{public} {generation}", f"{old[name]} {generation - 1}")
    await until(lambda: says(stand, "curve_accepted", generation))
    assert says(stand, "curve", generation - 1)
    for name, (_, secret) in pairs.items():
        put(curve / f"{name}.key", f"{secret} {generation}")
        await asyncio.sleep(0.5)  # as kubelets do, not all at once
    await until(lambda: says(stand, "curve", generation))
    for name, (public, _) in pairs.items():
        put(curve / f"{name}.pub", f"{public} {generation}")


async def errors(stand: Stand) -> dict[str, int]:
    """Return what the server has refused since it started, by kind."""
    password = stand.passwords["pads"]
    async with redis.asyncio.Redis(port=stand.port, protocol=2, username="pads", password=password) as server:
        found = await server.info("errorstats")
    return {kind: int(facts["count"]) for kind, facts in found.items() if "BUSYGROUP" not in kind}


async def knock(stand: Stand, key: tuple[bytes, bytes], server: bytes, seconds: float = 30.0) -> bool:
    """Tell whether a holder of `key` who trusts `server` gets a connection to pads."""
    with Curtain.shared().context.socket(zmq.DEALER) as caller:
        caller.setsockopt(zmq.IDENTITY, b"qbmia~knock")
        caller.setsockopt(zmq.LINGER, 0)
        caller.curve_publickey, caller.curve_secretkey = key
        caller.curve_serverkey = server
        with caller.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
            caller.connect(stand.addresses["pads"])
            try:
                for _ in range(int(seconds / 0.02)):
                    if monitor.poll(0):
                        return True
                    await asyncio.sleep(0.02)
                return False
            finally:
                caller.disable_monitor()


@contextlib.asynccontextmanager
async def talking(stand: Stand) -> AsyncIterator[tuple[Traffic, set[str]]]:
    """Let all speak at twice the usual rate; give the traffic, and every mode that a bus was in meanwhile."""
    traffic, modes, over = Traffic(stand.buses, 2.0), set[str](), asyncio.Event()
    for bus in stand.buses.values():
        traffic.join(bus)

    async def look() -> None:
        while not over.is_set():
            modes.update(bus.mode for bus in stand.buses.values())
            await asyncio.sleep(0.01)

    tasks = [*traffic.start(over), asyncio.create_task(look())]
    try:
        yield traffic, modes
    finally:
        over.set()
        await asyncio.gather(*tasks)


async def test_nothing_is_lost_while_keys_and_passwords_change(idle_stand: Stand, report: Report) -> None:
    """Steady traffic through a new generation of both kinds: every message arrives once, no command fails."""
    stand = idle_stand
    stand.acl.write_text(users_acl(SYSTEM_NAME, stand.passwords | {RELOADER: RELOADING}))
    await stand.start()
    assert says(stand, "redis", 1)
    assert says(stand, "curve", 1)
    curve = keys.load_curve(stand.secrets, "qbmia")
    first, server = (curve.public, curve.secret), curve.peers["pads"][0]
    assert await knock(stand, first, server)
    before, first_word = await errors(stand), stand.passwords["pads"]
    async with talking(stand) as (traffic, modes):
        for generation in (2, 3):
            await rotate_redis(stand, generation)
            await rotate_curve(stand, generation)
        await until(lambda: all(len(b.wires.direct._routers) < 2 for b in stand.buses.values()))  # type: ignore[attr-defined]
    await until(lambda: not any(bus.outgoing.queued for bus in stand.buses.values()))
    await traffic.beat()
    await asyncio.sleep(0.5)
    assert await errors(stand) == before
    assert modes == {"connected"}
    now = keys.load_curve(stand.secrets, "qbmia")
    refused = stand.buses["pads"].numbers().refused
    assert not await knock(stand, first, now.peers["pads"][0], 1.0)  # an old key of a caller
    assert stand.buses["pads"].numbers().refused > refused
    assert not await knock(stand, (now.public, now.secret), server, 1.0)  # an old key of the server
    assert await knock(stand, (now.public, now.secret), now.peers["pads"][0])
    with pytest.raises(AuthenticationError):
        async with redis.asyncio.Redis(port=stand.port, username="pads", password=first_word) as late:
            await late.ping()
    total = await stand.stop()
    assert (traffic.twice, traffic.crossed, traffic.refused, total.unaccounted) == (0, 0, 0, 0)
    assert traffic.never_reached() == {}
    assert set(total.lost) <= HONEST
    report("messages sent while keys and passwords changed", total.sent)
    report("of these lost or applied twice, failed commands", 0)


async def test_a_connection_of_a_dropped_key_is_not_heard_any_more(idle_stand: Stand) -> None:
    """Who is connected with a key that leaves the list keeps the connection and speaks to nobody."""
    stand = idle_stand
    await stand.start()
    pads, curve = stand.buses["pads"], stand.secrets / "curve"
    await stand.buses["market"].close(0.0)
    own = keys.load_curve(stand.secrets, "market")
    with Curtain.shared().context.socket(zmq.DEALER) as caller:
        caller.setsockopt(zmq.IDENTITY, b"market")
        caller.curve_publickey, caller.curve_secretkey = own.public, own.secret
        caller.curve_serverkey = own.peers["pads"][0]
        caller.connect(stand.addresses["pads"])

        def say(number: int) -> None:
            body = SystemCommand("drain")
            envelope = Envelope(
                id=bytes([number]) * 16, sender="market", lane="to.pads", epoch=9, sequence=number, body=body
            )
            caller.send(codec.encode(envelope), zmq.DONTWAIT)

        say(1)
        await until(lambda: len(stand.kinds("pads", SystemCommand)) == 1)
        put(curve / "market.pub", f"{zmq.curve_keypair()[0].decode()} 2")
        await until(lambda: own.public.decode() not in pads.wires.direct._callers._names)  # type: ignore[attr-defined]
        say(2)
        await until(lambda: pads.record().refused == {"sender_mismatch": 1})
        assert len(stand.kinds("pads", SystemCommand)) == 1


async def test_a_file_that_cannot_be_used_changes_nothing(idle_stand: Stand) -> None:
    """A damaged key and a password the server does not know leave what works in use, until they are mended."""
    stand = idle_stand
    stand.acl.write_text(users_acl(SYSTEM_NAME, stand.passwords | {RELOADER: RELOADING}))
    await stand.start()
    before = publics(stand)["qbmia"]
    password = stand.secrets / "redis" / "pads.password"
    put(stand.secrets / "curve" / "qbmia.pub", "no key")
    put(password, "unknown 2")
    await asyncio.sleep(2.5)
    assert says(stand, "redis", 1)
    assert stand.connected()
    await load_acl(stand, dict(stand.passwords) | {"pads": [stand.passwords["pads"], "unknown"]})
    put(stand.secrets / "curve" / "qbmia.pub", before)
    await until(lambda: stand.buses["pads"].status_fields().credentials["redis"] == 2)
    assert stand.connected()
