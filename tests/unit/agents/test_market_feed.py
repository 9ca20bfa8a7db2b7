"""The feed's shell: pace, lockstep, history, repetition, traces, wrong data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qts_agents.columns import array, column
from qts_agents.market import feed as feed_module
from qts_agents.market import source
from qts_agents.market.feed import Feed
from qts_agents.market.lockstep import Lockstep
from qts_core.clock import SystemClock
from qts_core.errors import ConfigError, LocalError, RemoteError
from qts_core.spec import SYSTEM, Market, Replay, System
from qts_messaging.bus import BusOptions
from qts_messaging.memory import memory_bus
from qts_messaging.messages import ACTIONS, AgentStatus, DecisionResponse, Envelope, MarketUpdate
from qts_messaging.records import Decision, Position

ALL = ("pads", "qbmia", "quasar", "quantum_amos")


class FakeClock:
    """Time that moves only when somebody sleeps, after everybody else had their turn."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000
        self.still = False  # sleepers never wake

    def wall_ns(self) -> int:
        return self.now

    def monotonic_ns(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        due = self.now + round(seconds * 1e9)
        if self.still:
            await asyncio.Event().wait()
        for _ in range(20):
            await asyncio.sleep(0)
        self.now = max(self.now, due)


class FakeBus:
    """Keeps what is published and remembered; tells the feed what agents would."""

    mode = "connected"
    redis_reached = True

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.handlers: dict[type, Callable[[Envelope], Awaitable[None]]] = {}
        self.sent: list[MarketUpdate] = []
        self.at: list[float] = []
        self.traces: list[bytes | None] = []
        self.stream: list[MarketUpdate] = []
        self.away = False
        self.on_publish: Callable[[MarketUpdate], Awaitable[None]] | None = None

    def subscribe(self, kind: type, handler: Callable[[Envelope], Awaitable[None]]) -> None:
        self.handlers[kind] = handler

    async def publish(self, message: MarketUpdate, *, trace: bytes | None = None) -> bytes:
        self.sent.append(message)
        self.at.append(self.clock.now / 1e9)
        self.traces.append(trace)
        if self.on_publish is not None:
            await self.on_publish(message)
        return b""

    async def remember(self, update: MarketUpdate, *more: MarketUpdate) -> bool:
        if not self.away:
            self.stream += [update, *more]
        return not self.away

    async def recall(self, count: int) -> list[MarketUpdate]:
        return [] if self.away else self.stream[-count:]

    async def forget(self) -> None:
        self.stream = self.stream if self.away else []

    async def say(self, message: Any) -> None:
        """Deliver a message to the feed."""
        said = Envelope(id=b"", sender=getattr(message, "agent", "pads"), body=message)
        await self.handlers[type(message)](said)

    async def ready(self, *agents: str) -> None:
        """Say that agents serve."""
        for agent in agents:
            await self.say(AgentStatus(agent, "ready", "ok", "classical", "connected", {}, {}, 0, ""))


def decided(asof_ns: int) -> DecisionResponse:
    """Return the board's word on a bar."""
    zero = column(np.zeros(1))
    position = Position(zero, zero, zero, zero, zero, zero, 1.0, 1.0)
    rest = dict.fromkeys(
        ("action", "p", "signal", "confidence", "information", "dissent", "size", "reason", "share", "stop"),
        zero,
    )
    rest |= dict.fromkeys(("targets", "style", "veto", "quorum"), zero)
    decision = Decision(
        decision_id="d",
        round_id="r",
        asof_ns=asof_ns,
        phase="unknown",
        symbols=("x",),
        actions=ACTIONS,
        reasons=(),
        seats=(),
        position=position,
        styles=(),
        **rest,
    )
    return DecisionResponse("r", decision=decision)


def system_of(folder: Path, count: int = 30, **replay: Any) -> System:
    """Return a system that replays `count` bars of a minute, a third of which are history."""
    path = folder / "x.csv"
    rows = "".join(f"{60 * i},{i},{i},{i},{i},1\n" for i in range(1, count + 1))
    path.write_text("ts,open,high,low,close,volume\n" + rows)
    market = Market(source="replay", replay=Replay(path=str(path), ts_unit="s", **replay))
    return SYSTEM(market=market, decision_interval=5.0)


def feed_of(system: System) -> tuple[Feed, FakeBus, FakeClock]:
    """Return a feed on a fake bus and clock, all agents ready."""
    clock = FakeClock()
    bus = FakeBus(clock)
    feed = Feed(system, clock, bus)  # type: ignore[arg-type]
    feed.subscribe()
    return feed, bus, clock


def closes(updates: list[MarketUpdate]) -> list[int]:
    """Return the minute of each update."""
    return [round(float(array(u.close)[0, -1])) for u in updates]


async def test_history_goes_to_the_snapshot_and_the_rest_is_published_in_order(tmp_path: Path) -> None:
    """A third is history, then one delta per bar with rising seq, also remembered; the last says ended."""
    feed, bus, _ = feed_of(system_of(tmp_path))
    await bus.ready(*ALL)
    await feed.run()
    assert list(range(1, 31)) == closes(bus.stream)
    assert list(range(11, 31)) == closes(bus.sent)
    assert list(range(10, 30)) == [u.seq for u in bus.sent]
    assert [u.kind for u in bus.stream] == ["snapshot"] * 10 + ["delta"] * 20
    assert [u.ended for u in bus.sent] == [False] * 19 + [True]
    assert (feed.state, feed.ended, feed.status()["bars"]) == ("ended", True, 20)


@pytest.mark.parametrize(("replay", "interval_s"), [({}, 1.0), ({"speed": 600.0}, 0.1)])
async def test_bars_come_at_the_stated_pace(
    tmp_path: Path, replay: dict[str, float], interval_s: float
) -> None:
    """One per market_update_interval, or `speed` seconds of data per second."""
    feed, bus, _ = feed_of(system_of(tmp_path, **replay))
    await bus.ready(*ALL)
    await feed.run()
    assert np.allclose(np.diff(bus.at), interval_s)


async def test_a_bar_is_in_the_snapshot_before_it_is_published(tmp_path: Path) -> None:
    """So a late joiner that subscribes first and then reads misses none."""
    feed, bus, _ = feed_of(system_of(tmp_path))
    await bus.ready(*ALL)
    seen: list[bool] = []

    async def look(update: MarketUpdate) -> None:
        seen.append(bus.stream[-1] is update)

    bus.on_publish = look
    await feed.run()
    assert seen == [True] * 20


async def test_lockstep_waits_for_the_first_and_every_nth_decision(tmp_path: Path) -> None:
    """No bar is published between a due bar and the decision on it; nothing else is waited for."""
    feed, bus, clock = feed_of(system_of(tmp_path, speed=0.0))
    await bus.ready(*ALL)
    events: list[str] = []
    pending: set[asyncio.Task[None]] = set()

    async def decide_later(update: MarketUpdate) -> None:
        minute = closes([update])[0]
        events.append(f"bar {minute}")
        if minute == 11 or (minute - 10) % 5 == 0:
            pending.add(asyncio.create_task(answer(update, minute)))

    async def answer(update: MarketUpdate, minute: int) -> None:
        for _ in range(8):
            await asyncio.sleep(0)
        events.append(f"decided {minute}")
        await bus.say(decided(update.asof_ns))

    bus.on_publish = decide_later
    await feed.run()
    expected = []
    for minute in range(11, 30):
        expected.append(f"bar {minute}")
        if minute in (11, 15, 20, 25):
            expected.append(f"decided {minute}")
    assert [*expected, "bar 30"] == events[: len(expected) + 1]
    assert feed.unanswered == 0
    assert clock.now == 1_000_000_000_000


async def test_lockstep_goes_on_without_a_decision_after_a_bounded_wait(tmp_path: Path) -> None:
    """A silent board delays each due bar by decision_timeout + 1 s and no more."""
    feed, bus, clock = feed_of(system_of(tmp_path, speed=0.0))
    await bus.ready(*ALL)
    await feed.run()
    assert list(range(11, 31)) == closes(bus.sent)
    assert feed.unanswered == 4
    assert clock.now / 1e9 == 1000.0 + 4 * 4.0


def test_lockstep_follows_rounds_that_fall_on_other_bars() -> None:
    """After a restart of the board the count goes on from the bar it decided; other epochs do not count."""
    step = Lockstep(SYSTEM(decision_interval=5.0))
    assert [step.published(60 * seq, seq) for seq in range(100, 105)] == [True, False, False, False, True]
    step.decision(60 * 102)
    assert step.decided == 102
    assert [step.published(60 * seq, seq) for seq in range(105, 108)] == [False, False, True]
    step.begin()
    step.published(60, 200)
    step.decision(60 * 107)
    assert step.decided == -1


@pytest.mark.parametrize(
    ("replay", "said", "begins"),
    [
        ({}, ALL[:2], False),
        ({}, ALL[1:], False),
        ({}, ALL[:3], True),
        ({"speed": 0.0}, ALL[:3], False),
        ({"speed": 0.0}, ALL, True),
    ],
)
async def test_the_first_bar_waits_until_the_board_can_decide(
    tmp_path: Path, replay: dict[str, float], said: tuple[str, ...], begins: bool
) -> None:
    """PADS and two voters are enough when paced; in lockstep all voters."""
    feed, bus, clock = feed_of(system_of(tmp_path, **replay))
    clock.still = True
    run = asyncio.create_task(feed.run())
    while feed.state != "waiting":
        await asyncio.sleep(0.001)
    assert bus.sent == []
    await bus.ready(*said)
    for _ in range(200):
        await asyncio.sleep(0.001)
    assert begins == bool(bus.sent)
    feed.stop()
    await run
    assert feed.state == "stopped"


async def test_the_wait_for_agents_is_bounded(tmp_path: Path) -> None:
    """Without agents the feed begins after a minute."""
    feed, bus, _ = feed_of(system_of(tmp_path))
    await feed.run()
    assert bus.at[0] == 1000.0 + feed_module.READY_WAIT_S
    assert len(bus.sent) == 20


async def test_a_repeated_replay_begins_a_new_epoch(tmp_path: Path) -> None:
    """History is written again, seq goes on, nothing is ended; decisions of the old epoch do not count."""
    feed, bus, _ = feed_of(system_of(tmp_path, repeat=True))
    await bus.ready(*ALL)

    async def stop_in_time(update: MarketUpdate) -> None:
        if len(bus.sent) == 25:
            feed.stop()

    bus.on_publish = stop_in_time
    await feed.run()
    assert [*range(11, 31), *range(11, 16)] == closes(bus.sent)
    assert [u.epoch for u in bus.sent] == [0] * 20 + [1] * 5
    assert [*range(10, 30), *range(40, 45)] == [u.seq for u in bus.sent]
    assert list(range(30, 45)) == [u.seq for u in bus.stream]
    assert not any(u.ended for u in bus.sent)


@pytest.mark.parametrize("error", [LocalError("full"), RemoteError("away")])
async def test_a_bar_that_cannot_be_sent_is_counted(tmp_path: Path, error: Exception) -> None:
    """The next bar is tried all the same."""
    feed, bus, _ = feed_of(system_of(tmp_path))
    await bus.ready(*ALL)

    async def refuse(update: MarketUpdate) -> None:
        if update.seq == 12:
            raise error

    bus.on_publish = refuse
    await feed.run()
    assert (feed.status()["bars"], feed.status()["unpublished"]) == (19, 1)


async def test_each_bar_carries_the_trace_it_is_given(tmp_path: Path) -> None:
    """Sampling is the caller's choice, bar by bar."""
    system, clock = system_of(tmp_path), FakeClock()
    bus, count = FakeBus(clock), iter(range(99))
    feed = Feed(system, clock, bus, trace=lambda: bytes([next(count)]) * 25)  # type: ignore[arg-type]
    feed.subscribe()
    await bus.ready(*ALL)
    await feed.run()
    assert [bytes([i]) * 25 for i in range(20)] == bus.traces


async def test_wrong_data_stop_the_feed_with_their_error(tmp_path: Path) -> None:
    """The caller sees the ConfigError."""
    system = system_of(tmp_path)
    (tmp_path / "x.csv").write_text("")
    feed, _, _ = feed_of(system)
    with pytest.raises(ConfigError, match=r"x\.csv: found an empty file"):
        await feed.run()


@pytest.mark.parametrize("speed", [0.0, 1.0])
@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{t},1,1,1,NaN,1", "column close: found 'NaN'; give a finite number in every row"),
        ("{t},1,1,1,-1,1", "column close: found -1; prices must be above 0"),
        ("60,1,1,1,1,1", "column ts: found .* after a later time for x; sort the rows by time"),
    ],
)
async def test_a_wrong_row_deep_in_a_long_file_is_told_before_the_first_bar(
    tmp_path: Path, row: str, words: str, speed: float
) -> None:
    """A start looks at the first rows of it only; the feed reads all before it says anything."""
    system = system_of(tmp_path, 200_000, speed=speed)
    rows = (tmp_path / "x.csv").read_text().split("\n")
    rows[150_000] = row.format(t=60 * 150_000)
    (tmp_path / "x.csv").write_text("\n".join(rows))
    source.check(system)
    feed, bus, _ = feed_of(system)
    with pytest.raises(ConfigError, match=rf"x\.csv: line 150001, {words}"):
        await feed.run()
    assert (bus.sent, bus.stream) == ([], [])


