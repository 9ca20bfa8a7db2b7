"""Constants of agents.md by name: what the sections `pads`, `qbmia`, `quasar`, `quantum_amos` may hold."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parent of all configuration sections: frozen, unknown keys refused."""


class PadsSettings(Section, frozen=True, kw_only=True):
    """Board, Panarchy and risk constants of PADS (agents.md §2, §3)."""

    reputation: Literal["score", "hedge"] = "score"
    connectedness: Literal["rank", "raw"] = "rank"
    prospect_gate: Literal["report", "veto"] = "report"
    liquidity_b: Positive = 50.0
    reputation_rate: Fraction = 0.05
    base_size: Fraction = 0.02
    symbol_cap: Fraction = 0.05
    net_cap: Fraction = 0.10
    hedge_symbol: Annotated[str, msgspec.Meta(max_length=32)] | None = None


class QbmiaSettings(Section, frozen=True, kw_only=True):
    """Game and monitor constants of QBMIA (agents.md §4)."""

    nash_mode: Literal["classical", "ewl"] = "classical"
    risk_aversion: Positive = 5.0
    entanglement: Annotated[float, msgspec.Meta(ge=0.0, le=1.5707963267948966)] = 1.5707963267948966
    payoff_draws: Annotated[int, msgspec.Meta(ge=2, le=64)] = 8


class QuasarSettings(Section, frozen=True, kw_only=True):
    """Learning constants of QUASAR (agents.md §5)."""

    discount: Fraction = 0.97
    learning_floor: Fraction = 0.05
    exploration_decay: Fraction = 0.995
    exploration_floor: Fraction = 0.05
    threshold: Fraction = 0.6
    hedge_rate: Positive = 0.1
    hedge_share: Fraction = 0.01
    anomaly_threshold: Fraction = 0.75


class AmosSettings(Section, frozen=True, kw_only=True):
    """Belief, desire and readout constants of Quantum AMOS (agents.md §6)."""

    belief_gain: float = 1.0
    prospect_gain: float = 0.5
    desire_gain: float = 0.5
    habit_gain: float = 0.15
    learning_rate: Fraction = 0.02
    risk_coupling: Fraction = 0.25
    shots: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
