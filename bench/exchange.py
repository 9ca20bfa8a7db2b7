"""Codec against bare msgspec, request and answer against bare pyzmq: `python -m bench.exchange --json`.

Ours and the peer do the same exchange with the same bytes, in turns, in one process and one run; each
goal is the peer's figure times what the design allows (docs: messaging targets).
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import zmq
from bench import exchange_parts
from bench.bare import twin
from bench.harness import Row, command, end, told
from bench.stand import direct_bus, free_address

from qts_messaging import codec, examples, keys
from qts_messaging.fabric import Fabric
from qts_messaging.memory import Hub
from qts_messaging.messages import DecisionRequest, DecisionResponse, Envelope
from qts_messaging.records import Column
from qts_messaging.zap import Curtain

SYMBOLS = 1000
PER_SYMBOL = ("open", "high", "low", "close", "volume", "valid", "spread", "imbalance", "depth")


def figure(name: str, unit: str, peer: str, pair: tuple[float, float], allowed: float | None) -> Row:
    """Return a row whose value may be `allowed` times the peer's at most, or at least for a rate."""
    ours, theirs = round(pair[0], 3), round(pair[1], 3)
    goal = None if allowed is None else round(theirs * allowed, 3)
    return Row(name, ours, unit, peer, theirs, goal, lower_is_better=unit != "1/s")


