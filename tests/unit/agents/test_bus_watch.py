"""What of a Redis that refuses is told to others: from the first refusal until there was none for half a minute."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from qts_agents.bus_watch import LOST_S, REFUSED_S, BusWatch
from qts_agents.health import Health
from qts_messaging.refusals import Refusals

FULL = {"memory": "Redis refuses writes: it is out of memory (OOM); raise its maxmemory"}
LOGIN = {"password": "Redis refuses the login (NOAUTH)"}


def _bus(refuses: dict[str, str], lost: str = "", away: str = "") -> Any:
    refusals = Refusals(by_redis=refuses, away=away)
    return SimpleNamespace(mode="connected", redis_reached=True, deaf=False, refusals=refusals, lost=lost)


def test_a_redis_at_its_limit_is_one_refusal_until_it_is_over() -> None:
    """Every third write is taken: the own health says each, others are told of one until half a minute after."""
    watch, health = BusWatch(), Health("pads")
    told, troubled = [], []
    for now_s in range(100):
        watch.look(_bus(FULL if now_s < 60 and now_s % 3 else {}), health, float(now_s))
        told.append(watch.refuses)
        troubled.append("redis" in health.troubles)
    assert troubled == [now_s < 60 and now_s % 3 > 0 for now_s in range(100)]
    last = 59 + int(REFUSED_S)
    assert told == [FULL if 1 <= now_s < last else {} for now_s in range(100)]


def test_each_kind_ends_for_itself_and_its_newest_words_count() -> None:
    """A login that is mended does not take the full memory with it."""
    watch, health = BusWatch(), Health("pads")
    watch.look(_bus(LOGIN | FULL), health, 0.0)
    watch.look(_bus({"memory": "other words"}), health, 20.0)
    assert watch.refuses == LOGIN | {"memory": "other words"}
    watch.look(_bus({}), health, REFUSED_S)
    assert watch.refuses == {"memory": "other words"}


def test_what_a_damaged_spool_costs_is_degraded_for_a_minute_and_told_ever_after() -> None:
    """Nothing is left to mend: a state that stayed degraded for ever would hide the next trouble."""
    watch, health = BusWatch(), Health("pads", warm=True, bound=True, caught_up=True)
    lost = "messages that waited for Redis are lost: pads.spool: damaged from byte 7 on"
    states = []
    for now_s in range(100):
        watch.look(_bus({}, lost), health, float(now_s))
        states.append((health.state(), health.reasons(), [*health.past.values()]))
    first = int(LOST_S)
    assert states == [("degraded", [lost], [])] * first + [("ready", [], [lost])] * (100 - first)


def test_why_redis_is_away_is_told_and_is_not_another_at_each_try() -> None:
    """Two causes that take turns are one for half a minute; who is reached has none."""
    watch, health = BusWatch(), Health("pads")
    told = []
    for now_s in range(70):
        causes = ("it does not answer in time", "nobody listens")
        bus = _bus({}, away=causes[now_s % 2])
        bus.redis_reached = now_s == 69
        watch.look(bus, health, float(now_s))
        told.append(watch.away)
        if now_s == 20:
            words = "Redis has not answered for 20 s: it does not answer in time; ZeroMQ only"
            assert health.blockers["redis"] == words
    assert told[:30] == ["it does not answer in time"] * 30
    assert len({*told[:-1]}) == 1
    assert told[-1] == ""


def test_a_cause_is_told_as_soon_as_it_is_known() -> None:
    """The first try may not know it."""
    watch, health = BusWatch(), Health("pads")
    for now_s, away in enumerate(("", "nobody listens")):
        bus = _bus({}, away=away)
        bus.redis_reached = False
        watch.look(bus, health, float(now_s))
    assert watch.away == "nobody listens"


def test_a_redis_that_evicts_is_a_trouble_until_it_keeps_everything() -> None:
    """Nothing is refused, and a durable message may be gone unseen."""
    watch, health = BusWatch(), Health("pads")
    bus = _bus({})
    bus.refusals = Refusals(evicts="Redis evicts")
    watch.look(bus, health, 0.0)
    assert health.troubles == {"evicts": "Redis evicts"}
    watch.look(_bus({}), health, 1.0)
    assert health.troubles == {}
