"""The monitors of all symbols of a window: one stream each, or one for the aggregate (pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels import philox
from qts_agents.kernels.indicators import Indicators
from qts_agents.quasar import monitors
from qts_agents.quasar.monitors import MAX_STREAMS, Stream

F8 = NDArray[np.float64]
B1 = NDArray[np.bool_]
ALL = "*"  # the aggregate's name


class Sign(msgspec.Struct, frozen=True):
    """Something worth an alert: what, how strong, about which symbol ("" = all)."""

    kind: str  # anomaly | drift
    severity: float
    symbol: str


class Monitors:
    """Streams by symbol; a symbol that leaves the feed is forgotten."""

    def __init__(self, seed: int, threshold: float, delta: float) -> None:
        self._seed, self._delta = seed, delta
        self._threshold = threshold
        self.streams: dict[str, Stream] = {}

    def on_bar(self, window: MarketWindow, ind: Indicators, usable: B1) -> list[Sign]:
        """Take the newest bar; return anomalies that begin and drifts that were found."""
        if len(window.symbols) > MAX_STREAMS:
            names: tuple[str, ...] = (ALL,)
            even, ratio = monitors.aggregate(ind, window.market_ret)
            usable = np.asarray(np.isfinite(even).all(axis=1))
        else:
            names, even, ratio = window.symbols, monitors.even_features(ind), monitors.ratios(ind)
        if set(self.streams) - set(names):
            self.streams = {name: held for name, held in self.streams.items() if name in names}
        found: list[Sign] = []
        for row, name in enumerate(names):
            if usable[row]:
                found += self._update(name, even[row], float(ratio[row]))
        return found

    def flags(self, symbols: tuple[str, ...]) -> tuple[B1, B1]:
        """Return whether an anomaly and whether a drift is on, for each symbol."""
        streams = [self.streams.get(name) or self.streams.get(ALL) for name in symbols]
        anomaly = np.array([s is not None and s.strength > self._threshold for s in streams], dtype=bool)
        drift = np.array([s is not None and s.soft_left > 0 for s in streams], dtype=bool)
        return anomaly, drift

    def _update(self, name: str, even: F8, ratio: float) -> list[Sign]:
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = self.fresh(name)
        before = stream.strength
        signs = stream.update(even, ratio)
        scope = "" if name == ALL else name
        found = []
        if signs.strength > self._threshold >= before:
            found.append(Sign("anomaly", signs.strength, scope))
        if signs.alarm:
            found.append(Sign("drift", float(np.tanh(signs.shift)), scope))
        return found

    def fresh(self, name: str) -> Stream:
        """Return a stream whose trees are drawn from the seed and the symbol."""
        low, high = philox.key_of(self._seed, "quasar", name)
        return Stream(low | high << 32, self._delta)
