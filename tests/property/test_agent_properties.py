"""Every voter passes the common properties, on synthetic markets and on real EUR/USD hours."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property import agent_properties as check
from tests.property import markets

FEW = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEEDS = st.integers(0, 10_000)
ALL = pytest.mark.parametrize(
    "make",
    [pytest.param(check.maker(entry, more), id=name) for name, entry, _, more in check.VOTERS_UNDER_TEST],
)
SEEDED = pytest.mark.parametrize(
    ("make", "changed"),
    [
        pytest.param(check.maker(entry, always), seeded, id=name)
        for name, entry, seeded, always in check.VOTERS_UNDER_TEST
        if seeded is not None  # one that draws nothing has no seed
    ],
)


@ALL
@given(seed=SEEDS, d=st.sampled_from([0.0, 1.0, -1.0]))
@FEW
def test_the_inverted_market_gives_the_inverted_answer(make, seed, d):
    """Prices 1/p, flow and position negated: up and down swap within 1e-9, BUY and SELL too."""
    check.check_mirror(make, markets.synthetic(seed), 600, d=d)


@ALL
@pytest.mark.parametrize("start", [0, 2500, 5000])
def test_the_inverted_euro_gives_the_inverted_answer(make, start):
    """The same on real bars."""
    check.check_mirror(make, markets.eurusd(start), 600)


@ALL
def test_learning_on_the_inverted_market_mirrors(make):
    """The same after 1,000 bars of learning."""
    check.check_mirror(make, markets.eurusd(1000, 1600), 1400, trained_from=400)


@ALL
def test_a_market_that_never_moves_has_no_side(make):
    """Constant price, no quotes, fresh state: HOLD without confidence."""
    check.check_neutral(make)


@SEEDED
def test_the_seed_decides_every_draw(make, changed):
    """Equal seeds, equal bytes; another seed, another draw."""
    check.check_seed(make, markets.synthetic(3), changed)


@ALL
@given(seed=SEEDS, t=st.integers(540, 650))
@FEW
def test_what_lies_far_back_does_not_matter(make, seed, t):
    """Bars more than 320 back leave every output bit-identical."""
    check.check_no_look_back(make, markets.synthetic(seed), t)


@ALL
@given(seed=SEEDS, price=st.sampled_from([1e-3, 1e3]), volume=st.sampled_from([1e-3, 1e3]))
@FEW
def test_units_do_not_matter(make, seed, price, volume):
    """Price and volume times 10^±3: the same answer within 1e-9."""
    check.check_scale(make, markets.synthetic(seed), 600, price, volume)


@ALL
def test_a_broken_row_abstains_alone(make):
    """NaN, gap, short or stale: the right bit in that row, no change in the others."""
    check.check_gaps(make, markets.synthetic(11), 600)


@ALL
def test_an_answer_after_the_deadline_is_none(make):
    """The bit follows from the request and the time of the answer alone."""
    check.check_deadline(make, markets.synthetic(11), 600)


@ALL
def test_a_silent_feed_is_no_market(make):
    """Rows abstain while no bar has arrived for five intervals."""
    check.check_silence(make, markets.synthetic(11), 600)


@ALL
def test_a_short_gap_is_no_reason_to_abstain(make):
    """Two missing bars leave finite numbers."""
    check.check_short_gap(make, markets.synthetic(12), 600)


@ALL
@given(seed=SEEDS)
@FEW
def test_a_batch_is_a_loop(make, seed):
    """Rows do not see each other; their order does not matter."""
    check.check_batch(make, markets.synthetic(seed, symbols=4), 600)


@ALL
def test_state_survives_a_restart(make):
    """Save and load give the same next answer; feedback counts once; a foreign state is refused."""
    check.check_state(make, markets.synthetic(7))


@ALL
def test_nothing_is_learned_from_random_outcomes(make):
    """No log score better than climatology at the 5 % level."""
    check.check_null(make, markets.synthetic(21, bars=1500), 400, 1200)