def turns(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, calls: int
) -> tuple[float, float]:
    """Return µs a call of both, the median of `rounds` that alternate."""

    def once(call: Callable[[], object]) -> float:
        began = time.perf_counter_ns()
        for _ in range(calls):
            call()
        return (time.perf_counter_ns() - began) / calls / 1000

    pairs = [(once(ours), once(theirs)) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def codec_figures(rounds: int, calls: int) -> Iterator[Row]:
    """Time one vote with its envelope."""
    vote = DecisionResponse("r-1", opinion=examples.vote())
    fields = {"id": bytes(16), "sender": "quasar", "recipient": "pads", "correlation_id": bytes(16)}
    fields |= {"lane": "to.pads", "sequence": 7, "trace": bytes(25), "sent_ns": 1, "epoch": 1}
    envelope = Envelope(body=vote, **fields)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(twin(Envelope))
    frame = codec.encode(envelope)
    bare = (lambda: encoder.encode(Envelope(body=vote, **fields)), lambda: decoder.decode(frame))
    ours = lambda: codec.encode(Envelope(body=codec.encoded(codec.encode_body(vote)), **fields))  # noqa: E731
    yield figure("codec encode one vote", "us", "msgspec", turns(ours, bare[0], rounds, calls), 1.5)
    both = turns(lambda: codec.decode(frame), bare[1], rounds, calls)
    yield figure("codec decode and validate one vote", "us", "msgspec", both, 1.5)


def batch_figure(rounds: int) -> Row:
    """Time an update for 1,000 symbols there and back, as columns and as an update for each symbol."""
    one = examples.update()
    wide = msgspec.structs.replace(one, **{name: _repeated(getattr(one, name)) for name in PER_SYMBOL})
    wide = msgspec.structs.replace(wide, symbols=tuple(f"S{n}" for n in range(SYMBOLS)))
    fields = {"id": bytes(16), "sender": "market", "lane": "market", "sequence": 1}
    columns = lambda: codec.decode(codec.encode(Envelope(body=wide, **fields)))  # noqa: E731
    objects = lambda: [  # noqa: E731
        codec.decode(codec.encode(Envelope(body=one, **fields))) for _ in range(SYMBOLS)
    ]
    agrees = isinstance(columns(), Envelope)
    ours, theirs = turns(columns, objects, rounds, 5)
    name = f"update for {SYMBOLS} symbols, as columns"
    return Row(name, round(ours, 1), "us", "object by object", round(theirs, 1), theirs / 20, agrees)


def _repeated(column: Column) -> Column:
    """Return one symbol's column for many symbols."""
    return Column(column.dtype, (SYMBOLS, *column.shape[1:]), column.data * SYMBOLS)


class Raw:
    """Request and answer over bare pyzmq with CURVE on one loop: the least anybody can do."""

    def __init__(self, request: bytes, answer: bytes) -> None:
        context, self._loop = Curtain.shared().context, asyncio.get_running_loop()
        public, secret = zmq.curve_keypair()
        self._router, self._dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        self._router.curve_secretkey, self._router.curve_publickey = secret, public
        self._router.curve_server = True
        client, private = zmq.curve_keypair()
        self._dealer.curve_publickey, self._dealer.curve_secretkey = client, private
        Curtain.shared().gate.admit(b"raw", {client: "raw"})  # the gate decides for the whole process
        self._router.setsockopt(zmq.ZAP_DOMAIN, b"raw")
        self._dealer.curve_serverkey = public
        port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self._dealer.connect(f"tcp://127.0.0.1:{port}")
        self._request, self._answer = request, answer
        self._waiting: list[asyncio.Future[bytes]] = []
        self._loop.add_reader(self._router.fileno(), self._serve)
        self._loop.add_reader(self._dealer.fileno(), self._take)

    def _serve(self) -> None:
        while self._router.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            peer, _ = self._router.recv_multipart(zmq.DONTWAIT)
            self._router.send_multipart([peer, self._answer], zmq.DONTWAIT)

    def _take(self) -> None:
        while self._dealer.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._waiting.pop(0).set_result(self._dealer.recv(zmq.DONTWAIT))

    async def ask(self) -> bytes:
        """Send one request, return its answer."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append(future)
        self._dealer.send(self._request, zmq.DONTWAIT)
        self._take()
        self._serve()
        return await future

    def close(self) -> None:
        """Close both sockets."""
        for socket in (self._router, self._dealer):
            self._loop.remove_reader(socket.fileno())
            socket.close(linger=0)


async def fabrics(folder: Path) -> tuple[Fabric, Fabric]:
    """Return two connected buses over ZeroMQ with CURVE; the second answers requests."""
    names, hub = ("pads", "quasar"), Hub()
    keys.create_curve(folder, names)
    addresses = {name: free_address() for name in names}
    asker, answerer = (direct_bus(folder, name, addresses, hub) for name in names)
    await asker.start()
    await answerer.start()
    vote = DecisionResponse("r-1", opinion=examples.vote())

    async def answer(envelope: Envelope) -> None:
        await answerer.reply(envelope, vote)

    answerer.subscribe(DecisionRequest, answer)
    while not (asker.wires.direct.reachable("quasar") and answerer.wires.direct.reachable("pads")):
        await asyncio.sleep(0.01)
    return asker, answerer


async def quantiles(ask: Callable[[], Awaitable[object]], count: int) -> tuple[float, float]:
    """Return median and 99th percentile of a round trip, µs, one at a time."""
    taken = []
    for _ in range(count):
        began = time.perf_counter_ns()
        await ask()
        taken.append((time.perf_counter_ns() - began) / 1000)
    taken.sort()
    return taken[count // 2], taken[count * 99 // 100]


async def rate(ask: Callable[[], Awaitable[object]], count: int, width: int = 64) -> float:
    """Return requests a second with `width` in flight."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    return count / (time.perf_counter() - began)


async def exchange_figures(rounds: int, calls: int) -> list[Row]:
    """Time request and answer, ours and bare, in turns; the design has a goal for many in flight alone."""
    request = examples.messages()[0]
    with tempfile.TemporaryDirectory() as name:
        asker, answerer = await fabrics(Path(name))
        body = codec.encode_body(request)
        raw = Raw(bytes(len(body) + 115), bytes(290))

        async def ours() -> None:
            reply = await asker.ask(request, "quasar", 5.0)
            assert reply.envelope is not None, reply.reason

        await asyncio.sleep(0.3)  # handshakes
        await quantiles(ours, 50)
        await quantiles(raw.ask, 50)
        latency = [(await quantiles(ours, calls), await quantiles(raw.ask, calls)) for _ in range(rounds)]
        rates = [(await rate(ours, calls), await rate(raw.ask, calls)) for _ in range(rounds)]
        parts = await exchange_parts.rows(ours, raw.ask, rate, calls)
        await asker.close()
        await answerer.close()
        raw.close()

    def middle(pairs: list[tuple[float, float]]) -> tuple[float, float]:
        return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)

    p50 = middle([(a[0], b[0]) for a, b in latency])
    p99 = middle([(a[1], b[1]) for a, b in latency])
    return [
        figure("request and answer, median", "us", "pyzmq", p50, None),
        figure("request and answer, p99", "us", "pyzmq", p99, None),
        figure("request and answer, 64 in flight", "1/s", "pyzmq", middle(rates), 0.7),
        *parts,
    ]


def main(arguments: list[str]) -> int:
    """Print one line a figure."""
    chosen = command(__doc__, "a few seconds, to see that it runs").parse_args(arguments)
    rounds, calls = (3, 2_000) if chosen.smoke else (9, 20_000)
    figures = [
        *codec_figures(rounds, calls),
        batch_figure(rounds),
        *asyncio.run(exchange_figures(rounds, calls // 4)),
    ]
    return told(figures, chosen.json)


if __name__ == "__main__":
    end(main)
