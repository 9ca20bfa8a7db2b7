"""The common properties of agents.md §1.7 as reusable checks, parametrised over an agent factory.

A `Tape` is a market; `window`, `update` and `ask` are what the runtime would do with it. Every check takes a
factory `make(**settings) -> Voter` and raises AssertionError. Add an agent by a line in `VOTERS_UNDER_TEST`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qts_agents.agent import GAP, NAN, NO_DATA, SHORT_WINDOW, STALE_WINDOW, MarketWindow, Voter
from qts_agents.columns import array, column
from qts_agents.kernels import outcomes
from qts_core.errors import ConfigError
from qts_core.spec import SYSTEM
from qts_messaging.messages import (
    ACTIONS,
    DecisionRequest,
    MarketUpdate,
    Opinion,
    PerformanceFeedback,
    Position,
)

#: wire name, factory, settings under which the seed must matter
VOTERS_UNDER_TEST: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("qbmia", "qts_agents.qbmia.agent:Qbmia", {}),
    ("quasar", "qts_agents.quasar.agent:Quasar", {}),
    ("quantum_amos", "qts_agents.amos.agent:Amos", {"quantum_amos": {"shots": 256}}),
)
HORIZON, EVERY, LENGTH = 30, 10, 512
MINUTE_NS = 60_000_000_000
BUY, SELL, HOLD = (ACTIONS.index(name) for name in ("BUY", "SELL", "HOLD"))
DATA = "agents/src/qts_agents/market/data/eurusd_1h.csv.gz"
Make = Callable[..., Voter]


def maker(entry: str) -> Make:
    """Return a factory that takes settings of System by name."""
    module, _, name = entry.partition(":")
    cls = getattr(importlib.import_module(module), name)

    def make(**settings: Any) -> Voter:
        import msgspec

        return cls(msgspec.convert(settings, SYSTEM))

    return make


class Tape(NamedTuple):
    """Bars and quotes of S symbols, all [S,T]."""

    symbols: tuple[str, ...]
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    spread: np.ndarray
    imbalance: np.ndarray
    valid: np.ndarray

    def pick(self, rows: list[int]) -> Tape:
        """Return the rows in this order."""
        return Tape(tuple(self.symbols[r] for r in rows), *(column_[rows] for column_ in self[1:]))


def synthetic(seed: int, symbols: int = 3, bars: int = 700, quotes: bool = True) -> Tape:
    """Return a market with changing volatility, some drift, jumps, and quotes if wanted."""
    rng = np.random.default_rng(seed)
    shape = (symbols, bars)
    sigma = 1e-3 * np.exp(np.cumsum(rng.normal(0, 0.05, shape), axis=1) * 0.3)
    r = sigma * rng.standard_normal(shape) + 2e-4 * np.sin(
        np.arange(bars) / 90.0 + rng.uniform(0, 6, (symbols, 1))
    )
    r += (rng.random(shape) < 0.004) * rng.normal(0, 0.01, shape)
    close = 50.0 * np.exp(np.cumsum(r, axis=1)) * rng.uniform(0.1, 10, (symbols, 1))
    opened = np.concatenate([close[:, :1], close[:, :-1]], axis=1) * np.exp(
        0.1 * sigma * rng.standard_normal(shape)
    )
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    spread = 2e-4 * np.exp(0.2 * rng.standard_normal(shape)) if quotes else np.full(shape, np.nan)
    lean = np.clip(0.3 * rng.standard_normal(shape), -1, 1) if quotes else np.full(shape, np.nan)
    return Tape(
        symbols=tuple(f"S{i}" for i in range(symbols)),
        open=opened,
        high=top * np.exp(0.5 * sigma * rng.random(shape)),
        low=bottom * np.exp(-0.5 * sigma * rng.random(shape)),
        close=close,
        volume=np.exp(8 + 0.4 * rng.standard_normal(shape)),
        spread=spread,
        imbalance=lean,
        valid=np.ones(shape, np.uint8),
    )


def eurusd(start: int, bars: int = 700) -> Tape:
    """Return a slice of the packaged EUR/USD hours."""
    frame = pd.read_csv(DATA).iloc[start : start + bars]
    prices = [
        frame[name].to_numpy(np.float64)[None].copy() for name in ("open", "high", "low", "close", "volume")
    ]
    unknown = np.full(prices[0].shape, np.nan)
    return Tape(("EURUSD",), *prices, unknown, unknown.copy(), np.ones(prices[0].shape, np.uint8))


def mirrored(tape: Tape) -> Tape:
    """Return the market seen from the other currency: prices inverted, order flow negated."""
    return tape._replace(
        open=1 / tape.open,
        high=1 / tape.low,
        low=1 / tape.high,
        close=1 / tape.close,
        imbalance=-tape.imbalance,
    )


def constant(bars: int = 600) -> Tape:
    """Return a market that never moves and has no quotes."""
    one, unknown = np.full((1, bars), 7.0), np.full((1, bars), np.nan)
    return Tape(("FLAT",), one, one, one, one, one * 100, unknown, unknown, np.ones((1, bars), np.uint8))


def window(tape: Tape, t: int, length: int = LENGTH, market_ret: np.ndarray | None = None) -> MarketWindow:
    """Return the window as it is when bar `t` has closed."""
    part = slice(max(0, t + 1 - length), t + 1)
    cut = {
        n: np.ascontiguousarray(getattr(tape, n)[:, part]) for n in ("open", "high", "low", "close", "volume")
    }
    for values in cut.values():
        values.setflags(write=False)
    return MarketWindow(
        symbols=tape.symbols,
        window_seq=t,
        asof_ns=(t + 1) * MINUTE_NS,
        bar_s=60.0,
        close_ns=(np.arange(part.start, t + 1) + 1) * MINUTE_NS,
        valid=np.ascontiguousarray(tape.valid[:, part]),
        spread=tape.spread[:, t].copy(),
        imbalance=tape.imbalance[:, t].copy(),
        depth=np.full(len(tape.symbols), np.nan),
        fee=2e-5,
        spread_assumed=6e-5,
        market_ret=(whole_market(tape) if market_ret is None else market_ret)[part],
        **cut,
    )


def whole_market(tape: Tape) -> np.ndarray:
    """Return the mean return of all symbols, as the feed computes it once."""
    ret = np.zeros(tape.close.shape)
    ret[:, 1:] = np.diff(np.log(tape.close), axis=1)
    return np.nanmean(ret, axis=0)


def update(tape: Tape, t: int) -> MarketUpdate:
    """Return bar `t` as the feed sends it."""
    one = {n: column(getattr(tape, n)[:, t : t + 1]) for n in ("open", "high", "low", "close", "volume")}
    return MarketUpdate(
        seq=t,
        kind="delta",
        source="test",
        asof_ns=(t + 1) * MINUTE_NS,
        bar_s=60.0,
        symbols=tape.symbols,
        close_ns=column(np.array([(t + 1) * MINUTE_NS]), "i8"),
        valid=column(tape.valid[:, t : t + 1], "u1"),
        spread=column(tape.spread[:, t]),
        imbalance=column(tape.imbalance[:, t]),
        depth=column(np.full(len(tape.symbols), np.nan)),
        fee=2e-5,
        spread_assumed=6e-5,
        market_ret=column(whole_market(tape)[t : t + 1]),
        **one,
    )


def request(symbols: tuple[str, ...], t: int, d: Any = 0.0, **more: Any) -> DecisionRequest:
    """Return PADS' question about bar `t`; `d` is the side of each position."""
    qty = np.broadcast_to(np.asarray(d, np.float64), (len(symbols),))
    unknown = column(np.full(len(symbols), np.nan))
    position = Position(
        qty=column(qty),
        entry_px=unknown,
        stop_px=unknown,
        opened_ns=column(np.zeros(len(symbols)), "i8"),
        unrealised=column(np.zeros(len(symbols))),
        liquidation_risk=unknown,
        equity=1.0,
        peak_equity=1.0,
    )
    fields: dict[str, Any] = {
        "round_id": f"round-{t}",
        "phase": "growth",
        "phase_scores": (0.4, 0.3, 0.2, 0.1),
        "meso": (0.5, 0.5, 0.5, 0.2),
        "psi": 1.0,
        "flat_share": column(np.full(len(symbols), 1.0 / 3.0)),
        "horizon_bars": HORIZON,
        "explain": True,
    }
    return DecisionRequest(
        window_seq=t, asof_ns=(t + 1) * MINUTE_NS, symbols=symbols, position=position, **(fields | more)
    )


