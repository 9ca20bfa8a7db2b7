"""Three scales of the adaptive cycle, revolt, remember, regime (agents.md §3; pure).

Phases of micro and macro follow their detector at once; the meso phase, the held one, changes only
through the phase authority, so `step` hands its candidate out.
"""

from __future__ import annotations

import msgspec
import numpy as np

from qts_agents.agent import F8
from qts_agents.choice import known_or_zero, mean
from qts_agents.kernels.indicators import Indicators
from qts_agents.kernels.phase import capacity, continuous, scores
from qts_agents.pads.account import Bar
from qts_agents.pads.baselines import Baselines
from qts_agents.pads.cycle import Candidate, Cycle
from qts_agents.pads.regime import Regime
from qts_agents.pads.scale import Reading, Scale
from qts_agents.pads.tables import CONSERVATION, GROWTH, RELEASE, REORGANIZATION
from qts_core.sections import PadsSettings
from qts_messaging.messages import PHASES

SCALES: tuple[tuple[str, int, int], ...] = (("micro", 1, 250), ("meso", 5, 250), ("macro", 30, 75))
REVOLT, ALARM = 0.6, 0.8
REVOLT_BARS = 3
LIFT_HALF_LIFE, RESILIENCE_HALF_LIFE = 30.0, 120.0
RESILIENCE_CUT = 0.9
REMEMBER_P, REMEMBER_LIFT, REMEMBER_MACRO = 0.3, 0.1, 0.7


class Revolt(msgspec.Struct, frozen=True):
    """A crisis that rises from micro to meso, once an episode."""

    severity: float
    share: float  # of symbols in micro release
    advice: str


class Step(msgspec.Struct, frozen=True):
    """What a bar changed."""

    meso: bool = False  # a meso bar is complete
    candidate: Candidate | None = None
    revolt: Revolt | None = None


