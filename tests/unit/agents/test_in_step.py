"""In step: messages are taken where they are named, in the order of the names, whenever they came."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qts_agents.conductor import Conductor
from qts_agents.in_step import BarTime, Follower, Mailbox, off_the_wire, on_the_wire
from qts_agents.pads.actions import Ask
from qts_core.spec import SYSTEM
from qts_messaging import examples
from qts_messaging.bus import Reply
from qts_messaging.messages import (
    DecisionRequest,
    DecisionResponse,
    Envelope,
    Message,
    RiskAlert,
    SystemCommand,
)

ALERT = next(m for m in examples.messages() if isinstance(m, RiskAlert))
REQUEST = next(m for m in examples.messages() if isinstance(m, DecisionRequest))
SYSTEM_4 = SYSTEM()


def letter(number: int, body: Message | None = None, sender: str = "pads") -> Envelope:
    """Return a message with the id `number`."""
    return Envelope(id=number.to_bytes(16, "big"), sender=sender, body=body or SystemCommand("reset"))


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_time_is_counted_in_bars() -> None:
    time = BarTime(SYSTEM(market_update_interval=2.5))
    assert [time.at(seq) for seq in (-1, 0, 3)] == [0, 0, 7_500_000_000]


def test_an_alert_has_as_long_to_live_on_the_wire_as_it_has_left() -> None:
    """Its stamps are the wall's there, by which the bus forgets it, and bars on either side."""
    made = msgspec.structs.replace(ALERT, raised_ns=100, expires_ns=130)
    sent = on_the_wire(made, 110, 5_000)
    assert isinstance(sent, RiskAlert)
    assert (sent.raised_ns, sent.expires_ns) == (5_000, 5_020)
    heard = off_the_wire(sent, 120)
    assert isinstance(heard, RiskAlert)
    assert (heard.raised_ns, heard.expires_ns) == (120, 140)
    assert on_the_wire(made, 130, 5_000) is None
    endless = msgspec.structs.replace(ALERT, expires_ns=0)
    assert on_the_wire(endless, 10**18, 5) is off_the_wire(endless, 7) is endless


@given(st.lists(st.permutations(range(4)), min_size=1, max_size=3), st.integers(0, 4))
def test_a_turn_is_what_the_names_say_whatever_the_order_of_arrival(
    came: list[list[int]], early: int
) -> None:
    """In each turn four letters come in any order, some before they are named and some after."""

    async def live() -> list[list[int]]:
        box, taken = Mailbox(), list[list[int]]()
        for turn, order in enumerate(came):
            for number in order[:early]:
                box.put(letter(10 * turn + number))
            named = asyncio.create_task(box.take([key(10 * turn + n) for n in range(4)], 5.0))
            for number in order[early:]:
                await asyncio.sleep(0)
                box.put(letter(10 * turn + number))
            taken.append([int.from_bytes(each.id, "big") - 10 * turn for each in await named])
        return taken

    assert asyncio.run(live()) == [[0, 1, 2, 3] for _ in came]


async def test_what_nobody_names_is_taken_a_turn_later_and_once() -> None:
    box = Mailbox()
    box.put(letter(1))
    box.put(letter(2))
    assert [each.id for each in await box.take([key(2)], 0.0)] == [key(2)]
    box.put(letter(3))
    assert [each.id for each in await box.take([], 0.0)] == [key(1)]
    assert [each.id for each in await box.take([key(1), key(3)], 5.0)] == [key(3)]
    assert await box.take([], 0.0) == []
    for number in (5, 4):
        box.put(letter(number))
    assert [each.id for each in box.rest()] == [key(5), key(4)]
    assert box.rest() == []


async def test_a_name_that_never_comes_is_waited_for_no_longer_than_patience() -> None:
    box = Mailbox()
    box.put(letter(1))
    assert [each.id for each in await box.take([key(9), key(1)], 0.01)] == [key(1)]
    box.put(letter(9))
    await box.take([], 0.0)
    assert [each.id for each in await box.take([], 0.0)] == [key(9)]


