"""The feed after an interruption: started again, without Redis, without a snapshot that it can see."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.agents.test_market_feed import ALL, closes, feed_of, system_of

from qts_agents.market.feed import Feed
from qts_core.errors import RemoteError
from qts_messaging.messages import MarketUpdate


async def test_a_feed_that_is_started_again_goes_on_where_it_was(tmp_path: Path) -> None:
    """The same source resumes after its newest bar; another one begins a new epoch above the old seq."""
    system = system_of(tmp_path)
    first, bus, clock = feed_of(system)
    await bus.ready(*ALL)

    async def stop_in_time(update: MarketUpdate) -> None:
        if len(bus.sent) == 7:
            first.stop()

    bus.on_publish = stop_in_time
    await first.run()
    second = Feed(system, clock, bus)  # type: ignore[arg-type]
    second.subscribe()
    await bus.ready(*ALL)
    bus.on_publish = None
    await second.run()
    assert list(range(11, 31)) == closes(bus.sent)
    assert list(range(10, 30)) == [u.seq for u in bus.sent]
    other = Feed(system_of(tmp_path, count=12), clock, bus)  # type: ignore[arg-type]
    other.subscribe()
    await bus.ready(*ALL)
    await other.run()
    assert {1} == {u.epoch for u in bus.sent[20:]}
    assert list(range(34, 42)) == [u.seq for u in bus.sent[20:]]


@pytest.mark.parametrize(("may_follow", "fails"), [(True, False), (True, True), (False, False)])
async def test_a_feed_that_may_follow_another_is_heard_though_redis_lost_everything(
    tmp_path: Path, may_follow: bool, fails: bool
) -> None:
    """In a pod: those who run have heard bars of numbers above its first ones, and would take none of them."""
    system = system_of(tmp_path)
    _, bus, clock = feed_of(system)
    if fails:
        bus.recall = refuse  # type: ignore[method-assign]
    feed = Feed(system, clock, bus, may_follow=may_follow)  # type: ignore[arg-type]
    feed.subscribe()
    await bus.ready(*ALL)
    await feed.run()
    wanted = clock.wall_ns() // 10**9 if may_follow else 0
    assert {update.epoch for update in bus.sent} == {wanted} or may_follow
    assert all(abs(update.epoch - wanted) <= 60 for update in bus.sent)


async def refuse(count: int) -> list[MarketUpdate]:
    raise RemoteError("away")


async def test_bars_go_out_while_redis_is_away_and_are_remembered_in_order_later(tmp_path: Path) -> None:
    """Nothing stops, nothing is missing, nothing is double."""
    feed, bus, _ = feed_of(system_of(tmp_path))
    await bus.ready(*ALL)

    async def outage(update: MarketUpdate) -> None:
        bus.away = 4 <= len(bus.sent) < 12

    bus.on_publish = outage
    await feed.run()
    assert list(range(11, 31)) == closes(bus.sent)
    assert list(range(1, 31)) == closes(bus.stream)
    assert feed.status()["snapshot_failures"] > 0
    assert feed.status()["snapshot_waiting"] == 0


async def test_a_snapshot_that_cannot_be_seen_gets_a_later_epoch(tmp_path: Path) -> None:
    """Without Redis the feed still publishes; its epoch is above any it may have used."""
    feed, bus, _ = feed_of(system_of(tmp_path))
    bus.away, bus.redis_reached = True, False
    await bus.ready(*ALL)
    await feed.run()
    assert list(range(11, 31)) == closes(bus.sent)
    assert {1005} == {u.epoch for u in bus.sent}
    assert feed.status()["snapshot_waiting"] == 30
