"""A real server that answers and refuses: every bus says what and what ends it, once, and comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand

from qts_agents.bus_watch import BusWatch
from qts_agents.health import Health
from qts_cli.sockets import free_ports
from qts_core.acl import users_acl
from qts_messaging import examples
from qts_messaging.messages import PerformanceFeedback
from qts_messaging.redis_names import RedisNames

pytestmark = pytest.mark.processes
Change = Callable[[redis.asyncio.Redis, Path], Awaitable[object]]
MASTER = "operator-of-the-test"


async def _full_memory(server: redis.asyncio.Redis, _: Path) -> None:
    await server.config_set("maxmemory-policy", "noeviction")
    await server.config_set("maxmemory", "1kb")


async def _free_memory(server: redis.asyncio.Redis, _: Path) -> None:
    await server.config_set("maxmemory", "0")


async def _read_only(server: redis.asyncio.Redis, _: Path) -> None:
    (nobody,) = free_ports(1)
    await server.replicaof("127.0.0.1", str(nobody))


async def _primary(server: redis.asyncio.Redis, _: Path) -> None:
    await server.replicaof("NO", "ONE")


async def _disk_fails(server: redis.asyncio.Redis, folder: Path) -> None:
    await server.config_set("save", "3600 1")
    (folder / "dump.rdb").mkdir()  # nothing can be saved under the name of a folder
    await server.config_set("stop-writes-on-bgsave-error", "yes")
    with contextlib.suppress(redis.exceptions.ResponseError):
        await server.bgsave()


async def _disk_works(server: redis.asyncio.Redis, folder: Path) -> None:
    (folder / "dump.rdb").rmdir()
    await server.bgsave()


async def _no_writing(server: redis.asyncio.Redis, _: Path) -> None:
    await server.execute_command("ACL", "SETUSER", "pads", "-xadd")


async def _writing(server: redis.asyncio.Redis, _: Path) -> None:
    await server.execute_command("ACL", "SETUSER", "pads", "+xadd")


async def test_a_refused_login_is_no_server_that_is_away(stand: Stand) -> None:
    """A wrong password is named as what it is, before the grace of a Redis that is away and after it."""
    await stand.buses["qbmia"].close(0.0)
    (stand.secrets / "redis" / "qbmia.password").write_text("wrong")
    bus = stand.buses["qbmia"] = stand.bus("qbmia")
    await bus.start()
    await until(lambda: bool(bus.refusals.redis), 5.0)
    watch, health = BusWatch(), Health("qbmia")
    watch.look(bus, health, 0.0)
    refused = "Redis refuses the login (WRONGPASS); its password must be the one of the access list"
    assert health.troubles["redis"].startswith(refused)
    watch.look(bus, health, 6.0)
    assert (health.troubles, health.blockers["redis"]) == ({}, f"{refused}; ZeroMQ only")


async def test_a_refused_subscription_is_named(idle_stand: Stand) -> None:
    """Who may not subscribe hears no broadcast: that stood nowhere, not even in the log."""
    stand = idle_stand
    stand.acl.write_text(stand.acl.read_text().replace("&qts:{stand}:to.qbmia@* +psubscribe", "+psubscribe"))
    stand.serve()
    bus = stand.buses["qbmia"] = stand.bus("qbmia")
    await bus.start()
    await until(lambda: "(NOPERM): No permissions to access a channel" in bus.refusals.redis, 5.0)


@pytest.mark.parametrize(
    ("begin", "end", "words", "kind"),
    [
        (_full_memory, _free_memory, "out of memory (OOM); raise its maxmemory", "memory"),
        (_read_only, _primary, "it is a replica (READONLY); its URL must lead to the primary", "replica"),
        (_disk_fails, _disk_works, "cannot save to its disk (MISCONF); free or enlarge the disk", "disk"),
        (_no_writing, _writing, "run the 'xadd' command; give it the access list of this version", "rights"),
    ],
)
async def test_a_refusal_is_named_with_its_remedy_until_it_is_over(
    idle_stand: Stand, caplog: pytest.LogCaptureFixture, begin: Change, end: Change, words: str, kind: str
) -> None:
    """Status says cause and remedy; the log says each thing once; what was spooled is delivered afterwards."""
    stand = idle_stand
    stand.acl.write_text(
        users_acl(SYSTEM_NAME, stand.passwords) + f"user {MASTER} on >{MASTER} ~* &* +@all\n"
    )
    await stand.start()
    pads, watch, health = stand.buses["pads"], BusWatch(), Health("pads")
    watch.look(pads, health, 0.0)
    assert health.reasons()[1:] == []
    async with redis.asyncio.Redis(port=stand.port, username=MASTER, password=MASTER, protocol=2) as server:
        await begin(server, stand.folder)
        sent = 0
        while (
            words not in pads.refusals.redis and sent < 200
        ):  # the server may need a moment to find out that its disk fails
            await pads.publish(examples.feedback(f"d-{sent}"))
            sent += 1
            await asyncio.sleep(0.02)
        watch.look(pads, health, 0.0)
        assert words in health.troubles["redis"]
        assert words in pads.refusals.by_redis[kind]
        for _ in range(30):  # it stays said, and is said once, while everything is tried again
            assert words in pads.refusals.redis
            await asyncio.sleep(0.1)
        said = Counter(record.getMessage() for record in caplog.records)
        assert max(said.values()) <= len(stand.names), said
        await end(server, stand.folder)
        await until(
            lambda: stand.connected() and not any(b.refusals.redis for b in stand.buses.values()), 10.0
        )
    watch.look(pads, health, 0.0)
    assert health.troubles == {}
    await until(lambda: not len(pads.durables.spool))
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == sent)
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {})


async def test_who_comes_back_to_a_full_redis_reads_what_is_stored(idle_stand: Stand) -> None:
    """Only readers empty it: one that is refused its group, which is there, would keep it full for ever."""
    stand = idle_stand
    stand.acl.write_text(
        users_acl(SYSTEM_NAME, stand.passwords) + f"user {MASTER} on >{MASTER} ~* &* +@all\n"
    )
    await stand.start()
    await stand.buses["qbmia"].close(0.0)
    for number in range(3):
        await stand.buses["pads"].publish(examples.feedback(f"d-{number}"))
    await until(lambda: not len(stand.buses["pads"].durables.spool))
    async with redis.asyncio.Redis(port=stand.port, username=MASTER, password=MASTER, protocol=2) as server:
        await _full_memory(server, stand.folder)
        bus = stand.buses["qbmia"] = stand.bus("qbmia")
        await bus.start()
        await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 3, 10.0)
        stored = RedisNames(SYSTEM_NAME, "qbmia").stream("pads")
        for _ in range(100):
            if (left := (await server.xpending(stored, "qbmia"))["pending"]) == 0:
                break
            await asyncio.sleep(0.1)
        assert left == 0
    await stand.stop()


async def test_a_redis_that_evicts_durable_messages_is_told(
    idle_stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual policy of a cache: what is stored goes unseen when it is full, and nobody is refused."""
    stand = idle_stand
    stand.acl.write_text(
        users_acl(SYSTEM_NAME, stand.passwords) + f"user {MASTER} on >{MASTER} ~* &* +@all\n"
    )
    monkeypatch.setattr("qts_messaging.redis_streams.LOOK_S", 0.5)
    await stand.start()
    pads = stand.buses["pads"]
    async with redis.asyncio.Redis(port=stand.port, username=MASTER, password=MASTER, protocol=2) as server:
        await server.config_set("maxmemory-policy", "allkeys-lru")
        await asyncio.sleep(1.5)
        assert pads.refusals.evicts == ""  # without a limit it is never full
        await server.config_set("maxmemory", "100mb")
        await until(lambda: "(maxmemory-policy allkeys-lru)" in pads.refusals.evicts, 10.0)
        await server.config_set("maxmemory-policy", "volatile-lru")  # no stream of ours has an end
        await until(lambda: pads.refusals.evicts == "", 10.0)
    await stand.stop()
