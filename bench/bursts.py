"""Messages that arrive as a market's trades do, once, 10 and 20 times as fast: `python -m bench.bursts`.

The shape is real: trading hours of EUR/USD, each with arrivals in proportion to its volume. At factor 1 an
hour lasts an eighth of a second, 500 messages a second on average; every eighth message is durable, the
others are votes. The peer is the same number of messages evenly spaced. Both buses share one loop.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from bench import server
from bench.harness import QUANTILES, Row, command, end, quantile, told
from bench.pace import arrived
from bench.stand import free_address, patient

from qts_agents.market.datasets import load_dataset
from qts_core.errors import LocalError
from qts_messaging import books, examples, keys
from qts_messaging.bus import BusOptions
from qts_messaging.fabric import Fabric
from qts_messaging.messages import DecisionResponse, Envelope, PerformanceFeedback
from qts_messaging.real import real_bus
from qts_messaging.reconcile import Totals, reconcile

NAMES = ("pads", "quasar")  # receiver, sender
RATE, HOUR_S, DURABLE = 500.0, 0.125, 8  # messages a second, length of an hour, every how many-th is stored
FACTORS = (1, 10, 20)
LATEST_S = 20.0
Ages = dict[str, list[int]]


def arrivals(hours: int) -> np.ndarray:
    """Return when messages arrive in `hours` trading hours, ns from the start, ascending [N] i64."""
    volume = load_dataset("eurusd_1h").volume[0, 24 : 24 + hours]
    ends = np.concatenate([[0.0], np.cumsum(volume / volume.sum())])
    shares = (np.arange(round(hours * HOUR_S * RATE)) + 0.5) / round(hours * HOUR_S * RATE)
    at = np.interp(shares, ends, np.arange(hours + 1) * HOUR_S)
    return (at * 1e9).astype(np.int64)


class Talk:
    """Sends votes and feedback at set times, and notes how old each is when its handler has it."""

    def __init__(self, sender: Fabric, receiver: Fabric) -> None:
        self.ages: Ages = {"vote": [], "feedback": []}
        self.refused = 0
        self._sender, self._opinion, self._feedback = sender, examples.vote(), examples.feedback()
        receiver.subscribe(DecisionResponse, self._vote)
        receiver.subscribe(PerformanceFeedback, self._stored)

    async def _vote(self, envelope: Envelope) -> None:
        assert isinstance(envelope.body, DecisionResponse)
        assert envelope.body.opinion is not None
        self.ages["vote"].append(time.monotonic_ns() - envelope.body.opinion.asof_ns)

    async def _stored(self, envelope: Envelope) -> None:
        assert isinstance(envelope.body, PerformanceFeedback)
        self.ages["feedback"].append(time.monotonic_ns() - envelope.body.asof_ns)

    async def run(self, times: np.ndarray) -> Ages:
        """Say one message at each of `times` (ns from now); return the ages once all has come or ended."""
        self.ages.update(vote=[], feedback=[])
        first, storing = time.monotonic_ns() + 5_000_000, []
        for n, planned in enumerate((first + times).tolist()):
            while (wait := planned - time.monotonic_ns()) > 0:
                await asyncio.sleep(wait / 1e9)
            if n % DURABLE:
                await self._say(planned)
            else:
                said = msgspec.structs.replace(self._feedback, asof_ns=planned)
                storing.append(asyncio.create_task(self._sender.publish(said)))
            if n % 16 == 0:
                await asyncio.sleep(0)  # a sender that is late must not keep the receiver from its turn
        await asyncio.gather(*storing)
        await arrived(lambda: len(self.ages["feedback"]) >= len(storing), LATEST_S)
        await asyncio.sleep(0.2)
        return {kind: list(found) for kind, found in self.ages.items()}

    async def _say(self, planned: int) -> None:
        vote = DecisionResponse("r-1", opinion=msgspec.structs.replace(self._opinion, asof_ns=planned))
        try:
            await self._sender.send(vote, "pads")
        except LocalError:  # full: a vote is refused rather than kept until it is worthless
            self.refused += 1


async def measure(port: int, folder: Path, hours: int) -> tuple[dict[int, tuple[Ages, Ages]], int, Totals]:
    """Return the ages by factor (as recorded, evenly spaced), refused votes, and the books of the run."""
    keys.create_curve(folder, NAMES)
    system = msgspec.structs.replace(patient(), redis_url=f"redis://127.0.0.1:{port}")
    addresses = {name: free_address() for name in NAMES}
    shared = {"system_name": "bursts", "state": folder, "secrets": folder, "peers": addresses}
    buses = [real_bus(system, BusOptions(name=n, bind=addresses[n], **shared)) for n in NAMES]  # type: ignore[arg-type]
    talk = Talk(buses[1], buses[0])
    for bus in buses:
        await bus.start()
    while not all(bus.mode == "connected" for bus in buses) or not buses[1].wires.direct.reachable("pads"):
        await asyncio.sleep(0.01)
    recorded = arrivals(hours)
    even = np.linspace(0, recorded[-1], len(recorded)).astype(np.int64)
    await talk.run(even[: len(even) // 4])
    gc.collect()
    gc.freeze()
    found = {
        factor: (await talk.run(recorded // factor), await talk.run(even // factor)) for factor in FACTORS
    }
    for bus in reversed(buses):
        await bus.close()
    return found, talk.refused, reconcile(books.load([folder]))


def rows(found: dict[int, tuple[Ages, Ages]], refused: int, total: Totals, hours: int) -> Iterator[Row]:
    """Turn ages into figures: latencies at factor 1, what arrived at each factor, the books."""
    durable = -(-len(arrivals(hours)) // DURABLE)
    whole = all(len(ages["feedback"]) == durable for pair in found.values() for ages in pair)
    for kind in ("vote", "feedback"):
        for name, share in QUANTILES.items():
            ours, even = (quantile(ages[kind], share) / 1000 for ages in found[1])
            yield Row(
                f"{kind} at the market's own pace, {name}", ours, "us", "evenly spaced", even, agrees=whole
            )
    for factor, (recorded, even_ages) in found.items():
        for kind in ("vote", "feedback"):
            mine, other = len(recorded[kind]), len(even_ages[kind])
            yield Row(f"x{factor}, delivered: {kind}", mine, "messages", "evenly spaced", other, agrees=whole)
    yield Row("votes refused at once, full", refused, "messages")
    for reason, count in total.lost.items():
        yield Row(f"lost, {reason}", count, "messages")
    yield Row("unaccounted", total.unaccounted, "messages", goal=0, agrees=not total.unaccounted)


def main(arguments: list[str]) -> int:
    """Print one line a figure; 1 when a durable message is lost or the books do not balance."""
    parser = command(__doc__, "a day instead of four")
    hours = 24 if parser.parse_args(arguments).smoke else 96
    with server.running("--appendonly", "yes") as port, tempfile.TemporaryDirectory() as folder:
        return told(rows(*asyncio.run(measure(port, Path(folder), hours)), hours))


if __name__ == "__main__":
    end(main)
