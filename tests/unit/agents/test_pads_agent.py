"""Phases, alerts, feedback, epochs and symbols of a whole PADS with scripted voters."""

import msgspec
import numpy as np
import pytest
from tests.unit.agents.pads_script import (
    EVEN,
    SECOND,
    UP,
    Script,
    always,
    opinion,
    system,
    update,
    walk,
)

from qts_agents.columns import array
from qts_agents.pads.actions import Answer, Ask, Publish, Send
from qts_messaging.messages import (
    ACTIONS,
    DecisionResponse,
    PerformanceFeedback,
    PhaseTransition,
    RiskAlert,
    SystemCommand,
)


def test_a_new_epoch_resets_everybody():
    """The replay begins again: PADS tells all, its account and record are fresh."""
    closes = walk(420)
    script = Script(system(), always(UP)).bars(closes, 330)
    assert script.pads.snapshot()["equity"] != 1.0
    again = update(closes, 0, "snapshot", epoch=1)
    script.take(script.pads.on_update(again, None, script.now))
    assert [c.command for c in script.of(SystemCommand)] == ["reset"]
    board = script.pads.snapshot()
    assert (board["equity"], board["bars"]) == (1.0, 1)


def test_feedback_comes_h_bars_after_each_decision():
    """Outcome, return and scores are those of the open after the decision and the close h bars on."""
    closes = walk(375)
    script = Script(system(), always(UP)).bars(closes, 330)
    found = script.of(PerformanceFeedback)
    assert [d.decision_id for d in script.decisions[: len(found)]] == [f.decision_id for f in found]
    assert len(found) == 2
    assert array(found[0].ret)[0] == pytest.approx(np.log(closes[360, 0] / closes[330, 0]))
    y = int(array(found[0].outcome)[0])
    assert array(found[0].log_score)[0, 0] == pytest.approx(np.log(UP[y]))


def test_reputation_falls_for_the_seat_that_is_wrong():
    """In a rising market the voter that says down loses to those that say up."""
    rising = 100.0 * np.exp(0.001 * np.arange(700))[:, None] * (1 + 0.0002 * np.sin(np.arange(700)))[:, None]
    says = lambda request, peer: [UP[::-1] if peer == "qbmia" else UP]  # noqa: E731
    board = Script(system(), says).bars(rising, 330).pads.snapshot()
    assert board["reputation"]["qar"] < 0.5 < board["reputation"]["qstar"]


def test_a_severe_alert_lowers_psi_and_goes_on_once():
    """Accepted above 0.8, rebroadcast with hop 1, carried in the next request."""
    script = Script(system(), always(EVEN)).bars(walk(331), 330)
    alert = RiskAlert("a1", "anomaly", 0.95, (), script.now, script.now + SECOND, 0, "quasar")
    for _ in range(2):
        script.take(script.pads.on_message(alert, "quasar", script.now))
    assert [a.hop for a in script.of(RiskAlert)] == [1]
    script.bars(walk(340), 330, start=331)
    psi = 1.0 - 0.2 * 2.0 ** (-9 / 30)
    assert psi == pytest.approx(script.asked[-1].requests["quasar"].psi)


def test_what_an_alert_asks_for_outlives_a_round_without_quorum():
    """A position is halved in the first round that two agents vote in, not forgotten in one that none did."""
    silent = range(348, 352)
    says = lambda request, _: None if request.window_seq in silent else [UP]  # noqa: E731
    script = Script(system(), says).bars(walk(345), 330)
    alert = RiskAlert("a1", "drift", 0.95, (), script.now, script.now + 999 * SECOND, 0, "quasar")
    script.take(script.pads.on_message(alert, "quasar", script.now))
    script.bars(walk(370), 330, start=345)
    rows = [(d.actions[array(d.action)[0]], d.reasons[array(d.reason)[0]]) for d in script.decisions[-3:]]
    assert rows[:2] == [("HOLD", "NO_QUORUM"), ("DECREASE", "OVERRIDE")]


def test_a_bad_proposal_is_sent_back_with_its_rule():
    """The proposer alone reads the number of the rule; the held phase stays."""
    script = Script(system(), always(EVEN)).bars(walk(331), 330)
    made = PhaseTransition("t", "proposal", "growth", "release", (), {}, script.now, "qbmia")
    actions = script.pads.on_message(made, "qbmia", script.now)
    sent = [a for a in actions if isinstance(a, Send)]
    assert [a.to for a in sent] == ["qbmia"]
    assert sent[0].message.kind == "rejection"
    assert "rule 1" in sent[0].message.reason
    assert not [a for a in actions if isinstance(a, Publish)]


