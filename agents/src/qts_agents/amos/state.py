"""What AMOS remembers between messages, and its form on disk (pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents import graph
from qts_agents.amos.beliefs import base_weights
from qts_agents.opinions import Pending, Reliability
from qts_messaging.records import Column

F8 = NDArray[np.float64]
VERSION = "amos-3"


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What an answered request leaves behind until its outcome arrives; [S] columns."""

    symbols: tuple[str, ...]
    x: Column  # [S,3], NaN where the row abstained
    flat: Column
    b: Column  # [S,5]
    B: Column
    sigma_h: Column
    variants: Column  # [S,V,3] what each variant of the society said, NaN where it slept


class State:
    """Mutable memory of one AMOS."""

    def __init__(self, variants: int = 1) -> None:
        self.standing: F8 = np.full(variants, 1.0 / variants)  # of each variant of the society
        self.reliability = Reliability()
        self.pending: Pending[Remembered] = Pending()
        self.weights: F8 = base_weights()  # of the five odd factors, on the simplex
        self.desire: dict[str, float] = {}
        self.habit: dict[str, float] = {}  # intention before the newest bar
        self.intended: dict[str, float] = {}  # intention since the newest bar
        self.last_bar_ns = 0
        self.drawdown = 0.0  # of the account, as the newest request told
        self.breach = 0.0  # severity already reported


#: every class that an AMOS remembers with
KNOWN: graph.Table = {kind.__name__: kind for kind in (State, Reliability, Pending, Remembered, Column)}


def save(state: State) -> bytes:
    """Return the versioned MessagePack of everything."""
    return graph.dump(state, VERSION, KNOWN)


def restore(raw: bytes) -> State:
    """Return the state that `raw` holds; ConfigError for another version or a damaged file."""
    return graph.load(raw, State, VERSION, KNOWN, ())
