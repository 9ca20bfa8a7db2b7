"""PADS' side of a run in step: every voter lives through a bar before PADS takes it (see `in_step`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from qts_agents.context import Context
from qts_agents.in_step import BarTime, Mailbox
from qts_agents.pads.actions import Ask
from qts_messaging.bus import Reply
from qts_messaging.messages import (
    PHASES,
    DecisionRequest,
    DecisionResponse,
    Envelope,
    MarketUpdate,
    Message,
)
from qts_messaging.records import Column, Position

FIRST_S = 30.0  # for a voter's first step: it may have to read its history
LOOK_S = 0.05
MOST = 4_000  # messages that a question names; the decoder takes no more than 4,096
_NONE, _NO_TIMES = Column("f8", (0,), b""), Column("i8", (0,), b"")
_NOTHING = Position(_NONE, _NONE, _NONE, _NO_TIMES, _NONE, _NONE, 1.0, 1.0)


class Conductor:
    """Steps the voters from bar to bar and knows what each of them has still to be told."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._voters = context.system.voters()
        self._time = BarTime(context.system)
        self.mail = Mailbox()
        self._untold: dict[str, list[bytes]] = {voter: [] for voter in self._voters}
        self._named: dict[str, int] = {}  # voter → how many of these its last question named
        self._with_us: set[str] = set()  # took their last step
        self._silent: set[str] = set()  # did not, and have said nothing since
        self._seq, self._at_ns = -1, context.clock.monotonic_ns()
        self.stepping = False  # a step may take long, and is no reason to decide without the bar

    def at(self, seq: int) -> None:
        """Begin with what is done about the bar `seq`."""
        self._seq, self._at_ns = seq, self._context.clock.monotonic_ns()

    def now_ns(self) -> int:
        """Return the time of the bar: what PADS learns in its course all happens then."""
        return self._time.at(self._seq)

    def running_ns(self) -> int:
        """Return the time of the bar plus what has passed since, which says how long a round took."""
        return self.now_ns() + self._context.clock.monotonic_ns() - self._at_ns

    def told(self, key: bytes, to: str | None = None) -> None:
        """Note a message to one voter, or to all."""
        for voter in self._voters if to is None else (to,):
            if voter not in self._untold:
                continue
            untold = self._untold[voter]
            untold.append(key)
            if (over := len(untold) - MOST) > 0:  # what is not named is taken a turn later
                del untold[:over]
                self._named[voter] = max(0, self._named.get(voter, 0) - over)

    def spoke(self, voter: str) -> None:
        """Note a sign of life: who has missed a step is asked again."""
        self._silent.discard(voter)

    async def _all_there(self, ready: Callable[[], frozenset[str]]) -> None:
        """Wait until all voters are there, before the first step."""
        ends_ns = self._context.clock.monotonic_ns() + int(FIRST_S * 1e9)
        while not (self._with_us or self._silent or ready().issuperset(self._voters)):
            if self._context.clock.monotonic_ns() > ends_ns:
                return
            await self._context.clock.sleep(LOOK_S)

    async def step(self, update: MarketUpdate, ready: Callable[[], frozenset[str]]) -> list[Envelope]:
        """Let the voters live through a bar; return what they told us meanwhile, in their order."""
        self.stepping = True
        try:
            self.at(update.seq)
            await self._all_there(ready)
            return await self._stepped(update, ready())
        finally:
            self.stepping = False

    async def _stepped(self, update: MarketUpdate, ready: frozenset[str]) -> list[Envelope]:
        asked = [voter for voter in self._voters if voter in ready and voter not in self._silent]
        known = self._with_us.issuperset(asked)
        limit_s = self._context.system.decision_timeout if known else FIRST_S
        question = self._question(update)
        requests: dict[str, Message] = {voter: self._after(question, voter, limit_s) for voter in asked}
        replies = await self._context.bus.gather(requests, limit_s)
        self._with_us = {reply.peer for reply in replies if reply.envelope is not None}
        self._silent |= set(asked) - self._with_us
        return await self.heard(replies)

    def asking(self, ask: Ask) -> dict[str, Message]:
        """Return the questions of a round with what is to be heard before each."""
        return {voter: self._after(request, voter, ask.timeout_s) for voter, request in ask.requests.items()}

    async def heard(self, replies: Sequence[Reply]) -> list[Envelope]:
        """Return what those who answered had told us before, in the order of `replies`."""
        named: list[bytes] = []
        for reply in replies:
            body = reply.envelope.body if reply.envelope is not None else None
            if isinstance(body, DecisionResponse):
                del self._untold[reply.peer][: self._named.get(reply.peer, 0)]
                named += body.after
        return await self.mail.take(named, self._context.system.decision_timeout)

    def _after(self, request: DecisionRequest, voter: str, limit_s: float) -> DecisionRequest:
        untold = tuple(self._untold[voter])
        self._named[voter] = len(untold)
        ends_ns = self._context.now_ns() + int(limit_s * 1e9)
        return msgspec.structs.replace(request, after=untold, deadline_ns=ends_ns)

    def _question(self, update: MarketUpdate) -> DecisionRequest:
        """Return the question about no symbol."""
        return DecisionRequest(
            round_id="",
            window_seq=update.seq,
            asof_ns=update.asof_ns,
            symbols=(),
            position=_NOTHING,
            phase=PHASES[-1],
            phase_scores=(),
            meso=(),
            psi=1.0,
            flat_share=_NONE,
            horizon_bars=self._context.system.horizon_bars,
        )
