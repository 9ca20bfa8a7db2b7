"""The fabric over a hub that loses, doubles, delays and cuts: promises hold and every message is explained."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import msgspec
import pytest
from tests.loops import until

from qts_core.errors import LocalError
from qts_core.spec import SYSTEM
from qts_messaging import examples
from qts_messaging.bus import BusOptions
from qts_messaging.fabric import Fabric
from qts_messaging.memory import Hub, memory_bus
from qts_messaging.messages import (
    MESSAGE_TYPES,
    AgentStatus,
    DecisionRequest,
    DecisionResponse,
    Envelope,
    MarketUpdate,
    PerformanceFeedback,
    RiskAlert,
)
from qts_messaging.reconcile import Totals, reconcile
from qts_messaging.testing import Faults, FaultyHub

REQUEST = examples.messages()[0]
NAMES = ("pads", "qbmia", "market")


class Trio:
    """Three buses on one hub; `heard` is what their handlers saw."""

    def __init__(self, folder: Path, faults: Faults | None = None, seed: int = 7) -> None:
        self.hub: Hub = Hub() if faults is None else FaultyHub(faults, seed)
        self.folder = folder
        self.heard: dict[str, list[Envelope]] = {n: [] for n in NAMES}
        self.buses = {n: self.bus(n) for n in NAMES}

    def bus(self, name: str) -> Fabric:
        """Return a bus whose handlers note everything and answer requests."""
        bus = memory_bus(SYSTEM(), BusOptions(name=name, system_name="t", state=self.folder), self.hub)

        async def handler(envelope: Envelope) -> None:
            self.heard[name].append(envelope)
            if isinstance(envelope.body, DecisionRequest):
                await bus.reply(envelope, DecisionResponse(envelope.body.round_id))

        for kind in MESSAGE_TYPES:
            bus.subscribe(kind, handler)
        return bus

    async def __aenter__(self) -> Trio:
        for bus in self.buses.values():
            await bus.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for bus in self.buses.values():
            await bus.close(0.5)

    def kinds(self, name: str, kind: type) -> list[Envelope]:
        """Return what `name` heard of one type."""
        return [e for e in self.heard[name] if type(e.body) is kind]

    async def beat(self) -> None:
        """Send everybody's heartbeat without faults, so that losses at the tails are seen."""
        if isinstance(self.hub, FaultyHub):
            self.hub.faults = Faults()
        for name, bus in self.buses.items():
            fields = msgspec.structs.asdict(bus.status_fields())
            await bus.publish(AgentStatus(name, "ready", "ok", "classical", config_digest="", **fields))
        await asyncio.sleep(0.2)

    async def total(self) -> Totals:
        """Close and return the reconciled books."""
        await self.__aexit__()
        found = reconcile([bus.record() for bus in self.buses.values()])
        assert found.sent == found.delivered + sum(found.lost.values()) + found.in_flight + found.unaccounted
        return found


@pytest.mark.parametrize("seed", range(3))
async def test_loss_doubling_and_disorder_are_explained(tmp_path: Path, seed: int) -> None:
    """Each frame the hub lost is a gap, each copy a duplicate; durable messages arrive once, all of them."""
    faults = Faults()
    async with Trio(tmp_path, faults, seed) as trio:
        pads, market = trio.buses["pads"], trio.buses["market"]
        await market.publish(examples.update(0))  # a broadcast lane begins with the first one heard
        await until(lambda: len(trio.heard["pads"]) == len(trio.heard["qbmia"]) == 1)
        faults.loss, faults.duplication, faults.delay_s = 0.1, 0.2, 0.05
        for n in range(100):
            await market.publish(examples.update(n))
            await pads.publish(examples.feedback(f"d-{n}"))
            await asyncio.sleep(0.001)
        replies = await asyncio.gather(*(pads.ask(REQUEST, "qbmia", 0.5) for _ in range(50)))
        await asyncio.sleep(0.2)
        await trio.beat()
        total = await trio.total()
        hub = trio.hub
        assert isinstance(hub, FaultyHub)
        assert (total.unaccounted, total.in_flight) == (0, 0)
        assert hub.lost == total.lost.get("gap", 0)
        assert total.duplicates > 0
        assert {"", "timeout"} >= {r.reason for r in replies}
        assert [f"d-{n}" for n in range(100)] == [
            e.body.decision_id
            for e in trio.kinds("qbmia", PerformanceFeedback)
            if isinstance(e.body, PerformanceFeedback)
        ]
        ids = [e.id for e in trio.heard["pads"]]
        assert len(set(ids)) == len(ids)


