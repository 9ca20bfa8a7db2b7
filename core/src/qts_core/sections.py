"""Constants of agents.md by name: what the sections `pads`, `qbmia`, `quasar`, `quantum_amos` may hold."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
#: a file, or a URL without a password: a document that an agent reads beside the market
Source = Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^(https?://[^\s@]+|[^\s:][^:]*)$")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parent of all configuration sections: frozen, unknown keys refused."""


class PadsSettings(Section, frozen=True, kw_only=True):
    """Board, Panarchy and risk constants of PADS (agents.md §2, §3)."""

    reputation: Literal["score", "hedge"] = "score"
    connectedness: Literal["rank", "raw", "absorption"] = "rank"
    prospect_gate: Literal["report", "veto"] = "report"
    profile: Literal["standard", "prospect"] = "standard"  # which stop × and size × of the phase table
    liquidity_b: Positive = 50.0
    reputation_rate: Fraction = 0.05
    signal_scale: Positive = 0.05  # p_up − p_down that counts as a full signal
    base_size: Fraction = 0.02
    symbol_cap: Fraction = 0.05
    net_cap: Fraction = 0.10
    calm_day: Positive = 0.02  # daily σ above which entries shrink in proportion
    stop_days: Positive = 2.5  # distance of a stop in daily σ, before the phase's factor
    target_days: Positive = 5.0  # distance of take-profits in daily σ, before the phase's factors
    safe_share: Annotated[float, msgspec.Meta(ge=0.75, le=0.95)] = (
        0.85  # of equity kept out of the market, in the middle
    )
    hedge_symbol: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    #: worth of a position to what the paper account puts up for it; None: paid in full, nothing is liquidated
    margin_leverage: Annotated[float, msgspec.Meta(ge=1.0, le=125.0)] | None = None
    #: share of what was put up below which a position is liquidated
    margin_maintenance: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.5
    alert_threshold: Fraction = 0.8
    alert_factor: Fraction = 0.8  # ψ ← max(alert_floor, alert_factor·ψ) at each accepted alert
    alert_floor: Fraction = 0.5
    alert_half_life: Positive = 30.0  # bars
    appetite_half_life: Positive = 5.0  # bars
    phases: bool = True  # whether one is ever held; without, the phase is unknown throughout
    phase_enter: Fraction = 0.35  # least score of a new phase
    phase_lead: Fraction = 0.10  # least lead over the held phase
    phase_confirm: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3  # meso bars
    phase_dwell: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10  # meso bars
    phase_detour: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 30  # meso bars
    circuit_timeouts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    circuit_s: Positive = 30.0
    hmm_refit: Annotated[int, msgspec.Meta(ge=100, le=100_000)] = 250  # bars between fits of the baseline
    change_hazard: Annotated[float, msgspec.Meta(gt=1.0)] = 250.0  # bars expected between change points
    surrogates: Annotated[int, msgspec.Meta(ge=19, le=100_000)] = (
        1000  # that an early warning is tested against
    )


class QbmiaSettings(Section, frozen=True, kw_only=True):
    """Game and monitor constants of QBMIA (agents.md §4)."""

    nash_mode: Literal["classical", "ewl"] = "classical"
    risk_aversion: Positive = 5.0
    entanglement: Annotated[float, msgspec.Meta(ge=0.0, le=1.5707963267948966)] = 1.5707963267948966
    payoff_draws: Annotated[int, msgspec.Meta(ge=2, le=64)] = 8
    memory_share: Annotated[float, msgspec.Meta(ge=0.0, le=0.9)] = 0.2  # of what is recalled, in an answer
    illiquidity_alert: Fraction = 0.8
    #: false alarms of manipulation a day and symbol that are borne: what the level of its tests follows from
    false_alarms: Annotated[float, msgspec.Meta(gt=0.0, le=144.0)] = 1.0


class QuasarSettings(Section, frozen=True, kw_only=True):
    """Learning constants of QUASAR (agents.md §5)."""

    update: Literal["double_q", "expected_sarsa"] = "double_q"
    representation: Literal["table", "tiles"] = "table"  # of a state: bins, or overlapping grids of them
    #: a packaged data set, or a CSV or Parquet file, that the table learns before the market's first bar
    pretrain: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)] | None = None
    discount: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.97
    learning_floor: Fraction = 0.05  # of online updates; training on the backfill decays to 0
    exploration_decay: Fraction = 0.995
    exploration_floor: Fraction = 0.05
    episode_bars: Annotated[int, msgspec.Meta(ge=8, le=400)] = 128
    episodes_per_bar: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 20  # until converged
    replay_batch: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 64  # per bar, once converged
    replay_priority: Fraction = 0.6  # exponent of a transition's last error; 0: all alike
    replay_correction: Fraction = 0.4  # of the bias of such draws, at first; rises to 1
    convergence: Positive = 0.01
    drawdown_penalty: Annotated[float, msgspec.Meta(ge=0.0)] = 0.1
    temperature: Positive = 0.5
    threshold: Fraction = 0.6
    hedge_rate: Positive = 0.1
    hedge_share: Fraction = 0.01
    model_rate: Positive = 0.02
    circuit_qubits: Annotated[int, msgspec.Meta(ge=3, le=8)] = 4
    circuit_rate: Positive = 0.1
    circuit_outcomes: Annotated[int, msgspec.Meta(ge=20, le=10_000)] = 500  # that the circuit must win over
    anomaly_threshold: Fraction = 0.75
    drift_delta: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.002  # ADWIN's confidence of an alarm


class AmosSettings(Section, frozen=True, kw_only=True):
    """Belief, desire and readout constants of Quantum AMOS (agents.md §6)."""

    belief_gain: float = 1.0
    prospect_gain: float = 0.5
    desire_gain: float = 0.5
    habit_gain: float = 0.15
    learning_rate: Fraction = 0.02
    desire_rate: Fraction = 0.01
    desire_half_life: Positive = 50.0  # bars
    desire_limit: Fraction = 0.2
    drawdown_limit: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.2
    risk_coupling: Fraction = 0.25
    shots: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    society: Literal[1, 4] = (
        1  # 4: trend, mean reversion, risk-averse and contrarian variants beside each other
    )
    society_rate: Positive = 0.1  # Hedge's η on the variants' log scores
    society_floor: Annotated[float, msgspec.Meta(ge=0.0, le=0.25)] = 0.1  # share that a variant cannot lose
