"""Which alerts PADS accepts, what they do to its appetite, and what it asks to reduce (agents.md §2.8, §2.10)."""

import msgspec
import numpy as np
import pytest

from qts_agents.pads.desk import Desk
from qts_agents.pads.notices import revolt_alert
from qts_agents.pads.panarchy import Revolt
from qts_agents.pads.risk import Risk
from qts_core.sections import PadsSettings
from qts_core.spec import SYSTEM, Market, Replay
from qts_messaging.messages import RiskAlert


def alert(number, severity=0.9, **changes):
    made = RiskAlert(f"a{number}", "anomaly", severity, (), 0, 1000)
    return msgspec.structs.replace(made, **changes)


def test_alert_cascade():
    """Above 0.8 an alert is accepted and goes out with hop 1; mild, repeated and passed-on ones do not."""
    risk = Risk(("A", "B"), PadsSettings())
    nothing = np.zeros(2, dtype=bool)
    first = risk.on_alert(alert(1), "quasar", nothing, 0)
    assert (first.broadcast.hop, first.broadcast.sender) == (1, "quasar")
    assert risk.on_alert(alert(1), "quasar", nothing, 0).why == "seen"
    assert risk.on_alert(alert(2, hop=1), "quasar", nothing, 0).why == "rebroadcast"
    assert risk.on_alert(alert(3, 0.8), "quasar", nothing, 0).why == "mild"
    assert risk.on_alert(alert(4), "quasar", nothing, 1000).why == "expired"
    assert risk.on_alert(alert(5), "quasar", nothing, 0).why == "too_often"
    assert risk.on_alert(alert(6), "qbmia", nothing, 0).why == "accepted"
    assert risk.psi == pytest.approx(0.64)
    for _ in range(4):
        risk.step(np.full(2, 0.5))
    assert risk.on_alert(alert(7), "quasar", nothing, 0).why == "too_often"
    risk.step(np.full(2, 0.5))
    assert risk.on_alert(alert(8), "quasar", nothing, 0).why == "accepted"


def test_the_newest_4096_alerts_are_known_again():
    """So an id is counted once however long it goes round, and the memory is bounded."""
    risk, nothing = Risk(("A",), PadsSettings()), np.zeros(1, dtype=bool)
    for number in range(4096):
        risk.on_alert(alert(number, 0.1), "quasar", nothing, 0)
    assert risk.on_alert(alert(0, 0.1), "quasar", nothing, 0).why == "seen"
    risk.on_alert(alert(4096, 0.1), "quasar", nothing, 0)
    assert risk.on_alert(alert(1, 0.1), "quasar", nothing, 0).why == "seen"
    assert risk.on_alert(alert(0, 0.1), "quasar", nothing, 0).why == "mild"


def test_alerts_never_push_the_factor_below_its_floor():
    """A storm from many senders stops at 0.5."""
    risk = Risk(("A",), PadsSettings())
    for i in range(20):
        risk.on_alert(alert(i), f"s{i}", np.array([False]), 0)
    assert risk.psi == 0.5


def test_a_severe_alert_asks_once_to_reduce_what_is_open_in_its_scope():
    """Only open positions in scope are proposed, one time."""
    risk = Risk(("A", "B", "C"), PadsSettings())
    risk.on_alert(alert(1, 0.95, scope=("A", "B")), "quasar", np.array([True, False, True]), 0)
    assert risk.proposals().tolist() == [True, False, False]
    assert risk.proposals().tolist() == [False, False, False]


def test_a_manipulation_alert_lifts_when_it_expires():
    """Its veto holds for its scope until its time is over."""
    risk = Risk(("A", "B"), PadsSettings())
    made = alert(1, 0.5, alert_type="manipulation_suspected", scope=("B",))
    risk.on_alert(made, "qbmia", np.zeros(2, dtype=bool), 0)
    assert risk.manipulated(999).tolist() == [False, True]
    assert risk.manipulated(1000).tolist() == [False, False]


def test_only_an_accepted_alert_says_so_and_goes_out():
    """Every refusal is told as one, and nothing is broadcast; ψ stays."""
    risk, nothing = Risk(("A",), PadsSettings()), np.zeros(1, dtype=bool)
    asked = [alert(1), alert(1), alert(2, hop=1), alert(3, 0.8), alert(4, expires_ns=5), alert(5)]
    found = [risk.on_alert(one, "quasar", nothing, 6) for one in asked]
    assert [verdict.accepted for verdict in found] == [True] + [False] * 5
    assert [verdict.broadcast is not None for verdict in found] == [True] + [False] * 5
    assert risk.psi == pytest.approx(0.8)


def test_a_severe_alert_about_all_reduces_whatever_is_open():
    """An empty scope is the whole system; 0.9 itself is not severe."""
    risk, is_open = Risk(("A", "B", "C"), PadsSettings()), np.array([True, False, True])
    risk.on_alert(alert(1, 0.9), "quasar", is_open, 0)
    assert not risk.proposals().any()
    risk.on_alert(alert(2, 0.901), "qbmia", is_open, 0)
    assert risk.proposals().tolist() == [True, False, True]


def test_an_alert_lowers_the_appetite():
    """A goes to clip(A*·ψ): 0.5·ψ of this bar, half of the way in five bars."""
    risk = Risk(("A",), PadsSettings())
    risk.on_alert(alert(1), "quasar", np.zeros(1, dtype=bool), 0)
    risk.step(np.array([0.5]))
    aim = 0.5 * (1.0 - 0.2 * 0.5 ** (1 / 30))
    assert risk.appetite[0] == pytest.approx(aim + (0.5 - aim) * 0.5 ** (1 / 5))


def test_appetite_moves_half_way_in_five_bars():
    """A approaches clip(A*·ψ) with half-life 5."""
    risk = Risk(("A",), PadsSettings())
    risk.appetite = np.array([0.1])
    for _ in range(5):
        risk.step(np.array([0.9]))
    assert risk.appetite[0] == pytest.approx(0.5)


@pytest.mark.parametrize(("target", "limit"), [(0.0, 0.1), (2.0, 0.9)])
def test_appetite_stays_within_its_limits(target, limit):
    """It begins at 0.5 and goes to 0.1 or 0.9 whatever is aimed at."""
    risk = Risk(("A",), PadsSettings())
    assert risk.appetite.tolist() == [0.5]
    for _ in range(500):
        risk.step(np.array([target]))
    assert risk.appetite[0] == pytest.approx(limit)


@pytest.mark.parametrize(
    ("market", "bar_s"),
    [
        (Market(source="simulated"), 1.0),
        (Market(source="external"), 60.0),
        (Market(source="replay", replay=Replay(dataset="eurusd_1h", speed=0.0)), 1.0),
        (Market(source="replay", replay=Replay(dataset="eurusd_1h", speed=6.0)), 10.0),
    ],
)
def test_a_revolt_is_told_for_thirty_bars_at_the_present_pace(market, bar_s):
    """Of a market of minutes it stands for half an hour, as the alerts of the voters do."""
    system = SYSTEM(market=market)
    desk, now = Desk(("A",), system), 10**15
    desk.bar_s = 60.0
    told = revolt_alert(desk, Revolt(0.9, 0.5, ""), 0, now, system)
    assert (told.raised_ns, told.expires_ns - now) == (now, 30 * int(bar_s * 1e9))
