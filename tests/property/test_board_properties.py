"""PADS as a whole keeps the laws of agents.md §1.7."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import board_properties as check
from tests.property import markets

from qts_agents.pads.board import decide
from qts_agents.pads.tables import HOLD, NO_QUORUM, NO_SIGNAL, UNKNOWN
from qts_core.sections import PadsSettings

MARKETS, VOTES = st.integers(0, 7), st.integers(0, 2**31)
KEEN = st.sampled_from([0.05, 0.3, 0.8])
MANY = settings(max_examples=100, deadline=None)
FEW = settings(max_examples=3, deadline=None)


@given(
    market=MARKETS,
    votes=VOTES,
    keen=KEEN,
    phase=st.integers(0, UNKNOWN),
    side=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=3, max_size=3),
    stir=st.booleans(),
)
@MANY
def test_the_inverted_market_gets_the_inverted_decision(market, votes, keen, phase, side, stir):
    """1: prices 1/p, flow, votes and positions turned, phase held: BUY for SELL, the rest the same."""
    d, said = np.array(side), check.drawn(votes, 3, keen)
    one = check.told(check.seen(markets.synthetic, market, False), d, phase=phase)
    other = check.told(check.seen(markets.synthetic, market, True), -d, phase=phase)
    if stir:
        one, other = check.stirred(one, votes), check.stirred(other, votes)
    check.check_mirror(decide(said, one, PadsSettings()), decide(check.inverted(said), other, PadsSettings()))


@given(up=st.floats(0.01, 0.49), phase=st.integers(0, UNKNOWN))
@MANY
def test_neutral_votes_on_a_market_that_never_moves_decide_nothing(up, phase):
    """2: constant price, no quotes, no side among the voters: HOLD, and no side in the pool."""
    now = check.unmoved()
    p = np.full((1, 3, 3), [up, 1.0 - 2.0 * up, up])
    made = decide(
        check.ballot(p, np.full((1, 3), HOLD)), check.told(now, np.zeros(1), phase=phase), PadsSettings()
    )
    assert abs(made.signal[0]) <= 1e-9
    assert (made.action[0], made.reason[0], made.size[0]) == (HOLD, NO_SIGNAL, 0.0)


@given(market=MARKETS, phase=st.integers(0, UNKNOWN), side=st.sampled_from([-1.0, 0.0, 1.0]))
@MANY
def test_without_voters_nothing_is_decided(market, phase, side):
    """2: whatever the market does, a board that nobody votes on holds."""
    d = np.full(3, side)
    now = check.told(check.seen(markets.synthetic, market, False), d, phase=phase)
    made = decide(check.ballot(np.full((3, 3, 3), np.nan), np.full((3, 3), HOLD)), now, PadsSettings())
    assert made.action.tolist() == [HOLD] * 3
    assert made.reason.tolist() == [NO_QUORUM] * 3
    assert made.size.tolist() == [0.0] * 3


@given(
    market=MARKETS,
    votes=VOTES,
    price=st.sampled_from([1e-3, 1e3]),
    volume=st.sampled_from([1e-3, 1e3]),
)
@FEW
def test_the_units_of_prices_do_not_matter_to_a_life(market, votes, price, volume):
    """5: prices and volumes times 10^±3: the same decisions, exposures, equity and phases, bar after bar."""
    tape = markets.synthetic(market, bars=480)
    prices = {n: getattr(tape, n) * price for n in ("open", "high", "low", "close")}
    plain = check.life(tape, votes, 480)
    scaled = check.life(tape._replace(volume=tape.volume * volume, **prices), votes, 480)
    assert any(made.size.any() for made, *_ in plain)
    for (a, equity, exposure, held), (b, *rest) in zip(plain, scaled, strict=True):
        assert a.action.tolist() == b.action.tolist()
        np.testing.assert_allclose(a.pool.p, b.pool.p, rtol=0, atol=1e-9)
        np.testing.assert_allclose(a.size, b.size, rtol=0, atol=1e-9)
        np.testing.assert_allclose(a.stop, b.stop, rtol=0, atol=1e-9)
        assert rest[0] == pytest.approx(equity, abs=1e-9)
        np.testing.assert_allclose(exposure, rest[1], rtol=0, atol=1e-9)
        assert held == rest[2]


@given(market=MARKETS, votes=VOTES, first=st.integers(335, 440), bars=st.integers(1, 9))
@FEW
def test_a_gap_is_carried_and_what_stands_in_it_is_not_read(market, votes, first, bars):
    """6: while a symbol's bars are missing nothing turns NaN, and numbers in an invalid bar change nothing."""
    tape, gap = markets.synthetic(market, bars=480), slice(first, first + bars)
    names = ("open", "high", "low", "close", "volume")
    lives = []
    for wrong in (np.nan, 7.0):
        holed = tape._replace(valid=tape.valid.copy(), **{n: getattr(tape, n).copy() for n in names})
        holed.valid[0, gap] = 0
        for name in names:
            getattr(holed, name)[0, gap] *= wrong
        lives.append(check.life(holed, votes, 480))
    for (a, equity, exposure, held), (b, *rest) in zip(*lives, strict=True):
        for name in ("size", "confidence", "stop", "targets", "prospect"):
            assert np.isfinite(getattr(a, name)).all(), name
        assert np.isfinite(a.pool.p).all()
        assert np.isfinite(exposure).all()
        assert np.isfinite(equity)
        assert a.action.tobytes() == b.action.tobytes()
        assert a.size.tobytes() == b.size.tobytes()
        assert (equity, held) == (rest[0], rest[2])


@given(market=MARKETS, votes=VOTES, phase=st.integers(0, UNKNOWN))
@MANY
def test_a_row_that_is_unknown_does_not_touch_the_others(market, votes, phase):
    """6: with indicators and votes of a row missing, its row holds and the others' bits stay."""
    now = check.told(check.seen(markets.synthetic, market, False), np.zeros(3), phase=phase)
    said = check.drawn(votes, 3, 0.5)
    p = said.p.copy()
    p[0] = np.nan
    ind = {name: getattr(now.ind, name).copy() for name in now.ind.__struct_fields__}
    for values in ind.values():
        values[0] = np.nan
    blind = msgspec.structs.replace(now, ind=type(now.ind)(**ind))
    loose = PadsSettings(net_cap=1.0)
    whole, part = decide(said, now, loose), decide(check.ballot(p, said.action), blind, loose)
    assert (part.action[0], part.reason[0], part.size[0]) == (HOLD, NO_QUORUM, 0.0)
    for name in ("action", "confidence", "reason", "veto", "signal", "stop", "targets"):
        assert getattr(whole, name)[1:].tobytes() == getattr(part, name)[1:].tobytes(), name
