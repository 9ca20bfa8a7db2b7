"""The fabric where it hurts: callers that give up, a flood, a giant beside small ones, no descriptors left."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import redis.asyncio
from tests.conftest import Report
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand

from qts_messaging import examples
from qts_messaging.messages import DecisionRequest, DecisionResponse, MarketUpdate
from qts_messaging.reconnect import Failover
from qts_messaging.redis_names import RedisNames
from qts_messaging.testing import Proxy
from qts_messaging.zeromq_sockets import HWM

pytestmark = pytest.mark.processes
REQUEST = examples.messages()[0]
BESIDE, CALLERS = 200, 10_000
DELAY_S = 0.1
ROOT = Path(__file__).parents[2]


async def linked(stand: Stand, delay_s: float) -> tuple[Proxy, Proxy]:
    """Start all; pads reaches qbmia and the server through proxies only; return both."""
    stand.serve()
    peer = Proxy("127.0.0.1", int(stand.addresses["qbmia"].rpartition(":")[2]), delay_s)
    server = Proxy("127.0.0.1", stand.port, delay_s)
    await peer.start()
    await server.start()
    for name in stand.names:
        peers = stand.addresses | ({"qbmia": f"tcp://127.0.0.1:{peer.port}"} if name == "pads" else {})
        system = stand.system(server.port if name == "pads" else 0, decision_timeout=60.0)
        stand.buses[name] = stand.bus(name, peers=peers, system=system)
        await stand.buses[name].start()
    await until(stand.connected)
    return peer, server


async def test_ten_thousand_cancellations_cross_no_answers(idle_stand: Stand, report: Report) -> None:
    """Callers of requests and of Redis give up at random moments; every answer goes to its own question."""
    stand = idle_stand
    peer, server = await linked(stand, DELAY_S)
    pads, draw = stand.buses["pads"], random.Random(7)
    bars = [examples.update(n, "snapshot") for n in range(1, 9)]
    assert await stand.buses["market"].remember(*bars)
    wrong, right = 0, 0

    async def ask(n: int) -> None:
        nonlocal wrong, right
        reply = await pads.ask(msgspec.structs.replace(REQUEST, round_id=f"r-{n}"), "qbmia", 5.0)
        if reply.envelope is not None:
            good = getattr(reply.envelope.body, "round_id", "") == f"r-{n}"
            wrong, right = wrong + (not good), right + good

    async def recall(n: int) -> None:
        nonlocal wrong, right
        found = await pads.recall(1 + n % 8)
        if found:  # nothing when the connection was thrown away
            good = found == bars[-(1 + n % 8) :]
            wrong, right = wrong + (not good), right + good

    for first in range(0, CALLERS, BESIDE):
        tasks = [
            asyncio.create_task((recall if n % 20 == 0 else ask)(n)) for n in range(first, first + BESIDE)
        ]
        for task in tasks:
            asyncio.get_running_loop().call_later(draw.uniform(0.0, 2.5 * DELAY_S), task.cancel)
        await asyncio.wait(tasks, timeout=60.0)
    report("callers that could give up at any moment", CALLERS)
    report("of these answered, each with its own answer", right)
    assert wrong == 0
    assert CALLERS / 10 < right < CALLERS
    peer.delay_s = server.delay_s = 0.0
    await until(stand.connected)
    total = await stand.stop()
    assert total.unaccounted == 0
    await peer.close()
    await server.close()


async def test_a_flood_beyond_every_queue_is_counted(idle_stand: Stand) -> None:
    """A peer that reads nothing fills its own queue and ours; what is dropped has a reason, the rest arrives."""
    stand = idle_stand
    peer, server = await linked(stand, 0.0)
    pads = stand.buses["pads"]
    peer.open.clear()  # the connection stands, nothing moves: both high-water marks are reached
    count = 0
    for n in range(20_000):
        await pads.send(DecisionResponse(f"d-{n}"), "qbmia")
        count += 1
        if n % 500 == 0:
            await asyncio.sleep(0.01)
    stood = pads.wires.direct.reachable(
        "qbmia"
    )  # a machine so slow that libzmq gave the connection up lost more
    peer.open.set()
    await until(lambda: not pads.outgoing.queued)
    total = await stand.stop()
    heard = len(stand.kinds("qbmia", DecisionResponse))
    assert (total.unaccounted, total.in_flight) == (0, 0)
    assert (total.sent, total.delivered) == (count, heard)
    assert heard + sum(total.lost.values()) == count
    assert heard > 1000 or not stood
    await peer.close()
    await server.close()


async def test_requests_go_by_redis_while_their_line_is_away_and_come_back(
    idle_stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut line to one peer: its requests are answered over its channel, under the same lane; later directly again."""
    monkeypatch.setattr("qts_messaging.outgoing.Failover", functools.partial(Failover, 0.3))
    stand = idle_stand
    peer, server = await linked(stand, 0.0)
    pads = stand.buses["pads"]

    async def answered(count: int) -> None:
        for _ in range(count):
            assert (await pads.ask(REQUEST, "qbmia", 10.0)).reason == ""

    await answered(5)
    assert pads.numbers().failovers.get("to.qbmia", 0) == 0
    peer.refuse = True
    peer.cut()
    await until(lambda: not pads.wires.direct.reachable("qbmia"))
    await answered(5)
    assert pads.numbers().failovers["to.qbmia"] == 1
    assert pads.mode == "connected"  # both transports are up: one line is away
    peer.refuse = False
    await until(lambda: pads.wires.direct.reachable("qbmia"))

    async def back() -> bool:
        await answered(1)
        return pads.numbers().failovers["to.qbmia"] == 2

    async with asyncio.timeout(60.0):
        while not await back():
            await asyncio.sleep(0.05)
    total = await stand.stop()
    assert (total.unaccounted, total.in_flight) == (0, 0)
    assert pads.record().out["to.qbmia"].left == len(stand.kinds("qbmia", DecisionRequest))
    await peer.close()
    await server.close()


