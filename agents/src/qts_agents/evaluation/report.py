"""Tracks → everything an evaluation says, in plain values (pure)."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from qts_agents import calibration
from qts_agents.agent import F8
from qts_agents.calibration import Bin, Murphy
from qts_agents.evaluation import equity, scores, sharpe
from qts_agents.evaluation.equity import Curve, Performance
from qts_agents.evaluation.scores import Rate
from qts_agents.evaluation.theories import Theories
from qts_agents.evaluation.track import BOARD, Track
from qts_agents.evaluation.trials import Trial
from qts_agents.kernels.outcomes import CLASSES, UNRESOLVED
from qts_agents.overlap import Mean

FOLDS = 4
SIGNIFICANT, DEFLATED, REGIMES = 0.05, 0.95, 3
POINTS = 400  # of a curve in a report
DRIFT = "past frequencies"  # of up, flat and down


class Fold(msgspec.Struct, frozen=True):
    """One of four consecutive stretches; all of it lies after what was learned from."""

    log_gain: float
    sharpe: float


class Forecaster(msgspec.Struct, frozen=True):
    """One agent's or the board's forecasts, and what staking on them would have earned."""

    rows: int
    abstained: float  # share of rows
    brier: Murphy
    base_brier: float  # of the base rate u on the same rows
    log_score: float  # this and the gain are means over rows
    base_log_score: float
    log_gain: Mean
    hit: Rate
    diagram: dict[str, list[Bin]]
    staked: Performance
    staked_double_cost: Performance
    folds: list[Fold]
    by_phase: dict[str, float]  # sum of log returns while the phase was held
    checks: dict[str, bool]
    verdict: str


class Pooled(msgspec.Struct, frozen=True):
    """What another forecaster said on the board's rounds, and how far the board's pool is ahead of it."""

    brier: float
    log_gain: Mean  # over the base rate
    ahead: Mean  # mean of ln p_y of the board − ln p_y of the other, nats
    hit: Rate


class Report(msgspec.Struct, frozen=True):
    """All of an evaluation."""

    market: dict[str, Any]
    made: dict[str, str]  # date, code, settings, ledger
    rounds: int
    horizon_bars: int
    overlap: float
    speed: dict[str, float]
    failures: dict[str, str]  # of voters; those of an ablation with its name
    forecasters: dict[str, Forecaster]
    board: Performance
    board_double_cost: Performance
    board_by_phase: dict[str, float]
    buy_and_hold: Performance
    ablations: dict[str, Performance]
    pools: dict[str, Pooled]  # ablations, single agents, and the past's frequencies
    trials: dict[str, float]
    checks: dict[str, bool]
    verdict: str
    times_ns: list[int]
    curves: dict[str, list[float]]
    theories: Theories | None = None  # of play, on QBMIA's market game


def overlap_of(track: Track) -> float:
    """Return over how many rounds one outcome reaches."""
    return max(1.0, track.horizon / track.decided_every)


def tried(track: Track, ablated: dict[str, Track], scale: float, code: str, settings: str) -> list[Trial]:
    """Return what this evaluation adds to the ledger: board, ablations, each forecaster's stakes."""
    curves = {BOARD: equity.board_curve(track)}
    curves |= {name: equity.board_curve(other) for name, other in ablated.items()}
    curves |= {
        f"stakes of {name}": equity.staked_curve(track, equity.stakes(p, scale))
        for name, p in track.p.items()
    }
    return [
        Trial(
            track.tape.source, curve.equity.size, code, settings, name, sharpe.moments(curve.returns).sharpe
        )
        for name, curve in curves.items()
    ]


