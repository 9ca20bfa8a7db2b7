"""`qts messages` and the metrics say what the receivers' own handlers counted, by type and reason, over real wires."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

import msgspec
import pytest
import redis.asyncio
from prometheus_client.parser import text_string_to_metric_families
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand
from tests.processes.whole import qts

from qts_agents.metrics import Metrics
from qts_core.probes import Status
from qts_messaging import examples
from qts_messaging.accounts import Inflow
from qts_messaging.beacon import Beacon
from qts_messaging.fabric import Fabric
from qts_messaging.messages import (
    KIND,
    MESSAGE_TYPES,
    AgentStatus,
    DecisionRequest,
    DecisionResponse,
    Envelope,
    Message,
    RiskAlert,
)
from qts_messaging.redis_names import RedisNames

pytestmark = pytest.mark.processes
REQUEST, TRANSITION = examples.messages()[0], examples.messages()[2]
Key = tuple[str, str, str]  # sender, receiver (* = all), type


class Tally:
    """What callers handed over and handlers saw, counted by themselves; the books are not asked."""

    def __init__(self) -> None:
        self.said: Counter[Key] = Counter()
        self.handled: Counter[Key] = Counter()
        self.raised: Counter[Key] = Counter()
        self.too_late = 0  # answers given after their question's time

    def listen(self, bus: Fabric) -> None:
        """Count in the handlers of `bus`; some messages it cannot take, some questions it answers too late."""

        async def handler(envelope: Envelope) -> None:
            body = envelope.body
            assert body is not None
            key = (envelope.sender, bus.name, KIND[type(body)])
            if "indigestible" in (getattr(body, "decision_id", ""), getattr(body, "round_id", "")):
                self.raised[key] += 1
                raise ValueError("cannot digest this")
            self.handled[key] += 1
            if isinstance(body, DecisionRequest):
                if body.round_id == "slow":
                    self.too_late += 1
                    await asyncio.sleep(0.15)
                await bus.reply(envelope, DecisionResponse(body.round_id))

        for kind in MESSAGE_TYPES:
            bus.subscribe(kind, handler)

    async def say(self, bus: Fabric, message: Message, to: str | None = None) -> None:
        """Send or publish, and count it."""
        self.said[(bus.name, to or "*", KIND[type(message)])] += 1
        await (bus.publish(message) if to is None else bus.send(message, to))

    async def ask(self, bus: Fabric, round_id: str, timeout_s: float) -> None:
        """Ask qbmia; an answer that came counts as handled here, as no handler sees it."""
        self.said[(bus.name, "qbmia", "decision_request")] += 1
        reply = await bus.ask(msgspec.structs.replace(REQUEST, round_id=round_id), "qbmia", timeout_s)
        if reply.envelope is not None:
            self.handled[("qbmia", bus.name, "decision_response")] += 1


async def speak(stand: Stand, tally: Tally) -> None:
    """Every route once, and five ways to end that are no delivery."""
    pads, qbmia, market = (stand.buses[name] for name in stand.names)
    for n in range(30):
        await tally.ask(pads, f"r-{n}", 5.0)
    for _ in range(3):
        await tally.ask(pads, "slow", 0.05)  # expires at its sender: the answer is useless by then
        await until(lambda: qbmia.incoming.dispatch.idle)
    for n in range(20):
        await tally.say(pads, examples.feedback("indigestible" if n % 5 == 0 else f"d-{n}"))
    for n in range(7):
        await tally.say(pads, DecisionResponse("indigestible" if n < 2 else f"r-{n}"), "qbmia")
        await tally.say(qbmia, TRANSITION, "pads")
    now = time.time_ns()
    for n in range(5):
        await tally.say(pads, RiskAlert(f"a-{n}", "x", 0.9, (), now, now + 20_000_000_000), "market")
    for _ in range(4):
        await tally.say(pads, DecisionResponse("nobody there"), "quasar")
    await bars(stand, tally, market, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qts_messaging.beacon.Beacon.deaf", False)  # not before the bars are out
        await deafen(stand)
        await bars(stand, tally, market, 10)  # qbmia hears none of these
    topics: Any = qbmia.wires.topics
    await until(lambda: topics.resubscribed == 1 and not qbmia.deaf)
    await bars(stand, tally, market, 5)
    await until(lambda: tally.handled[("market", "qbmia", "market_update")] >= 15)
    for bus in stand.buses.values():
        fields = msgspec.structs.asdict(bus.status_fields())
        await tally.say(bus, AgentStatus(bus.name, "ready", "ok", "classical", config_digest="", **fields))
    await until(lambda: sum(n for key, n in tally.handled.items() if key[2] == "agent_status") == 6)
    await until(lambda: all(bus._drained() for bus in stand.buses.values()))


async def bars(stand: Stand, tally: Tally, market: Fabric, count: int) -> None:
    """Publish bars, and wait until pads has them all."""
    for n in range(count):
        await tally.say(market, examples.update(n))
    key = ("market", "pads", "market_update")
    await until(lambda: tally.handled[key] == tally.said[("market", "*", "market_update")])


async def deafen(stand: Stand) -> None:
    """Let the server forget that qbmia listens to bars."""
    topics: Any = stand.buses["qbmia"].wires.topics
    names, nobody = RedisNames(SYSTEM_NAME, "pads"), Beacon(0, topics._names.heard)
    topics._ear.say(("PUNSUBSCRIBE", names.heard[0]))
    async with redis.asyncio.Redis(
        port=stand.port, username="pads", password=stand.passwords["pads"]
    ) as server:
        for _ in range(3000):
            if await server.publish(names.channel("market"), nobody.next()) == len(stand.names) - 1:
                return
            await asyncio.sleep(0.01)
    raise AssertionError("the server did not forget")


def scraped(bus: Fabric) -> tuple[Counter[Key], Counter[str]]:
    """Return what the metrics of a bus say it delivered by (sender, receiver, type), and its drops by reason."""
    metrics = Metrics()
    metrics.watch_bus(bus.numbers)
    metrics.watch(lambda: Status(agent=bus.name, messages=msgspec.structs.asdict(bus.accounts())))
    delivered: Counter[Key] = Counter()
    dropped: Counter[str] = Counter()
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "qts_messages_by_type_total" and labels["outcome"] == "delivered":
                delivered[(labels["peer"], bus.name, labels["type"])] += int(sample.value)
            if sample.name == "qts_messages_dropped_total":
                dropped[labels["reason"]] += int(sample.value)
            if sample.name == "qts_messages_delivered_total":
                dropped["delivered"] = int(sample.value)
    return delivered, dropped


async def differences(stand: Stand) -> list[str]:
    """Let all speak; return where metrics or `qts messages` say something else than the receivers."""
    await stand.start()
    tally = Tally()
    for bus in stand.buses.values():
        tally.listen(bus)
    await speak(stand, tally)
    found: list[str] = []
    seen = {name: scraped(bus) for name, bus in stand.buses.items()}
    for name, (delivered, dropped) in seen.items():
        own = Counter({key: n for key, n in tally.handled.items() if key[1] == name})
        if delivered != own or dropped["delivered"] != own.total():
            found.append(f"metrics of {name}: {delivered}, its handlers {own}")
    failed = sum(n for (_, _, kind), n in tally.raised.items() if kind == "decision_response")
    if (got := seen["qbmia"][1]["handler_error"]) != failed:
        found.append(f"metrics: {got} handler errors, {failed} were raised")
    if (got := seen["pads"][1]["no_route"]) != 4:
        found.append(f"metrics: {got} without a route, there were 4")
    await stand.stop()
    printed = await asyncio.to_thread(qts, "messages", str(stand.folder), "--json", cwd=stand.folder)
    told = json.loads(printed.stdout)
    rows = {(row["sender"], row["receiver"], row["type"]): row for row in told["types"]}
    return found + list(compared(rows, tally)) + list(added_up(told, tally))


def compared(rows: dict[Key, dict[str, Any]], tally: Tally) -> list[str]:
    """Return where the rows of `qts messages` differ from the tally."""
    found = [f"{key}: no row" for key in tally.handled.keys() | tally.said.keys() if key not in rows]
    found += [f"{key}: no row was expected" for key in rows if not (tally.handled[key] or tally.said[key])]
    for key, row in rows.items():
        sender, receiver, kind = key
        said = tally.said[key] or tally.said[(sender, "*", kind)]
        if kind == "decision_response" and sender == "qbmia":
            said = tally.handled[("pads", "qbmia", "decision_request")]  # its answers
        unsent = sum(row["unsent"].values())
        if row["sent"] + unsent != said:
            found.append(f"{key}: {row['sent']} sent and {unsent} not, {said} were handed over")
        handled, raised = tally.handled[key], tally.raised[key]
        if row["delivered"] != handled or sum(row["ended"].values()) != raised:
            found.append(f"{key}: {row}, {handled} were handled and {raised} refused")
        if receiver != "*" and row["unseen"] != row["sent"] - handled - raised:
            found.append(f"{key}: {row['unseen']} unseen")
    return found


def added_up(told: dict[str, Any], tally: Tally) -> list[str]:
    """Return where the sums of `qts messages` differ from the tally."""
    missed = (
        tally.said[("market", "*", "market_update")] - tally.handled[("market", "qbmia", "market_update")]
    )
    lost = {
        "expired": tally.too_late,
        "dead_letter": sum(n for (_, _, kind), n in tally.raised.items() if kind == "performance_feedback"),
        "handler_error": sum(n for (_, _, kind), n in tally.raised.items() if kind == "decision_response"),
        "no_route": 4,
        "gap": missed,
    }
    wanted = {"delivered": tally.handled.total(), "lost": lost, "unaccounted": 0}
    return [f"{key}: {told[key]}, not {value}" for key, value in wanted.items() if told[key] != value]


async def test_books_and_metrics_say_what_receivers_counted(idle_stand: Stand) -> None:
    """Eight types, deliveries and five kinds of loss: counted by callers and handlers, told by books and metrics."""
    assert await differences(idle_stand) == []


async def test_wrong_bookings_are_seen(idle_stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: one delivery under another type, one failure booked as delivered are both told."""
    honest, done = Inflow.finished, set[str]()

    def wrong(self: Inflow, kind: str, outcome: str) -> None:
        of_pads = idle_stand.buses["pads"]._desk.book.into.get(self.key) is self
        if kind == "market_update" and of_pads and "type" not in done:
            done.add("type")
            kind = "risk_alert"
        elif outcome == "handler_error" and "reason" not in done:
            done.add("reason")
            outcome = "delivered"
        honest(self, kind, outcome)

    monkeypatch.setattr(Inflow, "finished", wrong)
    found = "\n".join(await differences(idle_stand))
    assert done == {"type", "reason"}
    for words in (
        "metrics of pads",
        "metrics: 1 handler errors, 2 were raised",
        "'risk_alert'): no row was expected",
    ):
        assert words in found
    for key in (("market", "pads", "market_update"), ("pads", "qbmia", "decision_response")):
        assert f"{key}: {{" in found
