"""One vote after another over ZeroMQ with CURVE, ours and bare pyzmq: `python -m bench.votes --json`.

Open loop: a timer of the kernel sets when each vote is due, and its latency counts from that moment to
the moment the receiver has it, so a stall of the sender is not left out (no coordinated omission).
Sender and receiver are two processes; ours and the peer send the same number of bytes, in blocks of 0.1 s
there and back, so that what others do on the machine meets both. The peer runs twice: how far its two runs
differ is how much a ratio says, and each ratio comes with its 95 % interval, drawn from the turns anew.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import zmq
from bench.harness import QUANTILES, Rounds, Row, a_target, command, end, latency_rows, told
from bench.pace import LATEST_S, STAMP, Pace, Send
from bench.ratios import interval, pooled, typical
from bench.stand import direct_bus, free_address

from qts_messaging import codec, examples, keys, tracing
from qts_messaging.fabric import Fabric
from qts_messaging.messages import DecisionResponse, Envelope
from qts_messaging.zap import Curtain

NAMES = ("pads", "quasar")
KINDS = ("ours", "pyzmq", "pyzmq once more")  # the third tells how far two runs of the same differ
Addresses = tuple[str, str, str]
Found = tuple[Rounds, ...]
RATES = (100, 1000, 5000)
TURN_S = 0.1
WARM = 3  # turns that do not count
COLD = 10  # votes at the beginning of each block that do not: it follows a pause, which the rate never has
ALLOWED = {"p50": 1.3, "p99": 1.5, "p99.9": 1.5}


class RawReceiver:
    """A bare ROUTER on the loop's reader callback."""

    def __init__(self, address: str, folder: Path, taken: list[int]) -> None:
        loop, pair, curtain = asyncio.get_running_loop(), keys.load_curve(folder, "pads"), Curtain.shared()
        self.socket, self._taken = curtain.context.socket(zmq.ROUTER), taken
        curtain.gate.admit(b"raw", pair.allowed())
        self.socket.curve_secretkey, self.socket.curve_publickey = pair.secret, pair.public
        self.socket.curve_server, self.socket.zap_domain, self.socket.rcvhwm = True, b"raw", 0
        self.socket.bind(address)
        loop.add_reader(self.socket.fileno(), self.read)
        loop.call_soon(self.read)

    def close(self) -> None:
        """Leave the loop."""
        asyncio.get_running_loop().remove_reader(self.socket.fileno())
        self.socket.close(linger=0)

    def read(self) -> None:
        """Take all that is there."""
        while True:
            try:
                _, frame = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._taken.append(time.monotonic_ns() - STAMP.unpack_from(frame)[0])


async def receive(folder: Path, addresses: Addresses, pipe: Connection) -> None:
    """Count latencies of all kinds until told to end; each word on the pipe asks for those so far."""
    taken: list[int] = []
    bus = direct_bus(folder, "pads", {"pads": addresses[0]})

    async def handler(envelope: Envelope) -> None:
        assert envelope.trace is not None
        taken.append(time.monotonic_ns() - STAMP.unpack_from(envelope.trace)[0])

    bus.subscribe(DecisionResponse, handler)
    await bus.start()
    bare = [RawReceiver(address, folder, taken) for address in addresses[1:]]
    over = asyncio.Event()

    def told() -> None:
        if pipe.recv() is None:
            over.set()
        pipe.send(taken[:])
        taken.clear()

    asyncio.get_running_loop().add_reader(pipe.fileno(), told)
    pipe.send("ready")
    gc.collect()
    gc.freeze()
    await over.wait()
    for raw in bare:
        raw.close()


def receiver(folder: str, addresses: Addresses, pipe: Connection) -> None:
    """Be the receiving process."""
    asyncio.run(receive(Path(folder), addresses, pipe))
    os._exit(0)


def sender_of(bus: Fabric) -> Send:
    """Return what sends one vote of ours; the time it was due travels where the trace does."""
    vote, rest = DecisionResponse("r-1", opinion=examples.vote()), bytes(tracing.SIZE - STAMP.size)

    async def send(planned: int) -> None:
        await bus.send(vote, "pads", trace=STAMP.pack(planned) + rest)

    return send


def raw_sender(folder: Path, address: str, size: int) -> tuple[zmq.Socket[bytes], Send]:
    """Return what sends the same number of bytes with bare pyzmq."""
    pair, rest = keys.load_curve(folder, "quasar"), bytes(size - STAMP.size)
    socket = Curtain.shared().context.socket(zmq.DEALER)
    socket.curve_secretkey, socket.curve_publickey = pair.secret, pair.public
    socket.curve_serverkey = pair.peers["pads"][0]  # pyright: ignore[reportGeneralTypeIssues]
    socket.sndhwm = 0  # where ours would queue the peer shall not refuse
    socket.connect(address)

    async def send(planned: int) -> None:
        socket.send(STAMP.pack(planned) + rest, zmq.DONTWAIT)

    return socket, send