def now(t: int) -> int:
    """Return the wall time at which bar `t` arrives: one second a bar."""
    return (t + 1) * 1_000_000_000


def ask(agent: Voter, tape: Tape, t: int, d: Any = 0.0, **more: Any) -> Opinion:
    """Return the agent's answer about bar `t`."""
    length = more.pop("length", LENGTH)
    view = window(tape, t, length, more.pop("market_ret", None))
    return agent.on_request(request(tape.symbols, t, d, **more), view, now(t))


def feedback(tape: Tape, t: int, outcome: np.ndarray | None = None) -> PerformanceFeedback:
    """Return what became of the decision about bar `t`; `outcome` replaces the true one."""
    view = window(tape, t)
    R = np.log(tape.close[:, t + HORIZON] / tape.open[:, t + 1])
    sigma = np.nan_to_num(np.std(np.diff(np.log(view.close[:, -101:]), axis=1), axis=1, ddof=1))
    cost = outcomes.costs(view)
    y = outcomes.classify(R, outcomes.band(cost, sigma, HORIZON)) if outcome is None else outcome
    nothing = column(np.zeros((len(tape.symbols), 0)))
    return PerformanceFeedback(
        decision_id=f"decision-{t}",
        round_id=f"round-{t}",
        asof_ns=(t + 1) * MINUTE_NS,
        symbols=tape.symbols,
        outcome=column(y, "u1"),
        ret=column(R),
        cost=column(cost),
        pnl=column(np.zeros(len(R))),
        seats=(),
        log_score=nothing,
        marginal=nothing,
    )


