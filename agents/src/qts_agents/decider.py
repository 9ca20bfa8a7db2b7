"""The shell of PADS: carries out its actions, keeps its journal, times its rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from qts_agents import round_spans
from qts_agents.agent import MarketWindow
from qts_agents.awake import awake, secured, stored
from qts_agents.bars_inlet import History, Inlet, at_once
from qts_agents.cause import Cause
from qts_agents.conductor import Conductor
from qts_agents.context import Context
from qts_agents.in_step import by_our_clock, off_the_wire, on_the_wire
from qts_agents.pace import lockstep
from qts_agents.pads import kept, records
from qts_agents.pads.actions import Action, Answer, Ask, Publish, Record, Send
from qts_agents.pads.agent import Pads, fits_inline
from qts_agents.pads.journal import JournalWriter, kept_in
from qts_agents.pads.resume import resume
from qts_agents.pads.scorecard import Scores
from qts_agents.round_metrics import count_votes, measure, note_round, tell_round
from qts_agents.round_notes import Cap, worth
from qts_agents.scoring import Scoring
from qts_core.errors import LocalError, UnkeptError
from qts_core.probes import Status
from qts_messaging.bus import Reply
from qts_messaging.messages import (
    AgentStatus,
    DecisionResponse,
    Envelope,
    MarketUpdate,
    Message,
    PerformanceFeedback,
    PhaseTransition,
    RiskAlert,
    SystemCommand,
)
from qts_messaging.records import Decision
from qts_messaging.ways import expected

PADS_BARS = 4096
TICK_S = 0.5


class DeciderShell:
    """Runs `Pads` on the compute thread and does what it says."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.pads = Pads(context.system)
        self._scoring = Scoring(context)
        self._conductor = Conductor(context) if lockstep(context.system) else None
        gate = at_once if self._conductor is None else self._conduct
        self._inlet = Inlet(context, PADS_BARS, self._on_bar, self._on_history, gate=gate)
        state = context.place.state
        self._journal = JournalWriter(state / "journal", keep=kept_in(state))
        self._rounds: set[asyncio.Task[None]] = set()
        self._ready: set[str] = set()
        self._told: frozenset[str] = frozenset()
        self._credentials: dict[str, dict[str, int]] = {}  # peer → kind → generation, as it says
        self._last_trace: bytes | None = None
        self._asked: dict[str, Cause] = {}  # rounds under way: what their decision descends from
        self._cap = Cap()
        self._begun = asyncio.Event()  # the journal has its header or its end; nothing is written before
        self._order = asyncio.Lock()  # what an event leads to is done before the next is computed

    def warm_up(self) -> None:
        """Compile every kernel the board decides with."""
        self.pads.warm_up()

    def subscribe(self) -> None:
        """Register a handler for each type PADS reads."""
        bus = self._context.bus
        bus.subscribe(MarketUpdate, self._inlet.receive)
        bus.subscribe(AgentStatus, self._on_status)
        for kind in (PhaseTransition, RiskAlert, SystemCommand):
            bus.subscribe(kind, self._on_message)

    async def begin(self) -> None:
        """Go on where the journal ends, or begin a new one; learn what the snapshot stream holds.

        In step the first bar brings its history: the stream may still be filling now.
        """
        place, now = self._context.place, self._now()
        found = await self._context.compute(resume, place.state / "journal", self._context.system)
        if found.pads is None:
            self._context.log.info("board_begins_anew", reason=found.why)
            actions = self.pads.begin(place.system_name)
        else:
            self._context.log.info("board_goes_on", unfinished=len(found.actions))
            self.pads = found.pads
            # who is ready must be heard again
            actions = found.actions + await self._context.compute(self.pads.on_peers, frozenset(), now)
            self._journal.unread = found.read
        if found.lost:
            self._context.health.troubles["forgot"] = found.lost
        await self._do(actions, Cause(None, 0))
        self._begun.set()
        if self._conductor is None:
            await self._inlet.backfill()
        self._context.metrics.ended = self.pads.ended  # the stream may have lost what the journal knows

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """Return the bar worker and the timer."""
        return [self._inlet.run(), self._tick()]

    async def drain(self) -> None:
        """Let the running round end or expire."""
        if self._rounds:
            await asyncio.wait(self._rounds, timeout=min(2.0, self._context.system.decision_timeout))

    async def finish(self) -> None:
        """Make the journal safe."""
        await asyncio.to_thread(self._journal.close)

    def describe(self, status: Status) -> None:
        """Add the peers that run, of which the bus may know more, and the board to the status."""
        status.peers = {
            name: {
                "age_s": round(peer.age_s, 3),
                "state": peer.state,
                "credentials": self._credentials.get(name, {}),
            }
            for name, peer in self._context.bus.peers().items()
            if name in expected(self._context.system)
        }
        status.board = self.pads.snapshot()

    async def scores(self) -> Scores:
        """Return how good each seat's and the board's forecasts were."""
        return await self._scoring.scores(self.pads)

    def _now(self) -> int:
        """Return the time that PADS is told: in step it is counted in bars."""
        return self._context.now_ns() if self._conductor is None else self._conductor.now_ns()

    def _running(self) -> int:
        """Return the same where time has to pass: for what waits, and how long it took."""
        return self._context.now_ns() if self._conductor is None else self._conductor.running_ns()

    async def _on_history(self, history: History) -> None:
        await self._take(Cause(None, self._context.now_ns()), self._lived, history)

    def _lived(self, history: History) -> list[Action]:
        """Let PADS take bars that closed before; on the compute thread."""
        return [action for bar in history for action in self._update(*bar)]

    def _update(self, update: MarketUpdate, window: MarketWindow | None) -> list[Action]:
        if self._conductor is not None:
            self._conductor.at(update.seq)
        return self.pads.on_update(update, window, self._now())

    async def _conduct(self, update: MarketUpdate) -> None:
        """In step: let the round end and the voters live through the bar, and hear what they say of it."""
        if self._conductor is None or self._context.health.draining:
            return
        if self._rounds:
            await asyncio.wait(self._rounds)
        await self._hear(await self._conductor.step(update, lambda: self._told))

    async def _on_bar(self, update: MarketUpdate, trace: bytes | None) -> None:
        start = self._context.now_ns()
        # it is only sent where it fits into a request
        window = self._inlet.window() if fits_inline(len(update.symbols)) else None
        stage, notes = round_spans.BAR_PROCESSED, self._context.notes
        process = self._context.tracing.child(trace, stage.stage)
        self._last_trace, cause = process, self._below_bar(process, start)
        async with self._order:
            actions = await self._context.compute(self._update, update, window)
            taken = self._context.now_ns()
            notes.note(trace, stage, start, taken)
            await self._do(actions, cause.then("open", taken))
            await self._keep(cause)

    async def _keep(self, cause: Cause) -> None:
        """Write the state into the journal if that is due."""
        if self._journal.wants_state:
            await self._do(
                await self._context.compute(kept.checkpoint, self.pads, self._context.now_ns()), cause
            )

    async def _take(self, cause: Cause, event: Callable[..., list[Action]], *arguments: Any) -> None:
        """Let PADS take an event, and carry out what it leads to."""
        async with self._order:
            actions = await self._context.compute(event, *arguments)
            await self._do(actions, cause.then("open", self._context.now_ns()))
            await self._keep(cause)

    async def _on_status(self, envelope: Envelope) -> None:
        status = envelope.body
        if not isinstance(status, AgentStatus) or status.agent != envelope.sender:  # nobody speaks for others
            return
        self._credentials[envelope.sender] = status.credentials
        if self._conductor is not None:
            self._conductor.spoke(envelope.sender)
        if status.agent in self._context.system.voters():
            serving = status.state in ("ready", "degraded")
            (self._ready.add if serving else self._ready.discard)(status.agent)
            await self._tell_peers()

    async def _tell_peers(self) -> None:
        await self._begun.wait()
        health = self._context.bus.peers()
        alive = frozenset(n for n in self._ready if n in health and health[n].state != "dead")
        if alive != self._told:
            self._told = alive
            cause = self._below_bar(self._last_trace, self._context.now_ns())
            await self._take(cause, self.pads.on_peers, alive, self._now())

    async def _on_message(self, envelope: Envelope) -> None:
        if envelope.body is None or envelope.sender == "pads":
            return
        await self._begun.wait()
        if self._conductor is not None and envelope.sender in self._context.system.voters():
            self._conductor.mail.put(envelope)
        else:
            await self._hear([envelope])

    async def _hear(self, envelopes: Sequence[Envelope]) -> None:
        """Let PADS take messages, one after the other."""
        for envelope in envelopes:
            body, now = envelope.body, self._now()
            if body is not None and self._conductor is not None:
                body = off_the_wire(body, now)
            elif body is not None:
                body = by_our_clock(body, self._context.bus.offset_ns(envelope.sender))
            cause = Cause(envelope.trace, self._context.now_ns())
            await self._take(cause, self.pads.on_message, body, envelope.sender, now)

    async def _tick(self) -> None:
        while True:
            await self._context.clock.sleep(TICK_S)
            if self._context.health.draining:
                return
            await self._tell_peers()
            if self._conductor is None or not self._conductor.stepping:
                await self._take(self._alone(self._context.now_ns()), self.pads.on_tick, self._running())

    def _below_bar(self, trace: bytes | None, now: int) -> Cause:
        """Return the cause of what a bar leads to; one without a trace is none."""
        return self._alone(now) if trace is None else Cause(trace, now, round_spans.BAR)

    def _alone(self, now: int) -> Cause:
        """Return the cause of what no bar leads to: PADS begins the trace."""
        return Cause(self._context.tracing.root(round_spans.ROUND[1]), now)

    async def _do(self, actions: Sequence[Action], cause: Cause) -> None:
        """Write down, ask, then tell: storing a message takes as long as a vote, and no vote waits for it.

        Outcomes are told when the round is over: who learns from one cannot vote meanwhile. In step with the
        feed all that is told comes before the question, which names it (see `in_step`).
        """
        for action in actions:
            if isinstance(action, Record):
                self._record(action.data, action.opens)
        draining = self._context.health.draining
        questions = [action for action in actions if isinstance(action, Ask) and not draining]
        waits = bool(questions) and self._conductor is None
        if waits:
            self._open(questions.pop(), cause, [action for action in actions if _can_wait(action)])
        for action in actions:
            if not (waits and _can_wait(action)):
                await self._tell(action, cause)
        for ask in questions:
            self._open(ask, cause, ())

    async def _tell(self, action: Action, cause: Cause) -> None:
        match action:
            case Publish(message=message):
                await self._publish(message, cause)
            case Send(message=message, to=to):
                await self._send(message, to)

    def _record(self, data: bytes, opens: bool) -> None:
        troubles = self._context.health.troubles
        try:
            self._journal.append(data, opens)
            if troubles.pop("journal", None):
                self._context.log.info("journal_writable_again")
        except LocalError as error:
            if self._conductor is not None:
                raise UnkeptError(f"journal cannot be written: {error}") from error
            if "journal" not in troubles:
                self._context.log.error("journal_not_writable", error=str(error))
            troubles["journal"] = f"journal cannot be written: {error}; decisions go on without a record"

    async def _send(self, message: Message, to: str) -> None:
        try:
            key = await self._context.bus.send(message, to)
            if self._conductor is not None:
                self._conductor.told(key, to)
        except LocalError as error:
            self._context.log.warning("not_sent", to=to, error=str(error))

    async def _publish(self, message: Message, cause: Cause) -> None:
        if isinstance(message, DecisionResponse) and (decision := message.decision) is not None:
            cause = self._asked.pop(message.round_id, cause)  # its round's, also where a tick gave up
            stage, start = round_spans.decision_below(cause.above), self._context.now_ns()
            if why := self._why_kept(cause, start):
                message = msgspec.structs.replace(message, trace_keep=True)
                self._context.notes.keep(cause.trace, message.round_id, why)
            trace = self._context.tracing.child(cause.trace, stage.stage)
            await stored(self._context, awake(self._context.bus.publish(message, trace=trace)))
            now = self._context.now_ns()
            self._context.notes.note(cause.trace, stage, start, now, message.round_id)
            # the decision is out: nothing waits for what is counted of it
            soon = asyncio.get_running_loop().call_soon
            soon(self._measure, decision, self.pads.outcome, cause, now)
            self._time(message.round_id, cause.then("publish", now), now)
        elif self._conductor is None:
            await stored(self._context, self._context.bus.publish(message))
        elif (stamped := on_the_wire(message, self._now(), self._context.now_ns())) is not None:
            self._conductor.told(await secured(self._context.bus.publish(stamped)))

    def _why_kept(self, cause: Cause, now: int) -> str:
        """Return why the round just decided is kept; nothing: all is well, or one was kept a moment ago."""
        took_s = (now - cause.start_ns) / 1e9 if cause.start_ns else 0.0
        why = worth(self.pads.outcome, took_s, self._context.system.decision_timeout)
        if not why or cause.trace is None:
            return ""
        kept, metrics = self._cap.take(self._context.clock.monotonic_ns()), self._context.metrics
        (metrics.kept_rounds if kept else metrics.kept_rounds_over_cap).labels(why).inc()
        return why if kept else ""

    def _open(self, ask: Ask, cause: Cause, later: Sequence[Action]) -> None:
        task = asyncio.create_task(self._whole(ask, cause, later))
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)

    async def _whole(self, ask: Ask, cause: Cause, later: Sequence[Action]) -> None:
        """Play a round, then tell what had to wait for it, also where the round failed."""
        try:
            await self._round(ask, cause)
        finally:
            self._asked.pop(ask.round_id, None)
            for action in later:
                await self._tell(action, cause)

    async def _round(self, ask: Ask, cause: Cause) -> None:
        """Ask, decide, tell."""
        tracing, start = self._context.tracing, self._context.now_ns()
        round_trace = tracing.child(cause.trace, round_spans.ROUND[1])
        below = Cause(round_trace, cause.start_ns, round_spans.ROUND, cause.ends).then("ask", start)
        self._asked[ask.round_id] = below
        contexts = {
            peer: trace
            for peer in ask.requests
            if (trace := tracing.child(cause.trace, round_spans.asked(peer).stage)) is not None
        }
        conductor = self._conductor
        requests: dict[str, Message] = dict(ask.requests) if conductor is None else conductor.asking(ask)
        replies = await self._context.bus.gather(requests, ask.timeout_s, trace=contexts)
        if conductor is not None:
            await self._hear(await conductor.heard(replies))
        asked = self._context.now_ns()
        answers = tuple(self._answer(reply, start) for reply in replies)
        async with self._order:
            now = self._running()
            actions = await self._context.compute(self.pads.on_answers, ask.round_id, answers, now)
            decided, refused, outcome = self._context.now_ns(), self.pads.refused, self.pads.outcome
            below = self._asked[ask.round_id] = below.then("votes", asked).then("decide", decided)
            await self._do(actions, below)
        count_votes(self._context.metrics, replies, answers, refused)
        tell_round(self._context, ask, cause, answers, refused, outcome)
        times = (start, asked, decided, self._context.now_ns())
        note_round(self._context.notes, ask.round_id, replies, cause, times, outcome)

    def _answer(self, reply: Reply, start_ns: int) -> Answer:
        envelope = reply.envelope
        body = envelope.body if envelope is not None else None
        opinion = body.opinion if isinstance(body, DecisionResponse) else None
        reason = reply.reason
        if isinstance(body, DecisionResponse) and body.failure is not None:
            reason = f"{body.failure.error}: {body.failure.text}"
        if envelope is not None:
            elapsed_s = (self._context.now_ns() - start_ns) / 1e9
            self._context.metrics.vote_latency.labels(reply.peer).observe(max(0.0, elapsed_s))
        return Answer(reply.peer, opinion, reason)

    def _time(self, round_id: str, cause: Cause, now: int) -> None:
        """Write down how long each stage took, where no replay compares it."""
        took = records.Timings(round_id, cause.stages())
        self._record(records.encode(records.REMARK, now, took), opens=False)

    def _measure(self, decision: Decision, outcome: str, cause: Cause, now: int) -> None:
        took_s = max(0, now - cause.start_ns) / 1e9 if cause.start_ns else None
        measure(self._context.metrics, decision, (outcome, took_s, now), self.pads.snapshot())


def _can_wait(action: Action) -> bool:
    """Tell whether an action is to tell the outcome of an earlier decision."""
    return isinstance(action, Publish) and isinstance(action.message, PerformanceFeedback)
