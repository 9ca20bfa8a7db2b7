"""The hedge symbol over rounds: what a desk holds in it while a position is hedged, and after."""

import msgspec
import numpy as np
import pytest
from tests.unit.agents.board_script import ballot, calm, said
from tests.unit.agents.pads_script import EVEN, Script, always, system, walk

from qts_agents.pads.account import Bar
from qts_agents.pads.tables import UNKNOWN
from qts_core.sections import PadsSettings


def desk_of_two():
    """Return a desk that holds 2 % of the first symbol and none of the second, which is its hedge."""
    script = Script(system(pads=PadsSettings(hedge_symbol="S1")), always(EVEN))
    desk = script.bars(walk(240, S=2, seed=4), 240).pads._desk
    desk.account.qty[0] = 0.02 / desk.account.price[0]
    desk.account.cash = 0.98
    desk._entered[0] = desk.bars
    return desk


def decided(desk, tail=(0.6, 0.0)):
    """Decide with tails [S], fill at the price of now, and return the exposure then."""
    ind = calm(2, tail=np.array(tail))
    now = msgspec.structs.replace(desk.situation(0), phase=UNKNOWN, ind=ind)
    desk.decide(ballot(said(0.335), S=2), now, ("decision", "round", 0))
    price, ones = desk.account.price, np.ones(2)
    desk.account.on_bar(Bar(1, price, price, price, price, ones, ones > 0, 0.0, 0.0 * ones))
    return desk.account.exposure()


def test_a_hedge_is_built_once_and_goes_with_what_it_stands_against():
    """Round after round HEDGE: half is offset, no more. The position is stopped out: so is the hedge."""
    desk = desk_of_two()
    for _ in range(5):
        assert decided(desk) == pytest.approx([0.02, -0.01])
    assert decided(desk, (0.0, 0.0)) == pytest.approx([0.02, -0.01])
    desk.account.qty[0] = 0.0
    assert decided(desk, (0.0, 0.0)).tolist() == [0.0, 0.0]
