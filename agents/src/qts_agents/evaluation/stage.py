"""Feed, voters and PADS in one process, bar by bar, without wire or clock (pure but for the data).

The order is that of a run in step (`in_step`), which decides the same to the byte: the voters live through a
closed bar and tell what they noticed, then PADS takes the bar, tells outcomes, and may ask; answers are there
at once. Time is counted in bars, one `market_update_interval` each, so that alerts and circuits last as long
as in a run. What voters notice in the history is told with the first live bar: nobody steps through history.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from qts_agents import sources
from qts_agents.agent import MarketWindow, Outgoing, Reader, Voter
from qts_agents.market.bars import Ring, update_of
from qts_agents.market.source import Source
from qts_agents.pads.actions import Action, Answer, Ask, Publish, Record, Send
from qts_agents.pads.agent import Pads
from qts_core.errors import ConfigError, RemoteError
from qts_core.roster import BY_WIRE
from qts_core.spec import System
from qts_messaging.messages import (
    DecisionRequest,
    DecisionResponse,
    MarketUpdate,
    Message,
    PerformanceFeedback,
)
from qts_messaging.records import Decision

VOTER_BARS, PADS_BARS = 512, 4096
BLOCK = 256
#: changes what voters are told of an outcome; the identity but in controls such as shuffled labels
Tell = Callable[[PerformanceFeedback], PerformanceFeedback]


class Heard(msgspec.Struct, frozen=True):
    """What one bar brought: questions and answers, the decision, the outcomes, the journal records."""

    update: MarketUpdate
    requests: dict[str, DecisionRequest]
    answers: tuple[Answer, ...]
    decision: Decision | None
    outcomes: tuple[PerformanceFeedback, ...]
    records: tuple[bytes, ...]


def voter_of(wire: str, system: System) -> Voter:
    """Return a fresh agent by its wire name, made by the roster's entry point."""
    module, _, name = BY_WIRE[wire].entry.partition(":")
    made: Voter = getattr(importlib.import_module(module), name)(system)
    return made


class Stage:
    """One life of PADS and the enabled voters over one source."""

    def __init__(
        self, system: System, source: Source, voters: Sequence[Voter] | None = None, tell: Tell | None = None
    ) -> None:
        if not system.enabled("pads"):
            raise ConfigError("enable_pads: an evaluation needs PADS; set it to true")
        self._system, self._source = system, source
        given = [voter_of(wire, system) for wire in system.voters()] if voters is None else voters
        self._voters = {voter.name: voter for voter in given}
        self._tell: Tell = tell or (lambda feedback: feedback)
        self._pads = Pads(system)
        self._ring = Ring(VOTER_BARS)
        self._step_ns = int(system.market_update_interval * 1e9)
        self._now_ns = 0
        self._requests: dict[str, DecisionRequest] = {}
        self._answers: tuple[Answer, ...] = ()
        self._decision: Decision | None = None
        self._outcomes: list[PerformanceFeedback] = []
        self._records: list[bytes] = []
        self._noticed: dict[str, list[Outgoing]] = {name: [] for name in self._voters}
        self.failures: dict[str, str] = {}  # wire name → the last fault of a voter, as a run would log it

    def bars(self, limit: int | None = None) -> Iterator[Heard]:
        """Yield every live bar, at most `limit`, after the history has been learned."""
        source = self._source
        length = source.length if source.length is not None else None
        stop = length if limit is None else source.backfill + limit
        if stop is None:
            raise ConfigError("--bars: this market does not end; say how many bars to decide on")
        stop = stop if length is None else min(stop, length)
        self._do(self._pads.begin("evaluation"))
        self._inform()
        for index, update in enumerate(self._updates(stop)):
            live = index >= source.backfill
            if index == source.backfill:
                self._do(self._pads.on_peers(frozenset(self._voters), self._now_ns))
            self._bar(update, live=live, to_voters=live or index >= source.backfill - VOTER_BARS)
            if live:
                yield self._taken(update)
            self._now_ns += self._step_ns

    def _inform(self) -> None:
        """Give each agent that reads a document its own, once; ConfigError when it cannot be read."""
        for name, voter in self._voters.items():
            if not isinstance(voter, Reader):
                continue
            try:
                wrong = voter.on_document(sources.read(voter.source), self._now_ns)
            except RemoteError as error:
                raise ConfigError(f"{name}.source: {error}") from None
            if wrong:
                self.failures[name] = wrong

    def _updates(self, stop: int) -> Iterator[MarketUpdate]:
        backfill = self._source.backfill
        first = max(0, backfill - PADS_BARS)
        for start in range(first, stop, BLOCK):
            block = self._source.read(start, min(stop, start + BLOCK))
            for offset in range(block.close_ns.size):
                kind = "delta" if start + offset >= backfill else "snapshot"
                yield update_of(block.part(offset, offset + 1), start + offset, kind)

    def _bar(self, update: MarketUpdate, *, live: bool, to_voters: bool) -> None:
        self._ring.push(update)
        window = self._ring.window()
        if to_voters and window is not None:
            for name, voter in self._voters.items():
                self._noticed[name] += voter.on_bars(update, window, self._now_ns)
        if live:
            for name, noticed in self._noticed.items():
                self._said(name, noticed)
                noticed.clear()
        self._do(self._pads.on_update(update, None, self._now_ns))

    def _taken(self, update: MarketUpdate) -> Heard:
        heard = Heard(
            update,
            self._requests,
            self._answers,
            self._decision,
            tuple(self._outcomes),
            tuple(self._records),
        )
        self._requests, self._answers, self._decision = {}, (), None
        self._outcomes, self._records = [], []
        return heard

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Record(data=data):
                    self._records.append(data)
                case Publish(message=message):
                    self._published(message)
                case Send(message=message, to=to):
                    self._said(to, self._voters[to].on_message(message, self._now_ns))
                case Ask():
                    self._asked(action)

    def _published(self, message: Message) -> None:
        if isinstance(message, DecisionResponse):
            self._decision = message.decision
        elif isinstance(message, PerformanceFeedback):
            told = self._tell(message)
            self._outcomes.append(told)
            for name, voter in self._voters.items():
                self._said(name, voter.on_feedback(told, self._now_ns))
        else:
            for name, voter in self._voters.items():
                self._said(name, voter.on_message(message, self._now_ns))

    def _said(self, sender: str, messages: Sequence[Outgoing]) -> None:
        """Bring what a voter says of its own accord to whom it is meant for."""
        for out in messages:
            for name, voter in self._voters.items():
                if name not in (sender, None) and out.to in (None, name):
                    self._said(name, voter.on_message(out.message, self._now_ns))
            if out.to in (None, "pads"):
                self._do(self._pads.on_message(out.message, sender, self._now_ns))

    def _asked(self, ask: Ask) -> None:
        window = self._ring.window()
        answers = tuple(self._answer(peer, request, window) for peer, request in ask.requests.items())
        self._requests, self._answers = dict(ask.requests), answers
        self._do(self._pads.on_answers(ask.round_id, answers, self._now_ns))

    def _answer(self, peer: str, request: DecisionRequest, window: MarketWindow | None) -> Answer:
        try:
            return Answer(peer, self._voters[peer].on_request(request, window, self._now_ns))
        except Exception as error:  # as in a run: a failed step is an abstention of the whole message
            self.failures[peer] = f"{type(error).__name__}: {error}"
            return Answer(peer, None, self.failures[peer])
