"""Which style speaks, what it says, and what overrides it (agents.md §2.5)."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.choice import first_of
from qts_agents.kernels.indicators import Indicators
from qts_agents.opinions import position_map
from qts_agents.pads.tables import (
    BUY,
    CALCULATED,
    DECREASE,
    DEFENSIVE,
    EXIT,
    HEDGE,
    HOLD,
    MOMENTUM,
    OPPORTUNISTIC,
    REORGANIZATION,
    ROWS,
    SELL,
)

B1 = NDArray[np.bool_]
U1 = NDArray[np.uint8]


class View(msgspec.Struct, frozen=True):
    """What a style may look at; [S], NaN = masked = condition not met."""

    ind: Indicators
    af: F8
    maker_s: F8
    maker_c: F8
    phase: int
    d: F8  # sign of the position
    stopped: B1  # a stop is set
    signal: F8  # s* of the pool
    scaled: F8  # s̃ = clip(s*/scale, −1, 1)
    dissent: F8
    mean_vote: F8
    agreement: F8


class Stance(msgspec.Struct, frozen=True):
    """What a style says per row: an action where it fires, and its score."""

    fires: B1
    action: U1
    confidence: F8


def _rows(ind: Indicators, af: F8, maker_s: F8, maker_c: F8) -> list[B1]:
    """Return which rows of the style table match [S]; the first one counts."""
    calm = ind.volatility < 0.6
    maker = (np.abs(maker_s) > 0.6) & (maker_c > 0.7)
    return [
        ind.tail > 0.5,
        (np.abs(ind.trend) > 0.7) & calm,
        ind.volatility > 0.7,
        (ind.whale > 0.7) | maker,
        ind.anomaly > 0.7,
        af > 0.7,
    ]


def select(ind: Indicators, af: F8, maker_s: F8, maker_c: F8, phase: int) -> U1:
    """Return the style [S] that speaks."""
    styles = [DEFENSIVE, MOMENTUM, DEFENSIVE, OPPORTUNISTIC, DEFENSIVE, CALCULATED]
    return first_of(_rows(ind, af, maker_s, maker_c), styles, ROWS[phase].style).astype(np.uint8)


def appetite(ind: Indicators, af: F8, maker_s: F8, maker_c: F8, phase: int) -> F8:
    """Return the target appetite A* [S] of that style."""
    a0 = ROWS[phase].appetite
    appetites = [
        0.1,
        min(0.8, a0 + 0.1),
        max(0.2, a0 - 0.1),
        min(0.9, a0 + 0.2),
        max(0.1, a0 - 0.2),
        min(0.8, a0 + 0.1),
    ]
    return first_of(_rows(ind, af, maker_s, maker_c), appetites, a0)


def opportunity(ind: Indicators) -> tuple[F8, F8]:
    """Return (risk, opportunity) [S] of the calculated-risk style."""
    risk = 0.5 * ind.tail + 0.5 * ind.volatility
    return risk, 0.3 * np.abs(ind.trend) + 0.3 * np.abs(ind.momentum) + 0.4 * (1.0 - risk)


def _directed(fires: B1, side: F8, confidence: F8, d: F8) -> Stance:
    """Return the stance of a pure direction, which maps as s = ±1; no side, no stance."""
    clear = fires & (side != 0.0) & np.isfinite(side)
    return Stance(clear, position_map(np.where(clear, side, 0.0), d), confidence)


def consensus(v: View) -> Stance:
    """Follow the votes where they agree."""
    fires = (v.agreement >= 0.7) & (np.abs(v.mean_vote) >= 0.3)
    action = position_map(v.mean_vote, v.d, v.dissent)
    return Stance(fires, action, v.agreement * np.minimum(1.0, 2.0 * np.abs(v.mean_vote)))


def opportunistic(v: View) -> Stance:
    """Go with a whale, else with the market maker."""
    whale = v.ind.whale > 0.7
    maker = ~whale & (np.abs(v.maker_s) > 0.6) & (v.maker_c > 0.7)
    side = np.where(whale, v.ind.whale_side, np.sign(v.maker_s))
    return _directed(whale | maker, side, np.where(whale, v.ind.whale, v.maker_c), v.d)


def defensive(v: View) -> Stance:
    """Reduce what is open; never open."""
    tail, anomaly, volatility = v.ind.tail, v.ind.anomaly, v.ind.volatility
    is_open = v.d != 0.0
    heavy = is_open & (tail > 0.5)
    hedged = heavy & (tail <= 0.65) & (v.d * v.signal >= 0.0)
    odd = is_open & (anomaly > 0.7)
    loose = is_open & (volatility > 0.8) & ~v.stopped
    action = first_of([hedged, heavy, odd | loose], [HEDGE, EXIT, DECREASE], HOLD).astype(np.uint8)
    confidence = first_of([heavy, odd, loose], [tail, anomaly, volatility], 0.0)
    return Stance(heavy | odd | loose, action, confidence)


def calculated_risk(v: View) -> Stance:
    """Follow the trend where risk is low, the opportunity large and the record convex."""
    risk, chance = opportunity(v.ind)
    fires = (risk < 0.5) & (chance > 0.7) & (v.af > 0.6)
    return _directed(fires, np.sign(v.ind.trend), chance * v.af, v.d)


def contrarian(v: View) -> Stance:
    """Fade an extreme RSI in reorganization when early warnings are high and nothing is open."""
    rsi = v.ind.rsi
    ready = (v.phase == REORGANIZATION) & (v.ind.ews > 0.7) & (v.d == 0.0)
    low, high = ready & (rsi < 30.0), ready & (rsi > 70.0)
    distance = np.where(low, 30.0 - rsi, rsi - 70.0)
    side = np.where(low, 1.0, -1.0)
    return _directed(low | high, side, np.minimum(1.0, 0.5 + distance / 30.0), v.d)


def momentum_following(v: View) -> Stance:
    """Follow an agreed, strong trend."""
    trend, momentum, adx = v.ind.trend, v.ind.momentum, v.ind.adx
    fires = (np.abs(trend) > 0.5) & (np.abs(momentum) > 0.4) & (trend * momentum > 0.0) & (adx > 25.0)
    confidence = 0.4 * np.abs(trend) + 0.3 * np.abs(momentum) + 0.3 * adx / 100.0
    return _directed(fires, np.sign(trend), confidence, v.d)


def pool(v: View, style: U1) -> Stance:
    """Follow the pool where the chosen style did not fire; under defensive it only reduces."""
    action = position_map(v.scaled, v.d, v.dissent)
    reduces = (action == EXIT) | (action == DECREASE) | (action == HEDGE)
    action = np.where((style == DEFENSIVE) & ~reduces, HOLD, action).astype(np.uint8)
    confidence = (1.0 - v.dissent) * np.minimum(1.0, 2.0 * np.abs(v.scaled))
    return Stance(np.ones(len(action), dtype=np.bool_), action, confidence)


#: in the order of tables.STYLES
STYLE_FUNCTIONS = (consensus, opportunistic, defensive, calculated_risk, contrarian, momentum_following)


def speak(v: View, style: U1) -> Stance:
    """Return what the chosen style says per row, and the pool where it does not fire (fires = style's)."""
    said = pool(v, style)
    action, confidence = said.action, said.confidence
    fired = np.zeros(len(style), dtype=np.bool_)
    for index in sorted({int(s) for s in style}):
        stance = STYLE_FUNCTIONS[index](v)
        mine = (style == index) & stance.fires
        action = np.where(mine, stance.action, action)
        confidence = np.where(mine, stance.confidence, confidence)
        fired |= mine
    return Stance(fired, action.astype(np.uint8), confidence)


class Exposure(msgspec.Struct, frozen=True):
    """What overrides look at beside the indicators; [S]."""

    bars_since_entry: NDArray[np.int64]
    horizon: int
    liquidation_risk: F8
    reduce: B1  # a severe alert asks to reduce


#: names by index; 0 = none
OVERRIDES: tuple[str, ...] = ("", "horizon", "tail", "liquidation", "alert", "whale", "flash")
FORCED = 4  # overrides up to this index only reduce risk and bypass veto and threshold


def overrides(v: View, exposure: Exposure) -> tuple[U1, U1, F8]:
    """Return (override index, action, confidence) [S], first match; index 0 leaves the style its say."""
    ind, is_open = v.ind, v.d != 0.0
    side = np.sign(ind.momentum)
    whale = (ind.whale > 0.7) & (np.abs(ind.momentum) > 0.6) & (ind.whale_side == side) & ~is_open
    move = np.sign(ind.m5)
    flash = (ind.flash > 0.8) & (v.af > 0.7) & ~is_open & (move != 0.0)
    conditions = [
        is_open & (exposure.bars_since_entry >= exposure.horizon),
        is_open & (ind.tail > 0.8),
        is_open & (exposure.liquidation_risk > 0.7),
        is_open & exposure.reduce,
        whale,
        flash,
    ]
    index = first_of(conditions, [1, 2, 3, 4, 5, 6], 0).astype(np.uint8)
    if not index.any():  # the usual case
        return index, np.full(len(index), HOLD, dtype=np.uint8), np.zeros(len(index))
    towards, against = np.where(side > 0.0, BUY, SELL), np.where(move < 0.0, BUY, SELL)
    action = np.full(len(index), HOLD, dtype=np.uint8)
    forced: tuple[Any, ...] = (EXIT, EXIT, DECREASE, DECREASE, towards, against)
    for number, does in enumerate(forced, start=1):
        action = np.where(index == number, does, action).astype(np.uint8)
    scores = [0.95] * FORCED + [
        np.minimum(0.9, ind.whale * np.abs(ind.momentum)),
        np.minimum(0.9, ind.flash * v.af),
    ]
    return index, action, first_of(conditions, scores, 0.0)
