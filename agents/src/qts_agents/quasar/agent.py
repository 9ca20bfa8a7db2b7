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
from qts_agents.kernels import gpu, reupload, sumtree
from qts_agents.kernels.factors import FACTOR_NAMES, factors
from qts_agents.kernels.indicator_rows import ANOMALY, TAIL
from qts_agents.kernels.indicators import indicators
from qts_agents.kernels.pool import log_pool
from qts_agents.newest import Ahead
from qts_agents.opinions import BUY, HOLD, SELL, abstaining, align, opinion, resolved, window_bits
from qts_agents.quasar import bars, blend, lessons
from qts_agents.quasar.circuit import MIRROR
from qts_agents.quasar.features import features
from qts_agents.quasar.learner import SHORTEST_EPISODE, bars_until_checked
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
    code: NDArray[np.int64]  # [S] the table's state, but for the position
    anomaly: NDArray[np.bool_]
    drift: NDArray[np.bool_]
    features: F8  # [S,10]
    factors: F8  # [S,8], NaN where absent
    models: F8  # [S,2,3] regression and circuit, NaN where silent
    entangled: bool  # the circuit speaks in the model slot
    device: str  # that looked up the table and ran the circuit


class Quasar:
    """QUASAR as a `Voter`."""

    name = "quasar"
    backend = "classical"
    contrib_names: tuple[str, ...] = ("qstar", "qar", "model", "anomaly", "drift", *FACTOR_NAMES)

    def __init__(self, system: System) -> None:
        self._system = system
        self._state = State(system)
        self._lessons = lessons.load(system.quasar.pretrain)
        self._ahead: Ahead[View] = Ahead()
        self._learned = 0  # outcomes
        self._phase = ""  # of the newest request

    @property
    def converged(self) -> bool:
        """Tell whether the table votes."""
        return self._state.learner.converged

    def warm_up(self) -> None:
        """Compile what serving and learning call, by doing both on made-up bars with a second agent."""
        plain = msgspec.structs.replace(self._system.quasar, pretrain=None, episode_bars=SHORTEST_EPISODE)
        rehearsal.rehearse(
            Quasar(msgspec.structs.replace(self._system, quasar=plain)), bars_until_checked(plain)
        )
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
        window_bits(window)  # a request about this bar is on its way
        factors(window, indicators(window, EXTRA))
        self._ahead.prepare(window, (self._learned, self._phase), lambda: self._look(window, self._phase))
        return tuple(self._alert(sign, update, now_ns) for sign in signs)

    def on_request(self, request: DecisionRequest, window: MarketWindow | None, now_ns: int) -> Opinion:
        """Answer with the calibrated blend of what is not masked."""
        abstain = abstaining(self._system, window, request, now_ns, self._state.last_bar_ns)
        if window is None or window.close.shape[1] == 0 or abstain.all():
            nothing = np.full((len(request.symbols), 3), np.nan)
            return self._opinion(request, nothing, nothing, np.full(len(nothing), HOLD), abstain, None)
        d, self._phase = np.sign(array(request.position.qty)), request.phase
        rows = align(window, request.symbols)
        view = self._ahead.of(rows, (self._learned, request.phase), lambda: self._look(rows, request.phase))
        masked = np.asarray(np.isnan(view.parts).any(axis=2)).all(axis=1)
        abstain[masked & ~abstain.astype(bool)] |= UNTRAINED
        x = np.where(abstain.astype(bool)[:, None], np.nan, view.x)
        self._remember(request, x, view)
        p = blend.flatten(self._state.reliability.p(x, array(request.flat_share)), view.anomaly)
        threshold = blend.threshold_of(self._system.quasar.threshold, request.psi)
        asked = gpu.launches()
        action = blend.propose(x, *self._greedy(view.code, d), d, threshold)
        device = gpu.used_since(asked) if view.device == gpu.CPU else view.device
        contrib = _contrib(view) if request.explain else None
        return self._opinion(request, x, p, action, abstain, contrib, view.entangled, device)

    def on_feedback(self, feedback: PerformanceFeedback, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Learn reliability, expert weights and the model from a resolved decision, once."""
        kept = self._state.pending.take(feedback.round_id)
        if kept is None:
            return ()
        self._learned += 1
        inputs = np.array(array(kept.features), dtype=np.float64)
        beliefs = np.array(array(kept.factors), dtype=np.float64)
        x, flat = array(kept.x), array(kept.flat)
        row, _, y = resolved(kept.symbols, feedback)
        taught = np.isfinite(x[row]).all(axis=1)
        row, y = row[taught], y[taught]
        self._compare(array(kept.models)[row, :, y], inputs[row], y)
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
        self._state, self._ahead = restore(state, self._system), Ahead()

    def _forget(self, epoch: int) -> None:
        self._state, self._ahead = State(self._system), Ahead()
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

    def _look(self, window: MarketWindow, phase: str) -> View:
        held = self._state
        ind = indicators(window, EXTRA)
        found = factors(window, ind)
        inputs, beliefs = features(ind), np.where(found.present, found.b, np.nan)
        code = held.learner.form.code(ind)
        asked = gpu.launches()
        models = self._models(inputs)
        entangled = held.circuit is not None and held.gate.open
        parts = np.stack(
            (self._table(code), held.qar.pool(beliefs, phase), models[:, int(entangled)]), axis=1
        )
        device = gpu.used_since(asked)
        anomaly, drift = held.monitors.flags(window.symbols)
        x = log_pool(parts, blend.weights(phase, anomaly, drift))
        return View(x, parts, code, anomaly, drift, inputs, beliefs, models, entangled, device)

    def _models(self, inputs: F8) -> F8:
        """Return what regression and circuit say [S,2,3]; NaN for one that has seen too little."""
        held, silent = self._state, np.full((len(inputs), 3), np.nan)
        regression = held.model.predict(inputs) if held.model.ready else silent
        ready = held.circuit is not None and held.circuit.rows >= LEAST_ROWS
        circuit = held.circuit.predict(inputs) if ready and held.circuit is not None else silent
        return np.stack((regression, circuit), axis=1)

    def _compare(self, said: F8, inputs: F8, y: NDArray[np.int64]) -> None:
        """Score both models by what they said [R,2] of outcomes `y` [R]; the circuit learns inputs [R,10]."""
        held = self._state
        if held.circuit is not None:
            held.gate.learn(said[:, 0], said[:, 1])
            held.circuit.learn(inputs[:CIRCUIT_ROWS], y[:CIRCUIT_ROWS])

    def _greedy(self, code: NDArray[np.int64], d: F8) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Return the table's action at the true position, and where it has converged and knows that state."""
        learner = self._state.learner
        here, greedy = learner.serve(np.where(code == NONE, NONE, state(code, d)))
        return greedy, np.asarray(np.isfinite(here).all(axis=1)) & learner.converged

    def _table(self, code: NDArray[np.int64]) -> F8:
        """Return qstar's x [S,3] at the flat state; NaN before the table has converged."""
        learner = self._state.learner
        if not learner.converged:
            return np.full((len(code), 3), np.nan)
        values, _ = learner.serve(np.where(code == NONE, NONE, state(code, np.zeros(len(code)))))
        z = values[:, [BUY, HOLD, SELL]] / self._system.quasar.temperature
        raised = np.exp(z - z.max(axis=1, keepdims=True))
        x: F8 = raised / raised.sum(axis=1, keepdims=True)
        return x

    def _remember(self, request: DecisionRequest, x: F8, view: View) -> None:
        kept = Remembered(
            request.symbols,
            column(x),
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
        device: str = gpu.CPU,
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
            device=device,
            qubits=self._system.quasar.circuit_qubits if entangled else 0,
            contrib=contrib,
            contrib_names=self.contrib_names,
        )


def _contrib(view: View) -> F8:
    """Return [S,13]: signal of each part, the two flags, the factors; NaN where masked."""
    signal = view.parts[:, :, 0] - view.parts[:, :, 2]
    flags = np.stack((view.anomaly, view.drift), axis=1).astype(np.float64)
    return np.concatenate((signal, flags, view.factors), axis=1)
