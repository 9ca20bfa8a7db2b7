"""What the three voters share: who abstains, how sure one may sound, what is remembered, how to answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents import pace
from qts_agents.agent import (
    DEADLINE,
    GAP,
    INTERNAL_ERROR,
    NAN,
    NO_DATA,
    SHORT_WINDOW,
    STALE_WINDOW,
    MarketWindow,
)
from qts_agents.choice import known_or_zero
from qts_agents.columns import array, column
from qts_agents.kernels.online import calibrate
from qts_agents.kernels.pool import entropy_confidence
from qts_agents.newest import Newest
from qts_core.spec import System
from qts_messaging.messages import ACTIONS, DecisionRequest, PerformanceFeedback
from qts_messaging.records import Opinion

F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]
P = TypeVar("P")
BUY, SELL, HOLD, INCREASE, DECREASE, HEDGE, EXIT = range(len(ACTIONS))
NEEDED_BARS = 320
MIN_CLOSES = 288  # of the needed bars; older gaps shorten the rank windows, but not below 90 %
GAP_BARS, GAP_RUN, GAP_SHARE = 64, 3, 0.05
MAX_PENDING = 512  # the longest horizon has 500 bars, and each may have its round
ENTER, REDUCE = 0.5, 0.3  # thresholds of the position map
RELIABILITY_START, RELIABILITY_RATE, RELIABILITY_MAX = 0.25, 0.01, 0.9


def align(window: MarketWindow, symbols: Sequence[str]) -> MarketWindow:
    """Return `window` with rows in the order of `symbols`; a symbol it does not hold has no valid bar."""
    if window.symbols == tuple(symbols):
        return window
    where = {name: row for row, name in enumerate(window.symbols)}
    rows = np.array([where.get(name, -1) for name in symbols], dtype=np.int64)
    known = rows >= 0
    changed: dict[str, Any] = {"symbols": tuple(symbols)}
    for name in ("open", "high", "low", "close", "volume", "spread", "imbalance", "depth"):
        values = getattr(window, name)[rows]
        values[~known] = np.nan
        changed[name] = values
    valid = window.valid[rows]
    valid[~known] = 0
    return msgspec.structs.replace(window, valid=valid, **changed)


def abstaining(
    system: System, window: MarketWindow | None, request: DecisionRequest, now_ns: int, last_bar_ns: int
) -> NDArray[np.uint16]:
    """Return `abstentions` of an agent whose newest bar arrived at `last_bar_ns` (0 = none yet).

    A window is stale too where the feed has been silent for longer than its pace allows.
    """
    stale = pace.stale_after_ns(system, window.bar_s) if window is not None and last_bar_ns else 0
    return abstentions(window, request, now_ns, last_bar_ns=last_bar_ns, stale_after_ns=stale)


def abstentions(
    window: MarketWindow | None,
    request: DecisionRequest,
    now_ns: int,
    *,
    last_bar_ns: int = 0,
    stale_after_ns: int = 0,
) -> NDArray[np.uint16]:
    """Return the bits of agents.md §1.4 for each symbol of the request; 0 = may vote.

    `last_bar_ns` is when the newest bar arrived; silence longer than `stale_after_ns` (0 = not checked)
    makes the window stale, as does a window older than the one asked about.
    """
    bits = np.zeros(len(request.symbols), dtype=np.uint16)
    if request.deadline_ns and now_ns > request.deadline_ns:
        bits |= DEADLINE
    if stale_after_ns and now_ns - last_bar_ns > stale_after_ns:
        bits |= STALE_WINDOW
    if window is None or window.window_seq > request.window_seq:
        return bits | np.uint16(NO_DATA)
    if window.window_seq < request.window_seq:
        bits |= STALE_WINDOW
    if window.symbols == request.symbols:  # the usual case: no name is looked up
        return bits | window_bits(window)
    held = set(window.symbols)
    missing = np.array([name not in held for name in request.symbols], dtype=bool)
    bits[missing] |= NO_DATA
    present = ~missing
    bits[present] |= window_bits(align(window, request.symbols))[present]
    return bits


_bits: Newest[NDArray[np.uint16]] = Newest()


def window_bits(window: MarketWindow) -> NDArray[np.uint16]:
    """Return the bits that follow from the bars alone; what was asked last is remembered."""
    return _bits.of(window, lambda: _window_bits(window))


def _window_bits(window: MarketWindow) -> NDArray[np.uint16]:
    """Look at every bar that is needed."""
    bits = np.zeros(len(window.symbols), dtype=np.uint16)
    length = window.close.shape[1]
    if length < NEEDED_BARS:
        bits |= SHORT_WINDOW
    if length == 0:
        return bits | np.uint16(NO_DATA)
    valid, close = window.valid[:, -NEEDED_BARS:], window.close[:, -NEEDED_BARS:]
    # the usual case, without an array as large as the window: a NaN is in both, and neither is true of it
    if valid.size and valid.min() > 0 and close.min() > 0.0 and close.max() < np.inf:
        return bits
    valid, sound = valid != 0, np.isfinite(close) & (close > 0.0)
    recent = ~valid[:, -GAP_BARS:]
    run = recent  # in place k: the bars k … k+GAP_RUN are all missing
    for _ in range(min(GAP_RUN, recent.shape[1] - 1)):
        run = run[:, :-1] & run[:, 1:]
    gone = run.any(axis=1)
    holes = recent.sum(axis=1) > GAP_SHARE * GAP_BARS
    bits[~valid[:, -1] | holes | gone] |= GAP
    wrong = (valid & ~sound).any(axis=1)
    sparse = (length >= NEEDED_BARS) & (valid.sum(axis=1) < MIN_CLOSES)
    bits[wrong | sparse] |= NAN
    return bits


def climatology(f: Any) -> F8:
    """Return u [S,3] = ((1−f)/2, f, (1−f)/2) for the flat shares `f` [S]."""
    flat = np.asarray(f, dtype=np.float64)
    side = (1.0 - flat) / 2.0
    return np.stack((side, flat, side), axis=-1)


class Reliability:
    """How much of its action distribution x an agent may claim to know: p = (1−k)·u + k·x (§1.3)."""

    def __init__(self, k: float = RELIABILITY_START) -> None:
        self.k = k
        self.updates = 0

    def p(self, x: Any, f: Any) -> F8:
        """Return the forecast [S,3] for actions `x` [S,3] and flat shares `f` [S]."""
        return np.asarray((1.0 - self.k) * climatology(f) + self.k * np.asarray(x, dtype=np.float64))

    def learn(self, x: Any, f: Any, y: Any) -> None:
        """Move k along the gradient of the log score of outcomes `y` [R] (0, 1, 2), one after the other.

        x [R,3] are the actions, f [R] the flat shares. What is no outcome, or NaN, teaches nothing.
        """
        actions, outcome = np.atleast_2d(np.asarray(x, dtype=np.float64)), np.atleast_1d(y)
        base = climatology(np.atleast_1d(f))
        known = np.flatnonzero(outcome < base.shape[1])
        at = outcome[known].astype(np.int64)
        gained = np.stack((actions[known, at], base[known, at]), axis=1)
        self.k = calibrate(self.k, gained, RELIABILITY_RATE, RELIABILITY_MAX)
        self.updates += int(np.isfinite(gained[:, 0]).sum())


class Pending(Generic[P]):
    """What an agent needs when the outcome of a request arrives: the newest 512, each handed out once."""

    TRANSIENT: ClassVar[dict[str, Any]] = {"ignored": 0}

    def __init__(self, limit: int = MAX_PENDING) -> None:
        self._limit = limit
        self._held: OrderedDict[str, P] = OrderedDict()
        self.ignored = 0  # feedback for rounds unknown, forgotten or already taken

    def __len__(self) -> int:
        return len(self._held)

    def put(self, round_id: str, payload: P) -> None:
        """Remember `payload`; the oldest beyond the limit is forgotten."""
        self._held[round_id] = payload
        self._held.move_to_end(round_id)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)

    def take(self, round_id: str) -> P | None:
        """Return the payload of a round the first time, None and count it afterwards."""
        if round_id not in self._held:
            self.ignored += 1
            return None
        return self._held.pop(round_id)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()


def resolved(
    symbols: Sequence[str], feedback: PerformanceFeedback
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return of each symbol with an outcome: its row in `symbols`, its row in the feedback, the outcome."""
    outcome = array(feedback.outcome)
    if feedback.symbols == tuple(symbols):  # the usual case: no name is looked up
        at = np.flatnonzero(outcome <= 2)
        return at, at, outcome[at].astype(np.int64)
    rows = {name: row for row, name in enumerate(symbols)}
    found = [(rows[n], i) for i, n in enumerate(feedback.symbols) if n in rows and outcome[i] <= 2]
    row, at = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return row, at, outcome[at].astype(np.int64)


