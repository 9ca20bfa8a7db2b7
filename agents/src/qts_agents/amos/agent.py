"""Quantum AMOS, the agent: answers with the readout of its intention, learns from what came of it (pure).

The 3-qubit circuit of `quantum_circuits: true` is simulated (`kernels/statevector.py`); it equals the closed
form used otherwise. With `society: 4` four variants answer as one (`society`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qts_agents import pace, rehearsal
from qts_agents.agent import TOO_FEW_COMPONENTS, MarketWindow, Outgoing
from qts_agents.amos import beliefs as believing
from qts_agents.amos import society
from qts_agents.amos.beliefs import NEEDED, Beliefs
from qts_agents.amos.intention import intention, norm_of, risk_of
from qts_agents.amos.learning import clip, surprise
from qts_agents.amos.state import Remembered, State, restore, save
from qts_agents.choice import known_or_zero
from qts_agents.columns import array, column
from qts_agents.kernels import gpu, philox, readout
from qts_agents.kernels.factors import factors
from qts_agents.kernels.indicator_rows import TAIL
from qts_agents.kernels.indicators import indicators
from qts_agents.kernels.online import nlms_rows
from qts_agents.newest import Ahead
from qts_agents.opinions import HOLD, abstaining, align, opinion, resolved, window_bits
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
U1 = NDArray[np.uint8]
U2 = NDArray[np.uint16]
MODEL_VERSION = "amos-1"
PURPOSE_SHOTS = 1
EXTRA = TAIL  # of the indicators: the risk of the hour
ALERT_BARS = 30
BREACH_LEVELS = (0.5, 0.8, 1.0)  # of the drawdown limit; each is reported once on the way down
TIE = 1e-12


class Amos:
    """Quantum AMOS as a `Voter`."""

    name = "quantum_amos"
    contrib_names: tuple[str, ...] = (
        "belief",
        "prospect",
        "desire",
        "habit",
        "situation",
        "norm",
        "risk",
        "intention",
        "disagreement",
    )

    def __init__(self, system: System) -> None:
        self._system = system
        self._settings = system.quantum_amos
        self.backend = "simulated-quantum" if system.quantum_circuits else "classical"
        self._members = society.members(self._settings)
        self._state = State(len(self._members))
        self._keys: dict[str, philox.Key] = {}
        self._ahead: Ahead[tuple[Beliefs, NDArray[np.bool_]]] = Ahead()
        self._learned = 0  # outcomes

    def warm_up(self) -> None:
        """Compile what serving calls, by serving made-up bars with a second agent."""
        rehearsal.rehearse(Amos(self._system), learn_bars=1)

    def on_bars(self, update: MarketUpdate, window: MarketWindow, now_ns: int) -> Sequence[Outgoing]:
        """Let desire fade, make the last intention a habit, report a breach of the drawdown norm."""
        state = self._state
        state.last_bar_ns = now_ns
        if update.kind == "delta":  # a request about this bar is on its way
            window_bits(window)
            factors(window, indicators(window, EXTRA))
            key = (self._learned, self._system.horizon_bars)
            self._ahead.prepare(window, key, lambda: self._form(window, self._system.horizon_bars))
        fade = 2.0 ** (-update.close_ns.shape[0] / self._settings.desire_half_life)
        state.desire = {name: value * fade for name, value in state.desire.items() if abs(value) > 1e-9}
        state.habit.update(state.intended)
        state.intended = {}
        held = set(window.symbols)
        state.habit = {name: value for name, value in state.habit.items() if name in held}
        return self._breach(update, now_ns)

    def on_request(self, request: DecisionRequest, window: MarketWindow | None, now_ns: int) -> Opinion:
        """Answer with the readout of each row's intention."""
        abstain = abstaining(self._system, window, request, now_ns, self._state.last_bar_ns)
        if window is None or window.close.shape[1] == 0 or not request.symbols or abstain.all():
            nothing = np.full((len(request.symbols), 3), np.nan)
            return self._opinion(request, nothing, nothing, np.full(len(nothing), HOLD), abstain, None)
        view, horizon = align(window, request.symbols), request.horizon_bars
        held, awake = self._ahead.of(view, (self._learned, horizon), lambda: self._form(view, horizon))
        few = (held.present.sum(axis=1) < NEEDED) & ~abstain.astype(bool)
        abstain[few] |= TOO_FEW_COMPONENTS
        intents, risks, contrib = self._intend(request, held, awake)
        asked = gpu.launches()
        said, action = self._read(view, intents, risks, array(request.position.qty))
        x = society.co_operate(said, self._state.standing)
        if request.explain:
            contrib[:, -1] = society.disagreement(said, x)
        flat = array(request.flat_share)
        x[abstain != 0] = np.nan
        self._remember(request, held, (x, said), contrib[:, -2])
        return self._opinion(
            request, x, self._state.reliability.p(x, flat), action, abstain, contrib, gpu.used_since(asked)
        )

    def on_feedback(self, feedback: PerformanceFeedback, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Learn reliability, belief weights and desire from a resolved decision, once."""
        kept = self._state.pending.take(feedback.round_id)
        if kept is None:
            return ()
        self._learned += 1
        state, settings, x = self._state, self._settings, array(kept.x)
        row, at, y = resolved(kept.symbols, feedback)
        taught = np.isfinite(x[row]).all(axis=1)
        row, at, y = row[taught], at[taught], y[taught]
        state.reliability.learn(x[row], array(kept.flat)[row], y)
        state.standing = society.compete(state.standing, array(kept.variants)[row, :, y], settings)
        e = surprise(array(feedback.ret)[at], array(kept.sigma_h)[row], array(kept.B)[row])
        state.weights = nlms_rows(state.weights, array(kept.b)[row], e, settings.learning_rate)
        for i in np.flatnonzero(np.isfinite(e)):
            name = kept.symbols[row[i]]
            wanted = state.desire.get(name, 0.0) + settings.desire_rate * float(e[i])
            state.desire[name] = clip(wanted, settings.desire_limit)
        return ()

    def on_message(self, message: Message, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Take a reset; phase and alert factor come with each request."""
        if isinstance(message, SystemCommand) and message.command == "reset":
            self._state, self._ahead = State(len(self._members)), Ahead()
        return ()

    def save(self) -> bytes:
        """Return the state as versioned MessagePack."""
        return save(self._state)

    def load(self, state: bytes) -> None:
        """Restore a saved state; ConfigError when its version is unknown."""
        self._state, self._ahead = restore(state), Ahead()

    def _form(self, window: MarketWindow, horizon: int) -> tuple[Beliefs, NDArray[np.bool_]]:
        """Return the beliefs of every row, and which members are awake in it [S,V]."""
        ind = indicators(window, EXTRA)
        held = believing.form(window, ind, factors(window, ind), self._state.weights, horizon)
        return held, np.stack([society.awake(v, ind.rsi) for v in self._members], axis=1)

    def _intend(self, request: DecisionRequest, held: Beliefs, awake: NDArray[np.bool_]) -> tuple[F8, F8, F8]:
        """Return intentions and risks [S,V], NaN where asleep, and what they were made of [S,9].

        Beliefs and intention of a society are its members' means by their standing.
        """
        position, state = request.position, self._state
        state.drawdown = 1.0 - position.equity / position.peak_equity if position.peak_equity > 0.0 else 0.0
        norm = norm_of(state.drawdown, self._settings.drawdown_limit)
        desire = request.psi * np.array([state.desire.get(name, 0.0) for name in request.symbols])
        habit = np.array([state.habit.get(name, 0.0) for name in request.symbols])
        risk = risk_of(held.hazard, request.psi)
        B, intent, risks = (np.full(awake.shape, np.nan) for _ in range(3))
        for v, variant in enumerate(self._members):
            tilt, rows = np.array(variant.tilt), awake[:, v]
            B[:, v] = believing.belief(held.b * np.sign(tilt), held.present, state.weights * np.abs(tilt))
            terms = (B[:, v], held.prospect, desire, habit)
            meant = intention(terms, self._settings, request.phase, held.situation, norm, calm=variant.tau)
            intent[rows, v] = meant[rows]
            risks[rows, v] = np.minimum(1.0, risk[rows] + variant.risk)
        weight = np.where(awake, state.standing, 0.0)
        weight = weight / weight.sum(axis=1, keepdims=True)
        means = [np.where(awake, weight * known_or_zero(part), 0.0).sum(axis=1) for part in (B, intent)]
        parts = (means[0], held.prospect, desire, habit, held.situation, np.full_like(risk, norm), risk)
        return intent, risks, np.stack((*parts, means[1], np.zeros_like(risk)), axis=1)

    def _read(self, window: MarketWindow, intents: F8, risks: F8, qty: F8) -> tuple[F8, U1]:
        """Return each variant's x [S,V,3] as seen from flat, and the likeliest action from where we are."""
        d = np.sign(qty)
        flat = np.zeros_like(qty)
        from_flat, from_here = [], []
        for v in range(len(self._members)):
            intent, risk = np.ascontiguousarray(intents[:, v]), np.ascontiguousarray(risks[:, v])
            seen, held = self._measure(intent, risk, (flat, d))
            held = np.where((d == 0.0)[:, None], seen, held)
            if self._settings.shots:
                seen, held = (self._sample(window, p, intent, v) for p in (seen, held))
            from_flat.append(seen[:, [0, 2, 1]])
            from_here.append(held)
        pooled = society.pooled_actions(np.stack(from_here, axis=1), self._state.standing)
        return np.stack(from_flat, axis=1), likeliest(pooled)

    def _measure(self, intent: F8, risk: F8, sides: tuple[F8, F8]) -> tuple[F8, F8]:
        """Return the action probabilities [S,7] of one intention at two sides."""
        nu = self._settings.risk_coupling
        if self.backend != "simulated-quantum":
            return (readout.readout(intent, risk, sides[0], nu), readout.readout(intent, risk, sides[1], nu))
        states = readout.simulated(intent, risk, nu)
        return readout.measured(states, sides[0]), readout.measured(states, sides[1])

    def _sample(self, window: MarketWindow, p: F8, intent: F8, variant: int) -> F8:
        """Return the frequencies of `shots` draws of a variant; a mirrored row draws mirrored."""
        shots = self._settings.shots
        swap = intent < 0.0
        p = np.where(swap[:, None], p[:, _SWAPPED], p)
        for row, name in enumerate(window.symbols):
            if np.isfinite(p[row]).all():
                draws = philox.uniforms(self._key(name), shots, PURPOSE_SHOTS + variant, window.window_seq)
                p[row] = readout.sample(p[row : row + 1], draws[None, :])[0]
        return np.where(swap[:, None], p[:, _SWAPPED], p)

    def _key(self, symbol: str) -> philox.Key:
        if symbol not in self._keys:
            self._keys[symbol] = philox.key_of(self._system.system_seed, "amos", symbol)
        return self._keys[symbol]

    def _remember(self, request: DecisionRequest, held: Beliefs, spoken: tuple[F8, F8], intent: F8) -> None:
        """Keep what feedback will need, and the intentions that become habits at the next bar."""
        x, said = spoken
        for row in np.flatnonzero(np.isfinite(x).all(axis=1)).tolist():
            self._state.intended[request.symbols[row]] = float(intent[row])
        kept = Remembered(
            request.symbols,
            column(x),
            request.flat_share,
            column(held.b),
            column(held.B),
            column(held.sigma_h),
            column(said),
        )
        self._state.pending.put(request.round_id, kept)

    def _breach(self, update: MarketUpdate, now_ns: int) -> Sequence[Outgoing]:
        """Return one alert for each level of the drawdown limit that is newly reached."""
        severity = min(1.0, self._state.drawdown / self._settings.drawdown_limit)
        level = max((step for step in BREACH_LEVELS if severity >= step), default=0.0)
        known, self._state.breach = self._state.breach, level
        if level <= known:
            return ()
        lasts = ALERT_BARS * pace.pace_ns(self._system, update.bar_s)
        alert = RiskAlert(
            alert_id=f"amos-norm_breach-{update.asof_ns}",
            alert_type="norm_breach",
            severity=severity,
            scope=(),
            raised_ns=now_ns,
            expires_ns=now_ns + lasts,
            sender=self.name,
            evidence={"drawdown": self._state.drawdown, "limit": self._settings.drawdown_limit},
        )
        return (Outgoing(alert, "pads"),)

    def _opinion(
        self,
        request: DecisionRequest,
        x: F8,
        p: F8,
        action: U1,
        abstain: U2,
        contrib: F8 | None,
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
            backend=self.backend,
            device=device,
            qubits=3 if self.backend == "simulated-quantum" else 0,
            shots=self._settings.shots,
            contrib=contrib,
            contrib_names=self.contrib_names,
        )


_SWAPPED = [1, 0, 2, 3, 4, 5, 6]  # BUY ↔ SELL; the other actions are relative to the position


def likeliest(p: F8) -> U1:
    """Return the most likely action of each row [S,7]; a tie, to rounding, holds."""
    known = np.where(np.isnan(p), -1.0, p)
    best = known.max(axis=1)
    tied = (known >= best[:, None] - TIE).sum(axis=1)
    chosen = np.argmax(known, axis=1)
    return np.where(tied > 1, HOLD, chosen).astype(np.uint8)
