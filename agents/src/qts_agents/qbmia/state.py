"""What QBMIA remembers between messages, and its form on disk (pure)."""

from __future__ import annotations

import msgspec
import numpy as np

from qts_agents import voter_state
from qts_agents.opinions import Pending, Reliability
from qts_agents.qbmia import memory as memories
from qts_agents.qbmia import quotes as tapes
from qts_agents.qbmia.memory import Memory
from qts_agents.qbmia.quotes import Quotes
from qts_agents.qbmia.regime import Monitor
from qts_messaging.messages import Column

VERSION = 1
STRATEGIES = 64
SIGNALS = 10


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


class _Saved(msgspec.Struct):
    version: int
    k: float
    updates: int
    pending: list[tuple[str, Remembered]]
    memory: memories.Saved
    quotes: tapes.Saved
    monitor: Monitor
    seen: Seen | None
    signals: list[float]
    strategies: list[tuple[int, tuple[float, ...]]]
    findings: dict[str, tuple[list[float], float]]
    last_bar_ns: int
    alerted: dict[str, int]


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

    def save(self) -> bytes:
        """Return the versioned MessagePack of everything."""
        return msgspec.msgpack.encode(
            _Saved(
                version=VERSION,
                k=self.reliability.k,
                updates=self.reliability.updates,
                pending=self.pending.items(),
                memory=self.memory.save(),
                quotes=self.quotes.save(),
                monitor=self.monitor,
                seen=self.seen,
                signals=self.signals,
                strategies=self.strategies,
                findings=self.findings,
                last_bar_ns=self.last_bar_ns,
                alerted=self.alerted,
            )
        )


def restore(raw: bytes) -> State:
    """Return the state that `raw` holds; ConfigError for another version or a damaged file."""
    saved = voter_state.decode(raw, _Saved, "qbmia", VERSION)
    state = State()
    voter_state.refill((state.reliability, state.pending), saved.k, saved.updates, saved.pending)
    state.memory.load(saved.memory)
    state.quotes = Quotes.restore(saved.quotes)
    state.monitor, state.seen, state.signals = saved.monitor, saved.seen, saved.signals
    state.strategies, state.findings = saved.strategies, saved.findings
    state.last_bar_ns, state.alerted = saved.last_bar_ns, saved.alerted
    return state
