"""The contract between the runtime and an agent: a pure state machine of bars and messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_core.spec import System
from qts_messaging.messages import DecisionRequest, MarketUpdate, Message, PerformanceFeedback
from qts_messaging.records import Opinion

F8 = NDArray[np.float64]

# Abstention bits, agents.md §1.4
NO_DATA, STALE_WINDOW, GAP, NAN, SHORT_WINDOW, NOT_WARM, UNTRAINED, DEADLINE = (1 << i for i in range(8))
INTERNAL_ERROR, TOO_FEW_COMPONENTS, ACTION_NEEDS_POSITION = 256, 512, 1024
_ABSTENTIONS = (
    "no data",
    "stale window",
    "gap",
    "NaN",
    "short window",
    "not warm",
    "untrained",
    "deadline",
    "internal error",
    "too few components",
)


def abstention(bits: int) -> str:
    """Return why a row abstains in plain words, nothing when it does not."""
    bits &= ~ACTION_NEEDS_POSITION
    return ", ".join(words for bit, words in enumerate(_ABSTENTIONS) if bits >> bit & 1)


class MarketWindow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The last T closed bars of S symbols; every array is C-ordered and read-only."""

    symbols: tuple[str, ...]
    window_seq: int
    asof_ns: int
    bar_s: float
    close_ns: NDArray[np.int64]  # [T]
    open: F8  # [S,T], NaN where the source has none
    high: F8
    low: F8
    close: F8
    volume: F8
    valid: NDArray[np.uint8]  # [S,T]
    spread: F8  # [S], fraction of mid, NaN without quotes
    imbalance: F8  # [S]
    depth: F8  # [S]
    fee: float
    spread_assumed: float
    market_ret: F8  # [T]
    epoch: int = 0


class Outgoing(msgspec.Struct, frozen=True):
    """A message an agent wants sent; `to` None = to all."""

    message: Message
    to: str | None = None


class Voter(Protocol):
    """An agent that answers decision requests. No IO, no clock, no randomness but Philox."""

    name: str  # wire name
    contrib_names: tuple[str, ...]
    backend: str  # classical | simulated-quantum, as it will be stated in opinions

    def __init__(self, system: System) -> None:
        """Read the settings; allocate state. Must be quick."""
        ...

    def warm_up(self) -> None:
        """Compile every kernel with every signature that serving uses."""
        ...

    def on_bars(self, update: MarketUpdate, window: MarketWindow, now_ns: int) -> Sequence[Outgoing]:
        """Learn from closed bars (`window` already holds them); may return alerts and proposals."""
        ...

    def on_request(self, request: DecisionRequest, window: MarketWindow | None, now_ns: int) -> Opinion:
        """Answer for every symbol of the request; rows that cannot be answered abstain with a reason."""
        ...

    def on_feedback(self, feedback: PerformanceFeedback, now_ns: int) -> Sequence[Outgoing]:
        """Learn from a resolved decision, once per decision id."""
        ...

    def on_message(self, message: Message, now_ns: int) -> Sequence[Outgoing]:
        """Take announcements, alerts and commands (`reset` forgets everything learned)."""
        ...

    def save(self) -> bytes:
        """Return the state as versioned MessagePack."""
        ...

    def load(self, state: bytes) -> None:
        """Restore a saved state; ConfigError when its version is unknown."""
        ...


@runtime_checkable
class Reader(Protocol):
    """What a voter has beside, to be given a document: the shell reads it, the agent stays pure."""

    source: str  # path or URL
    period_s: float  # between two readings

    def on_document(self, document: bytes, now_ns: int) -> str:
        """Take the document as it is now; return what is wrong with it and the remedy, "" for nothing."""
        ...
