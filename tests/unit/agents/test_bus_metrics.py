"""A bus in trouble is seen in its metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.faults.test_messaging_faults import NAMES, Trio
from tests.loops import until

from qts_agents.bus_metrics import TABLE
from qts_agents.metrics import Metrics
from qts_messaging import examples
from qts_messaging.ids import new_id
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
        metrics = Metrics()
        metrics.watch_bus(pads.numbers)
        told = metrics.registry.get_sample_value
        handled = {"messaging_destination_name": "market"}
        assert told("messaging_process_duration_seconds_count", handled) == 50
        assert told("messaging_process_duration_seconds_bucket", handled | {"le": "+Inf"}) == 50
        assert 0.0 < (told("messaging_process_duration_seconds_sum", handled) or 0.0) < 10.0


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
            qbmia.outgoing._box("market").put(qbmia._item(examples.update(n), None, None, 0, new_id(n)))
        text = metrics.text().decode()
        assert value(text, "qts_dead_letters_total") == 1
        assert value(text, 'qts_outbox_depth{priority="low"}') == 10
        for name in TABLE:
            assert f"# TYPE {name}" in text
        assert {f'qts_clock_offset_seconds{{peer="{n}"}}' in text for n in NAMES if n != "qbmia"} == {True}
        qbmia.outgoing._boxes.clear()


async def test_a_slow_handler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of 60 ms is counted under its type, and none that took less than the limit."""
    name = 'qts_slow_handlers_total{type="market_update"}'
    async with Trio(tmp_path) as trio:
        market, pads = trio.buses["market"], trio.buses["pads"]
        metrics, calls = Metrics(), list[object]()
        metrics.watch_bus(pads.numbers)

        async def handler(envelope: object) -> None:
            await asyncio.sleep(0.06)
            calls.append(envelope)

        pads.subscribe(MarketUpdate, handler)
        for count in (1, 2):
            await market.publish(examples.update(count))
            await until(lambda count=count: len(calls) == count and pads.incoming.dispatch.idle)  # type: ignore[misc]
            monkeypatch.setattr("qts_messaging.dispatch.SLOW_NS", 60_000_000_000)  # for the second one
        assert value(metrics.text().decode(), name) == 1


async def test_what_cannot_be_read_is_counted_by_who_sent_it(tmp_path: Path) -> None:
    """Garbage counts against the peer whose connection brought it; where no wire knows one, against nobody."""
    async with Trio(tmp_path) as trio:
        pads = trio.buses["pads"]
        metrics = Metrics()
        metrics.watch_bus(pads.numbers)
        for peer, count in (("market", 3), ("qbmia", 2), ("a stranger", 1), (None, 1)):
            for _ in range(count):
                pads.incoming.arrived(b"garbage", peer)
        text = metrics.text().decode()
        for peer, count in (("market", 3), ("qbmia", 2), ("?", 2)):
            labels = f'destination="?",outcome="decode",peer="{peer}",type="unknown"'
            assert value(text, f"qts_messages_by_type_total{{{labels}}}") == count
        assert "stranger" not in text
        assert pads.record().refused == {"decode": 7}


async def test_a_durable_message_that_never_came_is_missing_until_it_does(tmp_path: Path) -> None:
    """Found late it is missing no more; a hole among broadcasts is none of these."""
    async with Trio(tmp_path) as trio:
        pads = trio.buses["pads"]
        metrics, book = Metrics(), pads._desk.book
        metrics.watch_bus(pads.numbers)
        for lane in ("feedback", "transitions.to.pads", "market"):
            for number in (1, 4):
                book.arrived(("qbmia", 1, lane), number, 0)
            book.into["qbmia", 1, lane].track.sweep(10, 5)
        assert value(metrics.text().decode(), "qts_durable_missing") == 4
        book.arrived(("qbmia", 1, "feedback"), 3, 20)
        assert value(metrics.text().decode(), "qts_durable_missing") == 3


@pytest.mark.parametrize("name", TABLE)
def test_names_follow_the_conventions(name: str) -> None:
    """Names begin with qts_, and the library adds _total to counters itself."""
    assert name.startswith("qts_")
    assert not name.endswith("_total")
