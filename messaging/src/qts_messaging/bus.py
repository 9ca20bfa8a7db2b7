"""What an author of an agent sees of the messaging: one protocol, whatever wires are below."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from qts_messaging.messages import Envelope, Message

Handler = Callable[[Envelope], Awaitable[None]]


class Reply(msgspec.Struct, frozen=True):
    """One peer's answer to a request; `envelope` is None when it did not come in time."""

    peer: str
    envelope: Envelope | None
    reason: str = ""  # timeout | dead | no_route | full


class Bus(Protocol):
    """Send, publish, ask, gather; modes and accounts tell the truth about what became of it."""

    name: str  # wire name of this process

    @property
    def mode(self) -> str:
        """Return connected, degraded, disconnected or simulated."""
        ...

    def subscribe(self, kind: type, handler: Handler) -> None:
        """Let `handler` see every arriving message of type `kind`; one handler a type."""
        ...

    async def start(self) -> None:
        """Bind, connect and begin to deliver; returns without waiting for peers."""
        ...

    async def close(self, drain_s: float = 2.0) -> None:
        """Send what is queued for at most `drain_s`, close every socket, settle the accounts."""
        ...

    async def send(self, message: Message, to: str, *, trace: bytes | None = None, deadline_ns: int = 0) -> bytes:
        """Queue `message` for `to`; return its id. Raise LocalError(full, too_large) at once."""
        ...

    async def publish(self, message: Message, *, trace: bytes | None = None) -> bytes:
        """Queue `message` for all; durable types return after they are stored or spooled."""
        ...

    async def reply(self, request: Envelope, message: Message, *, trace: bytes | None = None) -> bytes:
        """Answer `request`: its id becomes the correlation id, its deadline the deadline."""
        ...

    async def ask(self, message: Message, to: str, timeout_s: float, *, trace: bytes | None = None) -> Reply:
        """Send a request and wait for its one answer, at most `timeout_s`."""
        ...

    async def gather(
        self, messages: dict[str, Message], timeout_s: float, *, trace: dict[str, bytes] | bytes | None = None
    ) -> Sequence[Reply]:
        """Ask all peers at once; return one Reply each, in the order of `messages`."""
        ...