def train(
    agent: Voter, tape: Tape, first: int, last: int, shuffle: np.random.Generator | None = None
) -> list[Any]:
    """Let the agent live through bars first…last: bars, a question every 10th, outcomes; return (p, y) pairs."""
    seen = []
    answers: dict[int, Opinion] = {}
    for t in range(first, last):
        agent.on_bars(update(tape, t), window(tape, t), now(t))
        if t - HORIZON in answers:
            told = feedback(tape, t - HORIZON)
            y = array(told.outcome).copy()
            if shuffle is not None:
                y = shuffle.integers(0, 3, len(y)).astype(np.uint8)
                told = feedback(tape, t - HORIZON, y)
            agent.on_feedback(told, now(t))
            seen.append((array(answers[t - HORIZON].p), y))
        if t % EVERY == 0:
            answers[t] = ask(agent, tape, t)
    return seen


def same(a: Opinion, b: Opinion) -> bool:
    """Tell whether two answers are equal to the bit, but for the time they took."""
    fields = ("p", "action", "confidence", "abstain", "contrib", "backend", "qubits")
    return all(getattr(a, name) == getattr(b, name) for name in fields)


def check_mirror(make: Make, tape: Tape, t: int, trained_from: int | None = None, d: float = 0.0) -> None:
    """1: the inverted market gives the inverted answer, also after training on it."""
    one, other = make(), make()
    flipped = mirrored(tape)
    if trained_from is not None:
        train(one, tape, trained_from, t)
        train(other, flipped, trained_from, t)
    a, b = ask(one, tape, t, d), ask(other, flipped, t, -d)
    assert not array(a.abstain).any(), "the check needs an answer"
    np.testing.assert_allclose(array(a.p), array(b.p)[:, ::-1], rtol=0, atol=1e-9)
    swap = {BUY: SELL, SELL: BUY}
    assert array(a.action).tolist() == [swap.get(x, x) for x in array(b.action).tolist()]


def check_neutral(make: Make) -> None:
    """2: a market that never moves gives no side and no confidence."""
    answer = ask(make(), constant(), 550)
    p = array(answer.p)
    if array(answer.abstain).any():
        assert np.isnan(p).all()
        assert array(answer.action).tolist() == [HOLD]
        return
    assert abs(p[0, 0] - p[0, 2]) <= 1e-9
    assert array(answer.action).tolist() == [HOLD]
    assert array(answer.confidence)[0] <= 0.10


def check_seed(make: Make, tape: Tape, settings: dict[str, Any]) -> None:
    """3: equal seeds give equal bytes; another seed changes something."""

    def life(seed: int) -> tuple[bytes, Opinion]:
        agent = make(system_seed=seed, **settings)
        train(agent, tape, 400, 480)
        return agent.save(), ask(agent, tape, 480)

    first, again, other = life(1), life(1), life(2)
    assert first[0] == again[0]
    assert same(first[1], again[1])
    assert first[0] != other[0] or not same(first[1], other[1])


def check_no_look_ahead(make: Make, tape: Tape, t: int) -> None:
    """4: what comes after bar t, and what lies more than 320 bars back, changes nothing."""
    other = tape._replace(**{n: getattr(tape, n).copy() for n in ("open", "high", "low", "close", "volume")})
    for name in ("open", "high", "low", "close", "volume"):
        getattr(other, name)[:, t + 1 :] *= 3.0
    one, two = make(), make()
    known = whole_market(tape)
    for agent, market in ((one, tape), (two, other)):
        for bar in range(t - 60, t + 1):
            agent.on_bars(update(market, bar), window(market, bar), now(bar))
    assert same(ask(one, tape, t, market_ret=known), ask(two, other, t, market_ret=known))
    assert same(ask(make(), tape, t), ask(make(), tape, t, length=320))


def check_scale(make: Make, tape: Tape, t: int, price: float, volume: float) -> None:
    """5: the units of price and volume do not matter."""
    prices = {n: getattr(tape, n) * price for n in ("open", "high", "low", "close")}
    a, b = ask(make(), tape, t), ask(make(), tape._replace(volume=tape.volume * volume, **prices), t)
    np.testing.assert_allclose(array(a.p), array(b.p), rtol=0, atol=1e-9)
    assert array(a.action).tolist() == array(b.action).tolist()


