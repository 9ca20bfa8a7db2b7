"""Other theories of play beside QBMIA's equilibrium: the game with retail, and what is reported."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.agents.evaluation import stages

from qts_agents.evaluation import theories
from qts_agents.evaluation.track import track_of
from qts_agents.kernels.market_game import BUY, KEEP, SELL, SKEW_DOWN, SKEW_UP, TIGHT, WAIT, WIDE
from qts_agents.qbmia import concepts, game
from qts_agents.qbmia.game import Estimates

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
SWAPPED = [SELL, BUY, KEEP, WAIT]
SKEWED = [TIGHT, WIDE, SKEW_DOWN, SKEW_UP]
some = st.floats(0.1, 5.0)
known = st.builds(
    lambda **each: Estimates(**{name: np.array([value]) for name, value in each.items()}),
    drift=st.floats(-9.0, 9.0), error=st.just(0.0), half_spread=some, impact=some, risk=some, fee=some,
    side=st.sampled_from([-1.0, 0.0, 1.0]), retail=st.floats(-1.0, 1.0),
)  # fmt: skip


def mirrored(of: Estimates) -> Estimates:
    return msgspec.structs.replace(of, drift=-of.drift, side=-of.side, retail=-of.retail)


@given(of=known)
@settings(max_examples=100, deadline=None)
def test_beside_its_observed_flow_retail_leaves_the_game_of_two(of: Estimates) -> None:
    """The design's game is the slice in which retail does what it was seen to do."""
    u, w = (side[:, 0] for side in game.payoffs(of, of.drift[:, None]))
    three = game.with_retail(of, of.drift)
    np.testing.assert_allclose(three[:, 0, :, :, KEEP], u, rtol=0, atol=1e-12)
    np.testing.assert_allclose(three[:, 1, :, :, KEEP], w, rtol=0, atol=1e-12)
    assert (three[:, 2, :, :, WAIT] == 0.0).all()


@given(of=known)
@settings(max_examples=100, deadline=None)
def test_the_game_of_three_has_the_markets_mirror(of: Estimates) -> None:
    """Prices inverted: everybody's buying is the other's selling, skews change sides."""
    there, back = game.with_retail(of, of.drift), game.with_retail(mirrored(of), -of.drift)
    turned = back[:, :, SWAPPED][:, :, :, SKEWED][..., SWAPPED]
    np.testing.assert_allclose(there, turned, rtol=0, atol=1e-11)


def test_by_hand() -> None:
    """M = 6, ς = 2, Λ = 1, Γ = 0.3, F = 0.5: a retail buyer behind a trader's order at the tight quote."""
    given_ = {"drift": 6.0, "error": 0.0, "half_spread": 2.0, "impact": 1.0, "risk": 0.3, "fee": 0.5}
    of = Estimates(**{k: np.array([v]) for k, v in (given_ | {"side": 0.0, "retail": 0.0}).items()})
    three = game.with_retail(of, of.drift)[0]
    assert three[2, BUY, TIGHT, BUY] == pytest.approx(6.0 - 1.0 - 0.5 - 2.0 * 0.5 - 0.3)
    assert three[2, WAIT, SKEW_UP, SELL] == pytest.approx(-6.0 - 0.5 - 2.0 * (1.0 - 0.5) - 0.3)
    u, w = (side[0, 0] for side in game.payoffs(of, of.drift[:, None]))
    assert three[0, BUY, WIDE, SELL] == pytest.approx(u[BUY, WIDE] + 1.0)
    assert three[1, BUY, SKEW_UP, BUY] == pytest.approx(w[BUY, SKEW_UP] + 2.0 * 0.5)
    assert three[1, BUY, TIGHT, WAIT] == pytest.approx(w[BUY, TIGHT] - 2.0 * 0.5 * np.e)


def test_what_is_reported() -> None:
    """A strong drift is bought by each theory, sold in the mirror; matching comes near what leaves no gain."""
    of = Estimates(*(np.array([v]) for v in (40.0, 0.0, 1.0, 0.5, 0.3, 0.2, 0.0, 0.1)))
    told = concepts.report(of, [(1, 2)], 7)
    assert tuple(told) == concepts.NAMES
    assert told["quantal_signal"][0] > 0.5, "waiting is worth 19 in 20 of buying"
    assert told["matching_signal"][0] > 0.9
    assert abs(told["matching_gain"][0]) < 0.05
    assert told["replicator_return"][0] < 0.5, "buying is strictly best: the dynamics lead back"
    back = concepts.report(mirrored(of), [(1, 2)], 7)
    assert back["quantal_signal"][0] == pytest.approx(-told["quantal_signal"][0], abs=1e-9)
    assert back["matching_signal"][0] < -0.9


def test_a_repelling_equilibrium_is_told_from_an_attracting_one() -> None:
    """In chicken the mixed equilibrium, of most entropy and so chosen, is left by two populations."""
    u = np.zeros((1, 4, 4))
    u[0, :2, :2] = [[0.0, 0.9], [0.2, 0.6]]
    u[0, 2:] = u[0, :, 2:] = -1.0
    assert concepts._returned(u, u.transpose(0, 2, 1))[0] > 1.0


def test_an_evaluation_compares_them() -> None:
    """On a real stretch every theory is set beside the equilibrium; without history there is nothing to say."""
    heard = stages.lived(stages.euro(stages.BACKFILL + 345))
    track = track_of(heard, stages.settings(), {}, 1.0)
    found = theories.compare(track, stages.settings())
    assert found is not None
    assert found.games == int((track.at >= 319).sum())
    for one in found.others.values():
        assert 0.0 <= one.signal <= 1.0
        assert 0.0 <= one.same_side <= 1.0
    assert 0.0 <= found.repelled <= 1.0
    assert abs(found.matching_gain) < 0.05
    early = msgspec.structs.replace(track, at=track.at[:1])
    assert theories.compare(early, stages.settings()) is None
