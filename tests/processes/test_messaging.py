"""The fabric over a real Valkey and real ZeroMQ sockets: promises kept, faults accounted for."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
import redis.asyncio
import zmq
from redis.exceptions import NoPermissionError
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand

from qts_core.acl import users_acl
from qts_core.errors import ConfigError, LocalError
from qts_messaging import codec, dead_letters, examples, keys
from qts_messaging.messages import (
    AgentStatus,
    DecisionRequest,
    Envelope,
    MarketUpdate,
    PerformanceFeedback,
    PhaseTransition,
    RiskAlert,
    SystemCommand,
)
from qts_messaging.redis_names import RedisNames
from qts_messaging.zap import Curtain
from qts_messaging.zeromq_sockets import FRAME

pytestmark = pytest.mark.processes
REQUEST = examples.messages()[0]
FEEDBACK = examples.messages()[4]
NAMES = {name: RedisNames(SYSTEM_NAME, name) for name in ("pads", "qbmia", "market")}


def admin(stand: Stand, name: str = "pads") -> redis.asyncio.Redis:
    """Return a client with an agent's own rights."""
    return redis.asyncio.Redis(port=stand.port, username=name, password=stand.passwords[name])


async def frames(
    stand: Stand, frame: bytes, key: tuple[bytes, bytes] | None, name: str = "qbmia"
) -> zmq.Socket[bytes]:
    """Send raw bytes to pads' ROUTER as `name` with `key`; return the socket."""
    socket = Curtain.shared().context.socket(zmq.DEALER)
    socket.setsockopt(zmq.IDENTITY, name.encode())
    socket.setsockopt(zmq.LINGER, 0)
    if key is not None:
        socket.curve_publickey, socket.curve_secretkey = key
        socket.curve_serverkey = keys.load_curve(stand.secrets, "pads").public
    socket.connect(stand.addresses["pads"])
    socket.send(frame, zmq.DONTWAIT)
    return socket


async def test_every_route_delivers_and_the_books_balance(stand: Stand) -> None:
    """Direct, broadcast, durable, addressed durable and alert with receipt all arrive once."""
    pads, qbmia = stand.buses["pads"], stand.buses["qbmia"]
    reply = await pads.ask(REQUEST, "qbmia", 20.0, trace=bytes(25))
    assert reply.envelope is not None
    assert reply.envelope.trace == bytes(25)
    await stand.buses["market"].publish(examples.update())
    await pads.publish(FEEDBACK)
    await qbmia.send(examples.messages()[2], "pads")
    now = time.time_ns()
    alert = RiskAlert("a", "x", 0.9, (), now, now + 20_000_000_000)
    await pads.send(alert, "market")
    for name, bus in stand.buses.items():
        fields = msgspec.structs.asdict(bus.status_fields())
        await bus.publish(AgentStatus(name, "ready", "ok", "classical", config_digest="", **fields))
    await until(lambda: len(stand.kinds("market", RiskAlert)) == 1)
    await until(lambda: all(len(stand.kinds(n, AgentStatus)) == 2 for n in stand.names))
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 1)
    await until(lambda: len(stand.kinds("pads", PhaseTransition)) == 1)
    await until(lambda: len(stand.kinds("pads", MarketUpdate)) == 1)
    assert stand.kinds("market", PhaseTransition) == []
    assert {"alive"} == {h.state for n, h in pads.peers().items() if n in stand.names}
    await asyncio.sleep(0.7)  # an alert without a receipt would be sent again
    total = await stand.stop()
    assert (total.unaccounted, total.lost, total.duplicates) == (0, {}, 0)
    assert total.sent == 1 + 1 + 2 + 2 + 1 + 1 + 6


