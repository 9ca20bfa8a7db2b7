"""Early warning with its uncertainty: is a rise of variance or autocorrelation more than chance? (pure)

Kendall's τ of the rolling statistic against time is compared with its τ in surrogates that have the series'
power spectrum and random phases (Theiler et al. 1992): linear noise with the same memory. Critical slowing
down (Scheffer et al. 2009) is weak in markets (Guttal et al. 2016; Diks, Hommes & Wang 2019), so an alarm
without a small p-value says little, and one with it is still no prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np

from qts_agents.agent import F8
from qts_agents.kernels import philox, surrogates
from qts_agents.kernels.permutation import p_value
from qts_agents.pads.cycle import CRISIS

SPAN = 50  # returns of the rolling statistics
LEAST = 150  # returns without which no τ is worth testing
ALARM = 0.9  # EWS above which an alarm begins
HORIZON = 30  # bars within which a crisis makes an alarm a hit
SMALL_P = 0.05
PURPOSE = 3


class Trend(msgspec.Struct, frozen=True):
    """p-values of the rise of each statistic; NaN when the series is too short or never moves."""

    variance: float = math.nan
    autocorrelation: float = math.nan


def trend(returns: F8, seed: int, decision: int, count: int) -> Trend:
    """Return how likely linear noise shows rises as large as those of `returns` [n] (larger is likelier)."""
    x = returns[np.isfinite(returns)]
    if len(x) < LEAST or not np.any(x != x[0]):
        return Trend()
    key = philox.key_of(seed, "pads", "surrogates")
    half = len(x) // 2 + 1
    draws = philox.uniforms(key, count * half, PURPOSE, decision).reshape(count, half)
    made = surrogates.phase_randomised(x, draws)
    taus = surrogates.taus(np.concatenate((x[None] - x.mean(), made)), SPAN)
    return Trend(
        *(p_value(float(tau), by_chance) for tau, by_chance in zip(taus[0], taus[1:].T, strict=True))
    )


class Tally:
    """What became of alarms: an event within 30 bars makes one a hit, 30 bars without make it false."""

    def __init__(self) -> None:
        self.raised = self.hits = self.false = 0
        self._open: list[int] = []  # bars of alarms that nothing has come of yet

    def step(self, bar: int, begins: bool, event: bool) -> None:
        """Take one bar; an event at the bar of an alarm does not count for it."""
        if event:
            self.hits += len(self._open)
            self._open = []
        late = sum(bar - raised >= HORIZON for raised in self._open)
        self.false += late
        self._open = self._open[late:]
        if begins:
            self.raised += 1
            self._open.append(bar)

    def rates(self, bars: int) -> tuple[float, float]:
        """Return the share of decided alarms that were hits, and false alarms per 1,000 bars."""
        decided = self.hits + self.false
        return (
            self.hits / decided if decided else math.nan,
            1000.0 * self.false / bars if bars else math.nan,
        )


class Watch:
    """Notices where an alarm of the early-warning score begins, tests it then, and counts what followed."""

    def __init__(self, seed: int, surrogates: int) -> None:
        self._seed, self._surrogates = seed, surrogates
        self.live = self.crisis = False
        self.bars = 0
        self.found = Trend()
        self.all, self.significant = Tally(), Tally()

    def step(self, ews: float, crisis: float, returns: Callable[[], F8], bar: int) -> bool:
        """Take the system's EWS and crisis; tell whether an alarm begins at `bar`: it tests the `returns`."""
        known = math.isfinite(ews)
        begins = known and ews > ALARM and not self.live
        if known:
            self.bars += 1
            self.live = ews > ALARM
        if begins:
            self.found = trend(returns(), self._seed, bar, self._surrogates)
        # a crisis that is on when an alarm begins was not warned of
        breaks, self.crisis = crisis > CRISIS and not self.crisis, crisis > CRISIS
        small = min(self.found.variance, self.found.autocorrelation) < SMALL_P
        self.all.step(bar, begins, breaks)
        self.significant.step(bar, begins and small, breaks)
        return begins

    def describe(self) -> dict[str, float]:
        """Return alarms, hit rate and false alarms per 1,000 bars, of all and of those with a small p."""
        told: dict[str, float] = {}
        for name, tally in (("ews", self.all), ("ews_significant", self.significant)):
            hit, false = tally.rates(self.bars)
            told |= {f"{name}_alarms": tally.raised, f"{name}_hit_rate": hit}
            told[f"{name}_false_alarms_per_1000_bars"] = false
        return told