async def test_history_of_many_symbols_fits_the_snapshot(tmp_path: Path) -> None:
    """1,000 symbols keep as many bars as 64 MiB hold, the newest, and at least 512."""
    symbols = tuple(f"S{i}" for i in range(1000))
    feed, bus, _ = feed_of(SYSTEM(market=Market(symbols=symbols)))
    await bus.ready(*ALL)

    async def stop(update: MarketUpdate) -> None:
        feed.stop()

    bus.on_publish = stop
    await feed.run()
    assert bus.sent[0].seq == 4096
    assert 512 < len(bus.stream) < 1100
    assert list(range(4097 - len(bus.stream), 4097)) == [u.seq for u in bus.stream]


async def test_a_board_on_the_simulated_bus_decides_in_step(tmp_path: Path) -> None:
    """Over the real bus's queues: bars arrive in order, each due one is decided, history can be recalled."""
    system = system_of(tmp_path, speed=0.0)
    board, market = (
        memory_bus(system, BusOptions(name=name, system_name="feed-test", state=tmp_path / name))
        for name in ("pads", "market")
    )
    seen: list[int] = []

    async def on_bar(envelope: Envelope) -> None:
        update = envelope.body
        assert isinstance(update, MarketUpdate)
        seen.extend(closes([update]))
        if seen[-1] == 11 or seen[-1] % 5 == 0:
            await board.publish(decided(update.asof_ns))

    board.subscribe(MarketUpdate, on_bar)
    feed = Feed(system, SystemClock(), market)
    feed.subscribe()
    await board.start()
    await market.start()
    run = asyncio.create_task(feed.run())
    for agent in ALL:
        status = AgentStatus(agent, "ready", "ok", "classical", "simulated", {}, {}, 0, "")
        await board.publish(status)
    await run
    assert len(await board.recall(4096)) == 30
    await market.close()
    await board.close()
    assert list(range(11, 31)) == seen
    assert feed.unanswered == 0
