"""One vote after another over ZeroMQ with CURVE, ours and bare pyzmq: `python -m bench.votes --json`.

Open loop: a timer of the kernel sets when each vote is due, and its latency counts from that moment to
the moment the receiver has it, so a stall of the sender is not left out (no coordinated omission).
Sender and receiver are two processes; ours and the peer send the same number of bytes, in turns of 0.4 s,
so that what others do on the machine meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import zmq
from bench.harness import end, latency_rows, told
from bench.pace import LATEST_S, STAMP, Pace, Send
from bench.stand import direct_bus, free_address

from qts_messaging import codec, examples, keys, tracing
from qts_messaging.fabric import Fabric
from qts_messaging.messages import DecisionResponse, Envelope
from qts_messaging.zap import Curtain

NAMES = ("pads", "quasar")
TURN_S = 0.4
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


async def receive(folder: Path, addresses: tuple[str, str], pipe: Connection) -> None:
    """Count latencies of both kinds until told to end; each word on the pipe asks for those so far."""
    taken: list[int] = []
    bus = direct_bus(folder, "pads", {"pads": addresses[0]})

    async def handler(envelope: Envelope) -> None:
        assert envelope.trace is not None
        taken.append(time.monotonic_ns() - STAMP.unpack_from(envelope.trace)[0])

    bus.subscribe(DecisionResponse, handler)
    await bus.start()
    raw = RawReceiver(addresses[1], folder, taken)
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
    raw.close()


def receiver(folder: str, addresses: tuple[str, str], pipe: Connection) -> None:
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
        time.sleep(0.1)
        pipe.send("so far")
        taken += pipe.recv()
    return taken


async def measure(rates: list[tuple[int, int]], rounds: int) -> dict[int, tuple[list[int], list[int]]]:
    """Return the latencies (ns) of ours and raw for each (rate, count), all rounds together."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys.create_curve(folder, NAMES)
        addresses = (free_address(), free_address())
        pipe, far = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=receiver, args=(name, addresses, far), daemon=True
        )
        process.start()
        await asyncio.to_thread(pipe.recv)
        bus = direct_bus(folder, "quasar", {"pads": addresses[0]})
        await bus.start()
        socket, raw = raw_sender(folder, addresses[1], frame_size())
        while not bus.wires.direct.reachable("pads"):
            await asyncio.sleep(0.01)
        kinds = (sender_of(bus), raw)
        found: dict[int, tuple[list[int], list[int]]] = {rate: ([], []) for rate, _ in rates}
        gc.collect()
        gc.freeze()
        for turn in range(-1, rounds):  # the first turn warms up
            for rate, count in rates:
                for which in (0, 1) if turn % 2 else (1, 0):
                    await Pace(rate).run(count, kinds[which])
                    taken = await asyncio.to_thread(all_of, pipe, count)
                    if turn >= 0:
                        found[rate][which].extend(taken)
        pipe.send(None)
        process.join(5)
        await bus.close()
        socket.close(linger=0)
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


def main(arguments: list[str]) -> int:
    """Print one line a figure; write the histograms where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.votes")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it runs")
    parser.add_argument("--histogram", type=Path, help="file for the latencies' histograms (JSON)")
    chosen = parser.parse_args(arguments)
    rates = [(rate, int(rate * TURN_S)) for rate in ((1000, 5000) if chosen.smoke else (100, 1000, 5000))]
    rounds = 2 if chosen.smoke else 40
    found = asyncio.run(measure(rates, rounds))
    code = told(
        row
        for rate, count in rates
        for row in latency_rows(f"vote at {rate}/s", "pyzmq", ALLOWED, *found[rate], count * rounds)
    )
    if chosen.histogram is not None:
        both = {rate: {"ours": histogram(a), "pyzmq": histogram(b)} for rate, (a, b) in found.items()}
        chosen.histogram.write_text(json.dumps(both, indent=1) + "\n")
    return code


if __name__ == "__main__":
    end(main)
