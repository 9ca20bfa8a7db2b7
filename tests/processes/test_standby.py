"""Several processes of one name against a real server: one works, the others stand by and take over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.loops import until
from tests.processes.stand import Stand

from qts_messaging import examples
from qts_messaging.ending import end
from qts_messaging.fabric import Fabric

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
NAME = "qbmia"


class Replicas(Stand):
    """A stand that can have several processes of one name, each on the same address once it works."""

    def begin(self, epoch: int) -> tuple[Fabric, asyncio.Task[None]]:
        """Return a further process of one name, and its wait for its turn."""
        bus = self.bus(NAME, epoch_ns=epoch, state=self.folder / f"state-{epoch}")
        return bus, asyncio.create_task(bus.stand_by())


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Replicas]:
    """Return a stand with a server and no bus."""
    found = Replicas(tmp_path)
    found.serve()
    yield found
    await found.stop()


async def at_work(stand: Replicas, epoch: int) -> Fabric:
    """Return a process that has had its turn and works."""
    bus, turn = stand.begin(epoch)
    await asyncio.wait_for(turn, 60.0)
    await bus.start()
    stand.buses[f"{NAME}-{epoch}"] = bus
    await until(lambda: bus.mode == "connected")
    return bus


async def heard(stand: Replicas, beats: int) -> None:
    """Wait for so many beacons' time by the server, so that what would happen has happened."""
    for _ in range(beats * 20):
        await asyncio.sleep(0.02)


async def test_the_second_waits_and_takes_over_when_the_first_leaves(stand: Replicas) -> None:
    """It says nothing meanwhile; a request of PADS then reaches it by the same name."""
    pads = stand.buses["pads"] = stand.bus("pads")
    await pads.start()
    first = await at_work(stand, 1)
    second, turn = stand.begin(2)
    await until(lambda: pads.wires.direct.reachable(NAME))
    assert (await pads.ask(examples.messages()[0], NAME, 20.0)).envelope is not None
    await heard(stand, 10)
    assert not turn.done()
    await first.close()
    await until(lambda: not pads.wires.direct.reachable(NAME))
    await asyncio.wait_for(turn, 60.0)
    await second.start()
    stand.buses["second"] = second
    await until(lambda: pads.wires.direct.reachable(NAME))
    assert (await pads.ask(examples.messages()[0], NAME, 20.0)).envelope is not None


async def test_two_at_once_agree_on_one(stand: Replicas) -> None:
    """The elder works, the other waits for as long as that lives."""
    elder, younger = stand.begin(1), stand.begin(2)
    await asyncio.wait_for(elder[1], 60.0)
    await elder[0].start()
    stand.buses["elder"] = elder[0]
    await heard(stand, 10)
    assert not younger[1].done()
    await end([younger[1]])


async def test_one_that_dies_is_missed(stand: Replicas) -> None:
    """No farewell: its silence is enough, once the own subscription is known to hear."""
    first = await at_work(stand, 1)
    _, turn = stand.begin(2)
    await heard(stand, 4)
    assert not turn.done()
    speaker = first.wires.topics._speaker  # type: ignore[attr-defined]
    await end([speaker])
    await asyncio.wait_for(turn, 60.0)


async def test_a_server_that_comes_back_deposes_nobody(stand: Replicas) -> None:
    """While it is away nothing is known; afterwards both have to find each other again."""
    first = await at_work(stand, 1)
    _, turn = stand.begin(2)
    await heard(stand, 4)
    for _ in range(2):
        stand.kill()
        await heard(stand, 3)
        assert not turn.done()
        stand.serve()
        await until(lambda: first.mode == "connected")
        await heard(stand, 4)
        assert not turn.done()
    assert not first.deposed
    await end([turn])


async def test_of_two_at_work_the_one_that_began_later_stays(stand: Replicas) -> None:
    """One that was held up, and taken for dead, finds out that it is no longer wanted."""
    first = await at_work(stand, 1)
    pads = stand.buses["pads"] = stand.bus("pads")
    await pads.start()
    second = stand.bus(NAME, epoch_ns=2, state=stand.folder / "second", bind=None)
    await second.start()
    stand.buses["second"] = second
    await until(lambda: first.deposed)
    assert not second.deposed
    assert not pads.deposed


async def test_without_a_server_a_process_goes_to_work(tmp_path: Path) -> None:
    """Agents run on ZeroMQ alone: nobody can be heard, so nobody is waited for."""
    stand = Replicas(tmp_path)
    _, turn = stand.begin(1)
    await asyncio.wait_for(turn, 60.0)


async def test_a_changed_password_is_followed_while_standing_by(stand: Replicas) -> None:
    """The wait outlives a rotation: generations are told as by those at work."""
    first = await at_work(stand, 1)
    waiting, turn = stand.begin(2)
    await heard(stand, 4)
    password = stand.secrets / "redis" / f"{NAME}.password"
    word, _, _ = password.read_text().partition(" ")
    password.write_text(f"{word.strip()} 7\n")
    await until(lambda: waiting.credentials.get("redis") == 7)
    await until(lambda: first.credentials.get("redis") == 7)
    assert not turn.done()
    await end([turn])


async def test_a_wait_ends_at_its_first_cancellation(stand: Replicas) -> None:
    """Whatever the client library is doing: it swallows some, and a process would never end."""

    async def given_up(epoch: int) -> bool:
        _, turn = stand.begin(epoch)
        await asyncio.sleep(random.random() / 2)
        turn.cancel()
        await asyncio.wait((turn,), timeout=60.0)
        return turn.cancelled()

    assert all(await asyncio.gather(*(given_up(epoch) for epoch in range(1, 101))))
