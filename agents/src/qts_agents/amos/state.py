"""What AMOS remembers between messages, and its form on disk (pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents import voter_state
from qts_agents.amos.beliefs import base_weights
from qts_agents.columns import array, column
from qts_agents.opinions import Pending, Reliability
from qts_messaging.messages import Column

F8 = NDArray[np.float64]
VERSION = 1


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What an answered request leaves behind until its outcome arrives; [S] columns."""

    symbols: tuple[str, ...]
    x: Column  # [S,3], NaN where the row abstained
    flat: Column
    b: Column  # [S,5]
    B: Column
    sigma_h: Column


class _Saved(msgspec.Struct):
    version: int
    k: float
    updates: int
    weights: Column
    desire: dict[str, float]
    habit: dict[str, float]
    intended: dict[str, float]
    pending: list[tuple[str, Remembered]]
    last_bar_ns: int
    drawdown: float
    breach: float


class State:
    """Mutable memory of one AMOS."""

    def __init__(self) -> None:
        self.reliability = Reliability()
        self.pending: Pending[Remembered] = Pending()
        self.weights: F8 = base_weights()  # of the five odd factors, on the simplex
        self.desire: dict[str, float] = {}
        self.habit: dict[str, float] = {}  # intention before the newest bar
        self.intended: dict[str, float] = {}  # intention since the newest bar
        self.last_bar_ns = 0
        self.drawdown = 0.0  # of the account, as the newest request told
        self.breach = 0.0  # severity already reported

    def save(self) -> bytes:
        """Return the versioned MessagePack of everything."""
        return msgspec.msgpack.encode(
            _Saved(
                version=VERSION,
                k=self.reliability.k,
                updates=self.reliability.updates,
                weights=column(self.weights),
                desire=self.desire,
                habit=self.habit,
                intended=self.intended,
                pending=self.pending.items(),
                last_bar_ns=self.last_bar_ns,
                drawdown=self.drawdown,
                breach=self.breach,
            )
        )


def restore(raw: bytes) -> State:
    """Return the state that `raw` holds; ConfigError for another version or a damaged file."""
    saved = voter_state.decode(raw, _Saved, "quantum_amos", VERSION)
    state = State()
    voter_state.refill((state.reliability, state.pending), saved.k, saved.updates, saved.pending)
    state.weights = np.array(array(saved.weights))
    state.desire, state.habit, state.intended = saved.desire, saved.habit, saved.intended
    state.last_bar_ns, state.drawdown, state.breach = saved.last_bar_ns, saved.drawdown, saved.breach
    return state