def test_phases_stay_unknown_until_warm_and_are_announced_once_live():
    """1,500 bars warm the meso scale; the backfill's changes are summed up in one announcement."""
    script = Script(system(), always(EVEN))
    closes = walk(2200, seed=3)
    script.bars(closes[:1400], 1400, step_ns=1)
    assert script.pads.snapshot()["phases"]["meso"] == "unknown"
    script.bars(closes[:2101], 2100, step_ns=1, start=1400)
    held = script.pads.snapshot()["held_phase"]
    assert held != "unknown"
    announced = script.of(PhaseTransition)
    assert [("unknown", held)] == [(a.old_phase, a.new_phase) for a in announced]
    assert held == script.asked[0].requests["quasar"].phase


def test_deleting_the_future_changes_nothing():
    """Decisions up to a bar are the same bytes whether or not later bars exist."""
    closes = walk(380)
    whole = Script(system(), always(UP)).bars(closes, 330).decisions
    part = Script(system(), always(UP)).bars(closes[:352], 330).decisions
    assert len(part) == 3
    assert [msgspec.msgpack.encode(d) for d in whole[:3]] == [msgspec.msgpack.encode(d) for d in part]


def test_symbols_do_not_touch_each_other():
    """The pool and action of a symbol are those it has alone."""
    closes = walk(352, S=3)
    tilt = lambda request, peer: [[UP, EVEN, UP[::-1]][int(s[1])] for s in request.symbols]  # noqa: E731
    whole = Script(system(), tilt).bars(closes, 330).decisions[0]
    for s in range(3):
        alone = Script(system(), lambda r, p, s=s: [[UP, EVEN, UP[::-1]][s]]).bars(closes[:, s : s + 1], 330)
        first = alone.decisions[0]
        for name in ("p", "action", "signal", "confidence", "dissent", "veto", "stop", "targets"):
            assert array(getattr(whole, name))[s].tobytes() == array(getattr(first, name))[0].tobytes(), name


def test_a_symbol_that_stops_holds_nobody_up():
    """Invalid bars of one symbol leave the other's decision alone; its own voters abstain."""
    closes = walk(345, S=2)
    closes[335:, 1] = np.nan

    def says(request, peer):
        return [UP, [np.nan] * 3 if request.window_seq >= 335 else UP]

    script = Script(system(), says).bars(closes[:331], 330)
    script.say = says
    for seq in range(331, 340):
        actions = script.pads.on_update(update(closes, seq), None, script.now)
        asks = [a for a in actions if isinstance(a, Ask)]
        if asks:
            p = [UP, [np.nan] * 3]
            said = tuple(
                Answer(peer, opinion(asks[0].round_id, peer, p, abstain=[0, 4])) for peer in asks[0].requests
            )
            script.take(script.pads.on_answers(asks[0].round_id, said, script.now))
    last = script.decisions[-1]
    assert array(last.quorum).tolist() == [3, 0]
    assert [last.reasons[array(last.reason)[1]]] == ["NO_QUORUM"]
    assert ACTIONS[array(last.action)[1]] == "HOLD"


def test_the_snapshot_tells_the_newest_decision_and_the_votes():
    """What /statusz shows is the decision that was sent."""
    script = Script(system(), always(UP)).bars(walk(331), 330)
    board = script.pads.snapshot()
    shown = board["decision"]["symbols"]["S0"]
    assert board["decision"]["id"] == script.decisions[0].decision_id
    assert pytest.approx(UP) == shown["votes"]["qar"]
    assert board["rounds"] == {"total": 1, "complete": 1}
    assert msgspec.json.encode(board)
    assert {"micro", "meso", "macro"} == set(board["phases"])
    cycle = board["panarchy"]  # the cycle and what stands beside it to judge it by
    assert {"capacity", "resilience", "regime_score", "baselines"} <= set(cycle)
    assert {"hmm", "run_length", "ews_false_alarms_per_1000_bars"} <= set(cycle["baselines"])
    assert isinstance(script.of(DecisionResponse)[0].decision.phase, str)
