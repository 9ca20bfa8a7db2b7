"""Keys and channels of a system's Redis: each ends with who alone may write it, by its access list (pure)."""

from __future__ import annotations

from qts_core.names import BROADCAST_TOPICS, redis_prefix
from qts_core.roster import ROSTER

AT = "@"  # before the writer's name
FEED = next(workload.wire for workload in ROSTER if workload.role == "feed")  # writes the market snapshot


class RedisNames:
    """What one process of a system writes and reads; see `qts_core.acl` for the rights that match."""

    def __init__(self, system: str, name: str) -> None:
        self.name, self._prefix = name, redis_prefix(system)
        #: what this process subscribes to: every topic by whoever, and what is meant for it alone
        self.heard = tuple(f"{self._prefix}{topic}{AT}*" for topic in (*BROADCAST_TOPICS, f"to.{name}"))
        self.market = f"{self._prefix}market.last{AT}{FEED}"
        self.dead = f"{self._prefix}dead{AT}{name}"  # what this process could not handle

    def channel(self, topic: str) -> str:
        """Return the channel on which this process says something of `topic`."""
        return f"{self._prefix}{topic}{AT}{self.name}"

    def stream(self, sender: str) -> str:
        """Return the stream of all that `sender` stores."""
        return f"{self._prefix}durable{AT}{sender}"


def writer(name: str | bytes) -> str:
    """Return who alone may write a key or channel; "" where its name does not say."""
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    return text.rpartition(AT)[2] if AT in text else ""