async def test_a_partition_drops_what_has_no_way_and_heals(tmp_path: Path) -> None:
    """A cut pair is told no_route at once; after it heals requests are answered again."""
    faults = Faults(cut={frozenset(("pads", "qbmia"))})
    async with Trio(tmp_path, faults) as trio:
        pads = trio.buses["pads"]
        assert [r.reason for r in await pads.gather({"qbmia": REQUEST}, 5.0)] == ["no_route"]
        faults.cut.clear()
        assert (await pads.ask(REQUEST, "qbmia", 2.0)).reason == ""
        total = await trio.total()
        assert (total.lost, total.unaccounted) == ({"no_route": 1}, 0)


async def test_an_alert_is_sent_again_until_it_is_confirmed(tmp_path: Path) -> None:
    """An alert that is lost on the way arrives by its resend, and is applied once."""
    faults = Faults(loss=1.0)
    async with Trio(tmp_path, faults) as trio:
        now = trio.buses["pads"]._clock.wall_ns()
        await trio.buses["pads"].send(RiskAlert("a", "x", 0.9, (), now, now + 60_000_000_000), "qbmia")
        await asyncio.sleep(0.1)
        assert trio.kinds("qbmia", RiskAlert) == []
        faults.loss = 0.0
        await until(lambda: len(trio.kinds("qbmia", RiskAlert)) == 1)
        await asyncio.sleep(1.2)
        assert len(trio.kinds("qbmia", RiskAlert)) == 1
        total = await trio.total()
        assert (total.delivered, total.lost, total.duplicates) == (1, {}, 0)


async def test_an_alert_to_nobody_waits_and_expires(tmp_path: Path) -> None:
    """Without any way an alert is kept until its end, then counted as expired."""
    async with Trio(tmp_path, Faults(cut={frozenset(("pads", "qbmia"))})) as trio:
        pads = trio.buses["pads"]
        now = pads._clock.wall_ns()
        await pads.send(RiskAlert("a", "x", 0.9, (), now, now + 300_000_000), "qbmia")
        assert pads.accounts().expired == 0
        await until(lambda: pads.accounts().expired == 1)
        assert pads.outgoing.unconfirmed == 1


async def test_old_messages_expire_on_arrival(tmp_path: Path) -> None:
    """A request that was delayed beyond its deadline reaches no handler."""
    async with Trio(tmp_path, Faults(delay_s=0.0)) as trio:
        hub = trio.hub
        later = hub.later
        hub.later = lambda *a: asyncio.get_running_loop().call_later(0.2, later, *a)  # type: ignore[method-assign]
        reply = await trio.buses["pads"].ask(REQUEST, "qbmia", 0.1)
        await asyncio.sleep(0.3)
        assert (reply.reason, trio.heard["qbmia"]) == ("timeout", [])
        assert trio.buses["qbmia"].accounts().expired == 1


async def test_late_answers_are_counted_not_applied(tmp_path: Path) -> None:
    """An answer after the caller gave up is late; its account is closed."""
    async with Trio(tmp_path) as trio:
        qbmia, pads = trio.buses["qbmia"], trio.buses["pads"]

        async def slow(envelope: Envelope) -> None:
            await asyncio.sleep(0.2)
            undated = msgspec.structs.replace(envelope, deadline_ns=0)
            await qbmia.reply(undated, DecisionResponse("r"))

        qbmia.subscribe(DecisionRequest, slow)
        assert (await pads.ask(REQUEST, "qbmia", 0.1)).reason == "timeout"
        await until(lambda: pads.accounts().dropped == {"late": 1})
        assert trio.heard["pads"] == []


async def test_a_handler_that_raises_harms_nobody(tmp_path: Path) -> None:
    """The message is counted as handler_error and the next one is handled."""
    async with Trio(tmp_path) as trio:
        calls: list[int] = []

        async def broken(envelope: Envelope) -> None:
            calls.append(envelope.sequence)
            raise ValueError("no")

        trio.buses["pads"].subscribe(MarketUpdate, broken)
        for n in range(3):
            await trio.buses["market"].publish(examples.update(n))
        await until(lambda: calls == [1, 2, 3])
        await until(lambda: trio.buses["pads"].accounts().dropped == {"handler_error": 3})
        total = await trio.total()
        assert (total.lost, total.unaccounted) == ({"handler_error": 3}, 0)


async def test_a_flood_is_dropped_by_policy_and_counted(tmp_path: Path) -> None:
    """Bars beyond the queue's bound make room for newer ones; nothing is unexplained."""
    async with Trio(tmp_path) as trio:
        for n in range(1000):
            await trio.buses["market"].publish(examples.update(n))
        await asyncio.sleep(0.2)
        total = await trio.total()
        assert total.lost == {"full": 744}
        assert total.delivered == 2 * 256
        assert (
            max(e.body.seq for e in trio.kinds("pads", MarketUpdate) if isinstance(e.body, MarketUpdate))
            == 999
        )