async def test_many_requests_at_once_get_their_own_answers(stand: Stand) -> None:
    """Five hundred requests in flight are answered each by its own round."""
    ask = stand.buses["pads"].ask
    requests = [msgspec.structs.replace(REQUEST, round_id=f"r-{n}") for n in range(500)]
    replies = await asyncio.gather(*(ask(r, "qbmia", 10.0) for r in requests))
    rounds = [r.envelope.body.round_id for r in replies if r.envelope]  # type: ignore[union-attr]
    assert [r.round_id for r in requests] == rounds


async def test_gather_waits_for_the_deadline_of_a_silent_peer(stand: Stand) -> None:
    """A peer that never answers ends as timeout, one that is not there as no_route; order is kept."""
    stand.buses["qbmia"].subscribe(DecisionRequest, lambda _: asyncio.sleep(0))
    replies = await stand.buses["pads"].gather({"qbmia": REQUEST, "quasar": REQUEST}, 0.3)
    assert [(r.peer, r.reason) for r in replies] == [("qbmia", "timeout"), ("quasar", "no_route")]


async def test_too_large_is_refused_at_the_sender(stand: Stand) -> None:
    """More than fits into a frame raises before anything is sent, and is counted."""
    big = msgspec.structs.replace(examples.update(), kind="x" * (codec.LIMIT + 1))
    with pytest.raises(LocalError, match="too_large"):
        await stand.buses["pads"].publish(big)
    assert stand.buses["pads"].record().out["market"].dropped == {"too_large": 1}
    assert stand.buses["pads"].accounts().unaccounted == 0


@pytest.mark.parametrize("key", ["wrong", "none"])
async def test_a_stranger_is_not_let_in(stand: Stand, key: str) -> None:
    """A key that is not on the list and no CURVE at all get no connection."""
    command = SystemCommand("drain")
    frame = codec.encode(Envelope(id=bytes(16), sender="qbmia", lane="to.pads", sequence=1, body=command))
    socket = await frames(stand, frame, zmq.curve_keypair() if key == "wrong" else None)
    await asyncio.sleep(0.5)
    socket.close(linger=0)
    assert [] == stand.kinds("pads", SystemCommand)
    assert {} == stand.buses["pads"].record().refused


async def test_a_known_key_cannot_speak_as_another(stand: Stand) -> None:
    """The feed's key under the routing id of an agent is counted as a mismatch, whatever sender it names."""
    curve = keys.load_curve(stand.secrets, "market")
    for sender in ("qbmia", "market"):
        envelope = Envelope(
            id=bytes(16), sender=sender, lane="to.pads", sequence=1, body=SystemCommand("drain")
        )
        socket = await frames(stand, codec.encode(envelope), (curve.public, curve.secret))
        await asyncio.sleep(0.5)
        socket.close(linger=0)
    assert [] == [e for e in stand.kinds("pads", SystemCommand) if e.sender == "qbmia"]
    assert {"sender_mismatch": 1} == stand.buses["pads"].record().refused


