"""The veto: each bit has its cause and its number, and what they hold back (agents.md §2.5)."""

import math

import numpy as np
import pytest

from qts_agents.pads import veto

QUIET = np.tile([0.001, -0.001, -0.001, 0.001], (1, 30))
CALM = {"tail": 0.3, "volatility": 0.5, "ews": 0.5, "illiquidity": 0.3, "af": 0.5}
MASKED = dict.fromkeys(CALM, math.nan)
EVEN = np.ones((1, 10))


def caution(returns=QUIET, volume=EVEN, **changes):
    cells = {name: np.array([value]) for name, value in (CALM | changes).items()}
    return veto.Caution(returns=returns, volume=volume, **cells)


def returns_with(**parts):
    """Return the quiet returns with e.g. `b20_10` = from 20 bars ago to 10 bars ago replaced."""
    r = QUIET.copy()
    for place, values in parts.items():
        first, last = (int(x) for x in place[1:].split("_"))
        r[0, r.shape[1] - first : r.shape[1] - last] = values
    return r


def solved(function, wanted, low, high):
    """Return x between low and high where the rising `function` is `wanted`."""
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if function(middle) < wanted else (low, middle)
    return high


def unit(values):
    """Return the values with mean 0 and sample deviation 1."""
    centred = values - values.mean()
    return centred / centred.std(ddof=1)


def rho(r):
    """Lag-1 autocorrelation (§1.8)."""
    x = r - r.mean()
    return float((x[1:] * x[:-1]).sum() / (x * x).sum())


SPIKY, SMOOTH = unit(np.tile([1.0, -1.0], 10)), unit(np.repeat([1.0, -1.0], 10))


def correlated(wanted):
    """Return 20 returns of deviation 1 with this autocorrelation."""

    def mix(share):
        return unit(share * SMOOTH + (1.0 - share) * SPIKY)

    return mix(solved(lambda share: rho(mix(share)), wanted, 0.0, 1.0))


def dry(share):
    five = np.array([6.0, 1.0, 1.0, 1.0, 1.0])
    return caution(volume=np.concatenate((five, share * five))[None])


def shock(sigmas, bars_ago=1):
    before = QUIET[0, -25:-5].std(ddof=1)
    return caution(returns_with(**{f"b{bars_ago}_{bars_ago - 1}": sigmas * before}))


def broken(ratio, change):
    """σ₂₀ `ratio` times that of 20 bars ago, ρ₁,₂₀ higher by `change`."""
    then, now = 0.001 * correlated(-0.3), 0.001 * ratio * correlated(-0.3 + change)
    return caution(returns_with(b40_20=then, b20_0=now))


def grown(ratio):
    ten = unit(np.tile([1.0, -1.0], 5))
    return caution(returns_with(b20_10=0.001 * ten, b10_0=0.001 * ratio * ten))


def whipped(first, second):
    """Two 10-bar moves of `first` and `second` σ₁₀₀√10."""
    r = QUIET
    for _ in range(200):  # σ₁₀₀ holds the moves themselves
        unit_move = r[0, -100:].std(ddof=1) / math.sqrt(10.0)
        r = returns_with(b20_10=first * unit_move, b10_0=second * unit_move)
    return caution(r)


