"""Runs schedules of faults against real servers and sockets, and says what became of every message.

`python -m tests.campaign.campaign --first 1 --count 2000` runs many; a failing one prints its schedule.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import json
import logging
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import redis.asyncio
from tests.campaign.linked import LinkedStand, bounded
from tests.campaign.schedule import Fault, Schedule, make
from tests.campaign.traffic import Traffic
from tests.processes.stand import SYSTEM_NAME, leave_nothing

from qts_messaging import books
from qts_messaging.accounts import Record
from qts_messaging.fabric import Fabric
from qts_messaging.incoming import Incoming
from qts_messaging.reconcile import reconcile
from qts_messaging.redis_connection import AWAY
from qts_messaging.redis_names import RedisNames
from qts_messaging.redis_pubsub import RedisTopics

BESIDE = 8  # schedules at once in one process
FIRST_PORT, PORTS = 20_000, 8  # below the range the kernel gives out, so nobody takes a port of the dead
HEAL_STEPS = 1500  # of 20 ms


class Outcome(msgspec.Struct, frozen=True):
    """What one schedule showed."""

    seed: int
    problems: tuple[str, ...]
    sent: int
    lost: dict[str, int]
    duplicates: int  # second copies that the fabric recognised
    answered: int
    unanswered: int
    recoveries_s: dict[str, list[float]]  # kind → seconds from a fault's end to the next delivery at a victim


class Trial:
    """One schedule on a stand of its own."""

    def __init__(self, schedule: Schedule, folder: Path, ports: tuple[int, ...]) -> None:
        self.schedule = schedule
        self.stand = LinkedStand(folder, ports, schedule.skew_s)
        self.traffic = Traffic(self.stand.buses)
        self._draw = random.Random(schedule.seed)
        self._recoveries: dict[str, list[float]] = {}
        self._restarting = asyncio.Lock()  # a process ends before its successor starts

    async def start(self, name: str) -> None:
        """Start a bus of `name`."""
        bus = self.stand.linked_bus(name)
        self.traffic.join(bus)
        await bus.start()
        self.stand.buses[name] = bus

    async def _left(self, name: str) -> None:
        """Wait until nobody listens on the port of a closed bus, as where its process had ended."""
        address = self.stand.addresses.get(name)  # some only dial
        if address is not None:
            await bounded(250, functools.partial(closed, int(address.rpartition(":")[2])))

    async def run(self) -> Outcome:
        """Play the schedule, heal everything, close in order, add the books up."""
        problems: list[str] = []
        await self.stand.open()
        self.stand.serve()
        try:
            for name in self.stand.names:
                await self.start(name)
            if not await bounded(HEAL_STEPS, self._connected):
                problems.append("not connected at the start")
            await self._play()
            if not await bounded(HEAL_STEPS, self._connected):
                modes = {name: bus.mode for name, bus in self.stand.buses.items()}
                problems.append(f"not connected after all faults were over: {modes}")
            if not await self._quiet():
                problems.append("something still waits after all faults were over")
        finally:
            for bus in self.stand.buses.values():
                await bus.close()
            await self.stand.shut()
        return self._judge(problems)

    def _connected(self) -> bool:
        """Tell whether every bus is connected and reaches those it dials."""
        buses = self.stand.buses
        return all(bus.mode == "connected" for bus in buses.values()) and all(
            buses[name].wires.direct.reachable(peer) for name, peer in self.stand.zmq_links
        )

    async def _play(self) -> None:
        """Let traffic and faults happen beside each other until both are over."""
        over = asyncio.Event()
        speakers = self.traffic.start(over)
        faults = [asyncio.create_task(self._happen(fault)) for fault in self.schedule.faults]
        await asyncio.sleep(self.schedule.last_s)
        await asyncio.gather(*faults)
        over.set()
        await asyncio.gather(*speakers)

    async def _happen(self, fault: Fault) -> None:
        """Let one fault begin and end."""
        await asyncio.sleep(fault.at_s)
        if fault.kind == "process restarted":
            async with self._restarting:
                await self.stand.buses[fault.whom].close(0.0)
                await asyncio.sleep(fault.for_s / 4)
                await self._left(fault.whom)
                await self.start(fault.whom)
        elif fault.kind == "deaf subscriber":
            await self._deafen(fault.whom)
        elif fault.kind == "burst":
            await self.traffic.burst(fault.whom)
        else:
            heal = self._begin(fault)
            await asyncio.sleep(fault.for_s)
            heal()
            await self._recovered(fault)

    def _begin(self, fault: Fault) -> Callable[[], None]:
        """Begin a fault that has an end; return what ends it."""
        traffic = self.traffic
        if fault.kind == "slow consumer":
            traffic.slow[fault.whom] = 0.03
            return lambda: traffic.slow.pop(fault.whom, None) and None
        if fault.kind == "callers give up":
            traffic.giving_up = True
            return lambda: setattr(traffic, "giving_up", False)
        if fault.kind == "noise":
            return disturb(self.stand.buses[fault.whom], self._draw)
        return self.stand.begin(fault)

    async def _recovered(self, fault: Fault) -> None:
        """Measure how long the victims of a fault hear nothing after its end."""
        healed = time.monotonic_ns()
        victims = [n for n in (fault.whom, fault.peer) if n] or list(self.stand.names)
        for name in victims:
            if await bounded(250, lambda name=name: self.traffic.last_ns.get(name, 0) > healed):  # type: ignore[misc]
                taken = (self.traffic.last_ns[name] - healed) / 1e9
                self._recoveries.setdefault(fault.kind, []).append(taken)

    async def _deafen(self, name: str) -> None:
        """Let the server forget a channel of `name`; measure until its subscription is replaced."""
        topics = self.stand.buses[name].wires.topics
        assert isinstance(topics, RedisTopics)
        began, before, ear = time.monotonic(), topics.resubscribed, topics._ear
        if ear is None:
            return
        with contextlib.suppress(*AWAY):
            ear.say(("PUNSUBSCRIBE", RedisNames(SYSTEM_NAME, name).heard[0]))
        if await bounded(250, lambda: topics.resubscribed > before or topics._ear is not ear):
            self._recoveries.setdefault("deaf subscriber", []).append(time.monotonic() - began)

    async def _unread(self) -> int:
        """Ask the server how many stored messages some group has not read or not acknowledged."""
        names, login = (
            RedisNames(SYSTEM_NAME, "pads"),
            {"username": "pads", "password": self.stand.passwords["pads"]},
        )
        async with redis.asyncio.Redis(port=self.stand.port, **login) as server:
            return sum([await unhandled(server, names.stream(sender)) for sender in self.stand.names])

    async def _quiet(self) -> bool:
        """Wait until nothing moves any more; then let everybody say how far its lanes have got."""

        def idle() -> bool:
            buses = self.stand.buses.values()
            return all(b._drained() and not len(b.durables.spool) for b in buses)

        handled = -1
        for _ in range(60):
            if idle() and handled == self.traffic.handled and not await self._unread():
                await self.traffic.beat()
                await asyncio.sleep(0.3)
                return await bounded(HEAL_STEPS, idle)  # what the beat itself made others say
            handled = self.traffic.handled
            await asyncio.sleep(0.25)
        return False

    def _never_reached(self) -> dict[str, int]:
        """Ask the handlers, not the books, what became of what had to arrive."""
        return self.traffic.never_reached()

    def _judge(self, problems: list[str]) -> Outcome:
        """Add the books of all processes up, those of earlier starts included."""
        records = books.load([self.stand.folder])
        total = reconcile(records)
        traffic = self.traffic
        if total.unaccounted or total.in_flight:
            problems.append(f"{total.unaccounted} unaccounted, {total.in_flight} in flight")
            problems.extend(missing(records))
        if never := self._never_reached():
            problems.append(f"durable messages that no handler saw: {never}")
        if traffic.twice:
            problems.append(f"{traffic.twice} applied twice")
        if traffic.crossed:
            problems.append(f"{traffic.crossed} answers to another question")
        accused = {r.name: dict(r.refused) for r in records if {"trespass", "too_large"} & r.refused.keys()}
        if accused:
            problems.append(f"faults were taken for offences: {accused}")
        left = total.sent - total.delivered - sum(total.lost.values()) - total.in_flight - total.unaccounted
        if left:
            problems.append(f"the sum of all books is off by {left}")
        return Outcome(
            seed=self.schedule.seed,
            problems=tuple(problems),
            sent=total.sent,
            lost=total.lost,
            duplicates=total.duplicates,
            answered=traffic.answered,
            unanswered=traffic.unanswered,
            recoveries_s=self._recoveries,
        )


async def unhandled(server: redis.asyncio.Redis, key: str) -> int:
    """Return what all groups of a stream have to read or acknowledge; a restarted server cannot tell the lag."""
    left = 0
    for group in await server.xinfo_groups(key):
        lag = group["lag"]
        if lag is None:
            lag = len(await server.xrange(key, f"({group['last-delivered-id'].decode()}"))
        left += int(group["pending"]) + int(lag)
    return left


def missing(records: list[Record]) -> Iterator[str]:
    """Say which receiver misses what of which lane, for whoever looks for the reason."""
    for record in records:
        for key, count in record.into.items():
            if (rest := count.residual() + count.gap + count.in_flight) and count.gap + count.in_flight:
                yield f"{record.name}@{record.epoch} of {key}: {rest} missing, up to {count.high}"


def disturb(bus: Fabric, draw: random.Random) -> Callable[[], None]:
    """Double, delay, cut and replace what arrives at `bus`; return what ends it."""
    incoming: Incoming = bus.incoming
    honest = incoming.arrived
    loop = asyncio.get_running_loop()

    def noisy(frame: bytes, peer: str | None, done: Callable[[str], None] | None = None) -> None:
        lot = draw.random()
        if lot < 0.2:
            honest(frame, peer)  # a copy before the one that is acknowledged
        elif lot < 0.3:
            honest(frame[: draw.randrange(len(frame))], peer)
        elif lot < 0.4:
            honest(draw.randbytes(64), peer)
        if 0.4 <= lot < 0.6:
            loop.call_later(draw.random() / 20, honest, frame, peer, done)
        else:
            honest(frame, peer, done)

    incoming.arrived = noisy  # type: ignore[method-assign]
    return lambda: incoming.__dict__.pop("arrived", None) and None


async def one(seed: int, slot: int, schedule: Schedule | None = None) -> Outcome:
    """Run `schedule`, by default that of `seed`, on the ports of `slot`."""
    ports = await free(slot)
    with tempfile.TemporaryDirectory(prefix=f"qts-{seed}-") as name:
        return await Trial(schedule or make(seed), Path(name), ports).run()


async def free(slot: int) -> tuple[int, ...]:
    """Return the ports of a slot once nobody listens there: sockets close in ZeroMQ's own time."""
    ports = tuple(range(FIRST_PORT + slot * PORTS, FIRST_PORT + slot * PORTS + 3))
    for port in ports:
        if not await bounded(250, functools.partial(closed, port)):
            raise OSError(f"port {port} is taken by somebody else")
    return ports