def report(
    track: Track, ablated: dict[str, Track], scale: float, ratios: list[float], made: dict[str, str]
) -> Report:
    """Return the evaluation; `ratios` are those of all trials on this market (`trials.ratios`)."""
    tape, yearly = track.tape, equity.bars_a_year(track.tape)
    board, double = equity.board_curve(track), equity.board_curve(track, 2.0)
    held = equity.staked_curve(track, equity.buy_and_hold(track), purse=1.0)
    others = {name: equity.board_curve(other) for name, other in ablated.items()}
    hold = equity.performance(held, yearly, ratios)
    told = {
        name: forecaster(track, name, scale, ratios, hold)
        for name in sorted(track.p, key=lambda n: n != BOARD)
    }
    figures = equity.performance(board, yearly, ratios)
    costly = equity.performance(double, yearly, ratios)
    ablation = {name: equity.performance(curve, yearly, ratios) for name, curve in others.items()}
    phases = by_phase(track, board)
    checks = _knows(track, BOARD, told[BOARD].log_gain, told[BOARD].hit) | _earns(
        figures, costly, hold, phases
    )
    checks["Sharpe ratio above that of every ablation"] = bool(ablation) and all(
        figures.sharpe > other.sharpe for other in ablation.values()
    )
    curves = {BOARD: board, "board, costs ×2": double, "buy and hold": held} | others
    return Report(
        market=_market(track),
        made=made,
        rounds=int(track.at.size),
        horizon_bars=track.horizon,
        overlap=overlap_of(track),
        speed=_speed(track),
        failures=track.failures
        | {
            f"{who} ({name})": text for name, other in ablated.items() for who, text in other.failures.items()
        },
        forecasters=told,
        board=figures,
        board_double_cost=costly,
        board_by_phase=phases,
        buy_and_hold=hold,
        ablations=ablation,
        pools=pools(track, ablated),
        trials={
            "count": len(ratios),
            "ratio_of_the_luckiest": sharpe.expected_maximum(
                len(ratios), float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
            ),
        },
        checks=checks,
        verdict=verdict(checks),
        times_ns=[int(t) for t in thinned(tape.close_ns.astype(np.float64))],
        curves={name: [round(float(x), 6) for x in thinned(curve.equity)] for name, curve in curves.items()},
    )


def pools(track: Track, ablated: dict[str, Track]) -> dict[str, Pooled]:
    """Return how the board's pool compares with ablations', single agents and the past's frequencies.

    The base rate u takes up and down for equal, so whoever knows that a market rose beats it, and hits
    more than half: the frequencies say how much of both is drift.
    """
    others = {name: other.p[BOARD] for name, other in ablated.items()}
    others |= {name: p for name, p in track.p.items() if name != BOARD}
    others[DRIFT] = drift(track)
    return {name: _pooled(track, p) for name, p in others.items()}


def drift(track: Track) -> F8:
    """Return the frequencies of what had resolved when each round was decided [R,S,3]."""
    known = np.searchsorted(track.at, track.at - track.horizon, side="right")
    return scores.past_frequencies(track.u, track.outcome, known)


def _pooled(track: Track, p: F8) -> Pooled:
    overlap, used = overlap_of(track), scores.usable(p, track.outcome)
    y = track.outcome[used].astype(np.int64)
    return Pooled(
        brier=calibration.brier(p[used], y) if y.size else float("nan"),
        log_gain=scores.log_gain(p, track.u, track.outcome, overlap),
        ahead=scores.log_gain(track.p[BOARD], p, np.where(used, track.outcome, UNRESOLVED), overlap),
        hit=scores.hit_rate(p, track.ret, track.outcome, overlap),
    )


def forecaster(track: Track, name: str, scale: float, ratios: list[float], hold: Performance) -> Forecaster:
    """Return the scores of one forecaster; a forecaster without a single scored row has none to give."""
    p, u, overlap = track.p[name], track.u, overlap_of(track)
    used = scores.usable(p, track.outcome)
    y = track.outcome[used].astype(np.int64)
    said, base = (p[used], u[used]) if y.size else (np.full((1, 3), np.nan), np.full((1, 3), np.nan))
    y = y if y.size else np.zeros(1, dtype=np.int64)
    yearly = equity.bars_a_year(track.tape)
    wanted = equity.stakes(p, scale)
    curve = equity.staked_curve(track, wanted)
    staked = equity.performance(curve, yearly, ratios)
    costly = equity.performance(equity.staked_curve(track, wanted, 2.0), yearly, ratios)
    gain = scores.log_gain(p, u, track.outcome, overlap)
    hit = scores.hit_rate(p, track.ret, track.outcome, overlap)
    phases = by_phase(track, curve)
    checks = _knows(track, name, gain, hit) | _earns(staked, costly, hold, phases)
    own = calibration.quality(said, y)
    return Forecaster(
        rows=int(used.sum()),
        abstained=float(1.0 - np.isfinite(p).all(axis=2).mean()),
        brier=own.brier,
        base_brier=calibration.brier(base, y),
        log_score=own.log_score,
        base_log_score=calibration.log_score(base, y),
        log_gain=gain,
        hit=hit,
        diagram={side: own.diagram[side] for side in (CLASSES[0], CLASSES[2])} if used.any() else {},
        staked=staked,
        staked_double_cost=costly,
        folds=folds(track, name, curve, yearly),
        by_phase=phases,
        checks=checks,
        verdict=verdict(checks),
    )


