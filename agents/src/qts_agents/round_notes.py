"""What a process did in each of the last rounds: spans at once where sampled, late where PADS keeps a round.

A note costs a fraction of a microsecond and is no span. Which rounds are worth their spans is known at the
end: PADS says so in its decision, and every process then writes what it noted, with the true times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from qts_agents.round_spans import Place, Stage
from qts_core.probes import KeptRound, KeptRounds, Part
from qts_core.telemetry import SAMPLED, Tracing, pack, sampled, span_id

ROUNDS, KEPT = 1024, 100
MOST = 64  # notes of one trace; a round of five voters has 14 in PADS
CAP_NS = 1_000_000_000

#: stage, start, end (ns since 1970), round id, error, places of spans to link to
Note = tuple[Stage, int, int, str, str, tuple[Place, ...]]


class RoundNotes:
    """The notes of the last 1,024 traces, and of the last 100 kept rounds."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._takes: dict[bytes, Callable[[Note], None]] = {}  # trace id → what takes a note of it
        self._noted: dict[bytes, deque[Note]] = {}
        self._order: deque[bytes] = deque()
        self._kept: dict[bytes, tuple[KeptRound, deque[Note]]] = {}

    def note(
        self,
        context: bytes | None,
        stage: Stage,
        start_ns: int,
        end_ns: int,
        round_id: str = "",
        error: str = "",
        links: tuple[Place, ...] = (),
    ) -> None:
        """Note a stage of the trace of `context`; a span as well where the trace is sampled or kept."""
        if context is None:
            return
        take = self._takes.get(context[:16])
        if take is None:
            take = self._begin(context)
        take((stage, start_ns, end_ns, round_id, error, links))

    def keep(self, context: bytes | None, round_id: str, why: str = "") -> None:
        """Keep a round: write what was noted of it, and what will be; what was sampled is written already."""
        if context is None or (trace_id := context[:16]) in self._kept:
            return
        if trace_id not in self._noted:
            self._begin(context)
        noted, written = self._noted[trace_id], isinstance(self._takes[trace_id], partial)
        self._kept[trace_id] = KeptRound(round_id, trace_id.hex(), why, sampled(context)), noted
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        if self._tracing.enabled and not written:
            for note in noted:
                self._write(trace_id, note)
            self._takes[trace_id] = partial(self._take, trace_id, noted)

    def told(self) -> KeptRounds:
        """Return the kept rounds."""
        return KeptRounds(
            self._tracing.process,
            tuple(
                msgspec.structs.replace(kept, stages=tuple(map(_part, noted)))
                for kept, noted in self._kept.values()
            ),
        )

    def _begin(self, context: bytes) -> Callable[[Note], None]:
        """Make room for a trace; the oldest beyond the last 1,024 is forgotten."""
        trace_id, noted = context[:16], deque[Note](maxlen=MOST)
        written = self._tracing.enabled and sampled(context)
        take: Callable[[Note], None] = partial(self._take, trace_id, noted) if written else noted.append
        self._takes[trace_id], self._noted[trace_id] = take, noted
        self._order.append(trace_id)
        if len(self._order) > ROUNDS:
            oldest = self._order.popleft()
            del self._takes[oldest], self._noted[oldest]
        return take

    def _take(self, trace_id: bytes, noted: deque[Note], note: Note) -> None:
        noted.append(note)
        self._write(trace_id, note)

    def _write(self, trace_id: bytes, note: Note) -> None:
        stage, start_ns, end_ns, round_id, error, links = note
        above = _context(trace_id, stage.parent or (self._tracing.process, stage.stage))
        self._tracing.emit(
            stage.name,
            above,
            start_ns,
            end_ns,
            stage=stage.stage,
            kind=stage.kind,
            # who takes one message has its sender for a parent and a link
            links=[above] if stage.kind == "consumer" else [_context(trace_id, place) for place in links],
            attributes=_facts(stage, round_id),
            root=stage.parent is None,
            error=error,
        )


def _context(trace_id: bytes, place: Place) -> bytes:
    """Return the context of a span that some process has, or will have, written."""
    return pack(trace_id, span_id(trace_id, *place), SAMPLED)


class Cap:
    """At most one kept round a second."""

    def __init__(self) -> None:
        self._next_ns = 0

    def take(self, now_ns: int) -> bool:
        """Tell whether there is room for one at `now_ns` of a clock that never goes back, and take it."""
        if now_ns < self._next_ns:
            return False
        self._next_ns = now_ns + CAP_NS
        return True


def worth(outcome: str, took_s: float, timeout_s: float) -> str:
    """Return why a round is worth keeping: what went wrong, `slow` beyond half its time, or nothing."""
    if outcome != "complete":
        return outcome
    return "slow" if took_s > timeout_s / 2 else ""


def _facts(stage: Stage, round_id: str) -> dict[str, str]:
    if not stage.destination:
        return {"qts.round.id": round_id} if round_id else {}
    facts = {"messaging.system": stage.system, "messaging.destination.name": stage.destination}
    return facts | {"messaging.message.conversation_id": round_id} if round_id else facts


def _part(note: Note) -> Part:
    stage, start_ns, end_ns, _, error, _ = note
    return Part(stage.stage, start_ns, max(0, end_ns - start_ns) / 1e9, error)