UP = math.inf
VOL = (0.7 / 0.8 - 0.7) / 0.3  # the volatility at which AF 0.2 is fragile
EDGES = [
    (veto.VOLUME_DRY, dry(0.5), dry(0.499)),
    (veto.SHOCK, shock(3.999), shock(4.001)),
    (veto.SHOCK, shock(-3.999), shock(-4.001)),
    (veto.SHOCK, shock(100.0, bars_ago=6), shock(4.001, bars_ago=5)),
    (veto.VOLATILITY_BREAK, broken(1.999, 0.6), broken(2.001, 0.6)),
    (veto.VOLATILITY_BREAK, broken(0.501, 0.6), broken(0.499, 0.6)),
    (veto.VOLATILITY_BREAK, broken(3.0, 0.499), broken(3.0, 0.501)),
    (veto.VOLATILITY_BREAK, broken(0.3, 0.499), broken(0.3, 0.501)),
    (veto.VOLATILITY_DOUBLED, grown(1.999), grown(2.001)),
    (veto.WHIPSAW, whipped(1.499, -2.0), whipped(1.501, -2.0)),
    (veto.WHIPSAW, whipped(-2.0, 1.499), whipped(-2.0, 1.501)),
    (veto.WHIPSAW, whipped(2.0, 2.0), whipped(2.0, -2.0)),
    (veto.TAIL, caution(tail=0.7), caution(tail=np.nextafter(0.7, UP))),
    (veto.FRAGILE, caution(af=0.2, volatility=VOL - 1e-6), caution(af=0.2, volatility=VOL + 1e-6)),
    (veto.FRAGILE, caution(af=0.3 + 1e-6, volatility=1.0), caution(af=0.3 - 1e-6, volatility=1.0)),
    (veto.FRAGILE, caution(af=1e-6, volatility=0.0), caution(af=0.0, volatility=1e-6)),
    (veto.EARLY_WARNING, caution(ews=0.9), caution(ews=np.nextafter(0.9, UP))),
    (veto.ILLIQUID, caution(illiquidity=0.8), caution(illiquidity=np.nextafter(0.8, UP))),
]


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(("bit", "inside", "outside"), EDGES)
def test_each_limit_is_where_the_design_puts_it(bit, inside, outside):
    """Just inside its limit a bit is not set, just outside it is."""
    assert not veto.market_bits(inside)[0] & bit
    assert veto.market_bits(outside)[0] & bit


@pytest.mark.usefixtures("either")
def test_a_quiet_market_sets_no_bit_and_a_masked_value_none():
    """Neither ordinary values nor unknown ones."""
    assert veto.market_bits(caution())[0] == 0
    assert veto.market_bits(caution(**MASKED))[0] == 0


@pytest.mark.usefixtures("either")
def test_a_market_at_all_limits_sets_no_bit():
    """What lies just inside every limit at once is no reason to hold back."""
    at = {"tail": 0.7, "ews": 0.9, "illiquidity": 0.8, "af": 0.3 + 1e-6, "volatility": 1.0}
    assert veto.market_bits(caution(shock(3.999).returns, dry(0.5).volume, **at))[0] == 0


def test_veto_bits_have_the_numbers_of_the_design():
    """Bits 1 to 1024 in the order of the text."""
    bits = [
        veto.VOLUME_DRY,
        veto.SHOCK,
        veto.WHALE_AGAINST,
        veto.VOLATILITY_BREAK,
        veto.VOLATILITY_DOUBLED,
        veto.WHIPSAW,
        veto.TAIL,
        veto.FRAGILE,
        veto.EARLY_WARNING,
        veto.MANIPULATION,
        veto.ILLIQUID,
    ]
    assert [2**i for i in range(11)] == bits


def test_a_whale_on_the_other_side_vetoes():
    """Only above 0.7, and only against the side of the entry."""
    whale = np.array([0.8]), np.array([-1.0])
    sides = [veto.against_whale(*whale, np.array([s]))[0] for s in (1.0, -1.0, 0.0)]
    assert sides == [veto.WHALE_AGAINST, 0, 0]
    sizes = [veto.against_whale(np.array([w]), -np.ones(1), np.ones(1))[0] for w in (0.7, 0.7001)]
    assert sizes == [0, veto.WHALE_AGAINST]


def test_bits_are_told_by_name():
    """Each bit has its own name, several are told in the order of their numbers, and none is no name."""
    assert [veto.named(1 << k) for k in range(13)] == [(name,) for name in veto.NAMES]
    assert veto.named(veto.PROSPECT | veto.SHOCK) == ("shock", "prospect")
    assert veto.named(0) == ()
