"""The paper account: orders filled at the next open, stops, targets, equity (agents.md §2.6; pure)."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.choice import clipped, known_or_zero
from qts_agents.columns import column
from qts_agents.pads.margin import Margin
from qts_agents.pads.sizing import LADDER
from qts_messaging.records import Position

Rows = NDArray[np.intp]  # which symbols
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

    def __init__(self, S: int, margin: Margin | None = None) -> None:
        self.margin = margin
        self.cash = 1.0
        self.peak = 1.0
        self.qty = np.zeros(S)
        self.paid = np.zeros(S)  # for what was bought less what was sold, costs included
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
        if len(self.qty) == 1:  # asked a dozen times a round, and most systems have one symbol
            price = self.price.item()
            return self.cash + (0.0 if math.isnan(price) else self.qty.item() * price)
        return self.cash + float((self.qty * known_or_zero(self.price)).sum())

    def earned(self) -> F8:
        """Return what each symbol [S] has added to the equity since the beginning."""
        return np.asarray(self.qty * known_or_zero(self.price) - self.paid)

    @property
    def drawdown(self) -> float:
        """Return 1 − equity/peak."""
        return 1.0 - self.equity / self.peak

    def exposure(self) -> F8:
        """Return the signed exposure [S] as a fraction of equity."""
        return np.asarray(self.qty * known_or_zero(self.price) / self.equity)

    def liquidation_risk(self) -> F8:
        """Return how near each position [S] is to its liquidation, in [0,1]; NaN without margin."""
        if self.margin is None:
            return np.full(len(self.qty), np.nan)
        return self.margin.risk(self.entry, np.sign(self.qty), self.price)

    def order(self, change: F8, entry: NDArray[np.bool_], stop: F8, targets: F8) -> None:
        """Take the decision's signed changes of exposure, to be filled at the next bar.

        A reduction is kept as a share of the position, so that an EXIT leaves nothing whatever the open is.
        An `entry` that takes no more than the other side holds is one too.
        """
        self.pending = np.where(np.isfinite(change), change, 0.0)
        held = self.exposure()
        cut = np.divide(-self.pending, held, out=np.zeros_like(held), where=held != 0.0)
        self.planned = entry & (self.pending != 0.0) & ~((cut > 0.0) & (cut <= 1.0))
        self.cut = np.where(self.planned, 0.0, np.clip(cut, 0.0, 1.0))
        self.plan_stop, self.plan_targets = stop.copy(), targets.copy()

    def on_bar(self, bar: Bar) -> None:
        """Fill what is pending, then stops, then targets, then value the positions at the close."""
        if self.qty.any() or self.pending.any():  # else there is nothing to trade
            self._trades(bar)
        good = bar.valid & np.isfinite(bar.close)
        self.price = np.where(good, bar.close, self.price)
        self.peak = max(self.peak, self.equity)

    def _trades(self, bar: Bar) -> None:
        opened = np.isfinite(bar.open) & (bar.open > 0.0)
        growing = self.planned & (self.pending != 0.0) & (self.qty != 0.0)
        if growing.any():  # to add to a position moves its limit, which the gap may have broken
            begun = np.where(growing & opened, bar.open, np.nan)
            self._stops(begun, begun, begun, bar)
        self._fill(np.where(opened, bar.open, np.nan), bar)
        low, high = np.fmin(bar.low, bar.close), np.fmax(bar.high, bar.close)
        first = np.where(opened, bar.open, bar.close)
        self._stops(low, high, first, bar)
        self._targets(low, high, first, bar)
        self._fill(np.where(opened, np.nan, bar.close), bar)  # a set without opens fills at the close

    def _fill(self, price: F8, bar: Bar) -> None:
        """Fill pending changes at `price` [S] where it is known."""
        now = (self.pending != 0.0) & bar.valid & np.isfinite(price)
        if not now.any():
            return
        mark = np.where(np.isfinite(price), price, known_or_zero(self.price))
        equity = self.cash + float((self.qty * mark).sum())
        rows = np.flatnonzero(now)
        held, paid, planned = self.qty[rows], price[rows], self.planned[rows]
        self._trade(
            rows, np.where(planned, self.pending[rows] * equity / paid, -self.cut[rows] * held), paid, bar
        )
        self._keep_shares(rows, held)
        self._plan(rows[planned], held[planned], paid[planned], bar.close_ns)
        self.pending = np.where(now, 0.0, self.pending)

    def _keep_shares(self, rows: Rows, held: F8) -> None:
        """Let each target close its share of what is left of `held` [n], not as much as of the whole."""
        left = np.divide(self.qty[rows], held, out=np.ones_like(held), where=held != 0.0)
        self.target_qty[rows] *= clipped(left, 0.0, 1.0)[:, None]

    def _plan(self, rows: Rows, held: F8, price: F8, close_ns: int) -> None:
        """Set entry, stop and targets of planned rows that grew or turned; `held` [n] is what they were.

        A row that shrank keeps its own, as any reduction does: at the open it was larger than when decided.
        """
        grew = np.sign(self.qty[rows]) * (self.qty[rows] - held) > 0.0
        rows, held, price = rows[grew], held[grew], price[grew]
        qty = self.qty[rows]
        side = np.sign(qty)
        share = np.where(np.sign(held) == side, np.abs(held) / np.abs(qty), 0.0)
        self.entry[rows] = share * known_or_zero(self.entry[rows]) + (1.0 - share) * price
        self.opened_ns[rows] = close_ns
        self.stop[rows] = price * (1.0 - side * self.plan_stop[rows])
        self.targets[rows] = price[:, None] * (1.0 + side[:, None] * self.plan_targets[rows])
        self.target_qty[rows] = np.abs(qty)[:, None] * LADDER

    def _trade(self, rows: Rows, change: F8, price: F8, bar: Bar) -> None:
        """Buy or sell `change` [n] base units of `rows` at `price`, paying fee and half the spread."""
        moved = change != 0.0
        rows, change, price = rows[moved], change[moved], price[moved]
        half = known_or_zero(bar.half_spread[rows])
        paid = change * price + np.abs(change) * price * (bar.fee + half)
        for each in paid.tolist():
            self.cash -= each  # one after another: a sum of all would be rounded otherwise
        self.paid[rows] += paid
        self.qty[rows] += change
        self._flat(rows[np.abs(self.qty[rows]) * price < DUST])

    def _flat(self, rows: Rows) -> None:
        self.qty[rows] = 0.0
        self.entry[rows] = self.stop[rows] = np.nan
        self.targets[rows], self.target_qty[rows] = np.nan, 0.0
        self.opened_ns[rows] = 0

    def _stops(self, low: F8, high: F8, first: F8, bar: Bar) -> None:
        """Close what touches its limit: there, or at the `first` price [S] of a bar that begins beyond it.

        What was to be added to such a position is not: it would open another one.
        """
        limit = self._limit()
        hit = np.where(self.qty > 0.0, low <= limit, (self.qty < 0.0) & (high >= limit)) & bar.valid
        if hit.any():
            rows = np.flatnonzero(hit)
            paid = np.where(self.qty > 0.0, np.fmin(limit, first), np.fmax(limit, first))
            self._trade(rows, -self.qty[rows], paid[rows], bar)
            self.pending = np.where(hit & self.planned, 0.0, self.pending)

    def _limit(self) -> F8:
        """Return the price [S] that closes a position: its stop, or its liquidation if that is nearer."""
        if self.margin is None:
            return self.stop
        forced = self.margin.liquidation(self.entry, np.sign(self.qty))
        nearer = np.where(self.qty > 0.0, np.fmax(self.stop, forced), np.fmin(self.stop, forced))
        return np.asarray(nearer)

    def _targets(self, low: F8, high: F8, first: F8, bar: Bar) -> None:
        """Take touched profits: there, or at the `first` price [S] of a bar that begins beyond them."""
        last = self.targets.shape[1] - 1
        for k in range(last + 1):
            aim = self.targets[:, k]
            hit = np.where(self.qty > 0.0, high >= aim, (self.qty < 0.0) & (low <= aim)) & bar.valid
            if hit.any():
                rows = np.flatnonzero(hit)
                qty, aim, begun = self.qty[rows], aim[rows], first[rows]
                price = np.where(qty > 0.0, np.fmax(aim, begun), np.fmin(aim, begun))
                amount = np.abs(qty) if k == last else np.minimum(self.target_qty[rows, k], np.abs(qty))
                self.targets[rows, k] = np.nan
                self._trade(rows, -np.sign(qty) * amount, price, bar)

    def position(self) -> Position:
        """Return the account as it travels in requests and decisions."""
        is_open = self.qty != 0.0
        equity = self.equity
        gain = self.qty * (self.price - self.entry) / equity
        return Position(
            qty=column(self.qty),
            entry_px=column(self.entry),
            stop_px=column(self.stop),
            opened_ns=column(self.opened_ns, "i8"),
            unrealised=column(np.where(is_open, gain, 0.0)),
            liquidation_risk=column(self.liquidation_risk()),
            equity=equity,
            peak_equity=self.peak,
        )