def closed(port: int) -> bool:
    """Tell whether nobody listens on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def many(
    seeds: list[int], share: int = 0, told: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Run schedules, `BESIDE` at once; `share` tells processes that do so beside each other apart."""
    waiting, found = iter(seeds), []

    async def worker(slot: int) -> None:
        for seed in waiting:
            outcome = await one(seed, slot)
            found.append(outcome)
            told(outcome)

    await asyncio.gather(*(worker(share * BESIDE + n) for n in range(BESIDE)))
    gc.collect()
    return found


def main(arguments: list[str]) -> int:
    """Print one JSON line for each schedule that failed, and one for all."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.campaign")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--share", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="what the buses say")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO if chosen.verbose else logging.CRITICAL + 1)

    def told(outcome: Outcome) -> None:
        if outcome.problems:
            sys.stdout.write(f"{make(outcome.seed)}\n  {'; '.join(outcome.problems)}\n")
            sys.stdout.flush()

    found = asyncio.run(many(list(range(chosen.first, chosen.first + chosen.count)), chosen.share, told))
    for outcome in found:
        sys.stdout.write(json.dumps(msgspec.to_builtins(outcome)) + "\n")
    sys.stdout.flush()
    return 1 if any(outcome.problems for outcome in found) else 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    leave_nothing()
    os._exit(code)  # ZeroMQ contexts are never torn down
