"""The shell of an agent that votes: bars in, requests answered, feedback learned."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from qts_agents import keepsake
from qts_agents.agent import MarketWindow, Outgoing, Voter
from qts_agents.awake import stored
from qts_agents.bars_inlet import History, Inlet, at_once
from qts_agents.context import Context
from qts_agents.documents import Documents
from qts_agents.in_step import Follower, off_the_wire, on_the_wire
from qts_agents.market.windows import from_wire
from qts_agents.pace import lockstep
from qts_agents.round_spans import BAR_PROCESSED, DECISION_PROCESSED, PADS, answered
from qts_core.errors import ConfigError, QtsError
from qts_core.probes import Status
from qts_core.spec import System
from qts_messaging.messages import (
    DecisionRequest,
    DecisionResponse,
    Envelope,
    MarketUpdate,
    Message,
    PerformanceFeedback,
    PhaseTransition,
    RiskAlert,
    SystemCommand,
)
from qts_messaging.records import Failure

VOTER_BARS = 512
FORGOT = "forgot"
SAVE_S = 10.0  # then what was learned is kept after the next round, or in as long again
T = TypeVar("T")


class VoterShell:
    """Runs one `Voter` on the compute thread and speaks for it; in step with the feed as PADS conducts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        module, _, name = context.workload.entry.partition(":")
        self._fresh: Callable[[System], Voter] = getattr(importlib.import_module(module), name)
        self.agent: Voter = self._fresh(context.system)
        self._begun = asyncio.Event()  # the kept state is loaded: what comes earlier waits for it
        self._over = asyncio.Event()  # a round has ended
        self._unproved = False  # a kept state is loaded and has not lived through a bar yet
        self._follower = Follower(context) if lockstep(context.system) else None
        gate = at_once if self._follower is None else self._follower.gate
        self._inlet = Inlet(context, VOTER_BARS, self._on_bar, self._on_history, lead=VOTER_BARS, gate=gate)
        self._documents = Documents(context, lambda: self.agent)
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen = (-1, -1)  # epoch and number of the newest bar that the agent has lived through
        self._anew = ""  # epoch that it has begun by itself, of which PADS has not spoken yet
        self._path = context.place.state / "state" / f"{context.workload.name}.state"
        self._spans = answered(context.workload.wire)

    def warm_up(self) -> None:
        """Compile every kernel the agent serves with."""
        self.agent.warm_up()

    def subscribe(self) -> None:
        """Register a handler for each type a voter reads."""
        bus = self._context.bus
        bus.subscribe(MarketUpdate, self._inlet.receive)
        bus.subscribe(DecisionRequest, self._on_request)
        bus.subscribe(DecisionResponse, self._on_decision)
        for kind in (PerformanceFeedback, PhaseTransition, RiskAlert, SystemCommand):
            bus.subscribe(kind, self._on_message)

    async def begin(self) -> None:
        """Remember what was learned before, read what is read, then learn what the snapshot stream holds.

        In step the first bar brings its history: the stream may still be filling now.
        """
        await self._context.compute(self._remember)
        self._begun.set()
        await self._documents.once()
        if self._follower is None:
            await self._inlet.backfill()

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """Return the bar worker, the reader and the saver."""
        return [self._inlet.run(), self._documents.run(), self._save()]

    async def drain(self) -> None:
        """Let the answers under way leave; in step, hear what no question will name any more."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        for heard in self._follower.mail.rest() if self._follower is not None else ():
            await self._hear(heard)

    async def finish(self) -> None:
        """Keep what was learned."""
        self._documents.close()
        await self._keep()

    def describe(self, status: Status) -> None:
        """Say with what the agent computes."""
        status.backend = self.agent.backend

    async def scores(self) -> None:
        """Say nothing: PADS knows the outcomes of all."""
        return

    async def _on_history(self, history: History) -> None:
        """Live through bars that closed before, those of one epoch together."""
        for _, bars in itertools.groupby(history, lambda bar: bar[0].epoch):
            together = list(bars)
            await self._begin_anew(together[0][0])
            await self._send(await self._context.compute(self._proved, self._lived, together), 1)

    def _lived(self, history: History) -> list[Outgoing]:
        """Let the agent live through the bars that it has not seen; on the compute thread."""
        news = ((update, window) for update, window in history if (update.epoch, update.seq) > self._seen)
        return [out for update, window in news for out in self._live(update, window)]

    async def _begin_anew(self, update: MarketUpdate) -> None:
        """Forget what was learned where the data begin again: nothing from their future is used."""
        epoch, seq = self._seen
        began_again = update.kind == "delta" and update.seq <= seq
        if seq >= 0 and (update.epoch != epoch or began_again):
            self._anew = str(update.epoch)
            await self._tell(SystemCommand("reset", {"epoch": self._anew}))
            self._seen = (-1, -1)

    async def _on_bar(self, update: MarketUpdate, trace: bytes | None) -> None:
        start = self._context.now_ns()
        await self._begin_anew(update)
        if (update.epoch, update.seq) > self._seen:
            await self._send(
                await self._context.compute(self._proved, self._live, update, self._inlet.window())
            )
        self._context.notes.note(trace, BAR_PROCESSED, start, self._context.now_ns())

    def _proved(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do `work`; if it fails before a first bar with a kept state, forget that state and do it again.

        Otherwise a state that decodes and does not fit would stop the process at each of its starts.
        """
        try:
            return work(*arguments)
        except Exception as error:
            if not self._unproved:
                raise
            self._unproved = False
            self._lose(f"{self._path}: it does not fit ({type(error).__name__}: {error})")
            self.agent, self._seen = self._fresh(self._context.system), (-1, -1)
            return work(*arguments)

    def _live(self, update: MarketUpdate, window: MarketWindow) -> Sequence[Outgoing]:
        """Let the agent live through a bar; on the compute thread, so that state and number agree."""
        out = self.agent.on_bars(update, window, self._now(update.seq))
        self._seen, self._unproved = (update.epoch, update.seq), False
        return out

    def _remember(self) -> None:
        """Take up the state of an earlier process; a damaged one is told and put aside."""
        try:
            kept = keepsake.recall(self._path)
            if kept is None:
                return
            if kept.shaped_by != self._shape():
                self._context.log.info("learned_state_not_used", why="it was made under other settings")
                return
            self.agent.load(kept.state)
        except ConfigError as error:
            self._lose(str(error))
            return
        self._seen, self._unproved = (kept.epoch, kept.seq), True
        self._context.log.info("learned_state_restored", epoch=kept.epoch, seq=kept.seq)

    def _lose(self, why: str) -> None:
        """Say that what an earlier process learned is lost; keep its file.

        That is a trouble until what is learned anew is kept, then the past of this process.
        """
        try:
            kept = f"the file is kept as {keepsake.set_aside(self._path)}"
        except OSError as error:
            kept = f"the file cannot be put aside ({error.strerror}) and will be replaced"
        lost = "what it learned before its restart is lost; it learns anew from the bars that are still held"
        self._context.log.warning("learned_state_not_used", error=why, file=kept)
        self._context.health.troubles[FORGOT] = f"{lost}: {why}; {kept}"

    async def _keep(self) -> None:
        """Write what was learned; only taking it needs the compute thread, the disk does not."""
        if self._seen[1] < 0:
            return
        health = self._context.health
        kept = await self._context.compute(self._learned)
        try:
            await asyncio.to_thread(keepsake.keep, self._path, kept)
            health.troubles.pop("learned", None)
            if FORGOT in health.troubles and await asyncio.to_thread(keepsake.recall, self._path) == kept:
                health.over(FORGOT)
        except QtsError as error:
            health.troubles["learned"] = f"what is learned cannot be kept: {error}"

    def _learned(self) -> keepsake.Kept:
        return keepsake.Kept(self._shape(), *self._seen, self.agent.save())

    def _shape(self) -> str:
        return keepsake.shaped_by(self._context.system, self._context.workload.wire)

    async def _save(self) -> None:
        """Keep what was learned now and then, between rounds: a question would wait for it."""
        while True:
            await self._context.clock.sleep(SAVE_S)
            self._over.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_S):
                    await self._over.wait()
            await self._keep()

    def _now(self, seq: int) -> int:
        """Return the time that the agent is told at bar `seq`: in step it is counted in bars."""
        return self._context.now_ns() if self._follower is None else self._follower.time.at(seq)

    async def _on_request(self, envelope: Envelope) -> None:
        if envelope.sender != PADS:
            return
        await self._begun.wait()
        task = asyncio.create_task(self._answer(envelope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, envelope: Envelope) -> None:
        request = envelope.body
        if not isinstance(request, DecisionRequest) or self._context.health.draining:
            return
        context, start = self._context, self._context.now_ns()
        if self._follower is not None and not await self._followed(self._follower, envelope, request):
            return
        later_ns = context.bus.offset_ns(envelope.sender)
        left_s = (envelope.deadline_ns + later_ns - start) / 1e9 if envelope.deadline_ns else 1.0
        patience_s = max(0.0, min(0.5, left_s / 2.0))
        if request.window is None:
            await self._inlet.reached(request.window_seq, patience_s)
        begun = context.now_ns()
        if request.deadline_ns and later_ns:
            by_ours = max(1, request.deadline_ns + later_ns)
            request = msgspec.structs.replace(request, deadline_ns=by_ours)
        response = await context.compute(self._opinion, request)
        if self._follower is not None:
            response = msgspec.structs.replace(response, after=self._follower.since())
        done = context.now_ns()
        await context.bus.reply(
            envelope, response, trace=context.tracing.child(envelope.trace, self._spans[-1].stage)
        )
        self._note_answer(envelope, response, (start, begun, done))

    async def _followed(self, follower: Follower, envelope: Envelope, request: DecisionRequest) -> bool:
        """Hear what PADS says is to be heard first; a question about no symbol is answered here (False)."""
        later_ns = self._context.bus.offset_ns(envelope.sender)
        patience_s = (request.deadline_ns + later_ns - self._context.now_ns()) / 1e9
        # half of it: what was lost with an earlier process must not cost every answer from now on
        for heard in await follower.mail.take(request.after, patience_s / 2.0):
            await self._hear(heard)
        if request.symbols:
            return True
        follower.allow(request.window_seq)
        if await self._inlet.lived(request.window_seq, patience_s):
            done = DecisionResponse(request.round_id, after=follower.since())
            await self._context.bus.reply(envelope, done)
        return False

    def _opinion(self, request: DecisionRequest) -> DecisionResponse:
        clock = self._context.clock
        start = clock.monotonic_ns()
        try:
            window = self._window(request)
            now = self._now(request.window_seq)
            opinion = self._proved(lambda: self.agent.on_request(request, window, now))
        except Exception as error:  # the boundary: a failed step is an abstention of the whole message
            self._context.log.exception("agent_failed", round_id=request.round_id)
            failure = Failure(type(error).__name__, str(error)[:500])
            return DecisionResponse(request.round_id, failure=failure)
        elapsed = clock.monotonic_ns() - start
        return DecisionResponse(
            request.round_id, opinion=msgspec.structs.replace(opinion, elapsed_ns=elapsed)
        )

    def _window(self, request: DecisionRequest) -> MarketWindow | None:
        ring = self._inlet.ring
        if ring.seq < request.window_seq:
            return from_wire(request.window) if request.window is not None else None
        return until(self._inlet.window(), request.window_seq)

    def _note_answer(
        self, envelope: Envelope, response: DecisionResponse, times: tuple[int, int, int]
    ) -> None:
        (start, begun, done), trace, round_id = times, envelope.trace, response.round_id
        notes, (taken, evaluated, sent) = self._context.notes, self._spans
        notes.note(trace, taken, start, done, round_id)
        notes.note(
            trace, evaluated, begun, done, round_id, response.failure.error if response.failure else ""
        )
        notes.note(trace, sent, done, self._context.now_ns(), round_id)

    async def _on_decision(self, envelope: Envelope) -> None:
        decision, now, notes = envelope.body, self._context.now_ns(), self._context.notes
        if isinstance(decision, DecisionResponse):
            self._over.set()
            notes.note(envelope.trace, DECISION_PROCESSED, now, now, decision.round_id)
            if decision.trace_keep:
                notes.keep(envelope.trace, decision.round_id)

    async def _on_message(self, envelope: Envelope) -> None:
        if envelope.sender != PADS:  # nobody else has outcomes, phases, alerts or commands for a voter
            return
        await self._begun.wait()
        if self._follower is not None:
            self._follower.mail.put(envelope)
        else:
            await self._hear(envelope)

    async def _hear(self, envelope: Envelope) -> None:
        """Let the agent take a message, but for a reset that it has done by itself: the history is lived."""
        body = envelope.body
        if isinstance(body, SystemCommand) and self._anew and body.arguments.get("epoch") == self._anew:
            self._anew = ""
        elif isinstance(body, PerformanceFeedback):
            now = self._now(self._seen[1])
            await self._send(
                await self._context.compute(self._proved, lambda: self.agent.on_feedback(body, now))
            )
        elif body is not None:
            await self._tell(body)

    async def _tell(self, message: Any) -> None:
        now = self._now(self._seen[1])
        if self._follower is not None:
            message = off_the_wire(message, now)
        told = await self._context.compute(self._proved, lambda: self.agent.on_message(message, now))
        await self._send(told)

    async def _send(self, messages: Sequence[Outgoing], bars_ago: int = 0) -> None:
        """Say what the agent says, `bars_ago` bars after it noticed."""
        follower = self._follower
        for out in messages:
            message: Message | None = out.message
            if follower is not None:
                now = follower.time.at(self._seen[1] + bars_ago)
                message = on_the_wire(out.message, now, self._context.now_ns())
            if message is None:
                continue
            if out.to is None:
                await stored(self._context, self._context.bus.publish(message))
                continue
            key = await self._context.bus.send(message, out.to)
            if follower is not None and out.to == PADS:
                follower.said(key)


def until(window: MarketWindow, seq: int) -> MarketWindow:
    """Return the window as it was when bar `seq` closed; quotes of a later bar are masked."""
    late = window.window_seq - seq
    if late <= 0:
        return window
    if late >= window.close_ns.shape[0]:
        late = window.close_ns.shape[0] - 1
    unknown = np.full(len(window.symbols), np.nan)
    cut = {
        name: getattr(window, name)[:, :-late] for name in ("open", "high", "low", "close", "volume", "valid")
    }
    return msgspec.structs.replace(
        window,
        window_seq=seq,
        close_ns=window.close_ns[:-late],
        asof_ns=int(window.close_ns[-late - 1]),
        market_ret=window.market_ret[:-late],
        spread=unknown,
        imbalance=unknown,
        depth=unknown,
        **{name: np.ascontiguousarray(values) for name, values in cut.items()},
    )
