"""Does memory stay flat: allocated blocks and resident size over millions of messages.

`python -m bench.memory --json` sends ten million over the bus in memory and a tenth of that over ZeroMQ with
CURVE: votes to one peer; in memory every eighth message is durable, every eighth a bar to all. The first
`WARM` messages fill the tables of ids and are left out. The slopes are least squares over the second half of
the samples.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from bench.harness import Row, command, resident
from bench.stand import direct_bus, free_address, patient

from qts_core.allocator import keep_threshold
from qts_messaging import examples, keys
from qts_messaging.bus import BusOptions
from qts_messaging.fabric import Fabric
from qts_messaging.memory import Hub, memory_bus
from qts_messaging.messages import DecisionResponse, Envelope, MarketUpdate, PerformanceFeedback

NAMES = ("pads", "quasar")
WARM = 70_000  # messages until every table, and the allocator under it, has its final size
SAMPLES = 40
ENOUGH = 4  # samples without which there is no slope
WINDOW = 64  # messages on their way at most
ZEROMQ_SHARE = 0.1
BLOCKS_PER_MILLION = 10_000.0  # a leak of one object in a hundred messages
MIB_PER_MILLION = 1.0


class Sample(msgspec.Struct, frozen=True):
    """What the process held when so many messages had been handled."""

    messages: int
    blocks: int  # of Python's allocator
    rss_mib: float


def sample(messages: int) -> Sample:
    """Look at this process."""
    gc.collect()
    return Sample(messages, sys.getallocatedblocks(), resident() / 2**20)


def lost(receiver: Fabric) -> int:
    """Return how many messages the receiver's book has given up for a named reason."""
    into = receiver.record().into.values()
    return sum(count.gap + count.expired + sum(count.dropped.values()) for count in into)


class Load:
    """Sends from the first bus to the second, never more than `WINDOW` ahead of its handler."""

    def __init__(self, sender: Fabric, receiver: Fabric, votes_only: bool) -> None:
        self.handled = 0
        self.lost = 0  # of these the receiver's book knows why
        self._votes_only = votes_only
        self._sender, self._receiver = sender, receiver
        self._said = [
            DecisionResponse("r-1", opinion=examples.vote()),
            examples.feedback(),
            examples.update(),
        ]
        for kind in (DecisionResponse, PerformanceFeedback, MarketUpdate):
            receiver.subscribe(kind, self._note)

    async def _note(self, _: Envelope) -> None:
        self.handled += 1

    async def run(self, first: int, count: int) -> None:
        """Send the messages `first` to `first + count - 1`, each of them new; return when all are handled."""
        vote, feedback, bar = self._said
        for n in range(first, first + count):
            if self._votes_only or n % 8 > 2:
                await self._sender.send(vote, "quasar")
            elif n % 8 == 1:
                await self._sender.publish(feedback)
            else:
                await self._sender.publish(bar)
            await self._until(n + 1 - WINDOW)
        await self._until(first + count)

    async def _until(self, handled: int) -> None:
        """Wait for the handler, at most some seconds: a lost message must not stop the run for ever.

        A process that was suspended may find its connections ended: what was on them counts as gaps.
        """
        for turn in range(2000):
            if self.handled + self.lost >= handled:
                return
            if turn >= 1000:
                self.lost = lost(self._receiver)
            await asyncio.sleep(0 if turn < 1000 else 0.01)
        raise SystemExit(f"memory: {handled - self.handled} messages were not handled within 10 s")

    async def measure(self, messages: int, seconds: float) -> list[Sample]:
        """Return samples after the warm-up, evenly spaced; fewer when `seconds` are over before."""
        ends = time.monotonic() + seconds
        await self.run(0, WARM)
        samples, step = [sample(self.handled)], max(1, (messages - WARM) // SAMPLES)
        while self.handled < messages and (time.monotonic() < ends or len(samples) < ENOUGH):
            await self.run(self.handled, min(step, messages - self.handled))
            samples.append(sample(self.handled))
        return samples


def rows(title: str, samples: list[Sample], missing: int, smoke: bool) -> Iterator[Row]:
    """Turn samples into slopes per million messages; a short run says too little to judge them."""
    half, last, agrees = samples[len(samples) // 2 :], samples[-1], missing == 0
    at = [s.messages / 1e6 for s in half]
    blocks = statistics.linear_regression(at, [s.blocks for s in half]).slope
    rss = statistics.linear_regression(at, [s.rss_mib for s in half]).slope
    yield Row(f"{title}, messages handled", last.messages, "messages", agrees=agrees, lower_is_better=False)
    yield Row(f"{title}, allocated blocks at the end", last.blocks, "blocks")
    yield Row(f"{title}, resident at the end", last.rss_mib, "MiB", "after the warm-up", samples[0].rss_mib)
    mib, most = (None, None) if smoke else (MIB_PER_MILLION, BLOCKS_PER_MILLION)
    yield Row(f"{title}, growth of resident size", rss, "MiB per million", goal=mib)
    yield Row(f"{title}, growth of blocks", blocks, "blocks per million", goal=most)


async def over(title: str, buses: list[Fabric], messages: int, seconds: float, smoke: bool) -> list[Row]:
    """Measure one pair of buses."""
    load = Load(*buses, votes_only=not buses[0].wires.direct.simulated)
    for bus in buses:
        await bus.start()
    for _ in range(500):
        if buses[0].wires.direct.reachable("quasar"):
            break
        await asyncio.sleep(0.01)
    samples = await load.measure(messages, seconds)
    for bus in buses:
        await bus.close()
    sent = sum(count.accepted for count in buses[0].record().out.values())
    return list(rows(title, samples, sent - load.handled - lost(buses[1]), smoke))


async def measure(messages: int, seconds: float, smoke: bool) -> list[Row]:
    """Measure both transports."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="qts-memory-") as name:
        folder, hub = Path(name), Hub()
        options = [BusOptions(name=n, system_name="memory", state=folder / "memory") for n in NAMES]
        pair = [memory_bus(patient(), option, hub) for option in options]
        found += await over("in memory", pair, messages, seconds * (1 - ZEROMQ_SHARE), smoke)
        keys.create_curve(folder, NAMES)
        addresses, hub = {n: free_address() for n in NAMES}, Hub()
        pair = [direct_bus(folder, n, addresses, hub, patient()) for n in NAMES]
        part = messages if smoke else max(2 * WARM, int(messages * ZEROMQ_SHARE))
        found += await over("ZeroMQ with CURVE", pair, part, seconds * ZEROMQ_SHARE, smoke)
    return found


def main(arguments: list[str]) -> int:
    """Print one JSON object a line; 1 when memory grows or a message is missing."""
    parser = command(__doc__, "100,000 messages")
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=3600.0, help="end sooner, and say how far it got")
    chosen = parser.parse_args(arguments)
    messages = 100_000 if chosen.smoke else chosen.messages
    if not chosen.smoke and messages < 2 * WARM:
        parser.error(f"--messages: {messages} only fill the tables; give at least {2 * WARM}")
    keep_threshold()  # as every process of the system does
    found = asyncio.run(measure(messages, chosen.seconds, chosen.smoke))
    lines = [row.line() for row in found]
    for line in lines:
        print(json.dumps(line), flush=True)
    judged = "agrees" if chosen.smoke else "ok"  # tables still fill over so few messages
    return 0 if all(line[judged] for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
