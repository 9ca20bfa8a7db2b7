"""Every figure of the message fabric, one part after another: `python -m bench.messaging --json`.

Each part is a program of its own (`python -m bench.votes`, ...): contexts of ZeroMQ are never torn down
together, and what one part leaves in memory must not weigh on the next.
"""

from __future__ import annotations

import subprocess
import sys

PARTS: dict[str, str] = {
    "exchange": "codec, batch of 1,000 symbols, request and answer",
    "votes": "one vote after another over ZeroMQ with CURVE, at set rates",
    "fanout": "one publisher to four subscribers over Redis channels",
    "streams": "durable messages over Redis Streams",
    "bursts": "messages that arrive as a market's trades do, up to 20 times as fast",
    "tracing": "what spans cost a message",
    "gc_pause": "how long a full collection takes",
    "memory": "ten million messages in memory, a million over ZeroMQ: does memory stay flat",
}


def main(arguments: list[str]) -> int:
    """Run all parts with the same arguments; 1 when one of them fails."""
    if "-h" in arguments or "--help" in arguments:
        print(__doc__, *(f"  {name}: {what}" for name, what in PARTS.items()), sep="\n")
        return 0
    codes = [
        subprocess.run([sys.executable, "-m", f"bench.{name}", *arguments], check=False).returncode
        for name in PARTS
    ]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
