"""What QUASAR remembers between messages, and its form on disk (pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents import graph
from qts_agents.kernels import philox
from qts_agents.kernels.adwin import Windows
from qts_agents.opinions import Pending, Reliability
from qts_agents.overlap import overlap_of
from qts_agents.quasar.circuit import Reuploading
from qts_agents.quasar.experience import Experience
from qts_agents.quasar.gate import Gate
from qts_agents.quasar.learner import Learner
from qts_agents.quasar.model import Logistic
from qts_agents.quasar.monitoring import Monitors
from qts_agents.quasar.monitors import Drift, Stream
from qts_agents.quasar.qar import FactorPool
from qts_agents.quasar.tape import History
from qts_core.spec import System
from qts_messaging.records import Column

F8 = NDArray[np.float64]
VERSION = "quasar-6"


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What an answered request leaves behind until its outcome arrives; [S] columns."""

    symbols: tuple[str, ...]
    x: Column  # [S,3], NaN where the row abstained
    flat: Column
    features: Column  # [S,10] f4
    factors: Column  # [S,8] f4, NaN where absent
    models: Column  # [S,2,3] what regression and circuit said, NaN where they were silent


class State:
    """Mutable memory of one QUASAR."""

    def __init__(self, system: System) -> None:
        settings = system.quasar
        self.reliability = Reliability()
        self.pending: Pending[Remembered] = Pending()
        self.learner = Learner(settings, philox.key_of(system.system_seed, "quasar", "table"))
        self.monitors = Monitors(system.system_seed, settings.anomaly_threshold, settings.drift_delta)
        self.qar = FactorPool(settings)
        self.model = Logistic(settings.model_rate)
        key = philox.key_of(system.system_seed, "quasar", "circuit")
        self.circuit = (
            Reuploading(settings.circuit_qubits, settings.circuit_rate, key)
            if system.quantum_circuits
            else None
        )
        self.gate = Gate(settings.circuit_outcomes, overlap_of(system))
        self.last_bar_ns = 0
        self.seq = -1  # of the newest bar learned from
        self.epoch = 0


#: every class that a QUASAR remembers with
KNOWN: graph.Table = {
    kind.__name__: kind
    for kind in (
        State, Gate, Reuploading, Reliability, Pending, Remembered, Learner, Experience, History, Monitors,
        Stream, Drift, Windows, FactorPool, Logistic, Column,
    )
}  # fmt: skip


def _version(system: System) -> str:
    """Return what a saved state says of itself; one of another representation does not fit."""
    form = system.quasar.representation
    return VERSION if form == "table" else f"{VERSION}-{form}"


def save(state: State, system: System) -> bytes:
    """Return the versioned MessagePack of everything."""
    return graph.dump(state, _version(system), KNOWN)


def restore(raw: bytes, system: System) -> State:
    """Return the state that `raw` holds; ConfigError for another version or a damaged file.

    Where `quantum_circuits` was switched since, the circuit begins anew or is gone; the rest is as it was.
    """
    state = graph.load(raw, State, _version(system), KNOWN, (system.quasar,))
    if (state.circuit is None) == system.quantum_circuits:
        fresh = State(system)
        state.circuit, state.gate = fresh.circuit, fresh.gate
    state.gate.overlap = overlap_of(system)
    return state
