"""The shell of the feed: opens the source, paces the bars, says when they have ended."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from qts_agents.context import Context
from qts_agents.market.feed import Feed
from qts_agents.round_spans import BAR_PUBLISHED
from qts_core import names
from qts_core.probes import Status
from qts_messaging.messages import DecisionResponse, Envelope


class FeedShell:
    """Runs one `Feed`; each bar's trace begins here."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._feed = Feed(
            context.system,
            context.clock,
            context.bus,
            trace=self._trace,
            may_follow=context.place.state == Path(names.DIR_STATE),  # in a pod
        )

    def warm_up(self) -> None:
        """Read and check the data before anything is published."""
        self._feed.open()

    def subscribe(self) -> None:
        """Register the feed's handlers: decisions for the lockstep, statuses for the start."""
        self._feed.subscribe()
        self._context.bus.subscribe(DecisionResponse, self._on_decision)

    async def begin(self) -> None:
        """Nothing to catch up with."""

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """Return the publishing loop."""
        return [self._run()]

    async def drain(self) -> None:
        """Publish no more bars."""
        self._feed.stop()

    async def finish(self) -> None:
        """Nothing is kept outside the process."""

    def describe(self, status: Status) -> None:
        """Add the feed's counters."""
        status.feed = self._feed.status()

    async def scores(self) -> None:
        """Say nothing: a feed forecasts nothing."""
        return

    async def _run(self) -> None:
        await self._feed.run()
        self._context.health.ended = True

    async def _on_decision(self, envelope: Envelope) -> None:
        """Keep the bar's span of a round that is kept; the rest is the feed's."""
        await self._feed.on_decision(envelope)
        if isinstance(envelope.body, DecisionResponse) and envelope.body.trace_keep:
            self._context.notes.keep(envelope.trace, envelope.body.round_id)

    def _trace(self) -> bytes:
        trace, now = self._context.tracing.root(BAR_PUBLISHED.stage), self._context.now_ns()
        self._context.notes.note(trace, BAR_PUBLISHED, now, now)
        return trace
