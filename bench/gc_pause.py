"""How long a full garbage collection takes while 100,000 messages live: `python -m bench.gc_pause --json`.

Ours are votes in their envelopes, as they come out of the decoder; the peer is the same bytes decoded without
types, which is lists. What the benchmark itself holds is frozen, as every process does once it is warm.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import msgspec
from bench.harness import Row, run

from qts_messaging import codec, examples
from qts_messaging.messages import DecisionResponse, Envelope

LIVE = 100_000
GOAL_MS = 2.0


def frames(count: int) -> list[bytes]:
    """Return so many different votes on the wire."""
    vote = DecisionResponse("r-1", opinion=examples.vote())
    fields = {"sender": "quasar", "recipient": "pads", "lane": "to.pads", "trace": bytes(25), "body": vote}
    return [
        codec.encode(Envelope(id=n.to_bytes(16, "big"), sequence=n, **fields))  # type: ignore[arg-type]
        for n in range(1, count + 1)
    ]


def pause_ms(decode: Callable[[bytes], object], wire: list[bytes], times: int) -> tuple[float, int]:
    """Return the longest of `times` full collections while all of `wire` lives decoded, and how many live."""
    alive = [decode(frame) for frame in wire]
    gc.collect()  # what the decoder dropped, and tuples of plain values leave the collector's lists here
    longest = 0
    for _ in range(times):
        began = time.thread_time_ns()
        gc.collect()
        longest = max(longest, time.thread_time_ns() - began)
    return longest / 1e6, sum(not isinstance(each, codec.Rejected) for each in alive)


def row(smoke: bool) -> Row:
    """Compare both, one after the other."""
    count = LIVE // 10 if smoke else LIVE
    wire = frames(count)
    gc.collect()
    gc.freeze()
    ours, lived = pause_ms(codec.decode, wire, 9)
    theirs, _ = pause_ms(msgspec.msgpack.decode, wire, 9)
    return Row(
        f"full collection over {count} live messages", ours, "ms", "lists", theirs, GOAL_MS, lived == count
    )


if __name__ == "__main__":
    raise SystemExit(run([row], "how long a garbage collection takes"))
