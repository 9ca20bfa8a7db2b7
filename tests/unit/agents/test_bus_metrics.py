"""A bus in trouble is seen in its metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.test_messaging_faults import NAMES, Trio, until

from qts_agents.bus_metrics import TABLE
from qts_agents.metrics import Metrics
from qts_messaging import examples
from qts_messaging.messages import MarketUpdate, PerformanceFeedback
from qts_messaging.testing import Faults


def value(text: str, name: str) -> float:
    """Return one sample of Prometheus text."""
    (line,) = [part for part in text.splitlines() if part.startswith(name + " ")]
    return float(line.rpartition(" ")[2])


async def test_metrics_agree_with_an_independent_count(tmp_path: Path) -> None:
    """What the receiver's own handlers counted is what its metrics and its book say."""
    async with Trio(tmp_path, Faults()) as trio:
        market, pads = trio.buses["market"], trio.buses["pads"]
        for n in range(50):
            await market.publish(examples.update(n))
        await until(lambda: len(trio.kinds("pads", MarketUpdate)) == 50)
        counts = pads.status_fields().accounts
        assert counts["market/market/market_update/delivered"] == len(trio.kinds("pads", MarketUpdate)) == 50
        assert market.status_fields().accounts["*/market/market_update/sent"] == 50


async def test_trouble_is_counted(tmp_path: Path) -> None:
    """A handler that fails, a queue that waits and every name of the table are in the text of the scrape."""
    async with Trio(tmp_path) as trio:
        pads, qbmia = trio.buses["pads"], trio.buses["qbmia"]

        async def broken(_: object) -> None:
            raise ValueError("no")

        qbmia.subscribe(PerformanceFeedback, broken)
        metrics = Metrics()
        metrics.watch_bus(qbmia.numbers)
        before = metrics.text().decode()
        assert value(before, "qts_dead_letters_total") == 0
        await pads.publish(examples.feedback("d-1"))
        await until(lambda: qbmia.numbers().dead_letters == 1)
        for n in range(10):
            qbmia.outgoing._box("market").put(qbmia._item(examples.update(n), None, None, 0))
        text = metrics.text().decode()
        assert value(text, "qts_dead_letters_total") == 1
        assert value(text, 'qts_outbox_depth{priority="low"}') == 10
        for name in TABLE:
            assert f"# TYPE {name}" in text
        assert {f'qts_clock_offset_seconds{{peer="{n}"}}' in text for n in NAMES if n != "qbmia"} == {True}
        qbmia.outgoing._boxes.clear()


@pytest.mark.parametrize("name", TABLE)
def test_names_follow_the_conventions(name: str) -> None:
    """Names begin with qts_, and the library adds _total to counters itself."""
    assert name.startswith("qts_")
    assert not name.endswith("_total")
