"""QBMIA, the agent: plays the market as a game, watches liquidity and orders, remembers episodes (pure).

With `quantum_circuits` the EWL game is simulated beside the classical equilibria; it costs about 1 ms a
symbol, so it is played for all only when voted (`nash_mode: ewl`). An answer that is to explain itself plays
it for 16 of them, others from round to round; any other has nowhere to report it, plays none and says
`classical`. Without order events on the bars machiavellian is masked, and its weight goes to the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qts_agents import pace
from qts_agents.agent import TOO_FEW_COMPONENTS, MarketWindow, Outgoing
from qts_agents.choice import known_or_zero
from qts_agents.columns import array, column
from qts_agents.kernels import philox
from qts_agents.kernels.backend import jit_enabled
from qts_agents.kernels.indicators import indicators
from qts_agents.newest import Ahead
from qts_agents.opinions import HOLD, abstaining, align, opinion, position_map, resolved, window_bits
from qts_agents.qbmia import machiavellian, rehearsal, reports, robin_hood
from qts_agents.qbmia.foresight import Foresight
from qts_agents.qbmia.machiavellian import Evidence
from qts_agents.qbmia.memory import features
from qts_agents.qbmia.quantum_nash import QUBITS
from qts_agents.qbmia.state import Remembered, Seen, State, restore, save
from qts_agents.qbmia.thought import EXTRA, REPORTED, Scene, Thought, columns, fuse, known_illiquidity, lean
from qts_core.spec import System
from qts_messaging.messages import (
    DecisionRequest,
    MarketUpdate,
    Message,
    PerformanceFeedback,
    PhaseTransition,
    SystemCommand,
)
from qts_messaging.records import Opinion

F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]
U2 = NDArray[np.uint16]
Recalled = tuple[NDArray[np.float32], F8, NDArray[np.int64]]
MODEL_VERSION = "qbmia-1"
FEW = 16  # symbols for which the EWL game is played in an answer that explains itself
FULL_LEAN = 0.8  # x_up − x_down that counts as a full signal


class Qbmia:
    """QBMIA as a `Voter`."""

    name = "qbmia"
    contrib_names: tuple[str, ...] = REPORTED

    def __init__(self, system: System) -> None:
        self._system = system
        self._settings = system.qbmia
        self.backend = "simulated-quantum" if system.quantum_circuits else "classical"
        self._state = State()
        self._keys: dict[str, philox.Key] = {}
        self._foresight = Foresight()
        self._recalled: Ahead[Recalled] = Ahead()

    def warm_up(self) -> None:
        """Compile every kernel by answering an invented request with a fresh agent."""
        rehearsal.rehearse(Qbmia(self._system), self._system.quantum_circuits)

    def on_bars(self, update: MarketUpdate, window: MarketWindow, now_ns: int) -> Sequence[Outgoing]:
        """Keep the quotes; judge what the newest request showed, at most one bar later."""
        state = self._state
        state.last_bar_ns = now_ns
        state.quotes.push(update.symbols, update.seq, array(update.spread), array(update.imbalance))
        if update.orders is not None:
            for symbol in state.flow.take(update.orders, update.symbols, update.asof_ns, update.bar_s):
                evidence = state.flow.evidence(symbol, window, self._key(symbol))
                if evidence is not None:
                    self.observe(symbol, evidence)
        for symbol in state.flow.silent(update.asof_ns, update.bar_s):
            state.findings.pop(symbol, None)
        if update.kind == "delta":
            indicators(window, EXTRA)  # remembered: a request about this bar is on its way
            self._foresee(window)
        if update.kind == "snapshot" or state.seen is None:
            return ()
        expires_ns = now_ns + reports.ALERT_BARS * pace.pace_ns(self._system, update.bar_s)
        alpha = reports.level(update.bar_s, self._settings.false_alarms)
        return [
            *reports.illiquidity(state, update.seq, now_ns, expires_ns),
            *reports.manipulation(state, update.seq, now_ns, expires_ns, alpha),
            *reports.transition(state, update.seq),
        ]

    def on_request(self, request: DecisionRequest, window: MarketWindow | None, now_ns: int) -> Opinion:
        """Answer with the pool of the components' distributions and memory."""
        state, size = self._state, len(request.symbols)
        abstain = abstaining(self._system, window, request, now_ns, state.last_bar_ns)
        x, report = np.full((size, 3), np.nan), np.full((size, len(REPORTED)), np.nan)
        action, vectors = np.full(size, HOLD, np.uint8), np.zeros((size, 16), np.float32)
        rows, device = np.flatnonzero(abstain == 0), "cpu"
        entangle = np.zeros(0, np.int64)
        if window is not None and len(rows):
            entangle = self._entangle(request, len(rows))
            scene = self._scene(request, window, rows, entangle)
            x[rows], report[rows], vectors[rows], enough, device = self._answer(request, scene)
            abstain[rows[~enough]] |= TOO_FEW_COMPONENTS
            signal = np.clip(lean(x) / FULL_LEAN, -1.0, 1.0)
            action = position_map(signal, array(request.position.qty))
        x[abstain != 0] = np.nan
        flat = array(request.flat_share)
        kept = Remembered(
            request.symbols, request.window_seq, column(x), request.flat_share, column(vectors, "f4")
        )
        state.pending.put(request.round_id, kept)
        return opinion(
            request,
            agent=self.name,
            model_version=MODEL_VERSION,
            x=x,
            p=state.reliability.p(x, flat),
            action=action,
            abstain=abstain,
            backend="simulated-quantum" if entangle.size else "classical",
            device=device,
            qubits=QUBITS if entangle.size else 0,
            contrib=report,
            contrib_names=self.contrib_names,
        )

    def on_feedback(self, feedback: PerformanceFeedback, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Learn how far to be believed, and store what the situations led to; once a round."""
        kept = self._state.pending.take(feedback.round_id)
        if kept is None:
            return ()
        x, flat, vectors = array(kept.x), array(kept.flat), array(kept.vector)
        row, _, y = resolved(kept.symbols, feedback)
        taught = np.isfinite(x[row]).all(axis=1)
        row, y = row[taught], y[taught]
        self._state.reliability.learn(x[row], flat[row], y)
        self._state.memory.store(vectors[row], kept.bar, y)
        return ()

    def on_message(self, message: Message, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Take PADS' answers to proposals, and a reset."""
        if isinstance(message, SystemCommand) and message.command == "reset":
            self._state, self._foresight, self._recalled = State(), Foresight(), Ahead()
        elif isinstance(message, PhaseTransition) and message.kind == "announcement":
            self._state.monitor.answered("")
        elif isinstance(message, PhaseTransition) and message.kind == "rejection":
            self._state.monitor.answered(message.transition_id)
        return ()

    def observe(self, symbol: str, evidence: Evidence) -> machiavellian.Finding:
        """Examine a window of order events; the score counts from the next request on."""
        finding = machiavellian.examine(evidence)
        before, _ = self._state.findings.get(symbol, ([], 0.0))
        self._state.findings[symbol] = ([*before[-2:], finding.combined], finding.score)
        return finding

    def save(self) -> bytes:
        """Return the state as versioned MessagePack."""
        return save(self._state)

    def load(self, state: bytes) -> None:
        """Restore a saved state; ConfigError when its version is unknown."""
        self._state, self._foresight, self._recalled = restore(state), Foresight(), Ahead()

    def _foresee(self, window: MarketWindow) -> None:
        """Think about a bar that is likely to be asked about, and recall what was like it."""
        window_bits(window)
        seen = self._state.seen
        if not self._foresight.on_bar(window, self._state.quotes, self._settings) or seen is None:
            return
        scores, phase = self._scores(window.symbols), seen.phase
        self._recalled.prepare(
            window, self._known(phase, scores), lambda: self._recall(window, phase, scores)
        )

    def _known(self, phase: str, scores: F8) -> tuple[int, str, bytes]:
        """Return what a recollection rests on beside the bar."""
        return self._state.memory.stored, phase, scores.tobytes()

    def _recall(self, window: MarketWindow, phase: str, scores: F8) -> Recalled:
        """Return the situation of each row [S,16], x_mem [S,3] and how many episodes were like it [S]."""
        ind = indicators(window, EXTRA)
        vectors = features(ind, phase, scores, known_illiquidity(ind))
        return (vectors, *self._state.memory.recall(vectors, window.window_seq))

    def _scores(self, symbols: Sequence[str]) -> F8:
        """Return how much each symbol looks manipulated, NaN without order events."""
        found = self._state.findings
        return np.array([found[name][1] if name in found else np.nan for name in symbols], np.float64)

    def _entangle(self, request: DecisionRequest, rows: int) -> NDArray[np.int64]:
        """Return for which of the voting rows the EWL game is played."""
        few = FEW if jit_enabled() else 1  # the plain form needs half a second a symbol
        if not self._system.quantum_circuits:
            return np.zeros(0, np.int64)
        if self._settings.nash_mode == "ewl":
            return np.arange(rows)
        if not request.explain:
            return np.zeros(0, np.int64)
        if rows <= few:
            return np.arange(rows)
        return np.sort((request.window_seq * few + np.arange(few)) % rows)

    def _scene(
        self,
        request: DecisionRequest,
        window: MarketWindow,
        rows: NDArray[np.int64],
        entangle: NDArray[np.int64],
    ) -> Scene:
        """Gather what the voting rows show."""
        symbols = tuple(request.symbols[row] for row in rows)
        view = align(window, symbols)
        return Scene(
            window=view,
            indicators=indicators(view, EXTRA),
            side=np.sign(array(request.position.qty)[rows]),
            manipulation=self._scores(symbols),
            keys=[self._key(name) for name in symbols],
            horizon=request.horizon_bars,
            entangle=entangle,
            explain=request.explain,
        )

    def _answer(
        self, request: DecisionRequest, scene: Scene
    ) -> tuple[F8, F8, NDArray[np.float32], NDArray[np.bool_], str]:
        """Return x, report, memory vectors, whether enough components spoke (voting rows), and the device."""
        thought = self._foresight.think(scene, self._state.quotes, self._settings)
        window, phase, scores = scene.window, request.phase, scene.manipulation
        vectors, recalled, found = self._recalled.of(
            window, self._known(phase, scores), lambda: self._recall(window, phase, scores)
        )
        x, enough = fuse(thought.x, recalled, self._settings.memory_share)
        self._note(request, scene, thought, x)
        report = np.full((len(x), len(REPORTED)), np.nan)
        if request.explain:
            more = {"recalled": found.astype(np.float64), "novelty": self._state.memory.novelty(vectors)}
            report = columns(thought, more | robin_hood.report(window))
        return x, report, vectors, enough, thought.device

    def _note(self, request: DecisionRequest, scene: Scene, thought: Thought, x: F8) -> None:
        """Keep what the next bar's evaluation needs."""
        bar, illiquidity = request.window_seq, known_or_zero(thought.report["illiquidity"])
        self._state.note(bar, float(lean(x).mean()), tuple(thought.strategy.mean(axis=0).tolist()))
        self._state.seen = Seen(
            bar=bar,
            asof_ns=request.asof_ns,
            phase=request.phase,
            scores=request.phase_scores,
            meso=request.meso,
            psi=request.psi,
            symbols=reports.thin(scene.window.symbols, illiquidity, self._settings.illiquidity_alert),
            illiquidity=float(illiquidity.mean()),
            worst=float(illiquidity.max()),
            manipulation=float(known_or_zero(scene.manipulation).max()),
        )

    def _key(self, symbol: str) -> philox.Key:
        if symbol not in self._keys:
            self._keys[symbol] = philox.key_of(self._system.system_seed, self.name, symbol)
        return self._keys[symbol]