def position_map(s: Any, d: Any, dissent: Any = None) -> U1:
    """Return the action [S] for signals `s` and position signs `d` (agents.md §2.5).

    `dissent` [S] enables HEDGE, which only the board uses. NaN signals hold.
    """
    signal = known_or_zero(np.asarray(s, dtype=np.float64))
    given = np.asarray(d, dtype=np.float64)
    side = np.sign(given if given.shape == signal.shape else np.broadcast_to(given, signal.shape))
    action = np.full(signal.shape, HOLD, dtype=np.uint8)
    flat = side == 0.0
    action[flat & (signal > ENTER)] = BUY
    action[flat & (signal < -ENTER)] = SELL
    if flat.all():
        return action
    along = side * signal
    action[~flat & (along > ENTER)] = INCREASE
    action[~flat & (along < -REDUCE)] = DECREASE
    action[~flat & (along < -ENTER)] = EXIT
    if dissent is not None:
        action[~flat & (np.abs(signal) <= REDUCE) & (np.asarray(dissent) > 0.5)] = HEDGE
    return action


def opinion(
    request: DecisionRequest,
    *,
    agent: str,
    model_version: str,
    x: Any,
    p: Any,
    action: Any,
    abstain: Any,
    backend: str,
    device: str = "cpu",
    qubits: int = 0,
    shots: int = 0,
    contrib: Any = None,
    contrib_names: tuple[str, ...] = (),
    elapsed_ns: int = 0,
) -> Opinion:
    """Build the answer; a row that abstains, or whose `x` or `p` is not finite, says NaN, HOLD, 0."""
    bits = np.array(abstain, dtype=np.uint16)
    beliefs = np.array(p, dtype=np.float64)
    finite = np.isfinite(beliefs).all(axis=1) & np.isfinite(np.asarray(x, dtype=np.float64)).all(axis=1)
    # ACTION_NEEDS_POSITION (1024) is only a mark; a broken row without a reason is an internal error
    silent = (bits & 0x3FF) != 0
    bits[~finite & ~silent] |= INTERNAL_ERROR
    silent |= ~finite
    beliefs[silent] = np.nan
    chosen = np.where(silent, HOLD, np.asarray(action, dtype=np.uint8))
    confidence = np.where(silent, 0.0, np.clip(entropy_confidence(beliefs), 0.0, 1.0))
    explain = request.explain and contrib is not None
    return Opinion(
        round_id=request.round_id,
        agent=agent,
        model_version=model_version,
        asof_ns=request.asof_ns,
        horizon_bars=request.horizon_bars,
        p=column(beliefs),
        actions=ACTIONS,
        action=column(chosen, "u1"),
        confidence=column(confidence),
        abstain=column(bits, "u2"),
        contrib=column(contrib, "f4") if explain else None,
        backend=backend,
        device=device,
        qubits=qubits,
        shots=shots,
        elapsed_ns=elapsed_ns,
        contrib_names=contrib_names if explain else (),
    )
