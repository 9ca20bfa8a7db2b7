"""What QUASAR remembers between messages, and its form on disk (pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents import voter_state
from qts_agents.columns import array, column
from qts_agents.kernels import philox
from qts_agents.opinions import Pending, Reliability
from qts_agents.quasar import learner as learning
from qts_agents.quasar import monitors as watching
from qts_agents.quasar.learner import Learner
from qts_agents.quasar.model import Logistic
from qts_agents.quasar.monitoring import Monitors
from qts_agents.quasar.qar import FactorPool
from qts_core.spec import System
from qts_messaging.messages import Column

F8 = NDArray[np.float64]
VERSION = 1


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What an answered request leaves behind until its outcome arrives; [S] columns."""

    symbols: tuple[str, ...]
    x: Column  # [S,3], NaN where the row abstained
    flat: Column
    features: Column  # [S,10] f4
    factors: Column  # [S,8] f4, NaN where absent


class _Saved(msgspec.Struct):
    version: int
    k: float
    updates: int
    learner: learning.Saved
    streams: dict[str, watching.Saved]
    experts: Column
    model: Column
    model_rows: int
    pending: list[tuple[str, Remembered]]
    last_bar_ns: int
    seq: int
    epoch: int


class State:
    """Mutable memory of one QUASAR."""

    def __init__(self, system: System) -> None:
        settings = system.quasar
        self.reliability = Reliability()
        self.pending: Pending[Remembered] = Pending()
        self.learner = Learner(settings, philox.key_of(system.system_seed, "quasar", "table"))
        self.monitors = Monitors(system.system_seed, settings.anomaly_threshold)
        self.qar = FactorPool(settings)
        self.model = Logistic(settings.model_rate)
        self.last_bar_ns = 0
        self.seq = -1  # of the newest bar learned from
        self.epoch = 0

    def save(self) -> bytes:
        """Return the versioned MessagePack of everything."""
        return msgspec.msgpack.encode(
            _Saved(
                version=VERSION,
                k=self.reliability.k,
                updates=self.reliability.updates,
                learner=self.learner.save(),
                streams=self.monitors.save(),
                experts=column(self.qar.weights),
                model=column(self.model.weights),
                model_rows=self.model.rows,
                pending=self.pending.items(),
                last_bar_ns=self.last_bar_ns,
                seq=self.seq,
                epoch=self.epoch,
            )
        )


def restore(raw: bytes, system: System) -> State:
    """Return the state that `raw` holds; ConfigError for another version or a damaged file."""
    saved = voter_state.decode(raw, _Saved, "quasar", VERSION)
    state = State(system)
    voter_state.refill((state.reliability, state.pending), saved.k, saved.updates, saved.pending)
    state.learner.load(saved.learner)
    state.monitors.load(saved.streams)
    state.qar.weights = np.array(array(saved.experts))
    state.model.weights, state.model.rows = np.array(array(saved.model)), saved.model_rows
    state.last_bar_ns, state.seq, state.epoch = saved.last_bar_ns, saved.seq, saved.epoch
    return state