def folds(track: Track, name: str, curve: Curve, yearly: float) -> list[Fold]:
    """Return the scores of consecutive stretches of rounds, and of the bars after their decisions."""
    found = []
    for rows in np.array_split(np.arange(track.at.size), FOLDS):
        if not rows.size:
            continue
        gain = scores.log_gain(track.p[name][rows], track.u[rows], track.outcome[rows], overlap_of(track))
        stop = track.at[rows[-1] + 1] + 1 if rows[-1] + 1 < track.at.size else curve.equity.size
        part = curve.returns[track.at[rows[0]] + 1 : stop]
        found.append(Fold(gain.value, sharpe.moments(part).sharpe * float(np.sqrt(yearly))))
    return found


def by_phase(track: Track, curve: Curve) -> dict[str, float]:
    """Return the sum of log returns of a curve under each phase, from the bar after its decision on."""
    which = np.searchsorted(track.at, np.arange(curve.equity.size), side="left") - 1
    logs = np.log1p(np.maximum(curve.returns, -1.0 + 1e-12))
    found: dict[str, float] = {}
    for r, phase in enumerate(track.phase):
        found[phase] = found.get(phase, 0.0) + float(logs[which == r].sum())
    return found


def _knows(track: Track, name: str, gain: Mean, hit: Rate) -> dict[str, bool]:
    beyond = scores.log_gain(track.p[name], drift(track), track.outcome, overlap_of(track))
    return {
        "log score above the base rate at the 5 % level": _positive(gain),
        "log score above past frequencies at the 5 % level": _positive(beyond),
        "hit rate above one half with 95 % confidence": bool(hit.low > 0.5),
    }


def _positive(gain: Mean) -> bool:
    return bool(gain.value > 0.0 and gain.p_value < SIGNIFICANT)


def _earns(
    once: Performance, twice: Performance, hold: Performance, phases: dict[str, float]
) -> dict[str, bool]:
    return {
        "deflated Sharpe ratio at least 0.95": bool(once.deflated_sharpe >= DEFLATED),
        "earns after costs ×2": twice.total_return > 0.0,
        "Sharpe ratio above buy and hold": once.sharpe > hold.sharpe,
        "earns in at least three phases": sum(gain > 0.0 for gain in phases.values()) >= REGIMES,
    }


def verdict(checks: dict[str, bool]) -> str:
    """Return the plain sentence that the checks allow."""
    failed = [name for name, passed in checks.items() if not passed]
    return f"no edge: not shown: {'; '.join(failed)}" if failed else "edge: every check holds"


def _market(track: Track) -> dict[str, Any]:
    tape = track.tape
    return {
        "source": tape.source,
        "symbols": list(tape.symbols),
        "bar_s": tape.bar_s,
        "bars": int(tape.close_ns.size),
        "first_ns": int(tape.close_ns[0]),
        "last_ns": int(tape.close_ns[-1]),
        "fee": tape.fee,
        "spread": float(2.0 * np.nanmean(tape.half_spread)),
    }


def _speed(track: Track) -> dict[str, float]:
    return {"elapsed_s": round(track.elapsed_s, 2), "bars_per_s": track.tape.close_ns.size / track.elapsed_s}


def thinned(values: F8) -> F8:
    """Return at most `POINTS` values, the last one among them."""
    step = max(1, -(-values.size // POINTS))
    return values[::-1][::step][::-1]