async def test_frames_that_lie_are_counted_and_dropped(stand: Stand) -> None:
    """Garbage, another's name, a wrong version, an unknown type and a stale one: five counts, no handler call."""
    curve = keys.load_curve(stand.secrets, "market")
    command = SystemCommand("drain")
    honest = Envelope(
        id=bytes(16), sender="market", recipient="pads", lane="to.pads", epoch=1, sequence=1, body=command
    )

    def variant(number: int, **fields: object) -> bytes:
        changes = {"id": bytes([number]) * 16, "sequence": number} | fields
        return codec.encode(msgspec.structs.replace(honest, **changes))

    unknown = msgspec.msgpack.decode(variant(3))
    unknown[-1][0] = "takeover"
    sent = [
        b"garbage",
        variant(9, sender="qbmia"),
        variant(1),
        variant(1),
        variant(2, version=2),
        msgspec.msgpack.encode(unknown),
        variant(4, sent_ns=1, ttl_ms=1000),
        variant(5, deadline_ns=1),
    ]
    await stand.buses["market"].close(0.0)  # its routing id is taken over
    socket = await frames(stand, sent[0], (curve.public, curve.secret), "market")
    for frame in sent[1:]:
        socket.send(frame)
    await until(lambda: len(stand.kinds("pads", SystemCommand)) == 1)
    await until(lambda: stand.buses["pads"].record().into["market|1|to.pads"].expired == 2)
    record = stand.buses["pads"].record()
    count = record.into["market|1|to.pads"]
    assert record.refused == {"decode": 1, "sender_mismatch": 1}
    assert {k: n for k, n in record.counts.items() if "/unknown/" in k} == {
        "market/?/unknown/decode": 1,
        "market/?/unknown/sender_mismatch": 1,
        "market/to.pads/unknown/version": 1,
        "market/to.pads/unknown/decode": 1,
    }
    assert count.dropped == {"version": 1, "decode": 1}
    assert (count.delivered, count.expired, count.duplicates, count.high) == (1, 2, 1, 5)
    socket.send(bytes(FRAME + 1))  # libzmq refuses it and drops the connection
    await asyncio.sleep(0.2)
    socket.close(linger=0)
    reply = await stand.buses["pads"].ask(REQUEST, "qbmia", 20.0)
    assert reply.reason == ""


async def test_killed_redis_degrades_and_loses_nothing(stand: Stand) -> None:
    """While Valkey is dead all arrives over ZeroMQ; when it is back the spool is stored, in order, once applied."""
    pads, market = stand.buses["pads"], stand.buses["market"]
    await pads.publish(FEEDBACK)
    # what is stored but not read yet would come only after the server's return
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 1)
    stand.kill()
    await until(lambda: all(b.mode == "degraded" for b in stand.buses.values()))
    for n in range(20):
        await pads.publish(msgspec.structs.replace(FEEDBACK, decision_id=f"d-{n}"))
        await market.publish(examples.update(n))
    assert (await pads.ask(REQUEST, "qbmia", 20.0)).reason == ""
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 21)
    await until(lambda: len(stand.kinds("pads", MarketUpdate)) == 20)
    await until(lambda: not pads.redis_reached)
    stand.serve()
    await until(stand.connected)
    await until(lambda: len(pads.durables.spool) == 0)
    await until(lambda: pads.redis_reached and not pads.deaf)
    client = admin(stand)
    entries = await client.xrange(NAMES["pads"].stream("pads"))
    await client.aclose()
    stored = [codec.decode(fields[b"m"]) for _, fields in entries]
    assert list(range(1, 22)) == [e.sequence for e in stored if isinstance(e, Envelope)]
    await asyncio.sleep(1.5)
    assert len(stand.kinds("qbmia", PerformanceFeedback)) == 21
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {})


async def test_what_was_not_acknowledged_is_given_to_the_next_process(stand: Stand) -> None:
    """A process that dies in a handler leaves its messages to its successor of the same name."""
    started = asyncio.Event()

    async def stuck(_: Envelope) -> None:
        started.set()
        await asyncio.sleep(100)

    stand.buses["qbmia"].subscribe(PerformanceFeedback, stuck)
    await stand.buses["pads"].publish(FEEDBACK)
    await started.wait()
    await stand.buses["qbmia"].close(0.0)
    stand.buses["qbmia"] = stand.bus("qbmia")
    await stand.buses["qbmia"].start()
    await until(lambda: len(stand.kinds("qbmia", PerformanceFeedback)) == 1)
    assert (await stand.stop()).unaccounted == 0


