"""The paper account: orders filled at the next open, stops, targets, equity (agents.md §2.6; pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.choice import known_or_zero
from qts_agents.columns import column
from qts_agents.pads.sizing import LADDER
from qts_messaging.records import Position

DUST = 1e-12  # exposure below which a position counts as closed


class Bar(msgspec.Struct, frozen=True):
    """One closed bar of all symbols."""

    close_ns: int
    open: F8  # [S], NaN where the source has none
    high: F8
    low: F8
    close: F8
    volume: F8
    valid: NDArray[np.bool_]
    fee: float
    half_spread: F8  # [S]


class Account:
    """Positions of S symbols from an equity of 1; advice only, no order leaves the system."""

    def __init__(self, S: int) -> None:
        self.cash = 1.0
        self.peak = 1.0
        self.qty = np.zeros(S)
        self.entry = np.full(S, np.nan)
        self.stop = np.full(S, np.nan)
        self.targets = np.full((S, 3), np.nan)
        self.target_qty = np.zeros((S, 3))
        self.opened_ns = np.zeros(S, dtype=np.int64)
        self.price = np.full(S, np.nan)  # last valid close
        self.pending = np.zeros(S)  # signed change of exposure to fill at the next open
        self.plan_stop = np.full(S, np.nan)
        self.plan_targets = np.full((S, 3), np.nan)
        self.planned = np.zeros(S, dtype=np.bool_)  # the pending change sets stop and targets anew
        self.cut = np.zeros(S)  # share of the position that an unplanned change closes

    @property
    def equity(self) -> float:
        """Return cash plus positions at the last close."""
        return self.cash + float((self.qty * known_or_zero(self.price)).sum())

    @property
    def drawdown(self) -> float:
        """Return 1 − equity/peak."""
        return 1.0 - self.equity / self.peak

    def exposure(self) -> F8:
        """Return the signed exposure [S] as a fraction of equity."""
        return np.asarray(self.qty * known_or_zero(self.price) / self.equity)

    def order(self, change: F8, entry: NDArray[np.bool_], stop: F8, targets: F8) -> None:
        """Take the decision's signed changes of exposure, to be filled at the next bar.

        A reduction is kept as a share of the position, so that an EXIT leaves nothing whatever the open is.
        """
        self.pending = np.where(np.isfinite(change), change, 0.0)
        held = self.exposure()
        cut = np.divide(-self.pending, held, out=np.zeros_like(held), where=held != 0.0)
        self.cut = np.where(entry, 0.0, np.clip(cut, 0.0, 1.0))
        self.planned = entry & (self.pending != 0.0)
        self.plan_stop, self.plan_targets = stop.copy(), targets.copy()

    def on_bar(self, bar: Bar) -> None:
        """Fill what is pending, then stops, then targets, then value the positions at the close."""
        opened = np.isfinite(bar.open)
        self._fill(np.where(opened, bar.open, np.nan), bar)
        low, high = np.fmin(bar.low, bar.close), np.fmax(bar.high, bar.close)
        self._stops(low, high, bar)
        self._targets(low, high, bar)
        self._fill(np.where(opened, np.nan, bar.close), bar)  # a set without opens fills at the close
        good = bar.valid & np.isfinite(bar.close)
        self.price = np.where(good, bar.close, self.price)
        self.peak = max(self.peak, self.equity)

    def _fill(self, price: F8, bar: Bar) -> None:
        """Fill pending changes at `price` [S] where it is known."""
        now = (self.pending != 0.0) & bar.valid & np.isfinite(price)
        if not now.any():
            return
        mark = np.where(np.isfinite(price), price, known_or_zero(self.price))
        equity = self.cash + float((self.qty * mark).sum())
        for s in np.flatnonzero(now):
            self._fill_one(int(s), float(price[s]), equity, bar)
        self.pending = np.where(now, 0.0, self.pending)

    def _fill_one(self, s: int, price: float, equity: float, bar: Bar) -> None:
        held = float(self.qty[s])
        change = float(self.pending[s]) * equity / price if self.planned[s] else -float(self.cut[s]) * held
        self._trade(s, change, price, bar)
        if self.planned[s] and self.qty[s] != 0.0:
            grown = np.sign(held) == np.sign(self.qty[s])
            share = abs(held) / abs(float(self.qty[s])) if grown else 0.0
            self.entry[s] = share * float(known_or_zero(self.entry[s])) + (1.0 - share) * price
            self.opened_ns[s] = bar.close_ns
            side = np.sign(self.qty[s])
            self.stop[s] = price * (1.0 - side * self.plan_stop[s])
            self.targets[s] = price * (1.0 + side * self.plan_targets[s])
            self.target_qty[s] = np.abs(self.qty[s]) * LADDER

    def _trade(self, s: int, change: float, price: float, bar: Bar) -> None:
        """Buy or sell `change` base units at `price`, paying fee and half the spread."""
        if change == 0.0:
            return
        half = float(known_or_zero(bar.half_spread[s]))
        self.cash -= change * price + abs(change) * price * (bar.fee + half)
        self.qty[s] += change
        if abs(self.qty[s]) * price < DUST:
            self._flat(s)

    def _flat(self, s: int) -> None:
        self.qty[s] = 0.0
        self.entry[s] = self.stop[s] = np.nan
        self.targets[s], self.target_qty[s] = np.nan, 0.0
        self.opened_ns[s] = 0

    def _stops(self, low: F8, high: F8, bar: Bar) -> None:
        hit = np.where(self.qty > 0.0, low <= self.stop, (self.qty < 0.0) & (high >= self.stop)) & bar.valid
        for s in np.flatnonzero(hit):
            self._trade(int(s), -float(self.qty[s]), float(self.stop[s]), bar)

    def _targets(self, low: F8, high: F8, bar: Bar) -> None:
        for k in range(self.targets.shape[1]):
            aim = self.targets[:, k]
            hit = np.where(self.qty > 0.0, high >= aim, (self.qty < 0.0) & (low <= aim)) & bar.valid
            for s in np.flatnonzero(hit):
                close = min(float(self.target_qty[s, k]), abs(float(self.qty[s])))
                last = k == self.targets.shape[1] - 1
                amount = abs(float(self.qty[s])) if last else close
                side, price = float(np.sign(self.qty[s])), float(aim[s])
                self.targets[s, k] = np.nan
                self._trade(int(s), -side * amount, price, bar)

    def position(self) -> Position:
        """Return the account as it travels in requests and decisions."""
        is_open = self.qty != 0.0
        gain = self.qty * (self.price - self.entry) / self.equity
        return Position(
            qty=column(self.qty),
            entry_px=column(self.entry),
            stop_px=column(self.stop),
            opened_ns=column(self.opened_ns, "i8"),
            unrealised=column(np.where(is_open, gain, 0.0)),
            liquidation_risk=column(np.full(len(self.qty), np.nan)),
            equity=self.equity,
            peak_equity=self.peak,
        )
