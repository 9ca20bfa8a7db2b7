"""Alert factor ψ, risk appetite, and which alerts PADS accepts (agents.md §2.8, §2.10; pure)."""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_core.sections import PadsSettings
from qts_messaging.messages import RiskAlert

REDUCE_ABOVE = 0.9
PAUSE_BARS = 5  # at most one acceptance per (sender, type, scope) in so many bars
REMEMBERED = 4096
LEAST, MOST = 0.1, 0.9


class AlertVerdict(msgspec.Struct, frozen=True):
    """What became of an alert."""

    accepted: bool
    why: str  # accepted | rebroadcast | seen | expired | mild | too_often
    broadcast: RiskAlert | None = None


class Risk:
    """ψ, A and the live alerts."""

    def __init__(self, symbols: tuple[str, ...], settings: PadsSettings) -> None:
        self._settings = settings
        self._symbols = symbols
        self.psi = 1.0
        self.appetite = np.full(len(symbols), 0.5)
        self.reduce = np.zeros(len(symbols), dtype=np.bool_)  # DECREASE proposals for the next round
        self.live: list[RiskAlert] = []
        self.bar = 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._accepted: dict[tuple[str, str, tuple[str, ...]], int] = {}

    def step(self, target: F8) -> None:
        """Let one bar pass: ψ returns towards 1, A moves to clip(A*·ψ, 0.1, 0.9)."""
        self.bar += 1
        self.psi = 1.0 - (1.0 - self.psi) * 2.0 ** (-1.0 / self._settings.alert_half_life)
        aim = np.clip(target * self.psi, LEAST, MOST)
        decay = 2.0 ** (-1.0 / self._settings.appetite_half_life)
        self.appetite = aim + (self.appetite - aim) * decay
        horizon = self.bar - PAUSE_BARS
        self._accepted = {key: bar for key, bar in self._accepted.items() if bar > horizon}

    def on_alert(
        self, alert: RiskAlert, sender: str, is_open: NDArray[np.bool_], now_ns: int
    ) -> AlertVerdict:
        """Judge one alert; an accepted one lowers ψ and is handed back with hop 1 for all."""
        if alert.hop >= 1:
            return AlertVerdict(False, "rebroadcast")
        if alert.alert_id in self._seen:
            return AlertVerdict(False, "seen")
        self._remember(alert.alert_id)
        if alert.expires_ns and alert.expires_ns <= now_ns:
            return AlertVerdict(False, "expired")
        self.live.append(alert)
        if not alert.severity > self._settings.alert_threshold:
            return AlertVerdict(False, "mild")
        key = (sender, alert.alert_type, tuple(sorted(alert.scope)))
        if key in self._accepted:
            return AlertVerdict(False, "too_often")
        self._accepted[key] = self.bar
        self.psi = max(self._settings.alert_floor, self._settings.alert_factor * self.psi)
        if alert.severity > REDUCE_ABOVE:
            self.reduce = self.reduce | (is_open & self._scope(alert))
        return AlertVerdict(True, "accepted", msgspec.structs.replace(alert, hop=1, sender=sender))

    def expire(self, now_ns: int) -> None:
        """Drop alerts whose time is over; their veto bits fall."""
        self.live = [a for a in self.live if not a.expires_ns or a.expires_ns > now_ns][-256:]

    def manipulated(self, now_ns: int) -> NDArray[np.bool_]:
        """Tell for which symbols a manipulation alert is live."""
        self.expire(now_ns)
        met = np.zeros(len(self._symbols), dtype=np.bool_)
        for alert in self.live:
            if alert.alert_type == "manipulation_suspected":
                met |= self._scope(alert)
        return met

    def proposals(self) -> NDArray[np.bool_]:
        """Return the rows that a severe alert asks to reduce, once."""
        asked, self.reduce = self.reduce, np.zeros_like(self.reduce)
        return asked

    def _scope(self, alert: RiskAlert) -> NDArray[np.bool_]:
        if not alert.scope:
            return np.ones(len(self._symbols), dtype=np.bool_)
        return np.array([symbol in alert.scope for symbol in self._symbols], dtype=np.bool_)

    def _remember(self, alert_id: str) -> None:
        self._seen[alert_id] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