async def test_a_handler_that_raises_sends_durable_messages_to_the_dead_letters(stand: Stand) -> None:
    """The reason is stored, the process goes on, the account is closed."""

    async def broken(_: Envelope) -> None:
        raise ValueError("cannot digest this")

    stand.buses["qbmia"].subscribe(PerformanceFeedback, broken)
    await stand.buses["pads"].publish(FEEDBACK)
    client = admin(stand)

    async def letters() -> int:
        return int(await client.xlen(NAMES["qbmia"].dead))

    for _ in range(3000):
        if await letters():
            break
        await asyncio.sleep(0.02)
    ((_, letter),) = await client.xrange(NAMES["qbmia"].dead)
    await client.aclose()
    assert letter[b"reason"] == b"ValueError: cannot digest this"
    assert (await stand.buses["pads"].ask(REQUEST, "qbmia", 20.0)).reason == ""
    total = await stand.stop()
    assert (total.unaccounted, total.lost) == (0, {"dead_letter": 1})


async def test_dead_letters_are_driven_again_once(stand: Stand) -> None:
    """A letter goes back to the process it failed at and to no other; it leaves the list, and counts as delivered."""
    broken, seen = [True], []

    async def handler(envelope: Envelope) -> None:
        if broken[0]:
            raise ValueError("cannot digest this")
        seen.append(envelope.id)

    qbmia = stand.buses["qbmia"]
    qbmia.subscribe(PerformanceFeedback, handler)
    sent = [await stand.buses["pads"].publish(examples.feedback(f"d-{n}")) for n in range(3)]
    await until(lambda: qbmia.numbers().dead_letters == 3)
    client, other = admin(stand, "qbmia"), admin(stand)
    letters = await dead_letters.read(other, SYSTEM_NAME, "qbmia")
    assert [(each.kind, each.sender, each.group, each.topic) for each in letters] == [
        ("performance_feedback", "pads", "qbmia", "feedback")
    ] * 3
    assert {each.reason for each in letters} == {"ValueError: cannot digest this"}
    broken[0] = False
    with pytest.raises(NoPermissionError):  # another could write a letter of its own making
        await dead_letters.redrive(other, SYSTEM_NAME, "qbmia", letters[:2])
    assert await dead_letters.redrive(client, SYSTEM_NAME, "qbmia", letters[:2]) == 2
    await until(lambda: len(seen) == 2)
    broken[0] = True  # and what fails again is a letter again
    await dead_letters.redrive(client, SYSTEM_NAME, "qbmia", letters[2:])
    await until(lambda: qbmia.numbers().dead_letters == 4)
    await asyncio.sleep(0.5)
    assert seen == sent[:2]
    assert len(stand.kinds("market", PerformanceFeedback)) == 3
    assert len(await dead_letters.read(client, SYSTEM_NAME, "qbmia")) == 1
    await client.aclose()
    await other.aclose()
    total = await stand.stop()
    assert (total.unaccounted, total.in_flight) == (0, 0)


async def test_a_deaf_subscriber_notices_and_hears_again(stand: Stand) -> None:
    """A subscription that stands but carries nothing is found by its missing beacons and replaced."""
    qbmia = stand.buses["qbmia"]
    topics = qbmia.wires.topics
    ear = topics._ear  # type: ignore[attr-defined]
    ear.say(("PUNSUBSCRIBE", NAMES["qbmia"].heard[0]))  # the server forgets one of our patterns
    await until(lambda: topics.resubscribed == 1, 6.0)  # type: ignore[attr-defined]
    await until(lambda: not qbmia.deaf, 6.0)
    await stand.buses["market"].publish(examples.update())
    await until(lambda: len(stand.kinds("qbmia", MarketUpdate)) == 1)


