"""What QBMIA remembers between messages, and its form on disk (pure)."""

from __future__ import annotations

import msgspec
import numpy as np

from qts_agents import graph
from qts_agents.opinions import Pending, Reliability
from qts_agents.qbmia.flow import Flow
from qts_agents.qbmia.memory import Memory
from qts_agents.qbmia.orders import OrderEvents
from qts_agents.qbmia.quotes import Quotes
from qts_agents.qbmia.regime import SIGNALS, Monitor
from qts_messaging.records import Column

VERSION = "qbmia-4"
STRATEGIES = 64


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What an answered request leaves behind until its outcome arrives."""

    symbols: tuple[str, ...]
    bar: int
    x: Column  # [S,3], NaN where the row abstained
    flat: Column  # [S]
    vector: Column  # [S,16] of memory


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """What the newest answered request showed; the next bar's evaluation judges it."""

    bar: int
    asof_ns: int
    phase: str
    scores: tuple[float, ...]
    meso: tuple[float, ...]  # P, C, R, crisis
    psi: float
    symbols: tuple[str, ...]  # those with illiquidity above the alert level
    illiquidity: float  # mean over symbols
    worst: float
    manipulation: float


class State:
    """Mutable memory of one QBMIA."""

    def __init__(self) -> None:
        self.reliability = Reliability()
        self.pending: Pending[Remembered] = Pending()
        self.memory = Memory()
        self.quotes = Quotes()
        self.monitor = Monitor()
        self.seen: Seen | None = None
        self.signals: list[float] = []  # mean x_up − x_down of the last answers
        self.strategies: list[tuple[int, tuple[float, ...]]] = []  # (bar, mean learned strategy)
        self.findings: dict[str, tuple[list[float], float]] = {}  # symbol: combined p of 3 windows, score
        self.flow = Flow()
        self.last_bar_ns = 0
        self.alerted: dict[str, int] = {}  # alert type: bar of the last one

    def note(self, bar: int, signal: float, strategy: tuple[float, ...]) -> None:
        """Keep what the regime monitor compares later; once a bar."""
        if self.strategies and self.strategies[-1][0] >= bar:
            return
        self.signals = [*self.signals[1 - SIGNALS :], signal]
        self.strategies = [*self.strategies[1 - STRATEGIES :], (bar, strategy)]

    def strategy_before(self, bar: int) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
        """Return the newest mean strategy of `bar` or earlier; None while there is none."""
        known = [strategy for when, strategy in self.strategies if when <= bar]
        return np.array(known[-1], np.float64) if known else None


#: every class that a QBMIA remembers with
KNOWN: graph.Table = {
    kind.__name__: kind
    for kind in (
        State,
        Reliability,
        Pending,
        Remembered,
        Seen,
        Memory,
        Quotes,
        Monitor,
        Flow,
        OrderEvents,
        Column,
    )
}


def save(state: State) -> bytes:
    """Return the versioned MessagePack of everything."""
    return graph.dump(state, VERSION, KNOWN)


def restore(raw: bytes) -> State:
    """Return the state that `raw` holds; ConfigError for another version or a damaged file."""
    return graph.load(raw, State, VERSION, KNOWN, ())
