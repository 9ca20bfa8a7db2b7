"""In step with the feed: what is heard before which bar and which question, so that equal runs are equal.

Redis and ZeroMQ keep no common order, and each process takes a bar when it comes. At speed 0 a run shall be
a function of its data and settings, so there PADS conducts: it takes a bar after every voter has lived
through it, and what one side told the other waits in a `Mailbox` until a step or a question names it. Time is
counted in bars.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from qts_agents.context import Context
from qts_agents.round_spans import PADS
from qts_core.spec import System
from qts_messaging.messages import Envelope, MarketUpdate, Message, RiskAlert

HOLD_S = 60.0  # how long a bar waits for PADS' word at most
LOOK_S = 1.0  # how often to see whether PADS lives
REMEMBERED = 4096


class BarTime:
    """One `market_update_interval` a bar: how fast a machine is says nothing about an alert's age."""

    def __init__(self, system: System) -> None:
        self._step_ns = int(system.market_update_interval * 1e9)

    def at(self, seq: int) -> int:
        """Return the time at bar `seq` in ns."""
        return max(0, seq) * self._step_ns


def on_the_wire(message: Message, now_ns: int, wall_ns: int) -> Message | None:
    """Return a message with stamps of the wall clock, by which the bus forgets it; None when it has ended."""
    if not isinstance(message, RiskAlert) or not message.expires_ns:
        return message
    left_ns = message.expires_ns - now_ns
    if left_ns <= 0:
        return None
    return msgspec.structs.replace(message, raised_ns=wall_ns, expires_ns=wall_ns + left_ns)


def off_the_wire(message: Message, now_ns: int) -> Message:
    """Return a message with stamps counted in bars."""
    if not isinstance(message, RiskAlert) or not message.expires_ns:
        return message
    return msgspec.structs.replace(
        message, raised_ns=now_ns, expires_ns=now_ns + message.expires_ns - message.raised_ns
    )


def by_our_clock(message: Message, later_ns: int) -> Message:
    """Return a message that did not come in step with the stamps of a sender whose clock ours is ahead of."""
    if not isinstance(message, RiskAlert) or not later_ns:
        return message
    raised_ns, expires_ns = (stamp and stamp + later_ns for stamp in (message.raised_ns, message.expires_ns))
    return msgspec.structs.replace(message, raised_ns=raised_ns, expires_ns=expires_ns)


class Mailbox:
    """What came and waits for its turn; what nobody names for a whole turn is taken with the next one."""

    def __init__(self) -> None:
        self._came: dict[bytes, Envelope] = {}
        self._passed_over: set[bytes] = set()  # was here at the last turn, and was not named
        self._taken: OrderedDict[bytes, None] = OrderedDict()
        self._news = asyncio.Event()

    def put(self, envelope: Envelope) -> None:
        """Let a message wait."""
        self._came[envelope.id] = envelope
        self._news.set()

    async def take(self, named: Sequence[bytes], patience_s: float) -> list[Envelope]:
        """Return those left over, then `named` in that order, for which to wait at most `patience_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, patience_s)):
                while any(key not in self._came and key not in self._taken for key in named):
                    self._news.clear()
                    await self._news.wait()
        left = [key for key in self._came if key in self._passed_over and key not in named]
        turn = dict.fromkeys((*left, *(key for key in named if key in self._came)))
        self._taken.update(turn)
        while len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)
        taken = [self._came.pop(key) for key in turn]
        self._passed_over = set(self._came)
        return taken

    def rest(self) -> list[Envelope]:
        """Return all that waits, as it came."""
        rest, self._came = list(self._came.values()), {}
        return rest


class Follower:
    """A voter's side: it lives through a bar when PADS says so, and says what it told PADS meanwhile."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.time = BarTime(context.system)
        self.mail = Mailbox()
        self._may = -1  # newest bar that PADS has stepped to
        self._news = asyncio.Event()
        self._said: list[bytes] = []

    def allow(self, seq: int) -> None:
        """Let bars up to `seq` be lived through."""
        self._may = seq
        self._news.set()

    async def gate(self, update: MarketUpdate) -> None:
        """Wait until the bar may be lived through; without a PADS to wait for it may at once."""
        ends_ns = self._context.clock.monotonic_ns() + int(HOLD_S * 1e9)
        while update.seq > self._may and self._conducted() and self._context.clock.monotonic_ns() < ends_ns:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_S)

    def said(self, key: bytes) -> None:
        """Note what was sent to PADS."""
        self._said.append(key)

    def since(self) -> tuple[bytes, ...]:
        """Return what was sent to PADS since this was asked last."""
        said, self._said = tuple(self._said), []
        return said

    def _conducted(self) -> bool:
        context = self._context
        pads = context.bus.peers().get(PADS)
        return (
            context.system.enabled(PADS)
            and not context.health.draining
            and (pads is None or pads.state != "dead")
        )