class Panarchy:
    """Scales, cycles and what flows between them."""

    def __init__(self, S: int, settings: PadsSettings, seed: int = 0) -> None:
        self.baselines = Baselines(settings, seed)
        self.scales = {name: Scale(S, factor, rank, settings.connectedness) for name, factor, rank in SCALES}
        self.cycles = {name: Cycle(settings) for name, _, _ in SCALES}
        self.scores: dict[str, F8] = {name: np.full(4, np.nan) for name, _, _ in SCALES}
        self.crisis: dict[str, float] = {name: float("nan") for name, _, _ in SCALES}
        self.meso_pcr = np.full(3, np.nan)
        self.meso_capacity = self.meso_continuous = float("nan")
        self.lift = 0.0  # added to the meso crisis by a revolt
        self.remembered: tuple[str, ...] = ()  # what the newest meso reading took from the macro scale
        self.resilience = 1.0
        self.regime = Regime()
        self._crisis_bars = 0
        self._release_bars = np.zeros(S, dtype=np.int64)
        self._episode = False

    @property
    def held(self) -> int:
        """Return the held phase: the meso one."""
        return self.cycles["meso"].held

    def names(self) -> dict[str, str]:
        """Return the phase name of each scale."""
        return {name: cycle.name for name, cycle in self.cycles.items()}

    def micro(self, spread: F8) -> Indicators:
        """Return the indicators of the newest base bar."""
        return self.scales["micro"].indicators(spread)

    def push(self, bar: Bar, seq: int) -> dict[str, bool]:
        """Add a base bar to all scales; tell which completed one of theirs."""
        self.lift *= 2.0 ** (-1.0 / LIFT_HALF_LIFE)
        self.resilience = 1.0 - (1.0 - self.resilience) * 2.0 ** (-1.0 / RESILIENCE_HALF_LIFE)
        return {name: scale.push(bar, seq) for name, scale in self.scales.items()}

    def step(self, done: dict[str, bool], ind: Indicators, af: F8, spread: F8) -> Step:
        """Move the cycles of the scales in `done`; `ind` are the micro indicators of this bar."""
        self.crisis["micro"] = mean(ind.crisis)
        self._turn("micro", self.scales["micro"].reading())
        revolt = self._revolt()
        if done["macro"]:
            self._turn("macro", self.scales["macro"].reading())
        candidate = None
        if done["meso"]:
            own = mean(self.scales["meso"].indicators(spread).crisis)
            self.crisis["meso"] = float(np.clip(own + self.lift, 0.0, 1.0))
            candidate = self._meso()
        self.regime.step(ind, af, self.held, self.cycles["meso"].changes())
        micro = self.scales["micro"]
        warning = (mean(ind.ews), self.crisis["micro"])
        self.baselines.step(micro.system_returns, mean(ind.sigma20), warning, micro.bars)
        return Step(done["meso"], candidate, revolt)

    def _turn(self, name: str, reading: Reading) -> None:
        """Step a cycle that obeys its detector."""
        self.scores[name] = system(reading.scores)
        candidate = self.cycles[name].step(self.scores[name], self.crisis[name])
        if candidate is not None:
            self.cycles[name].commit(candidate.new)
        if name == "micro":
            leads = np.isfinite(reading.scores).all(axis=1) & (reading.scores[:, RELEASE] >= 0.35)
            leads &= known_or_zero(reading.scores).argmax(axis=1) == RELEASE
            self._release_bars = np.where(leads, self._release_bars + 1, 0)

    def _meso(self) -> Candidate | None:
        """Read the meso scale with what the macro one remembers; return the detector's candidate."""
        macro = self.cycles["macro"].held
        reading = self.scales["meso"].reading(self.resilience)
        p, c, r = (mean(x) for x in (reading.p, reading.c, reading.r))
        weak, remembered = reading.p < REMEMBER_P, []
        if macro in (GROWTH, CONSERVATION) and weak.any():
            lifted = np.where(weak, reading.p + REMEMBER_LIFT, reading.p)
            reading = Reading(lifted, reading.c, reading.r, scores(lifted, reading.c, reading.r))
            p = mean(lifted)
            remembered.append("potential")
        self.meso_pcr = np.array([p, c, r])
        total = system(reading.scores)
        if self.held == REORGANIZATION and np.isfinite(self.scores["macro"]).all():
            total = (1.0 - REMEMBER_MACRO) * total + REMEMBER_MACRO * self.scores["macro"]
            remembered.append("scores")
        self.remembered = tuple(remembered)
        self.scores["meso"] = total
        self.meso_continuous = float(continuous(total))
        self.meso_capacity = float(capacity(*self.meso_pcr[:, None])[0])
        return self.cycles["meso"].step(total, self.crisis["meso"])

    def _revolt(self) -> Revolt | None:
        """Return a revolt when an episode begins; it lifts the meso crisis once."""
        crisis = self.crisis["micro"]
        self._crisis_bars = self._crisis_bars + 1 if crisis > REVOLT else 0
        share = float((self._release_bars >= REVOLT_BARS).mean())
        met = self._crisis_bars >= REVOLT_BARS or (share > 0.5 and np.isfinite(crisis))
        fresh, self._episode = met and not self._episode, met
        if not fresh:
            return None
        self.lift += 0.8 * max(0.0, crisis - REVOLT)
        if crisis > ALARM:
            self.resilience *= RESILIENCE_CUT
        return Revolt(crisis, share, self._advice(crisis))

    def _advice(self, crisis: float) -> str:
        if crisis > ALARM and self.held == CONSERVATION:
            return "prepare_for_release"
        return "increase_resilience" if crisis > REVOLT else "monitor"

    def regime_name(self, ind: Indicators) -> str:
        """Return the name of the present regime."""
        micro, meso, macro = (self.cycles[name].held for name in ("micro", "meso", "macro"))
        return self.regime.name(micro, meso, macro, mean(ind.ews), mean(ind.tail))

    def describe(self) -> dict[str, object]:
        """Return what /statusz and the journal show; NaN stays NaN."""
        return {
            "phases": self.names(),
            "scores": dict(zip(PHASES[:4], (float(x) for x in self.scores["meso"]), strict=True)),
            "crisis": dict(self.crisis),
            "continuous": self.meso_continuous,
            "capacity": self.meso_capacity,
            "transformability": 0.8 if self.held in (RELEASE, REORGANIZATION) else 0.3,
            "resilience": self.resilience,
            "lift": self.lift,
            "remembered": self.remembered,
            "regime_score": self.regime.score,
            "regime_confidence": self.regime.confidence,
            "baselines": self.baselines.describe(),
        }


def system(rows: F8) -> F8:
    """Return the mean over symbols [4] of scores [S,4], symbols without scores left out."""
    if len(rows) == 1:
        return rows[0] if np.isfinite(rows).all() else np.full(4, np.nan)
    known = np.isfinite(rows).all(axis=1)
    return rows[known].mean(axis=0) if known.any() else np.full(4, np.nan)
