"""Follows a journal while PADS writes it, so that no decision is missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from qts_agents.pads.journal import in_order, read_frame, turn
from qts_agents.pads.records import FRAME, REMARK, Answers, Entry, RoundBody, Timings, body, decode
from qts_cli.events import Event
from qts_cli.rounds import SHOWN, decision_event
from qts_messaging.messages import MarketUpdate

_CHUNK = 1 << 20
_HELD_ANSWERS = 64


class Rounds:
    """Makes events of a journal's records; None `shown` spells out every symbol."""

    def __init__(self, shown: int | None = SHOWN) -> None:
        self.bars = 0  # closed bars that arrived live
        self.backfilled = 0  # closed bars of the past, taken at the start
        self.rounds = 0
        self.changed_s = 0.0
        self.timings: Timings | None = None  # the newest; it follows its round
        self._shown = shown
        self._answers: dict[str, Answers] = {}

    def take(self, entries: Iterable[Entry], now_s: float) -> Iterator[Event]:
        """Yield a decision event for every round among `entries`."""
        for entry in entries:
            self.changed_s = now_s
            if entry.kind == "bars":
                self._count(body(entry, MarketUpdate))
            elif entry.kind == "answers":
                answers = body(entry, Answers)
                self._answers[answers.round_id] = answers
                if len(self._answers) > _HELD_ANSWERS:  # of rounds that never ended
                    del self._answers[next(iter(self._answers))]
            elif entry.kind == "round":
                kept = body(entry, RoundBody)
                self.rounds += 1
                yield decision_event(kept, self._answers.pop(kept.round_id, None), self._shown)
            elif entry.kind == REMARK:
                self.timings = body(entry, Timings)

    def _count(self, update: MarketUpdate) -> None:
        if update.kind == "snapshot":
            self.backfilled += update.close_ns.shape[0]
        else:
            self.bars += update.close_ns.shape[0]


class Tail(Rounds):
    """Reads what is new in a journal, a folder of files or one file; what is not yet whole waits."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._file: Path | None = None
        self._offset = 0

    def read(self, now_s: float) -> Iterator[Event]:
        """Yield a decision event for every round written since the last call."""
        return self.take(self._entries(), now_s)

    def _entries(self) -> Iterator[Entry]:
        while True:
            following = self._following()
            yield from self._whole_frames()
            if following is None:
                return
            self._file, self._offset = following, 0

    def _following(self) -> Path | None:
        """Return the file after the present one; it exists only when the present one is complete."""
        found = [self._folder] if self._folder.is_file() else in_order(self._folder)
        return next((path for path in found if self._file is None or turn(path) > turn(self._file)), None)

    def _whole_frames(self) -> Iterator[Entry]:
        if self._file is None:
            return
        with self._file.open("rb") as stream:
            stream.seek(self._offset)
            held = b""
            while chunk := stream.read(_CHUNK):
                frames, at = BytesIO(held + chunk), 0
                while (payload := read_frame(frames.read)) is not None:
                    at += FRAME.size + len(payload)
                    self._offset += FRAME.size + len(payload)
                    yield decode(payload)
                frames.seek(at)
                held = frames.read()
