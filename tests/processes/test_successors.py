"""What a process leaves unhandled reaches its successor: everything, in the order in which it was stored."""

from __future__ import annotations

import asyncio

import pytest
from tests.loops import until
from tests.processes.stand import Stand

from qts_messaging import examples
from qts_messaging.messages import Envelope, PerformanceFeedback
from qts_messaging.redis_streams import PAGE

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
COUNT = 5 * PAGE + 1


async def test_more_than_one_page_comes_in_order(stand: Stand) -> None:
    """A handler never returned; what waited behind it is handled by the next process, oldest first."""
    pads, qbmia = stand.buses["pads"], stand.buses["qbmia"]
    started = asyncio.Event()

    async def never(_: Envelope) -> None:
        started.set()
        await asyncio.Event().wait()

    qbmia.subscribe(PerformanceFeedback, never)
    for n in range(COUNT):
        await pads.publish(examples.feedback(f"d-{n}"))
    await started.wait()
    await until(lambda: len(qbmia.incoming.dispatch) == COUNT - 1)
    await qbmia.close(0.0)
    await pads.publish(examples.feedback(f"d-{COUNT}"))  # nobody was given this one yet
    stand.buses["qbmia"] = stand.bus("qbmia")
    await stand.buses["qbmia"].start()
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == COUNT + 1)
    names = [envelope.body.decision_id for envelope in stand.kinds("qbmia", PerformanceFeedback)]
    assert names == [f"d-{n}" for n in range(COUNT + 1)]
    assert (await stand.stop()).unaccounted == 0
