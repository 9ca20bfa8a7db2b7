"""Isolated margin: at which price a position is liquidated, and how near its price has come (pure)."""

from __future__ import annotations

import msgspec
import numpy as np

from qts_agents.agent import F8
from qts_agents.choice import known_or_zero
from qts_core.sections import PadsSettings


class Margin(msgspec.Struct, frozen=True):
    """What stands behind each position: 1/leverage of its worth when it was opened, and of no other one's."""

    leverage: float
    maintenance: float  # share of what was put up that has to be left

    def liquidation(self, entry: F8, side: F8) -> F8:
        """Return the price [S] at which entry/leverage + side·(price − entry) = maintenance·price/leverage.

        NaN where nothing is held. A reduction gives back its share of what was put up, so it moves no price.
        """
        kept = entry * (1.0 - side / self.leverage)
        return np.where(side != 0.0, kept / (1.0 - side * self.maintenance / self.leverage), np.nan)

    def risk(self, entry: F8, side: F8, price: F8) -> F8:
        """Return the share [S] of the way from entry to liquidation that `price` has gone, in [0,1]."""
        way = self.liquidation(entry, side) - entry
        gone = np.divide(price - entry, way, out=np.zeros_like(way), where=np.abs(way) > 0.0)
        return np.clip(known_or_zero(gone), 0.0, 1.0)


def margin_of(settings: PadsSettings) -> Margin | None:
    """Return the margin of the paper account, None where positions are paid in full."""
    if settings.margin_leverage is None:
        return None
    return Margin(settings.margin_leverage, settings.margin_maintenance)
