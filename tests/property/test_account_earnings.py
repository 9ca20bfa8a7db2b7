"""What feedback says was earned on a decision is what the paper account earned."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.unit.agents.pads_script import Script, system, update

from qts_agents.columns import array
from qts_agents.pads.account import Account, Bar
from qts_agents.pads.margin import Margin
from qts_core.sections import PadsSettings
from qts_messaging.messages import PerformanceFeedback

BACKFILL, EVERY = 330, 10
ENTRY = np.ones(1, bool)


def bars(count: int, S: int, seed: int) -> list[Bar]:
    """Return bars that jump, some of them invalid, some without an open."""
    draw, last, made = np.random.default_rng(seed), np.full(S, 100.0), []
    for t in range(count):
        four = last * np.exp(draw.normal(0.0, 0.05, (4, S)))
        valid = draw.random(S) > 0.1
        four[0] = np.where(draw.random(S) < 0.2, np.nan, four[0])
        cells = (four[0], np.fmax.reduce(four), np.fmin.reduce(four), four[3])
        opened, high, low, close = (np.where(valid, x, np.nan) for x in cells)
        half = np.full(S, 0.0002 * draw.random())
        made.append(Bar(t, opened, high, low, close, np.ones(S), valid, 0.001, half))
        last = np.where(valid, four[3], last)
    return made


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans())
def test_symbols_earn_what_the_account_earns(seed: int, S: int, margined: bool) -> None:
    """After every bar the sum over symbols is the change of the equity, whatever was ordered and hit."""
    account = Account(S, Margin(10.0, 0.5) if margined else None)
    draw, traded = np.random.default_rng(seed + 1), False
    for bar in bars(40, S, seed):
        account.on_bar(bar)
        traded |= bool(account.paid.any())
        assert account.earned().sum() == pytest.approx(account.equity - 1.0, rel=1e-12, abs=1e-14)
        if draw.random() < 0.3:
            targets = np.sort(0.02 + 0.2 * draw.random((S, 3)))
            account.order(draw.normal(0, 0.1, S), draw.random(S) < 0.7, 0.02 + 0.1 * draw.random(S), targets)
    assert traded


def jumping(count: int, S: int, seed: int) -> np.ndarray:
    """Return closes [T,S] that jump by a third in some bars, after the history."""
    draw = np.random.default_rng(seed)
    moves = draw.normal(0.0, 0.001, (count, S))
    jumps = draw.normal(0.0, 0.3, (count, S)) * (draw.random((count, S)) < 0.03)
    jumps[:BACKFILL] = 0.0
    return np.asarray(100.0 * np.exp(np.cumsum(moves + jumps, axis=0)))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**16), st.integers(1, 2), st.sampled_from([0.0, 10.0]))
def test_one_decision_at_a_time_adds_up_to_the_equity(seed: int, S: int, leverage: float) -> None:
    """Σ pnl · equity at the decision is the change of the equity over the run, within 1e-12."""
    pads = PadsSettings(margin_leverage=leverage) if leverage else PadsSettings()

    def say(request: Any, peer: str) -> Any:
        lean = 0.25 if (request.window_seq * 7 + seed) % 3 else -0.25
        return [[0.35 + lean, 0.3, 0.35 - lean]] * S

    script = Script(system(horizon_bars=EVERY, pads=pads), say, ready=False)
    closes = jumping(BACKFILL + 9 * EVERY, S, seed)
    script.bars(closes[: BACKFILL + 1], BACKFILL)
    script.take(script.pads.on_peers(frozenset(system().voters()), script.now))
    script.bars(closes, BACKFILL, start=BACKFILL + 1)  # a round at each tenth bar, the last bar too
    told = script.of(PerformanceFeedback)
    equity = {d.decision_id: d.position.equity for d in script.decisions if d is not None}
    assert len(told) == len(script.decisions) - 1 == 8
    assume(any(array(m.pnl).any() for m in told))  # some markets are never entered
    total = sum(float(array(m.pnl).sum()) * equity[m.decision_id] for m in told)
    account = script.pads._desk.account  # type: ignore[union-attr]
    assert total == pytest.approx(account.equity - 1.0, rel=1e-12, abs=1e-14)
    whole = np.prod([1.0 + float(array(m.pnl).sum()) for m in told])
    assert whole == pytest.approx(account.equity, rel=1e-12)


def test_a_stop_and_the_costs_of_leaving_are_in_what_was_earned() -> None:
    """Bought and stopped out the next bar: the loss is that of the stop with both trades' costs, no more."""
    script = Script(system(horizon_bars=EVERY), lambda request, peer: [[0.6, 0.3, 0.1]], ready=False)
    closes = np.full((BACKFILL + 2 * EVERY, 1), 100.0)
    closes[:, 0] *= np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.001, len(closes))))
    at = BACKFILL + EVERY - 1
    closes[at + 2 :] *= 0.5  # the bar after the fill: its range reaches from the close before to the half
    script.bars(closes[: BACKFILL + 1], BACKFILL)
    script.take(script.pads.on_peers(frozenset(system().voters()), script.now))
    script.bars(closes, BACKFILL, start=BACKFILL + 1)
    decision, told = script.decisions[0], script.of(PerformanceFeedback)[0]
    assert decision is not None
    assert decision.actions[array(decision.action)[0]] == "BUY"
    size, stop = array(decision.size)[0], array(decision.stop)[0]
    cost = 0.0001 + 0.00005  # a side
    paid = update(closes, at + 1)
    assert array(paid.open)[0, 0] == closes[at, 0]
    expected = size * (-stop - cost - (1.0 - stop) * cost)
    assert array(told.pnl)[0] == pytest.approx(expected, rel=1e-9)
    assert array(told.ret)[0] < -0.6  # the market fell further than the stop
    assert msgspec.msgpack.encode(told)
