"""The common properties of agents.md §1.7 as reusable checks, parametrised over an agent factory.

Every check takes a factory `make(**settings) -> Voter` and raises AssertionError. Add an agent by a line in
`VOTERS_UNDER_TEST`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from tests.property.markets import (
    Tape,
    ask,
    constant,
    feedback,
    mirrored,
    now,
    request,
    train,
    update,
    whole_market,
    window,
)

from qts_agents.agent import DEADLINE, GAP, NAN, NO_DATA, SHORT_WINDOW, STALE_WINDOW, Voter
from qts_agents.columns import array
from qts_core.errors import ConfigError
from qts_core.spec import SYSTEM
from qts_messaging.messages import ACTIONS
from qts_messaging.records import Opinion

SOCIETY: dict[str, Any] = {"quantum_amos": {"society": 4}}
#: name, factory, settings under which the seed must matter (None: it draws nothing), settings in every test
VOTERS_UNDER_TEST: tuple[tuple[str, str, dict[str, Any] | None, dict[str, Any]], ...] = (
    ("qbmia", "qts_agents.qbmia.agent:Qbmia", {}, {}),
    ("quasar", "qts_agents.quasar.agent:Quasar", {}, {}),
    ("prediction", "qts_agents.prediction.agent:Prediction", None, {}),
    ("quantum_amos", "qts_agents.amos.agent:Amos", {"quantum_amos": {"shots": 256}}, {}),
    ("society", "qts_agents.amos.agent:Amos", {"quantum_amos": {"shots": 256, "society": 4}}, SOCIETY),
)
BUY, SELL, HOLD = (ACTIONS.index(name) for name in ("BUY", "SELL", "HOLD"))
Make = Callable[..., Voter]


def maker(entry: str, always: dict[str, Any]) -> Make:
    """Return a factory that takes settings of System by name."""
    module, _, name = entry.partition(":")
    cls = getattr(importlib.import_module(module), name)

    def make(**settings: Any) -> Voter:
        return cls(msgspec.convert(always | settings, SYSTEM))

    return make


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


def check_no_look_back(make: Make, tape: Tape, t: int) -> None:
    """4: what lies more than 320 bars back changes nothing.

    What comes after bar t is not in the window at all; the one place where an agent cuts a window that knows
    more is QUASAR's learning of a snapshot (`test_a_snapshot_of_many_bars_equals_bars_one_by_one`).
    """
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
    for seen, bit in ((None, NO_DATA), (window(tape, t - 1), STALE_WINDOW)):
        answer = make().on_request(asked, seen, now(t))
        assert (array(answer.abstain) & bit).all()
        assert np.isnan(array(answer.p)).all()
        assert array(answer.p).shape == (len(tape.symbols), 3)


def check_deadline(make: Make, tape: Tape, t: int) -> None:
    """6: who comes to answer after the deadline abstains; until then it changes nothing."""
    free = ask(make(), tape, t)
    at_last = ask(make(), tape, t, deadline_ns=now(t))
    assert not (array(free.abstain) & DEADLINE).any()
    assert msgspec.msgpack.encode(at_last) == msgspec.msgpack.encode(free)
    one, other = (ask(make(), tape, t, deadline_ns=now(t) - 1) for _ in range(2))
    assert (array(one.abstain) & DEADLINE).all()
    assert np.isnan(array(one.p)).all()
    assert (array(one.action) == HOLD).all()
    assert (array(one.confidence) == 0.0).all()
    assert msgspec.msgpack.encode(one) == msgspec.msgpack.encode(other)


def check_silence(make: Make, tape: Tape, t: int) -> None:
    """6: no bar for longer than five times the second that one takes: every row abstains; not before the first."""
    agent, view, asked = make(), window(tape, t), request(tape.symbols, t)
    first = agent.on_request(asked, view, now(t) + 10**12)
    assert not (array(first.abstain) & STALE_WINDOW).any()
    agent.on_bars(update(tape, t), view, now(t))
    for late_ns, stale in ((5 * 10**9, False), (5 * 10**9 + 1, True)):
        answer = agent.on_request(asked, view, now(t) + late_ns)
        assert (array(answer.abstain) & STALE_WINDOW).astype(bool).tolist() == [stale] * len(tape.symbols)


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
