"""What decisions and forecasts would have earned, filled one bar after they were made, with costs (pure)."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.evaluation import sharpe
from qts_agents.evaluation.track import Tape, Track
from qts_agents.pads.account import Account, Bar, Rows

F8 = NDArray[np.float64]
YEAR_NS = 365.25 * 86_400e9


class Curve(msgspec.Struct, frozen=True):
    """Equity after each of T bars from 1, how much was held, and how much was traded."""

    equity: F8  # [T]
    exposure: F8  # [T] Σ|position| as a fraction of equity
    traded: float  # Σ|trade| as fractions of equity

    @property
    def returns(self) -> F8:
        """Return the simple return of each bar [T]."""
        before = np.concatenate(([1.0], self.equity[:-1]))
        left = before > 0.0  # who has lost all has nothing to lose
        return np.divide(self.equity, before, out=np.ones_like(before), where=left) - 1.0


class Performance(msgspec.Struct, frozen=True):
    """A curve in numbers; returns, exposure and turnover are fractions of equity."""

    total_return: float
    volatility: float  # of a year
    sharpe: float  # of a year
    sharpe_bar: float
    skewness: float
    kurtosis: float
    drawdown: float
    exposure: float
    turnover: float  # traded a year
    deflated_sharpe: float


class Metered(Account):
    """An account that adds up what it trades, at the prices of the fills."""

    traded = 0.0

    def _trade(self, rows: Rows, change: F8, price: F8, bar: Bar) -> None:
        self.traded += float((np.abs(change) * price).sum()) / self.equity
        super()._trade(rows, change, price, bar)


def board_curve(track: Track, cost_factor: float = 1.0) -> Curve:
    """Return the paper account of the board's decisions, at costs times `cost_factor`."""
    tape, orders = track.tape, track.orders
    account = Metered(len(tape.symbols), track.margin)
    at = {int(t): r for r, t in enumerate(track.at)}
    equity, exposure = [], []
    for t in range(tape.close_ns.size):
        account.on_bar(_bar(tape, t, cost_factor))
        equity.append(account.equity)
        exposure.append(float(np.abs(account.exposure()).sum()))
        r = at.get(t)
        if r is not None:
            account.order(orders.size[r], orders.entry[r], orders.stop[r], orders.targets[r])
    return Curve(np.array(equity), np.array(exposure), account.traded)


def _bar(tape: Tape, t: int, cost_factor: float) -> Bar:
    return Bar(
        close_ns=int(tape.close_ns[t]),
        open=tape.open[:, t],
        high=tape.high[:, t],
        low=tape.low[:, t],
        close=tape.close[:, t],
        volume=tape.volume[:, t],
        valid=tape.valid[:, t],
        fee=tape.fee * cost_factor,
        half_spread=tape.half_spread[:, t] * cost_factor,
    )


def stakes(p: F8, scale: float) -> F8:
    """Return the share of equity [R,S] that forecasts `p` [R,S,3] are worth by one rule for all forecasters.

    (p_up − p_down)/scale, at most 1 either way, divided by S; a forecaster that abstains holds nothing.
    """
    wide = p.shape[1]
    lean = np.nan_to_num((p[..., 0] - p[..., 2]) / scale)
    return np.asarray(np.clip(lean, -1.0, 1.0) / wide)


def buy_and_hold(track: Track) -> F8:
    """Return stakes that buy equal shares after the first round and never trade again."""
    wanted = np.full(track.outcome.shape, np.nan)
    wanted[0] = 1.0 / len(track.tape.symbols)
    return wanted


def staked_curve(track: Track, wanted: F8, cost_factor: float = 1.0, purse: float | None = None) -> Curve:
    """Return the equity of moving to the shares `wanted` [R,S] after each round; NaN leaves a position alone.

    They are shares of the equity when they are filled, or of `purse`. Filled at the next open, at the next
    close where the source has no opens; each trade pays fee and half the spread. A symbol without a valid bar
    is traded at its next one. Who has lost all has 0 from then on and trades no more.
    """
    tape = track.tape
    S, T = tape.close.shape
    cash, qty, price = 1.0, np.zeros(S), np.full(S, np.nan)
    pending = np.full(S, np.nan)
    at = {int(t): r for r, t in enumerate(track.at)}
    equity, exposure, traded = np.empty(T), np.empty(T), 0.0
    for t in range(T):
        opened = np.isfinite(tape.open[:, t]) & (tape.open[:, t] > 0.0)
        fill = np.where(opened, tape.open[:, t], tape.close[:, t])
        now = np.isfinite(pending) & tape.valid[:, t] & np.isfinite(fill)
        mark = np.nan_to_num(np.where(tape.valid[:, t], fill, price))
        worth = cash + float(qty @ mark)
        if now.any() and worth > 0.0:
            share = pending * (worth if purse is None else purse)
            change = np.where(now, share / np.where(now, fill, 1.0) - qty, 0.0)
            value = np.abs(change) * mark
            cash -= float(change @ mark) + cost_factor * float(value @ (tape.fee + tape.half_spread[:, t]))
            traded += float(value.sum()) / worth
            qty, pending = qty + change, np.where(now, np.nan, pending)
        price = np.where(tape.valid[:, t], tape.close[:, t], price)
        equity[t] = cash + float(qty @ np.nan_to_num(price))
        if worth <= 0.0 or equity[t] <= 0.0:
            equity[t:], exposure[t:] = 0.0, 0.0
            break
        exposure[t] = float(np.abs(qty * np.nan_to_num(price)).sum()) / equity[t]
        r = at.get(t)
        if r is not None:
            pending = np.where(np.isfinite(wanted[r]), wanted[r], pending)
    return Curve(equity, exposure, traded)


def bars_a_year(tape: Tape) -> float:
    """Return how many bars a year of this tape has."""
    years = float(tape.close_ns[-1] - tape.close_ns[0]) / YEAR_NS
    return (tape.close_ns.size - 1) / years if years > 0.0 else 1.0


def drawdown(equity: F8) -> float:
    """Return the deepest fall from a peak, a fraction of that peak; the start at 1 counts as a peak."""
    peak = np.maximum.accumulate(np.concatenate(([1.0], equity)))[1:]
    return float(np.max(1.0 - equity / peak))


def performance(curve: Curve, yearly: float, trials: list[float]) -> Performance:
    """Return a curve in numbers; `trials` are the ratios per bar of everything that was tried."""
    found = sharpe.moments(curve.returns)
    years, once = curve.equity.size / yearly, curve.equity.size < 2
    return Performance(
        total_return=float(curve.equity[-1] - 1.0),
        volatility=math.nan if once else float(curve.returns.std(ddof=1)) * math.sqrt(yearly),
        sharpe=found.sharpe * math.sqrt(yearly),
        sharpe_bar=found.sharpe,
        skewness=found.skewness,
        kurtosis=found.kurtosis,
        drawdown=drawdown(curve.equity),
        exposure=float(curve.exposure.mean()),
        turnover=curve.traded / years,
        deflated_sharpe=sharpe.deflated(found, trials),
    )
