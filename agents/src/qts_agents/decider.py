"""The shell of PADS: carries out its actions, keeps its journal, times its rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import numpy as np

from qts_agents.awake import awake
from qts_agents.bars_inlet import History, Inlet
from qts_agents.cause import Cause
from qts_agents.columns import array
from qts_agents.context import Context
from qts_agents.pads import kept, records
from qts_agents.pads.actions import Action, Answer, Ask, Publish, Record, Send
from qts_agents.pads.agent import Pads, fits_inline
from qts_agents.pads.journal import JournalWriter
from qts_agents.pads.resume import resume
from qts_agents.pads.rounds import lockstep
from qts_agents.pads.scorecard import Scores
from qts_agents.scoring import Scoring
from qts_core.errors import LocalError
from qts_core.probes import Status
from qts_messaging.bus import Reply
from qts_messaging.messages import (
    ACTIONS,
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

PADS_BARS = 4096
TICK_S = 0.5


class DeciderShell:
    """Runs `Pads` on the compute thread and does what it says."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.pads = Pads(context.system)
        self._scoring = Scoring(context)
        self._in_step = lockstep(context.system)
        self._inlet = Inlet(context, PADS_BARS, self._on_bar, self._on_history)
        self._journal = JournalWriter(context.place.state / "journal")
        self._rounds: set[asyncio.Task[None]] = set()
        self._ready: set[str] = set()
        self._told: frozenset[str] = frozenset()
        self._credentials: dict[str, dict[str, int]] = {}  # peer → kind → generation, as it says
        self._last_trace: bytes | None = None
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
        bus.subscribe(DecisionResponse, self._on_stray)
        for kind in (PhaseTransition, RiskAlert, SystemCommand):
            bus.subscribe(kind, self._on_message)

    async def begin(self) -> None:
        """Go on where the journal ends, or begin a new one; learn what the snapshot stream holds."""
        place, now = self._context.place, self._context.now_ns()
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
        await self._do(actions, Cause(None, 0))
        self._begun.set()
        await self._inlet.backfill()

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
        """Add peers and the board to the status."""
        status.peers = {
            name: {
                "age_s": round(peer.age_s, 3),
                "state": peer.state,
                "credentials": self._credentials.get(name, {}),
            }
            for name, peer in self._context.bus.peers().items()
        }
        status.board = self.pads.snapshot()

    async def scores(self) -> Scores:
        """Return how good each seat's and the board's forecasts were."""
        return await self._scoring.scores(self.pads)

    async def _on_history(self, history: History) -> None:
        start = self._context.now_ns()
        await self._take(Cause(None, start), self._lived, history, start)

    def _lived(self, history: History, now: int) -> list[Action]:
        """Let PADS take bars that closed before; on the compute thread."""
        return [action for bar in history for action in self.pads.on_update(*bar, now)]

    async def _on_bar(self, update: MarketUpdate, trace: bytes | None) -> None:
        start = self._context.now_ns()
        # it is only sent where it fits into a request
        window = self._inlet.window() if fits_inline(len(update.symbols)) else None
        process = self._context.tracing.child(trace, "process market")
        self._last_trace = process
        async with self._order:
            actions = await self._context.compute(self.pads.on_update, update, window, start)
            taken = self._context.now_ns()
            facts = {"messaging.system": "redis", "messaging.destination.name": "market"}
            self._context.tracing.emit(
                "process market", trace, start, taken, kind="consumer", attributes=facts
            )
            await self._do(actions, Cause(process, start).then("open", taken))
            await self._keep(Cause(process, start))

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
        if not isinstance(status, AgentStatus):
            return
        self._credentials[envelope.sender] = status.credentials
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
            now = self._context.now_ns()
            await self._take(Cause(self._last_trace, now), self.pads.on_peers, alive, now)

    async def _on_stray(self, envelope: Envelope) -> None:
        """Count an answer that no request waits for any more."""
        if isinstance(envelope.body, DecisionResponse) and envelope.body.opinion is not None:
            self._context.metrics.votes.labels(envelope.sender, "late").inc()

    async def _on_message(self, envelope: Envelope) -> None:
        if envelope.body is None or envelope.sender == "pads":
            return
        await self._begun.wait()
        now = self._context.now_ns()
        await self._take(
            Cause(envelope.trace, now), self.pads.on_message, envelope.body, envelope.sender, now
        )

    async def _tick(self) -> None:
        while True:
            await self._context.clock.sleep(TICK_S)
            if self._context.health.draining:
                return
            await self._tell_peers()
            now = self._context.now_ns()
            await self._take(Cause(self._context.tracing.root("round"), now), self.pads.on_tick, now)

    async def _do(self, actions: Sequence[Action], cause: Cause) -> None:
        """Write down, ask, then tell: storing a message takes as long as a vote, and no vote waits for it.

        Outcomes are told when the round is over: who learns from one cannot vote meanwhile. In step with the
        feed all that is told comes before the question, so that equal runs learn in the same order.
        """
        for action in actions:
            if isinstance(action, Record):
                self._record(action.data, action.opens)
        draining = self._context.health.draining
        questions = [action for action in actions if isinstance(action, Ask) and not draining]
        waits = bool(questions) and not self._in_step
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
            if "journal" not in troubles:
                self._context.log.error("journal_not_writable", error=str(error))
            troubles["journal"] = f"journal cannot be written: {error}; decisions go on without a record"

    async def _send(self, message: Message, to: str) -> None:
        try:
            await self._context.bus.send(message, to)
        except LocalError as error:
            self._context.log.warning("not_sent", to=to, error=str(error))

    async def _publish(self, message: Message, cause: Cause) -> None:
        if isinstance(message, DecisionResponse) and message.decision is not None:
            trace = self._context.tracing.child(cause.trace, "publish decisions")
            start = self._context.now_ns()
            await awake(self._context.bus.publish(message, trace=trace))
            facts = {
                "messaging.system": "redis",
                "messaging.destination.name": "decisions",
                "messaging.message.conversation_id": message.round_id,
            }
            self._context.tracing.emit(
                "publish decisions",
                cause.trace,
                start,
                self._context.now_ns(),
                kind="producer",
                attributes=facts,
            )
            # the decision is out: nothing waits for what is counted of it
            now = self._context.now_ns()
            soon = asyncio.get_running_loop().call_soon
            soon(self._measure, message.decision, self.pads.outcome, cause, now)
            self._time(message.round_id, cause.then("publish", now), now)
        else:
            await self._context.bus.publish(message)

    def _open(self, ask: Ask, cause: Cause, later: Sequence[Action]) -> None:
        task = asyncio.create_task(self._whole(ask, cause, later))
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)

    async def _whole(self, ask: Ask, cause: Cause, later: Sequence[Action]) -> None:
        """Play a round, then tell what had to wait for it, also where the round failed."""
        try:
            await self._round(ask, cause)
        finally:
            for action in later:
                await self._tell(action, cause)

    async def _round(self, ask: Ask, cause: Cause) -> None:
        """Ask, decide, tell."""
        tracing, start = self._context.tracing, self._context.now_ns()
        round_trace = tracing.child(cause.trace, "round")
        contexts = {
            peer: trace
            for peer in ask.requests
            if (trace := tracing.child(round_trace, f"send requests {peer}")) is not None
        }
        requests: dict[str, Message] = dict(ask.requests)
        replies = await self._context.bus.gather(requests, ask.timeout_s, trace=contexts)
        asked = self._context.now_ns()
        answers = tuple(self._answer(reply, start) for reply in replies)
        async with self._order:
            actions = await self._context.compute(
                self.pads.on_answers, ask.round_id, answers, self._context.now_ns()
            )
            decided, refused = self._context.now_ns(), self.pads.refused
            answered = cause.then("ask", start).then("votes", asked).then("decide", decided)
            await self._do(actions, msgspec.structs.replace(answered, trace=round_trace))
        self._count(replies, answers, refused)
        self._trace_round(ask, replies, cause, (start, asked, decided))

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

    def _count(self, replies: Sequence[Reply], answers: Sequence[Answer], refused: dict[str, str]) -> None:
        """Count what became of each vote; what PADS refused is as invalid as what is no opinion."""
        for reply, answer in zip(replies, answers, strict=True):
            used = answer.opinion is not None and answer.peer not in refused
            result = "used" if used else "invalid" if reply.envelope is not None else "late"
            self._context.metrics.votes.labels(reply.peer, result).inc()

    def _trace_round(
        self, ask: Ask, replies: Sequence[Reply], cause: Cause, times: tuple[int, int, int]
    ) -> None:
        tracing, (start, asked, decided) = self._context.tracing, times
        round_trace = tracing.child(cause.trace, "round")
        end = self._context.now_ns()
        facts = {"qts.round.id": ask.round_id}
        tracing.emit("round", cause.trace, start, end, attributes=facts)
        votes: list[bytes] = []
        for reply in replies:
            stage = f"send requests {reply.peer}"
            wire = {
                "messaging.system": "zeromq",
                "messaging.destination.name": "requests",
                "messaging.message.conversation_id": ask.round_id,
            }
            tracing.emit(
                "send requests", round_trace, start, asked, stage=stage, kind="producer", attributes=wire
            )
            if reply.envelope is not None and reply.envelope.trace is not None:
                votes.append(reply.envelope.trace)
                wire = wire | {"messaging.destination.name": "votes"}
                stage = f"process votes {reply.peer}"
                tracing.emit(
                    "process votes",
                    reply.envelope.trace,
                    asked,
                    decided,
                    stage=stage,
                    kind="consumer",
                    links=[reply.envelope.trace],
                    attributes=wire,
                )
        tracing.emit("decide", round_trace, asked, decided, links=votes, attributes=facts)

    def _time(self, round_id: str, cause: Cause, now: int) -> None:
        """Write down how long each stage took, where no replay compares it."""
        took = records.Timings(round_id, cause.stages())
        self._record(records.encode(records.REMARK, now, took), opens=False)

    def _measure(self, decision: Decision, outcome: str, cause: Cause, now: int) -> None:
        metrics = self._context.metrics
        metrics.decision_at.set(now / 1e9)
        for name, count in zip(
            ACTIONS, np.bincount(array(decision.action), minlength=len(ACTIONS)), strict=True
        ):
            if count:
                metrics.decisions.labels(name).inc(int(count))
        metrics.rounds.labels(outcome).inc()
        if cause.start_ns:
            metrics.round_duration.labels(outcome).observe(max(0, now - cause.start_ns) / 1e9)
        snapshot = self.pads.snapshot()
        self._context.metrics.style(str(snapshot["strategy"]))
        board = snapshot["gauges"]
        for name, gauge in metrics.board.items():
            if name in board:
                gauge.set(board[name])


def _can_wait(action: Action) -> bool:
    """Tell whether an action is to tell the outcome of an earlier decision."""
    return isinstance(action, Publish) and isinstance(action.message, PerformanceFeedback)
