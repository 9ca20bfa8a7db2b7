"""PREDICTION, the agent: answers with quantiles of the coming return, learns from outcomes (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents import graph, rehearsal
from qts_agents.agent import MarketWindow, Outgoing
from qts_agents.columns import array, column
from qts_agents.kernels.indicators import indicators
from qts_agents.kernels.outcomes import band, costs
from qts_agents.opinions import (
    HOLD,
    Pending,
    Reliability,
    abstaining,
    align,
    climatology,
    opinion,
    position_map,
    resolved,
)
from qts_agents.prediction.model import TAUS, Quantiles, features, shares
from qts_core.spec import System
from qts_messaging.messages import DecisionRequest, MarketUpdate, Message, PerformanceFeedback, SystemCommand
from qts_messaging.records import Column, Opinion

F8 = NDArray[np.float64]
VERSION = "prediction-1"


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What an answered request leaves behind until its outcome arrives."""

    symbols: tuple[str, ...]
    x: Column  # [S,3], NaN where the row abstained
    flat: Column  # [S]
    features: Column  # [S,6]
    sigma_h: Column  # [S] σ₁₀₀√h
    issued: Column | None = (
        None  # [S,2,9] quantiles of the model and of the record, NaN where there were none
    )


class State:
    """Mutable memory of one PREDICTION."""

    def __init__(self, kept: int) -> None:
        self.reliability = Reliability()
        self.pending: Pending[Remembered] = Pending()
        self.quantiles = Quantiles(kept)
        self.last_bar_ns = 0


KNOWN: graph.Table = {
    kind.__name__: kind for kind in (State, Reliability, Pending, Remembered, Quantiles, Column)
}


class Prediction:
    """PREDICTION as a `Voter`."""

    name = "prediction"
    backend = "classical"
    contrib_names: tuple[str, ...] = ("q05", "q50", "q95", "pinball", "pinball_of_baseline")

    def __init__(self, system: System) -> None:
        self._system = system
        self._settings: Any = cast(Any, system).prediction
        self._state = State(self._settings.baseline_outcomes)

    def warm_up(self) -> None:
        """Compile what serving calls, by serving made-up bars with a second agent."""
        rehearsal.rehearse(Prediction(self._system), learn_bars=1)

    def on_bars(self, update: MarketUpdate, window: MarketWindow, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Note that a bar came; outcomes teach, bars do not."""
        self._state.last_bar_ns = now_ns
        return ()

    def on_request(self, request: DecisionRequest, window: MarketWindow | None, now_ns: int) -> Opinion:
        """Answer with the share of the forecast distribution above, inside and below the flat band."""
        abstain = abstaining(self._system, window, request, now_ns, self._state.last_bar_ns)
        size = len(request.symbols)
        x, contrib = np.full((size, 3), np.nan), np.full((size, len(self.contrib_names)), np.nan)
        action = np.full(size, HOLD, dtype=np.uint8)
        if window is not None and window.close.shape[1] and not abstain.all():
            x = self._look(request, align(window, request.symbols), abstain, contrib)
            lean = np.clip((x[:, 0] - x[:, 2]) / self._settings.signal_scale, -1.0, 1.0)
            action = position_map(lean, np.sign(array(request.position.qty)))
        return opinion(
            request,
            agent=self.name,
            model_version=VERSION,
            x=x,
            p=self._state.reliability.p(x, array(request.flat_share)),
            action=action,
            abstain=abstain,
            backend=self.backend,
            contrib=contrib,
            contrib_names=self.contrib_names,
        )

    def on_feedback(self, feedback: PerformanceFeedback, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Learn reliability and quantiles from a resolved decision, once."""
        kept = self._state.pending.take(feedback.round_id)
        if kept is None:
            return ()
        x, told = array(kept.x), array(kept.features)
        sigma, ret = array(kept.sigma_h), array(feedback.ret)
        row, at, y = resolved(kept.symbols, feedback)
        self._state.reliability.learn(x[row], array(kept.flat)[row], y)  # silence teaches nothing
        for i, j in zip(row.tolist(), at.tolist(), strict=True):
            if np.isfinite(x[i]).all() and sigma[i] > 0.0:
                z = float(ret[j] / sigma[i])
                if kept.issued is not None:  # a state of an older build has none
                    self._state.quantiles.score(z, array(kept.issued)[i])
                self._state.quantiles.learn(kept.symbols[i], told[i], z, self._settings.learning_rate)
        return ()

    def on_message(self, message: Message, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Take a reset; phase and alert factor come with each request."""
        if isinstance(message, SystemCommand) and message.command == "reset":
            self._state = State(self._settings.baseline_outcomes)
        return ()

    def save(self) -> bytes:
        """Return the state as versioned MessagePack."""
        return graph.dump(self._state, VERSION, KNOWN)

    def load(self, state: bytes) -> None:
        """Restore a saved state; ConfigError when its version is unknown."""
        self._state = graph.load(state, State, VERSION, KNOWN, ())

    def _look(
        self, request: DecisionRequest, window: MarketWindow, abstain: NDArray[np.uint16], contrib: F8
    ) -> F8:
        """Return x [S,3], NaN where the row abstains, fill `contrib`, and remember the question."""
        ind, quantiles = indicators(window), self._state.quantiles
        rows, sigma_h = features(ind), ind.sigma100 * np.sqrt(float(request.horizon_bars))
        kappa = band(costs(window), ind.sigma100, request.horizon_bars)
        x, issued = climatology(array(request.flat_share)), np.full((abstain.size, 2, TAUS.size), np.nan)
        for s in np.flatnonzero(abstain == 0):
            if sigma_h[s] > 0.0 and np.isfinite(rows[s]).all():
                issued[s] = quantiles.issued(request.symbols[s], rows[s])
                q = issued[s, 0]
                x[s] = shares(q, float(kappa[s] / sigma_h[s]))
                contrib[s] = (*(q[[0, q.size // 2, -1]] * sigma_h[s]), *quantiles.losses())
        x[abstain != 0] = np.nan
        kept = Remembered(
            request.symbols, column(x), request.flat_share, column(rows), column(sigma_h), column(issued)
        )
        self._state.pending.put(request.round_id, kept)
        return x
