"""One life on the stage as arrays: what each agent and the board said, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8, Voter
from qts_agents.columns import array
from qts_agents.evaluation.stage import Heard, Stage, Tell
from qts_agents.kernels import backend, crossover, gpu, nash
from qts_agents.kernels.outcomes import UNRESOLVED
from qts_agents.market.source import Source, open_source
from qts_agents.opinions import BUY, HOLD, INCREASE, SELL, climatology
from qts_agents.pads.margin import Margin, margin_of
from qts_core.errors import ConfigError
from qts_core.spec import System
from qts_messaging.messages import DecisionRequest
from qts_messaging.records import Decision

BOARD = "board"
PRICES = ("open", "high", "low", "close", "volume")
MARKS = 1024  # ACTION_NEEDS_POSITION is no abstention


class Tape(msgspec.Struct, frozen=True):
    """T live bars of S symbols and what trading them costs."""

    symbols: tuple[str, ...]
    source: str
    bar_s: float
    close_ns: NDArray[np.int64]  # [T]
    open: F8  # [S,T], NaN where the source has none
    high: F8
    low: F8
    close: F8
    volume: F8
    valid: NDArray[np.bool_]  # [S,T]
    fee: float
    half_spread: F8  # [S,T], fraction of price


class Orders(msgspec.Struct, frozen=True):
    """What R decisions asked of the paper account; [R,S] unless said otherwise."""

    size: F8  # signed change of exposure
    entry: NDArray[np.bool_]  # sets stop and targets anew
    stop: F8
    targets: F8  # [R,S,3]
    equity: F8  # [R] as PADS itself booked it when it decided


class Track(msgspec.Struct, frozen=True):
    """R rounds over T bars."""

    tape: Tape
    at: NDArray[np.int64]  # [R] index of the bar at whose close the round was decided
    phase: tuple[str, ...]  # [R]
    p: dict[str, F8]  # wire name or `board` → [R,S,3], NaN where it abstained
    u: F8  # [R,S,3] the base rate known then
    outcome: NDArray[np.uint8]  # [R,S] 0 up, 1 flat, 2 down, 255 not resolved
    ret: F8  # [R,S] log return from the fill to the end of the horizon
    orders: Orders
    margin: Margin | None  # of the paper account
    horizon: int
    failures: dict[str, str]
    elapsed_s: float

    @property
    def decided_every(self) -> float:
        """Return the usual distance between two rounds in bars."""
        return float(np.median(np.diff(self.at))) if self.at.size > 1 else float(self.horizon)


def play(
    system: System,
    limit: int | None = None,
    source: Source | None = None,
    voters: Sequence[Voter] | None = None,
    tell: Tell | None = None,
    keep: Callable[[bytes], None] | None = None,
) -> Track:
    """Run one life and return what was said; ConfigError when the market gives no decision.

    `keep` is given every record of its journal, a header first.
    """
    backend.set_jit(system.numba_jit)
    backend.threads(system.hardware_optimization)
    if gpu.use(system.gpu_acceleration) != gpu.CPU:
        crossover.choose([nash.ENTRY], crossover.folder())
    stage = Stage(system, source or open_source(system), voters, tell)
    begun = time.perf_counter()
    heard = []
    for bar in stage.bars(limit):
        heard.append(msgspec.structs.replace(bar, records=()))
        if keep is not None:
            for record in bar.records:
                keep(record)
    elapsed = time.perf_counter() - begun
    if not any(bar.decision is not None for bar in heard):
        raise ConfigError(
            f"the market has {len(heard)} live bars and none was decided on; give it more history "
            "or a smaller decision_interval"
        )
    return track_of(heard, system, stage.failures, elapsed)


def track_of(heard: Sequence[Heard], system: System, failures: dict[str, str], elapsed_s: float) -> Track:
    """Return what was heard as arrays."""
    at = np.array([t for t, bar in enumerate(heard) if bar.decision is not None], dtype=np.int64)
    rounds = [heard[t] for t in at]
    decisions = [bar.decision for bar in rounds if bar.decision is not None]
    outcome, ret = _outcomes(heard, decisions)
    p = {wire: np.stack([_said(bar, wire) for bar in rounds]) for wire in system.voters()}
    p[BOARD] = np.stack([array(d.p) for d in decisions])
    shares = [_flat_share(bar, len(decisions[0].symbols)) for bar in rounds]
    return Track(
        tape=_tape(heard),
        at=at,
        phase=tuple(d.phase for d in decisions),
        p=p,
        u=np.stack([climatology(share) for share in shares]),
        outcome=outcome,
        ret=ret,
        orders=_orders(decisions),
        margin=margin_of(system.pads),
        horizon=system.horizon_bars,
        failures=failures,
        elapsed_s=elapsed_s,
    )


def _tape(heard: Sequence[Heard]) -> Tape:
    first = heard[0].update
    cells: dict[str, Any] = {
        name: np.concatenate([array(getattr(bar.update, name)) for bar in heard], axis=1) for name in PRICES
    }
    valid = np.concatenate([array(bar.update.valid) for bar in heard], axis=1) != 0
    quoted = np.stack([array(bar.update.spread) for bar in heard], axis=1)
    return Tape(
        symbols=first.symbols,
        source=first.source,
        bar_s=first.bar_s,
        close_ns=np.concatenate([array(bar.update.close_ns) for bar in heard]),
        valid=valid & np.isfinite(cells["close"]) & (cells["close"] > 0.0),
        fee=first.fee,
        half_spread=0.5 * np.where(np.isfinite(quoted), quoted, first.spread_assumed),
        **cells,
    )


def _said(bar: Heard, wire: str) -> F8:
    """Return what an agent said [S,3]; NaN where it abstained or was not asked."""
    assert bar.decision is not None  # noqa: S101
    nothing = np.full((len(bar.decision.symbols), 3), np.nan)
    opinion = next((a.opinion for a in bar.answers if a.peer == wire), None)
    if opinion is None:
        return nothing
    silent = (array(opinion.abstain).astype(np.int64) & ~MARKS) != 0
    return np.where(silent[:, None], nothing, array(opinion.p))


def _flat_share(bar: Heard, S: int) -> F8:
    request: DecisionRequest | None = next(iter(bar.requests.values()), None)
    return np.full(S, 1.0 / 3.0) if request is None else array(request.flat_share)


def _outcomes(heard: Sequence[Heard], decisions: Sequence[Decision]) -> tuple[NDArray[np.uint8], F8]:
    shape = (len(decisions), len(decisions[0].symbols))
    outcome, ret = np.full(shape, UNRESOLVED, dtype=np.uint8), np.full(shape, np.nan)
    row = {decision.decision_id: r for r, decision in enumerate(decisions)}
    for bar in heard:
        for told in bar.outcomes:
            r = row.get(told.decision_id)
            if r is not None:
                outcome[r], ret[r] = array(told.outcome), array(told.ret)
    return outcome, ret


def _orders(decisions: Sequence[Decision]) -> Orders:
    size = np.stack([array(d.size) for d in decisions])
    action = np.stack([array(d.action) for d in decisions])
    opens = np.isin(action, (BUY, SELL, INCREASE, HOLD))  # a HOLD with a size is the other side of a hedge
    return Orders(
        size=size,
        entry=opens & (size != 0.0),
        stop=np.stack([array(d.stop) for d in decisions]),
        targets=np.stack([array(d.targets) for d in decisions]),
        equity=np.array([d.position.equity for d in decisions]),
    )
