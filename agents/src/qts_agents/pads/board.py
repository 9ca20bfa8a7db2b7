"""decide: opinions → pool → style or override → threshold → veto → size, for all symbols at once (pure)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.choice import clipped, first_of, known_or_zero
from qts_agents.kernels.indicators import Indicators
from qts_agents.kernels.pool import PoolResult, entropy_confidence, lmsr_pool
from qts_agents.kernels.prospect import expected_value, prospect_value
from qts_agents.opinions import climatology
from qts_agents.pads import members, sizing, styles, veto
from qts_agents.pads.tables import (
    BELOW_THRESHOLD,
    BUY,
    DECIDED,
    DECREASE,
    EXIT,
    HEDGE,
    HOLD,
    HORIZON_ENDED,
    INCREASE,
    NO_QUORUM,
    NO_SIGNAL,
    OVERRIDE,
    POOL_CONTRADICTS,
    ROWS,
    SELL,
    VETO,
    seat_weights,
)
from qts_core.sections import PadsSettings

U1 = NDArray[np.uint8]
B1 = NDArray[np.bool_]


class Situation(msgspec.Struct, frozen=True):
    """Everything a decision depends on beside the ballot; [S] unless said otherwise."""

    phase: int
    regime: str
    bar_s: float
    ind: Indicators
    cautions: NDArray[np.uint32]  # of `veto.market_bits`
    imbalance: F8
    spread: F8
    cost: F8
    af: F8
    frequencies: F8  # [S,3]
    flat_share: F8
    reputation: dict[str, float]  # seat → reputation
    weights: dict[str, float]  # seat → base weight
    appetite: F8
    exposure: F8  # signed, fraction of equity
    stopped: B1
    liquidation_risk: F8
    bars_since_entry: NDArray[np.int64]
    horizon: int
    reduce: B1
    manipulated: B1
    drawdown: float
    hedge: int = -1  # row of the hedge symbol; −1: HEDGE acts as DECREASE
    hedged: B1 = msgspec.field(
        default_factory=lambda: np.zeros(1, dtype=np.bool_)
    )  # [S] or [1], by `hedging`


class Verdict(msgspec.Struct, frozen=True):
    """What was decided and everything that led to it; [S] unless said otherwise."""

    seats: tuple[str, ...]
    pi: F8  # [S,N,3]
    votes: F8  # [S,N]
    omega: F8  # [S,N]
    prior: F8  # [S,3]
    pool: PoolResult
    signal: F8
    information: F8
    mean_vote: F8
    agreement: F8
    style: U1
    fired: B1
    override: U1
    action: U1
    confidence: F8
    reason: U1
    threshold: float
    veto: NDArray[np.uint32]
    size: F8
    factors: F8  # [S,7] of sizing.FACTORS
    safe: float
    stop: F8
    targets: F8  # [S,3]
    prospect: F8  # V of the planned or likelier side
    expected: F8
    quorum: U1
    opportunity: F8


class Choice(msgspec.Struct, frozen=True):
    """An action on its way through the gates."""

    action: U1
    confidence: F8
    reason: U1


def decide(ballot: members.Ballot, now: Situation, settings: PadsSettings) -> Verdict:
    """Decide for every symbol; under two agents a row is HOLD with NO_QUORUM."""
    seats = tuple(now.weights)
    table = _table(now, settings)
    pi = members.opinions(seats, ballot, table)
    omega = trader_weights(pi, now)
    prior = climatology(now.flat_share)
    pool = lmsr_pool(pi, omega, prior, settings.liquidity_b)
    votes = members.votes(seats, ballot, pi, table)
    mean_vote, agreement = members.agreement(votes, omega)
    view = _view(pool, table, now, mean_vote, agreement)
    style = styles.select(now.ind, now.af, view.maker_s, view.maker_c, now.phase)
    said = styles.speak(view, style)
    which, forced_action, forced_confidence = styles.overrides(
        view,
        styles.Exposure(now.bars_since_entry, now.horizon, now.liquidation_risk, now.reduce),
    )
    action = np.where(which > 0, forced_action, said.action).astype(np.uint8)
    confidence = np.where(which > 0, forced_confidence, said.confidence)
    quorum = ballot.voted.sum(axis=1).astype(np.uint8)
    value, expected = _prospect(action, pool.p, view.signal, now)
    choice, bits = _gates(Choice(action, confidence, _first_reason(action, which)), view, which, now)
    if settings.prospect_gate == "veto":
        choice, bits = _prospect_gate(choice, bits, value, which)
    action, reason, confidence = _quorate(choice, quorum)
    size, factors, safe = _size(action, confidence, pool.dissent, now, settings)
    stop, targets = _brackets(now, settings, pool.dissent)
    return Verdict(
        seats=seats,
        pi=pi,
        votes=votes,
        omega=omega,
        prior=prior,
        pool=pool,
        signal=view.signal,
        information=entropy_confidence(pool.p),
        mean_vote=mean_vote,
        agreement=agreement,
        style=style,
        fired=said.fires,
        override=which,
        action=action,
        confidence=confidence,
        reason=reason,
        threshold=ROWS[now.phase].threshold,
        veto=bits,
        size=size,
        factors=factors,
        safe=safe,
        stop=stop,
        targets=targets,
        prospect=value,
        expected=expected,
        quorum=quorum,
        opportunity=styles.opportunity(now.ind)[1],
    )


def _table(now: Situation, settings: PadsSettings) -> members.Table:
    """Return what the seats may look at."""
    return members.Table(
        d=np.sign(now.exposure),
        frequencies=now.frequencies,
        maker=members.maker_view(now.imbalance, now.spread, now.ind.ema20_gap, now.ind.sigma20),
        scale=settings.signal_scale,
    )


def _quorate(choice: Choice, quorum: U1) -> tuple[U1, U1, F8]:
    """Return action, reason and confidence, HOLD with NO_QUORUM where too few agents voted."""
    lacking = quorum < members.QUORUM
    action = np.where(lacking, HOLD, choice.action).astype(np.uint8)
    reason = np.where(lacking, NO_QUORUM, choice.reason).astype(np.uint8)
    return action, reason, np.where(lacking, 0.0, known_or_zero(choice.confidence))


def _brackets(now: Situation, settings: PadsSettings, dissent: F8) -> tuple[F8, F8]:
    """Return stop [S] and take-profit ladder [S,3], fractions of price."""
    sigma = sizing.day_sigma(now.ind.sigma20, now.bar_s)
    stop_factor = _factors(settings, now.phase)[0]
    stop = sizing.stops(sigma, settings.stop_days, stop_factor, now.af, dissent, now.ind.volatility)
    return stop, sizing.targets(sigma, settings.target_days, ROWS[now.phase].targets)


def trader_weights(pi: F8, now: Situation) -> F8:
    """Return ω [S,N]: weight × reputation over all seats; 0 where a seat says nothing, Ω ≤ 1."""
    weights = seat_weights(now.weights, now.phase)
    raw = np.array([weights[seat] * now.reputation[seat] for seat in weights])
    present = np.isfinite(pi).all(axis=2)
    return np.where(present, raw / raw.sum(), 0.0)


def _view(
    pool: PoolResult, table: members.Table, now: Situation, mean_vote: F8, agreement: F8
) -> styles.View:
    maker_s, maker_c = table.maker
    signal = pool.p[:, 0] - pool.p[:, 2]
    return styles.View(
        ind=now.ind,
        af=now.af,
        maker_s=maker_s,
        maker_c=maker_c,
        phase=now.phase,
        d=table.d,
        stopped=now.stopped,
        signal=signal,
        scaled=clipped(signal / table.scale, -1.0, 1.0),
        dissent=pool.dissent,
        mean_vote=mean_vote,
        agreement=agreement,
    )


def _first_reason(action: U1, which: U1) -> U1:
    """Return the reason before any gate."""
    return first_of(
        [which == 1, which > 0, action == HOLD], [HORIZON_ENDED, OVERRIDE, NO_SIGNAL], DECIDED
    ).astype(np.uint8)


def entries(action: U1) -> B1:
    """Tell which actions add exposure."""
    return np.asarray((action == BUY) | (action == SELL) | (action == INCREASE))


def side_of(action: U1, d: F8) -> F8:
    """Return the side [S] an entry takes: +1, −1, 0 for what is no entry."""
    return first_of([action == BUY, action == SELL, action == INCREASE], [1.0, -1.0, d], 0.0)


def _held(choice: Choice, met: B1, reason: int) -> Choice:
    """Turn rows into HOLD with `reason`."""
    if not met.any():
        return choice
    return Choice(
        np.where(met, HOLD, choice.action).astype(np.uint8),
        choice.confidence,
        np.where(met, reason, choice.reason).astype(np.uint8),
    )


def _gates(choice: Choice, view: styles.View, which: U1, now: Situation) -> tuple[Choice, NDArray[np.uint32]]:
    """Apply regime, threshold, contradiction and veto, in this order; return the choice and the bits."""
    free = (which == 0) | (which > styles.FORCED)
    side = side_of(choice.action, view.d)
    bits = now.cautions | veto.against_whale(now.ind.whale, now.ind.whale_side, side)
    if now.manipulated.any():
        bits |= np.where(now.manipulated, veto.MANIPULATION, 0).astype(np.uint32)
    choice = _regime(choice, now.regime)
    if now.regime == "critical_top":
        bits = bits | np.where(choice.action == BUY, veto.CRITICAL_TOP, 0).astype(np.uint32)
    entry = entries(choice.action) & free
    choice = _held(choice, entry & ~(choice.confidence >= ROWS[now.phase].threshold), BELOW_THRESHOLD)
    against = (side * view.scaled < 0.0) & (np.abs(view.scaled) >= 0.5)
    choice = _held(choice, entries(choice.action) & free & against, POOL_CONTRADICTS)
    return _held(choice, entries(choice.action) & free & (bits != 0), VETO), bits


def _regime(choice: Choice, regime: str) -> Choice:
    """Return the choice with a named regime's effect on confidence."""
    confidence = choice.confidence
    if regime == "black_swan":
        confidence = np.where(entries(choice.action), 0.7 * confidence, confidence)
    if regime == "critical_top":
        confidence = np.where(choice.action == SELL, np.minimum(0.95, 1.2 * confidence), confidence)
    return Choice(choice.action, confidence, choice.reason)


