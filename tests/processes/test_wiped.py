"""A server that comes back without what was stored there: it is stored again, and nothing is applied twice."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import Any

import pytest
from tests.loops import until
from tests.processes.stand import Stand

from qts_messaging import examples
from qts_messaging.messages import PerformanceFeedback
from qts_messaging.redis_line import Command

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]


def _copies(stand: Stand) -> dict[str, int]:
    """Return how many second copies of feedback each process has recognised; a heartbeat may have some, too."""
    return {
        name: sum(i.duplicates for key, i in bus.record().into.items() if key.split("|")[2] == "feedback")
        for name, bus in stand.buses.items()
    }


async def test_a_redis_that_comes_back_empty_gets_everything_again(stand: Stand) -> None:
    """Groups are made anew, what was stored is stored again under the same ids, nothing is applied twice."""
    pads = stand.buses["pads"]
    for n in range(5):
        await pads.publish(examples.feedback(f"d-{n}"))
    # one that has not read all five yet would not know their second copies
    for reader in ("qbmia", "market"):
        await until(lambda reader=reader: len(stand.kinds(reader, PerformanceFeedback)) == 5)  # type: ignore[misc]
    stand.kill()
    shutil.rmtree(stand.folder / "appendonlydir")
    stand.serve()
    # until the spool is empty a message goes both ways, and has a second copy too
    await until(lambda: pads.durables.readded == 5 and not len(pads.durables.spool))
    await pads.publish(examples.feedback("after"))
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 6)
    # both receivers see the five again, each in its own time
    wanted = {"pads": 0, "qbmia": 5, "market": 5}
    with contextlib.suppress(AssertionError):  # the comparison below says by how much
        await until(lambda: _copies(stand) == wanted)
    assert _copies(stand) == wanted
    assert len(stand.kinds("qbmia", PerformanceFeedback)) == 6
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {})


async def test_what_was_lost_once_is_not_missed_again(stand: Stand) -> None:
    """The server begins anew a second time, with all that was stored again: nothing is sent once more."""
    pads = stand.buses["pads"]
    for n in range(3):
        await pads.publish(examples.feedback(f"d-{n}"))
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 3)
    stand.kill()
    shutil.rmtree(stand.folder / "appendonlydir")
    stand.serve()
    await until(lambda: pads.durables.readded == 3 and not len(pads.durables.spool))
    for n in range(2):
        stand.kill()
        stand.serve()
        await pads.publish(examples.feedback(f"after-{n}"))
        await until(lambda n=n: len(stand.kinds("qbmia", PerformanceFeedback)) == 4 + n)  # type: ignore[misc]
    assert pads.durables.readded == 3
    await stand.stop()


async def test_a_server_that_was_away_for_a_moment_is_looked_at(stand: Stand) -> None:
    """Nobody waits for it then, and the full inbox reads nothing: the connection was opened anew unseen."""
    pads = stand.buses["pads"]
    for n in range(3):
        await pads.publish(examples.feedback(f"d-{n}"))
    pads.incoming.room = lambda: False  # type: ignore[method-assign]
    await asyncio.sleep(1.5)  # its last read has ended
    client, asked = pads.wires.durable._commands, asyncio.Event()  # type: ignore[attr-defined]
    ask = client.ask

    async def noted(*commands: Command) -> list[Any]:
        answer: list[Any] = await ask(*commands)
        if commands == (("PING",),):
            asked.set()
        return answer

    client.ask = noted
    await asked.wait()  # the next one is half a second away
    stand.kill()
    shutil.rmtree(stand.folder / "appendonlydir")
    stand.serve()
    await until(lambda: pads.durables.readded == 3 and not len(pads.durables.spool))


async def test_a_process_that_ends_meanwhile_stores_again_first(stand: Stand) -> None:
    """It closes as soon as the server is back, though nothing seems to wait: everything is there again."""
    pads = stand.buses["pads"]
    await stand.buses["market"].close(0.0)
    for n in range(5):
        await pads.publish(examples.feedback(f"d-{n}"))
    stand.kill()
    await until(lambda: not pads.wires.durable.up)
    shutil.rmtree(stand.folder / "appendonlydir")
    stand.serve()
    await until(lambda: pads.wires.durable.up)
    await pads.close()
    stand.buses["market"] = stand.bus("market")
    await stand.buses["market"].start()
    await until(lambda: len(stand.kinds("market", PerformanceFeedback)) == 5)