def context(bus: Any, **changes: Any) -> Any:
    """Return what a shell may touch, with a clock that does not run."""
    clock = SimpleNamespace(monotonic_ns=lambda: 0, sleep=asyncio.sleep)
    made = SimpleNamespace(
        system=SYSTEM_4, bus=bus, clock=clock, now_ns=lambda: 0, health=SimpleNamespace(draining=False)
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


class Voters:
    """A bus to voters that answer a step with what they told before it; the silent ones do not."""

    def __init__(self) -> None:
        self.asked: list[dict[str, DecisionRequest]] = []
        self.silent: set[str] = set()
        self.tell: dict[str, tuple[bytes, ...]] = {}

    async def gather(self, requests: dict[str, DecisionRequest], *_: Any, **__: Any) -> list[Reply]:
        self.asked.append(requests)
        return [self._reply(peer) for peer in requests]

    def _reply(self, peer: str) -> Reply:
        if peer in self.silent:
            return Reply(peer, None, "timeout")
        return Reply(peer, letter(0, DecisionResponse("", after=self.tell.get(peer, ())), peer))


async def test_who_was_away_for_very_long_is_named_what_a_question_can_hold() -> None:
    """The newest of it: a decoder takes 4,096 ids, so it could never have answered again."""
    bus = Voters()
    conductor = Conductor(context(bus))
    ready = frozenset(SYSTEM_4.voters())
    bus.silent = {"qbmia"}
    await conductor.step(examples.update(7), lambda: ready)
    for number in range(5_000):
        conductor.told(key(number), "qbmia")
    conductor.spoke("qbmia")
    bus.silent = set()
    await conductor.step(examples.update(8), lambda: ready)
    assert bus.asked[1]["qbmia"].after == tuple(key(number) for number in range(1_000, 5_000))
    conductor.told(key(5_000), "qbmia")
    await conductor.step(examples.update(9), lambda: ready)
    assert bus.asked[2]["qbmia"].after == (key(5_000),)


async def test_each_voter_is_named_what_it_has_not_heard_and_who_is_silent_is_left_out_until_it_speaks() -> (
    None
):
    bus = Voters()
    conductor = Conductor(context(bus))
    ready = frozenset(SYSTEM_4.voters())
    conductor.told(key(1))
    conductor.told(key(2), "quasar")
    conductor.told(key(3), "nobody")
    bus.silent = {"qbmia"}
    await conductor.step(examples.update(7), lambda: ready)
    named = {peer: request.after for peer, request in bus.asked[0].items()}
    assert named["quasar"] == (key(1), key(2))
    assert {named[peer] for peer in named if peer != "quasar"} == {(key(1),)}
    assert {(request.window_seq, request.symbols) for request in bus.asked[0].values()} == {(7, ())}
    await conductor.step(examples.update(8), lambda: ready)
    assert set(bus.asked[1]) == ready - {"qbmia"}
    assert {request.after for request in bus.asked[1].values()} == {()}
    conductor.spoke("qbmia")
    bus.silent = set()
    await conductor.step(examples.update(9), lambda: ready)
    assert bus.asked[2]["qbmia"].after == (key(1),)
    asked = conductor.asking(Ask("r", {"qbmia": REQUEST}, 1.0))["qbmia"]
    assert isinstance(asked, DecisionRequest)
    assert (asked.after, asked.round_id) == ((), REQUEST.round_id)


async def test_what_voters_told_is_heard_in_the_order_of_the_voters() -> None:
    bus = Voters()
    conductor = Conductor(context(bus))
    first, *_, last = SYSTEM_4.voters()
    bus.tell = {first: (key(2), key(1)), last: (key(3),)}
    for number in (3, 1, 2):
        conductor.mail.put(letter(number))
    heard = await conductor.step(examples.update(1), lambda: frozenset(SYSTEM_4.voters()))
    assert [each.id for each in heard] == [key(2), key(1), key(3)]


@pytest.mark.parametrize("state", ["alive", "dead"])
async def test_a_bar_waits_for_pads_to_say_so_unless_pads_is_dead(state: str) -> None:
    follower = Follower(context(SimpleNamespace(peers=lambda: {"pads": SimpleNamespace(state=state)})))
    waiting = asyncio.create_task(follower.gate(examples.update(4)))
    await asyncio.sleep(0.05)
    assert waiting.done() == (state == "dead")
    follower.allow(3)
    await asyncio.sleep(0.05)
    assert waiting.done() == (state == "dead")
    follower.allow(4)
    await asyncio.wait_for(waiting, 5.0)
    follower.said(key(1))
    assert (follower.since(), follower.since()) == ((key(1),), ())
