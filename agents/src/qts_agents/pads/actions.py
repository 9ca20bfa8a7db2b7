"""What PADS wants done: the runtime carries these out in order; a Record stands before what it explains."""

from __future__ import annotations

import msgspec

from qts_messaging.messages import DecisionRequest, Message
from qts_messaging.records import Opinion


class Ask(msgspec.Struct, frozen=True):
    """Send each peer its request; bring the answers back by `Pads.on_answers` in at most `timeout_s`."""

    round_id: str
    requests: dict[str, DecisionRequest]  # wire name → request
    timeout_s: float


class Publish(msgspec.Struct, frozen=True):
    """Send a message to all."""

    message: Message


class Send(msgspec.Struct, frozen=True):
    """Send a message to one peer."""

    message: Message
    to: str


class Record(msgspec.Struct, frozen=True):
    """Append one journal record before the actions that follow; a header opens a new file."""

    data: bytes
    opens: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What one asked peer said: an opinion, or None and why; one that is late or has a reason is not used."""

    peer: str
    opinion: Opinion | None
    reason: str = ""  # timeout | dead | no_route | full | failure | invalid: what is wrong
    late: bool = False

    @property
    def vote(self) -> Opinion | None:
        """Return the opinion if it was used."""
        return None if self.late or self.reason else self.opinion


Action = Ask | Publish | Send | Record
