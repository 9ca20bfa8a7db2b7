"""Keys and channels of a system's Redis: each ends with who alone may write it, by its access list (pure)."""

from __future__ import annotations

from qts_core.names import WRITER_MARK, redis_heard, redis_prefix
from qts_core.roster import ROSTER

FEED = next(workload.wire for workload in ROSTER if workload.role == "feed")  # writes the market snapshot


class RedisNames:
    """What one process of a system writes and reads; see `qts_core.acl` for the rights that match."""

    def __init__(self, system: str, name: str) -> None:
        self.name, self._prefix = name, redis_prefix(system)
        #: what this process subscribes to: every topic by whoever, and what is meant for it alone
        self.heard = redis_heard(system, name)
        self.own = self.channel(f"to.{name}")  # where it beats for those who have its name
        self.market = f"{self._prefix}market.last{WRITER_MARK}{FEED}"
        self.dead = f"{self._prefix}dead{WRITER_MARK}{name}"  # what this process could not handle

    def channel(self, topic: str) -> str:
        """Return the channel on which this process says something of `topic`."""
        return f"{self._prefix}{topic}{WRITER_MARK}{self.name}"

    def stream(self, sender: str) -> str:
        """Return the stream of all that `sender` stores."""
        return f"{self._prefix}durable{WRITER_MARK}{sender}"


def writer(name: str | bytes) -> str:
    """Return who alone may write a key or channel; "" where its name does not say."""
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    return text.rpartition(WRITER_MARK)[2] if WRITER_MARK in text else ""