def frame_size() -> int:
    """Return the bytes of one vote on the wire."""
    fields = {"sender": "quasar", "recipient": "pads", "lane": "to.pads", "trace": bytes(tracing.SIZE)}
    body = DecisionResponse("r-1", opinion=examples.vote())
    return len(codec.encode(Envelope(id=bytes(16), sequence=9_999, ttl_ms=500, body=body, **fields)))


def all_of(pipe: Connection, count: int) -> list[int]:
    """Ask the receiver until it has `count` latencies; at most some seconds, for a lost vote never comes."""
    taken: list[int] = []
    ends = time.monotonic() + LATEST_S
    while len(taken) < count and time.monotonic() < ends:
        time.sleep(0.02)
        pipe.send("so far")
        taken += pipe.recv()
    return taken


async def measure(rates: list[int], turns: int) -> dict[int, Found]:
    """Return the latencies (ns) of every kind by rate and turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys.create_curve(folder, NAMES)
        addresses = (free_address(), free_address(), free_address())
        pipe, far = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=receiver, args=(name, addresses, far), daemon=True
        )
        process.start()
        await asyncio.to_thread(pipe.recv)
        bus = direct_bus(folder, "quasar", {"pads": addresses[0]})
        await bus.start()
        bare = [raw_sender(folder, address, frame_size()) for address in addresses[1:]]
        while not bus.wires.direct.reachable("pads"):
            await asyncio.sleep(0.01)
        sends = (sender_of(bus), *(send for _, send in bare))
        gc.collect()
        gc.freeze()
        found = {rate: await blocks(rate, turns, sends, pipe) for rate in rates}
        pipe.send(None)
        process.join(5)
        await bus.close()
        for socket, _ in bare:
            socket.close(linger=0)
    return found


async def blocks(rate: int, turns: int, sends: tuple[Send, ...], pipe: Connection) -> Found:
    """Return what each kind's blocks of a turn took, kinds there and back: what drifts meets all alike."""
    count = max(10, int(rate * TURN_S))
    found: Found = tuple([] for _ in sends)
    for turn in range(-WARM, turns):
        forth = list(range(len(sends)))
        for which in forth if turn % 2 else forth[::-1]:
            await Pace(rate).run(COLD + count, sends[which])
            taken = await asyncio.to_thread(all_of, pipe, COLD + count)
            if turn >= 0:
                found[which].append(taken[COLD:])
    return found


def histogram(values: list[int]) -> dict[str, int]:
    """Return counts by latency, in bins of a quarter octave from 10 µs on; keys are upper bounds in µs."""
    bins: dict[str, int] = {}
    for value in sorted(values):
        bound = 10.0
        while value / 1000 > bound:
            bound *= 2**0.25
        key = f"{bound:.1f}"
        bins[key] = bins.get(key, 0) + 1
    return bins


def rows(rate: int, found: Found) -> Iterator[Row]:
    """Compare all turns together, then say how sure each ratio is."""
    ours, theirs, again = map(pooled, found)
    sent = len(found[0]) * max(10, int(rate * TURN_S))
    yield from latency_rows(f"vote at {rate}/s", KINDS[1], ALLOWED, ours, theirs, sent)
    for name, share in QUANTILES.items():
        for kind, values, turns in ((KINDS[0], ours, found[0]), (KINDS[2], again, found[2])):
            title = f"vote at {rate}/s, {name}: {kind} over {KINDS[1]}"
            low, high = interval(turns, found[1], share)
            yield Row(title, float(np.quantile(values, share) / np.quantile(theirs, share)), "times")
            yield Row(f"{title}, 95 % from", low, "times")
            yield Row(f"{title}, 95 % to", high, "times")
            yield Row(f"{title}, the median turn", typical(turns, share) / typical(found[1], share), "times")


def main(arguments: list[str]) -> int:
    """Print one line a figure; write the histograms where asked."""
    parser = command(__doc__, "a few seconds, to see that it runs")
    parser.add_argument("--rate", type=int, choices=RATES, help="this one alone")
    parser.add_argument("--histogram", type=a_target, help="file for the latencies' histograms (JSON)")
    chosen = parser.parse_args(arguments)
    rates = [chosen.rate] if chosen.rate else list(RATES)
    found = asyncio.run(measure(rates, 4 if chosen.smoke else 100))
    code = told(row for rate in rates for row in rows(rate, found[rate]))
    if chosen.histogram is not None:
        told_of = {
            rate: {kind: histogram(pooled(turns)) for kind, turns in zip(KINDS, f, strict=True)}
            for rate, f in found.items()
        }
        chosen.histogram.write_text(json.dumps(told_of, indent=1) + "\n")
    return code


if __name__ == "__main__":
    end(main)