def _prospect(action: U1, p: F8, signal: F8, now: Situation) -> tuple[F8, F8]:
    """Return (V, expected value) [S] of the planned entry, or of the pool's side where none is planned."""
    side = side_of(action, np.sign(now.exposure))
    side = np.where(side == 0.0, np.sign(signal), side)
    beliefs = np.where((side < 0.0)[:, None], p[:, ::-1], p)
    move = known_or_zero(now.ind.sigma100) * np.sqrt(float(now.horizon))
    return prospect_value(beliefs, move, now.cost, move), expected_value(beliefs, move, now.cost, move)


def _prospect_gate(
    choice: Choice, bits: NDArray[np.uint32], value: F8, which: U1
) -> tuple[Choice, NDArray[np.uint32]]:
    """Block entries with V ≤ 0."""
    bad = entries(choice.action) & (value <= 0.0) & ((which == 0) | (which > styles.FORCED))
    return _held(choice, bad, VETO), bits | np.where(bad, veto.PROSPECT, 0).astype(np.uint32)


def _factors(settings: PadsSettings, phase: int) -> tuple[float, float]:
    """Return (stop ×, size ×) of the phase in the configured profile."""
    row = ROWS[phase]
    return (row.prospect_stop, row.prospect_size) if settings.profile == "prospect" else (row.stop, row.size)


