"""The veto: each bit has its cause and its number, and what they hold back."""

import numpy as np
import pytest

from qts_agents.pads import veto


def caution(returns=None, volume=None, **changes):
    quiet = np.tile([0.001, -0.001, -0.001, 0.001], (1, 30))
    names = ("tail", "volatility", "ews", "illiquidity", "af")
    cells = {name: np.array([np.nan]) for name in names}
    cells |= {k: np.array([v]) for k, v in changes.items()}
    volume = np.ones((1, 10)) if volume is None else volume
    return veto.Caution(returns=quiet if returns is None else returns, volume=volume, **cells)


def bent(**parts):
    r = np.tile([0.001, -0.001, -0.001, 0.001], (1, 30))
    for place, values in parts.items():
        a, b = (int(x) for x in place[1:].split("_"))
        r[0, len(r[0]) - a : len(r[0]) - b] = values
    return r


SMALL_TREND = np.array([0.0004, 0.0003] * 10)
LARGE_SMOOTH = np.repeat([0.004, -0.004], 10)


@pytest.mark.parametrize(
    ("bit", "c"),
    [
        (veto.VOLUME_DRY, caution(volume=np.array([[1.0] * 5 + [0.49] * 5]))),
        (veto.SHOCK, caution(bent(x3_2=0.005))),
        (veto.VOLATILITY_BREAK, caution(bent(x40_20=[0.001, -0.001] * 10, x20_0=LARGE_SMOOTH))),
        (veto.VOLATILITY_DOUBLED, caution(bent(x10_0=[0.002, -0.002] * 5, x20_10=[0.0009, -0.0009] * 5))),
        (veto.WHIPSAW, caution(bent(x20_10=0.004, x10_0=-0.004))),
        (veto.TAIL, caution(tail=0.71)),
        (veto.FRAGILE, caution(af=0.1, volatility=0.9)),
        (veto.EARLY_WARNING, caution(ews=0.91)),
        (veto.ILLIQUID, caution(illiquidity=0.81)),
    ],
)
def test_veto_bits(bit, c):
    """Each reason sets its bit, and a quiet market sets none."""
    assert veto.market_bits(c)[0] & bit
    assert veto.market_bits(caution())[0] == 0


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
    """Only against the side of the entry."""
    whale = np.array([0.8]), np.array([-1.0])
    sides = [veto.against_whale(*whale, np.array([s]))[0] for s in (1.0, -1.0, 0.0)]
    assert sides == [veto.WHALE_AGAINST, 0, 0]
