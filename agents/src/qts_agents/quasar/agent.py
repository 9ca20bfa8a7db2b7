"""QUASAR, the agent: learns from closed bars, answers with the blend of table, factors and model (pure).

The model slot is logistic regression until a simulated circuit beats it (`gate`); `backend` says which spoke.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents import pace, rehearsal
from qts_agents.agent import UNTRAINED, MarketWindow, Outgoing
from qts_agents.columns import array, column
from qts_agents.kernels import reupload, sumtree
from qts_agents.kernels.factors import FACTOR_NAMES, factors
from qts_agents.kernels.indicator_rows import ANOMALY, TAIL
from qts_agents.kernels.indicators import indicators
from qts_agents.kernels.pool import log_pool
from qts_agents.opinions import BUY, HOLD, SELL, abstentions, align, opinion, resolved
from qts_agents.quasar import bars, blend, lessons
from qts_agents.quasar.circuit import MIRROR
from qts_agents.quasar.features import features
from qts_agents.quasar.model import LEAST_ROWS
from qts_agents.quasar.monitoring import Sign
from qts_agents.quasar.state import Remembered, State, restore, save
from qts_agents.quasar.states import NONE, state
from qts_core.spec import System
from qts_messaging.messages import (
    DecisionRequest,
    MarketUpdate,
    Message,
    PerformanceFeedback,
    RiskAlert,
    SystemCommand,
)
from qts_messaging.records import Opinion

F8 = NDArray[np.float64]
MODEL_VERSION = "quasar-2"
ALERT_BARS = 30
EXTRA = TAIL | ANOMALY  # of the indicators: the monitors read both
CIRCUIT_ROWS = 16  # symbols that the circuit learns from at a time


class View(msgspec.Struct, frozen=True):
    """What QUASAR thinks of each row before calibration."""

    x: F8  # [S,3]
    parts: F8  # [S,3,3] qstar, qar, model; NaN where masked
    greedy: NDArray[np.int8]  # [S] the table's action at the true position
    known: NDArray[np.bool_]  # [S] the table has converged and has seen that state
    anomaly: NDArray[np.bool_]
    drift: NDArray[np.bool_]
    features: F8  # [S,10]
    factors: F8  # [S,8], NaN where absent
    models: F8  # [S,2,3] regression and circuit, NaN where silent
    entangled: bool  # the circuit speaks in the model slot


class Quasar:
    """QUASAR as a `Voter`."""

    name = "quasar"
    backend = "classical"
    contrib_names: tuple[str, ...] = ("qstar", "qar", "model", "anomaly", "drift", *FACTOR_NAMES)

    def __init__(self, system: System) -> None:
        self._system = system
        self._state = State(system)
        self._lessons = lessons.load(system.quasar.pretrain)

    @property
    def converged(self) -> bool:
        """Tell whether the table votes."""
        return self._state.learner.converged

    def warm_up(self) -> None:
        """Compile what serving and learning call, by doing both on made-up bars with a second agent."""
        plain = msgspec.structs.replace(self._system.quasar, pretrain=None)
        rehearsal.rehearse(Quasar(msgspec.structs.replace(self._system, quasar=plain)))
        sumtree.warm_up()  # nothing is replayed before the table has converged
        if self._state.circuit is not None:  # nor does a circuit speak that has seen little
            reupload.warm_up(MIRROR, self._state.circuit.weights)

    def on_bars(self, update: MarketUpdate, window: MarketWindow, now_ns: int) -> Sequence[Outgoing]:
        """Learn from each closed bar that is new; report anomalies and drifts of live ones."""
        if window.epoch != self._state.epoch:
            self._forget(window.epoch)
        if self._lessons is not None and self._state.seq < 0 and window.close_ns.size:
            lessons.teach(self._state.learner, self._lessons, int(window.close_ns[0]))
        self._state.last_bar_ns = now_ns
        new = min(update.close_ns.shape[0], window.window_seq - self._state.seq)
        signs: list[Sign] = []
        for seen in bars.closed(window, new):
            signs = self._learn_bar(seen)
        self._state.seq = max(self._state.seq, window.window_seq)
        if update.kind == "snapshot":
            return ()  # what is past needs no alert
        factors(window, indicators(window, EXTRA))  # remembered: a request about this bar asks for them
        return tuple(self._alert(sign, update, now_ns) for sign in signs)

    def on_request(self, request: DecisionRequest, window: MarketWindow | None, now_ns: int) -> Opinion:
        """Answer with the calibrated blend of what is not masked."""
        last = self._state.last_bar_ns
        stale = pace.stale_after_ns(self._system, window.bar_s) if window is not None and last else 0
        abstain = abstentions(window, request, now_ns, last_bar_ns=last, stale_after_ns=stale)
        if window is None or window.close.shape[1] == 0 or abstain.all():
            nothing = np.full((len(request.symbols), 3), np.nan)
            return self._opinion(request, nothing, nothing, np.full(len(nothing), HOLD), abstain, None)
        d = np.sign(array(request.position.qty))
        view = self._look(align(window, request.symbols), d, request.phase)
        masked = np.asarray(np.isnan(view.parts).any(axis=2)).all(axis=1)
        abstain[masked & ~abstain.astype(bool)] |= UNTRAINED
        view.x[abstain.astype(bool)] = np.nan
        self._remember(request, view)
        p = blend.flatten(self._state.reliability.p(view.x, array(request.flat_share)), view.anomaly)
        threshold = blend.threshold_of(self._system.quasar.threshold, request.psi)
        action = blend.propose(view.x, view.greedy, view.known, d, threshold)
        return self._opinion(request, view.x, p, action, abstain, _contrib(view), view.entangled)

    def on_feedback(self, feedback: PerformanceFeedback, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Learn reliability, expert weights and the model from a resolved decision, once."""
        kept = self._state.pending.take(feedback.round_id)
        if kept is None:
            return ()
        inputs = np.array(array(kept.features), dtype=np.float64)
        beliefs = np.array(array(kept.factors), dtype=np.float64)
        self._learn_models(kept, feedback, inputs)
        x, flat = array(kept.x), array(kept.flat)
        row, _, y = resolved(kept.symbols, feedback)
        taught = np.isfinite(x[row]).all(axis=1)
        row, y = row[taught], y[taught]
        self._state.reliability.learn(x[row], flat[row], y)
        self._state.qar.learn(beliefs[row], y)
        self._state.model.learn(inputs[row], y)
        return ()

    def on_message(self, message: Message, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Take a reset; phase and alert factor come with each request."""
        if isinstance(message, SystemCommand) and message.command == "reset":
            self._forget(int(message.arguments.get("epoch", self._state.epoch)))
        return ()

    def save(self) -> bytes:
        """Return the state as versioned MessagePack."""
        return save(self._state, self._system)

    def load(self, state: bytes) -> None:
        """Restore a saved state; ConfigError when its version is unknown."""
        self._state = restore(state, self._system)

    def _forget(self, epoch: int) -> None:
        self._state = State(self._system)
        self._state.epoch = epoch

    def _learn_bar(self, window: MarketWindow) -> list[Sign]:
        """Let monitors and table learn from the last bar of `window`."""
        held = self._state
        ind = indicators(window, EXTRA)
        code, side, ret, sigma = bars.record(window, ind, held.learner.form.code(ind))
        if held.seq >= 0 and window.window_seq > held.seq + 1:
            ret = np.full_like(ret, np.nan)  # bars in between were missed: nothing leads from one to the next
        held.seq = window.window_seq
        signs = held.monitors.on_bar(window, ind, code != NONE)
        if any(sign.kind == "drift" for sign in signs):
            held.learner.on_drift()
        held.learner.on_bar(window.symbols, (code, side, ret, sigma), bars.half_cost(window))
        return signs

    def _look(self, window: MarketWindow, d: F8, phase: str) -> View:
        held = self._state
        ind = indicators(window, EXTRA)
        found = factors(window, ind)
        inputs, beliefs = features(ind), np.where(found.present, found.b, np.nan)
        qstar, greedy, known = self._table(held.learner.form.code(ind), d)
        models = self._models(inputs)
        entangled = held.circuit is not None and held.gate.open
        parts = np.stack((qstar, held.qar.pool(beliefs, phase), models[:, int(entangled)]), axis=1)
        anomaly, drift = held.monitors.flags(window.symbols)
        x = log_pool(parts, blend.weights(phase, anomaly, drift))
        return View(x, parts, greedy, known, anomaly, drift, inputs, beliefs, models, entangled)

    def _models(self, inputs: F8) -> F8:
        """Return what regression and circuit say [S,2,3]; NaN for one that has seen too little."""
        held, silent = self._state, np.full((len(inputs), 3), np.nan)
        regression = held.model.predict(inputs) if held.model.ready else silent
        ready = held.circuit is not None and held.circuit.rows >= LEAST_ROWS
        circuit = held.circuit.predict(inputs) if ready and held.circuit is not None else silent
        return np.stack((regression, circuit), axis=1)

    def _learn_models(self, kept: Remembered, feedback: PerformanceFeedback, inputs: F8) -> None:
        """Score what both models said, then let the circuit learn; regression learns row by row."""
        held, (row, _, y) = self._state, resolved(kept.symbols, feedback)
        if held.circuit is None or not row.size:
            return
        said = array(kept.models)[row, :, y]
        held.gate.learn(said[:, 0], said[:, 1])
        held.circuit.learn(inputs[row[:CIRCUIT_ROWS]], y[:CIRCUIT_ROWS])

    def _table(self, code: NDArray[np.int64], d: F8) -> tuple[F8, NDArray[np.int8], NDArray[np.bool_]]:
        """Return qstar's x [S,3] at the flat state, the greedy action at the true one, and where known."""
        learner = self._state.learner
        flat = np.where(code == NONE, NONE, state(code, np.zeros_like(d)))
        values, _ = learner.serve(flat)
        here, greedy = learner.serve(np.where(code == NONE, NONE, state(code, d)))
        if not learner.converged:
            return np.full((d.shape[0], 3), np.nan), greedy, np.zeros(d.shape[0], dtype=bool)
        z = values[:, [BUY, HOLD, SELL]] / self._system.quasar.temperature
        raised = np.exp(z - z.max(axis=1, keepdims=True))
        x: F8 = raised / raised.sum(axis=1, keepdims=True)
        return x, greedy, np.asarray(np.isfinite(here).all(axis=1))

    def _remember(self, request: DecisionRequest, view: View) -> None:
        kept = Remembered(
            request.symbols,
            column(view.x),
            request.flat_share,
            column(view.features, "f4"),
            column(view.factors, "f4"),
            column(view.models),
        )
        self._state.pending.put(request.round_id, kept)

    def _alert(self, sign: Sign, update: MarketUpdate, now_ns: int) -> Outgoing:
        lasts = ALERT_BARS * pace.pace_ns(self._system, update.bar_s)
        alert = RiskAlert(
            alert_id=f"quasar-{sign.kind}-{sign.symbol}-{update.asof_ns}",
            alert_type=sign.kind,
            severity=sign.severity,
            scope=(sign.symbol,) if sign.symbol else (),
            raised_ns=now_ns,
            expires_ns=now_ns + lasts,
            sender=self.name,
            evidence={"strength": sign.severity},
        )
        return Outgoing(alert, "pads")

    def _opinion(
        self,
        request: DecisionRequest,
        x: F8,
        p: F8,
        action: NDArray[np.uint8],
        abstain: NDArray[np.uint16],
        contrib: F8 | None,
        entangled: bool = False,
    ) -> Opinion:
        return opinion(
            request,
            agent=self.name,
            model_version=MODEL_VERSION,
            x=x,
            p=p,
            action=action,
            abstain=abstain,
            backend="simulated-quantum" if entangled else self.backend,
            qubits=self._system.quasar.circuit_qubits if entangled else 0,
            contrib=contrib,
            contrib_names=self.contrib_names,
        )


def _contrib(view: View) -> F8:
    """Return [S,13]: signal of each part, the two flags, the factors; NaN where masked."""
    signal = view.parts[:, :, 0] - view.parts[:, :, 2]
    flags = np.stack((view.anomaly, view.drift), axis=1).astype(np.float64)
    return np.concatenate((signal, flags, view.factors), axis=1)
