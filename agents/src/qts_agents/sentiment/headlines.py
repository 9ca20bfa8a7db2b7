"""Scored headlines: one JSON object a line, and what they say about a symbol at a moment (pure).

What moved a price through the news fades within days (Tetlock 2007), so a headline counts 2^(−age/half-life).
Age is measured on the market's clock, never on the wall's: a replay sees the headlines of its own day, and
none that were written after it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
HOUR_NS = 3_600_000_000_000
ALL = "*"
LATEST_NS = 9_000_000_000_000_000_000  # 2255, as of bars
EXAMPLE = '{"time": "2017-03-01T12:00:00Z", "symbol": "EURUSD", "score": -0.4}'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Headline(msgspec.Struct, frozen=True):
    """One line; other fields, such as the text itself, are not looked at."""

    time: Annotated[datetime, msgspec.Meta(tz=True)]
    score: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)]  # −1 all bad … +1 all good
    symbol: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] = ALL


class Rows(NamedTuple):
    """The headlines of one symbol, ascending in time."""

    time_ns: I8
    score: F8


class Read(NamedTuple):
    """A document as understood: headlines by symbol, lines left out, and what is wrong with the first."""

    rows: dict[str, Rows]
    left_out: int
    wrong: str


def parse(document: bytes) -> Read:
    """Return what the lines say; wrong lines are left out and counted, the first is named by its number."""
    decode = msgspec.json.Decoder(Headline).decode
    found: dict[str, list[tuple[int, float]]] = {}
    left_out, wrong = 0, ""
    for number, line in enumerate(document.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            told = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            left_out += 1
            wrong = wrong or f"line {number}: {error}; write it like {EXAMPLE}"
            continue
        since_ns = (told.time - _EPOCH) // timedelta(microseconds=1) * 1000
        if not 0 <= since_ns < LATEST_NS:  # a sentinel such as the year 9999
            left_out += 1
            wrong = (
                wrong
                or f"line {number}: Expected a time from 1970 to 2255 - at `$.time`; write it like {EXAMPLE}"
            )
            continue
        found.setdefault(told.symbol, []).append((since_ns, told.score))
    return Read({name: _rows(pairs) for name, pairs in found.items()}, left_out, wrong)


def _rows(pairs: list[tuple[int, float]]) -> Rows:
    pairs.sort()
    times, scores = zip(*pairs, strict=True)
    return Rows(np.array(times, dtype=np.int64), np.array(scores, dtype=np.float64))


def weigh(rows: Rows | None, asof_ns: int, half_life_h: float, fresh_h: float) -> tuple[float, float]:
    """Return Σ w·score and Σ w of the headlines not after `asof_ns` and younger than `fresh_h`."""
    if rows is None:
        return 0.0, 0.0
    oldest = asof_ns - int(fresh_h * HOUR_NS)
    first, last = np.searchsorted(rows.time_ns, (oldest, asof_ns), side="right")
    w = np.exp2(-(asof_ns - rows.time_ns[first:last]) / (half_life_h * HOUR_NS))
    return float((w * rows.score[first:last]).sum()), float(w.sum())