async def test_a_full_queue_of_requests_tells_the_caller(tmp_path: Path) -> None:
    """With a cut pair and an alert in the way nothing grows; too many waiting durables raise full."""
    async with Trio(tmp_path) as trio:
        pads = trio.buses["pads"]
        results = await asyncio.gather(
            *(pads.publish(examples.feedback(f"d-{n}")) for n in range(2000)), return_exceptions=True
        )
        refused = [r for r in results if isinstance(r, LocalError)]
        assert len(refused) == 2000 - 1024
        total = await trio.total()
        assert (total.lost, total.unaccounted) == ({"full": 976}, 0)


@pytest.mark.parametrize("full", ["disk", "spool"])
async def test_a_message_that_is_stored_nowhere_tells_the_caller_and_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """Store away, disk or spool full: who publishes waits for nothing, who listens hears it; later all is as before."""
    async with Trio(tmp_path) as trio:
        pads = trio.buses["pads"]

        async def away(_: object) -> bool:
            return False

        def no_space(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        told = {"disk": "cannot be written: No space left on device", "spool": "the spool file is full"}[full]

        with monkeypatch.context() as broken:
            broken.setattr(pads.wires.durable, "append", away)
            if full == "disk":
                broken.setattr(pads.durables.spool, "append", no_space)
            else:
                broken.setattr(pads.durables.spool, "room", lambda _: False)
            for n in range(3):
                async with asyncio.timeout(10.0):
                    with pytest.raises(LocalError, match=told):
                        await pads.publish(examples.feedback(f"d-{n}"))
            await until(lambda: len(trio.kinds("qbmia", PerformanceFeedback)) == 3)
        assert pads.numbers().nowhere == 3
        await pads.publish(examples.feedback("d-3"))
        await until(lambda: len(trio.kinds("qbmia", PerformanceFeedback)) == 4)
        assert (await trio.total()).unaccounted == 0


async def test_cancelled_callers_cross_no_answers(tmp_path: Path) -> None:
    """Callers that give up at any moment leave the answers of the others alone."""
    async with Trio(tmp_path, Faults(delay_s=0.02)) as trio:
        pads = trio.buses["pads"]

        async def one(n: int) -> tuple[int, str]:
            request = msgspec.structs.replace(REQUEST, round_id=str(n))
            reply = await pads.ask(request, "qbmia", 2.0)
            assert reply.envelope is not None
            return n, reply.envelope.body.round_id  # type: ignore[union-attr]

        tasks = [asyncio.create_task(one(n)) for n in range(600)]
        for n, task in enumerate(tasks):
            if n % 3 == 0:
                asyncio.get_running_loop().call_later((n % 50) / 1000, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        answered = [r for r in results if isinstance(r, tuple)]
        assert len(answered) >= 400
        assert [pair for pair in answered if str(pair[0]) != pair[1]] == []


async def test_the_simulated_bus_never_says_connected(tmp_path: Path) -> None:
    """Mode is simulated from start to end."""
    async with Trio(tmp_path) as trio:
        assert {"simulated"} == {bus.mode for bus in trio.buses.values()}


async def test_wrong_use_is_refused(tmp_path: Path) -> None:
    """A type without that route, an unknown peer and an unknown type raise at once."""
    async with Trio(tmp_path) as trio:
        pads = trio.buses["pads"]
        with pytest.raises(LocalError, match="not sent to all"):
            await pads.publish(REQUEST)
        with pytest.raises(LocalError, match="not sent to one peer"):
            await pads.send(examples.update(), "qbmia")
        with pytest.raises(LocalError, match="no_route"):
            await pads.send(REQUEST, "stranger")
        with pytest.raises(LocalError, match="cannot be asked"):
            await pads.ask(examples.feedback(), "qbmia", 1.0)
        with pytest.raises(TypeError, match="not a message type"):
            pads.subscribe(int, lambda _: asyncio.sleep(0))


async def test_each_request_has_its_own_time(tmp_path: Path) -> None:
    """Requests whose times are over in another order than they were sent end in that order, each as timeout."""
    over: list[tuple[float, str]] = []
    async with Trio(tmp_path) as trio:
        trio.buses["qbmia"].subscribe(DecisionRequest, lambda _: asyncio.sleep(0))

        async def ask(timeout_s: float) -> None:
            reply = await trio.buses["pads"].ask(REQUEST, "qbmia", timeout_s)
            over.append((timeout_s, reply.reason))

        await asyncio.gather(*map(ask, (2.0, 0.1, 1.0)))
    assert over == [(timeout_s, "timeout") for timeout_s in (0.1, 1.0, 2.0)]