def check_gaps(make: Make, tape: Tape, t: int) -> None:
    """6: a row with a gap or a NaN abstains with its bit; the others do not notice."""
    known = whole_market(tape)
    whole = ask(make(), tape, t, market_ret=known)
    for bit, spoil in ((GAP, _last_bar), (GAP, _long_gap), (NAN, _not_a_number), (NAN, _negative)):
        broken = tape._replace(close=tape.close.copy(), valid=tape.valid.copy())
        spoil(broken, t)
        answer = ask(make(), broken, t, market_ret=known)
        assert array(answer.abstain)[0] & bit, spoil.__name__
        assert np.isnan(array(answer.p)[0]).all()
        assert array(answer.action)[0] == HOLD
        assert array(answer.confidence)[0] == 0.0
        assert array(answer.p)[1:].tobytes() == array(whole.p)[1:].tobytes()
        assert array(answer.action)[1:].tolist() == array(whole.action)[1:].tolist()
    assert (array(ask(make(), tape, 200).abstain) & SHORT_WINDOW).all()
    asked = request(tape.symbols, t)
    assert (array(make().on_request(asked, None, now(t)).abstain) & NO_DATA).all()
    assert (array(make().on_request(asked, window(tape, t - 1), now(t)).abstain) & STALE_WINDOW).all()


def _last_bar(tape: Tape, t: int) -> None:
    tape.valid[0, t] = 0
    tape.close[0, t] = np.nan


def _long_gap(tape: Tape, t: int) -> None:
    tape.valid[0, t - 9 : t - 5] = 0
    tape.close[0, t - 9 : t - 5] = np.nan


def _not_a_number(tape: Tape, t: int) -> None:
    tape.close[0, t - 100] = np.nan


def _negative(tape: Tape, t: int) -> None:
    tape.close[0, t - 100] = -1.0


def check_short_gap(make: Make, tape: Tape, t: int) -> None:
    """6: two missing bars in the past are no reason to abstain, and leave no NaN behind."""
    holed = tape._replace(
        valid=tape.valid.copy(), **{n: getattr(tape, n).copy() for n in ("open", "close", "volume")}
    )
    holed.valid[0, t - 40 : t - 38] = 0
    for name in ("open", "close", "volume"):
        getattr(holed, name)[0, t - 40 : t - 38] = np.nan
    answer = ask(make(), holed, t, market_ret=whole_market(tape))
    assert array(answer.abstain).tolist() == [0] * len(tape.symbols)
    assert np.isfinite(array(answer.p)).all()


def check_batch(make: Make, tape: Tape, t: int) -> None:
    """7: a batch is a loop over its rows, to the bit, in any order."""
    known, count = whole_market(tape), len(tape.symbols)
    side = np.array([0.0, 1.0, -1.0] * count)[:count]
    batch = array(ask(make(), tape, t, side, market_ret=known).p)
    order = list(range(count))[::-1]
    turned = array(ask(make(), tape.pick(order), t, side[order], market_ret=known).p)
    assert turned.tobytes() == np.ascontiguousarray(batch[order]).tobytes()
    for row in range(count):
        single = ask(make(), tape.pick([row]), t, side[[row]], market_ret=known)
        assert array(single.p)[0].tobytes() == batch[row].tobytes()


def check_state(make: Make, tape: Tape) -> None:
    """8: save → load → same answers; feedback twice counts once; the size is bounded; versions are checked."""
    agent = make()
    train(agent, tape, 400, 520)
    told = feedback(tape, 490)
    agent.on_feedback(told, now(521))
    once = agent.save()
    agent.on_feedback(told, now(521))
    assert once == agent.save()
    assert len(once) <= 64 * 2**20
    restored = make()
    restored.load(once)
    assert restored.save() == once
    assert same(ask(agent, tape, 520), ask(restored, tape, 520))
    import msgspec

    for bad in (msgspec.msgpack.encode({"version": 999}), b"\xc1"):
        try:
            make().load(bad)
        except ConfigError:
            continue
        raise AssertionError("a state of another version, or damaged, must be refused")


def check_null(make: Make, tape: Tape, first: int, last: int) -> None:
    """9: with outcomes drawn at random the agent's log score does not beat the climatology's."""
    seen = train(make(), tape, first, last, np.random.default_rng(5))
    gain = np.concatenate([np.log(p[np.arange(len(y)), y] * 3.0) for p, y in seen])
    gain = gain[np.isfinite(gain)]
    assert len(gain) >= 60
    assert gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain))) < 1.645