def _size(
    action: U1, confidence: F8, dissent: F8, now: Situation, settings: PadsSettings
) -> tuple[F8, F8, float]:
    """Return (signed change of exposure [S], factors [S,7], safe share)."""
    sigma = sizing.day_sigma(now.ind.sigma20, now.bar_s)
    factors = sizing.chain(
        settings.base_size,
        _factors(settings, now.phase)[1],
        now.appetite / ROWS[now.phase].appetite,
        confidence,
        dissent,
        (now.drawdown, sigma, settings.calm_day),
    )
    side = side_of(action, np.sign(now.exposure))
    reduction = first_of([action == EXIT, (action == DECREASE) | (action == HEDGE)], [1.0, 0.5], 0.0)
    closing = np.where(reduction > 0.0, -reduction * now.exposure, 0.0)
    change = np.where(side != 0.0, side * sizing.product(factors), closing)
    change = _hedged(change, action, now)
    safe = sizing.safe_share(settings.safe_share, now.af, sigma, now.ind.anomaly, now.ind.tail, now.drawdown)
    limits = sizing.Limits(settings.symbol_cap, settings.net_cap, 1.0 - safe)
    grows = np.abs(now.exposure + change) > np.abs(now.exposure)
    added = entries(action) | (np.arange(len(action)) == now.hedge) & (action == HOLD) & grows
    return sizing.cap(change, now.exposure, added, limits), factors, safe


def hedging(action: U1, now: Situation) -> B1:
    """Tell which rows [S] the hedge symbol now stands against: each from its HEDGE until it is flat.

    None where the hedge symbol has a word of its own, more than HOLD: that is done, HEDGE acts as DECREASE,
    and what it holds then is no hedge any more.
    """
    if now.hedge < 0 or action[now.hedge] != HOLD:
        return np.zeros(len(action), dtype=np.bool_)
    return np.asarray((now.hedged | _asked(action, now)) & (now.exposure != 0.0))


def _asked(action: U1, now: Situation) -> B1:
    """Tell which rows [S] are to be hedged; without a volatility the targets would be at the entry."""
    return np.asarray((action == HEDGE) & (now.ind.sigma20[now.hedge] > 0.0))


def _hedged(change: F8, action: U1, now: Situation) -> F8:
    """Bring the hedge symbol to −½ of what the hedged rows will hold, 0 where none is hedged any more.

    So it is in a round in which one of them says more than HOLD, or was closed since the last round; between
    such rounds it is left alone. A HEDGE leaves its own row as it is. What the hedge symbol holds of its own
    counts as part of the hedge: exposure is exposure, whoever ordered it.
    """
    rows = hedging(action, now)
    told = (rows & (action != HOLD)) | (now.hedged & ~rows)
    if now.hedge < 0 or action[now.hedge] != HOLD or not told.any():
        return change
    moved = np.where(rows & _asked(action, now), 0.0, change)
    left = float(np.where(rows, now.exposure + moved, 0.0).sum())
    moved[now.hedge] = -0.5 * left - now.exposure[now.hedge]
    return moved