async def test_a_server_that_forgot_us_is_asked(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beacon nobody received tells at once; the bus says deaf and not connected."""
    monkeypatch.setattr("qts_messaging.beacon.Beacon.deaf", False)
    # the longest wait before it subscribes again, 50 ms: `until` looks every 20
    monkeypatch.setattr("qts_messaging.redis_pubsub.random.random", lambda: 1.0)
    qbmia = stand.buses["qbmia"]
    topics = qbmia.wires.topics
    await until(lambda: topics._proven is topics._ear)  # type: ignore[attr-defined]
    topics._ear.say(("PUNSUBSCRIBE", NAMES["qbmia"].heard[-1]))  # type: ignore[attr-defined]
    await until(lambda: qbmia.deaf and qbmia.mode == "degraded", 3.0)
    await until(lambda: not qbmia.deaf and qbmia.mode == "connected", 5.0)
    assert topics.resubscribed == 1


async def test_killed_subscriptions_are_made_again(idle_stand: Stand) -> None:
    """When the server ends every subscriber's connection all hear again within 3 s."""
    stand = idle_stand
    stand.acl.write_text(users_acl(SYSTEM_NAME, stand.passwords) + "user root on >root ~* &* +@all\n")
    await stand.start()
    ears = {name: bus.wires.topics._ear for name, bus in stand.buses.items()}  # type: ignore[attr-defined]
    async with redis.asyncio.Redis(port=stand.port, username="root", password="root", protocol=2) as root:
        assert await root.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == len(ears)

    def anew() -> bool:
        topics = {name: bus.wires.topics for name, bus in stand.buses.items()}
        return all(t.listening and t._ear is not ears[name] for name, t in topics.items())  # type: ignore[attr-defined]

    await until(anew, 3.0)
    await stand.buses["market"].publish(examples.update())
    await until(
        lambda: len(stand.kinds("pads", MarketUpdate)) == len(stand.kinds("qbmia", MarketUpdate)) == 1
    )


async def test_the_market_snapshot_is_bounded_and_ordered(stand: Stand) -> None:
    """A late joiner reads the last bars, oldest first; forgetting empties it."""
    market, pads = stand.buses["market"], stand.buses["pads"]
    bars = [examples.update(n, "snapshot") for n in range(4100)]
    assert await market.remember(*bars)
    assert bars[-3000:] == await pads.recall(3000)
    assert bars[-4096:] == await pads.recall(5000)
    await market.forget()
    assert await pads.recall(10) == []


async def test_a_user_is_confined_to_its_system(stand: Stand) -> None:
    """Other keys, other channels and dangerous commands are refused; nobody gets in without a password."""
    client = admin(stand, "qbmia")
    for command in (
        ("SET", "other", "1"),
        ("PUBLISH", "other", "1"),
        ("FLUSHALL",),
        ("SCAN", "0"),
        ("ACL", "LIST"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            await client.execute_command(*command)
    await client.aclose()
    nobody = redis.asyncio.Redis(port=stand.port)
    with pytest.raises(redis.exceptions.AuthenticationError):
        await nobody.ping()
    await nobody.aclose()


async def test_a_wrong_password_leaves_the_bus_degraded(stand: Stand) -> None:
    """The agent goes on over ZeroMQ, says so, and is never called connected."""
    await stand.buses["qbmia"].close(0.0)
    (stand.secrets / "redis" / "qbmia.password").write_text("wrong")
    bus = stand.buses["qbmia"] = stand.bus("qbmia")
    await bus.start()
    await until(lambda: bus.wires.direct.reachable("pads"))
    await asyncio.sleep(0.3)
    assert (bus.mode, bus.redis_reached) == ("degraded", False)
    await until(lambda: stand.buses["pads"].wires.direct.reachable("qbmia"))
    assert (await stand.buses["pads"].ask(REQUEST, "qbmia", 20.0)).reason == ""


async def test_a_taken_port_is_a_configuration_error(stand: Stand) -> None:
    """The error names the address and the setting."""
    rival = stand.bus("pads", state=stand.folder / "rival")
    with pytest.raises(ConfigError, match="zmq_ports"):
        await rival.start()
    await rival.wires.direct.close()


async def test_curve_without_keys_is_refused(stand: Stand) -> None:
    """Encryption is never left out silently."""
    with pytest.raises(ConfigError, match="QTS_SECRETS"):
        stand.bus("pads", secrets=None)