async def test_a_giant_beside_small_ones(idle_stand: Stand, report: Report) -> None:
    """33 MB on the channel of the bars cut every subscriber's output buffer; small messages go on within 3 s."""
    stand = idle_stand
    await stand.start()
    market = stand.buses["market"]
    giant = redis.asyncio.Redis(port=stand.port, username="pads", password=stand.passwords["pads"])
    loop = asyncio.get_running_loop()
    await giant.publish(RedisNames(SYSTEM_NAME, "pads").channel("market"), bytes(33 << 20))
    began = loop.time()
    await giant.aclose()
    number = 0
    while not (stand.kinds("pads", MarketUpdate) and stand.kinds("qbmia", MarketUpdate)):
        assert loop.time() - began < 10.0
        await market.publish(examples.update(number := number + 1))
        await asyncio.sleep(0.02)
    report("33 MB publish to next delivery everywhere, s", round(loop.time() - began, 3))
    await until(stand.connected)
    await until(lambda: not any(b.deaf for b in stand.buses.values()))  # its first beacon may be on its way
    assert (await stand.stop()).unaccounted == 0


STARVED = """
import asyncio, json, os, resource, sys
from pathlib import Path
from tests.loops import until
from tests.processes.stand import Stand
from qts_messaging import examples
from qts_messaging.messages import PerformanceFeedback

async def main(folder):
    stand = Stand(Path(folder))
    await stand.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    taken = []

    def starve():  # also of what a connection leaves that has ended
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass

    pads = stand.buses["pads"]
    for bus in stand.buses.values():  # every connection to the server ends; none can be made again
        for wire in (bus.wires.topics, bus.wires.durable):
            await wire._commands.connection_pool.disconnect()
            starve()
    for n in range(20):
        await pads.publish(examples.feedback(f"d-{n}"))
        await asyncio.sleep(0.05)
    starved = {bus.mode for bus in stand.buses.values()}
    for handle in taken:
        os.close(handle)
    await until(stand.connected)
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 20)
    total = await stand.stop()
    print(json.dumps({"starved": sorted(starved), "unaccounted": total.unaccounted, "lost": total.lost}), flush=True)

asyncio.run(main(sys.argv[1]))
os._exit(0)
"""


def test_no_descriptors_left(tmp_path: Path) -> None:
    """Without a free file descriptor the bus says degraded, goes on, and comes back when there are some."""
    command = [sys.executable, "-c", STARVED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout, (done.returncode, done.stderr[-2000:])
    found = json.loads(done.stdout)
    assert "degraded" in found["starved"], found
    assert (found["unaccounted"], found["lost"]) == (0, {})


FULL_QUEUE = """
import os, time, zmq
from qts_messaging.zeromq_sockets import listen, open_dealer, open_router

port = listen("tcp://127.0.0.1:0")
router = open_router(zmq.Context(), "pads", None, b"", port)
callers = zmq.Context()
dealer = open_dealer(callers, "qbmia", None, None)
dealer.connect("tcp://127.0.0.1:%d" % port.getsockname()[1])
sent, full_s = 0, 0.0
while full_s < 0.5:
    try:
        dealer.send(bytes(10_000), zmq.DONTWAIT)
        sent, full_s = sent + 1, 0.0
    except zmq.Again:
        time.sleep(0.01)
        full_s += 0.01 if sent else 0.0
dealer.close(linger=0)
time.sleep(2.5)  # two heartbeats
taken = 0
while router.poll(100):
    router.recv_multipart()
    taken += 1
print(sent, taken, flush=True)
os._exit(0)
"""


def test_a_full_queue_survives_the_end_of_its_caller() -> None:
    """A caller that filled our queue and is gone does not take this process with it (0009)."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_QUEUE], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    sent, taken = map(int, done.stdout.split())
    assert sent >= taken > 0
    assert sent > HWM
