"""Rounds, circuits, phases, alerts, feedback and epochs of a whole PADS with scripted voters."""

import msgspec
import numpy as np
import pytest
from tests.unit.agents.pads_script import BAR_S, SECOND, Script, opinion, system, update, walk

from qts_agents.columns import array, column
from qts_agents.pads.actions import Answer, Ask, Publish, Send
from qts_agents.pads.hearing import hear
from qts_agents.pads.records import Answers, RoundBody, body, decode
from qts_core.spec import Market, Replay
from qts_messaging.messages import (
    ACTIONS,
    DecisionResponse,
    PerformanceFeedback,
    PhaseTransition,
    RiskAlert,
    SystemCommand,
)

UP, EVEN = [0.45, 0.34, 0.21], [0.33, 0.34, 0.33]
TIMED = Market(source="simulated")


def always(p):
    return lambda request, peer: [p] * len(request.symbols)


def seqs(script):
    return [(d.asof_ns // SECOND) // int(BAR_S) - 1 for d in script.decisions]


def test_lockstep_rounds_open_at_the_first_and_every_tenth_live_bar():
    """At speed 0 the rule counts live bars from 1 and needs no clock."""
    script = Script(system(), always(EVEN)).bars(walk(365), 330, step_ns=1)
    assert seqs(script) == [330, 339, 349, 359]


def test_lockstep_rounds_without_voters_hold_with_the_reason():
    """Nobody ready: each due bar is decided at once, HOLD with NO_QUORUM, and nobody is asked."""
    script = Script(system(), always(EVEN), ready=False).bars(walk(355), 330, step_ns=1)
    assert seqs(script) == [339, 349]
    assert script.asked == []
    reasons = {d.reasons[r] for d in script.decisions for r in array(d.reason)}
    assert {"NO_QUORUM"} == reasons


def test_a_late_joiner_finds_the_bar_the_feed_waits_at():
    """When a lockstep feed stands still beside our count, the timer decides there and counts from there.

    It does not while a round, 3 s by default, might be what is waited for.
    """
    script = Script(system(), always(EVEN)).bars(walk(334), 330, step_ns=1)
    script.now += 3 * SECOND
    script.take(script.pads.on_tick(script.now))
    assert seqs(script) == [330]
    script.now += SECOND
    script.take(script.pads.on_tick(script.now))
    script.take(script.pads.on_tick(script.now))
    script.bars(walk(355), 330, step_ns=1, start=334)
    assert seqs(script) == [330, 333, 343, 353]


def test_timed_rounds_open_an_interval_after_the_last():
    """With one bar a second a round opens at once and then every ten seconds."""
    script = Script(system(market=TIMED), always(EVEN)).bars(walk(365), 330)
    assert seqs(script) == [330, 340, 350, 360]


def test_the_first_round_opens_when_the_quorum_becomes_ready():
    """It waits for no bar once the windows are full."""
    script = Script(system(market=TIMED), always(EVEN), ready=False).bars(walk(333), 330)
    assert script.decisions == []
    script.take(script.pads.on_peers(frozenset({"qbmia", "quasar"}), script.now))
    assert seqs(script) == [332]
    assert {"qbmia", "quasar"} == set(script.asked[0].requests)


def test_the_timer_opens_a_round_when_bars_stop():
    """Two intervals without a bar are enough, one is not."""
    script = Script(system(market=TIMED), always(EVEN)).bars(walk(331), 330)
    script.take(script.pads.on_tick(script.now + 19 * SECOND))
    assert len(script.decisions) == 1
    script.take(script.pads.on_tick(script.now + 21 * SECOND))
    assert len(script.decisions) == 2


@pytest.mark.parametrize(
    ("bars", "apart_s"),
    [
        ({"market": TIMED, "market_update_interval": 30.0}, 30),
        ({"market": Market(source="replay", replay=Replay(dataset="eurusd_1h", speed=BAR_S / 60.0))}, 60),
    ],
)
def test_no_timer_decides_between_bars_that_come_as_expected(bars, apart_s):
    """Where bars are rarer than decisions, a round opens with each of them, and when two are missing."""
    script = Script(system(decision_interval=10.0, **bars), always(EVEN)).bars(walk(331), 330)
    for late_s in range(1, 2 * apart_s):
        script.take(script.pads.on_tick(script.now + late_s * SECOND))
    assert len(script.decisions) == 1
    script.take(script.pads.on_tick(script.now + (2 * apart_s + 1) * SECOND))
    assert len(script.decisions) == 2


@pytest.mark.parametrize(
    ("spoil", "outcome"),
    [
        (lambda a: a, "complete"),
        (lambda a: said(a, abstain=column(np.ones(1), "u2")), "complete"),
        (lambda a: said(a, p=column(np.full((2, 3), 1 / 3))), "error"),
        (lambda a: said(a, round_id="another"), "error"),
        (lambda a: Answer(a.peer, None, "ValueError: it broke"), "error"),
        (lambda a: Answer(a.peer, None), "error"),
        (lambda a: Answer(a.peer, None, "timeout"), "expired"),
        (lambda a: Answer(a.peer, None, "dead"), "expired"),
        (lambda a: Answer(a.peer, a.opinion, late=True), "expired"),
        (lambda a: None, "expired"),
    ],
)
def test_a_round_is_named_after_what_happened(spoil, outcome):
    """One of three answers is spoilt; the record, the counts and what the shell measures agree."""
    script = Script(system(), always(EVEN))
    answers = script.answers

    def spoilt(ask):
        first, *others = answers(ask)
        first = spoil(first)
        return tuple(others) if first is None else (first, *others)

    script.answers = spoilt
    script.bars(walk(331), 330)
    kept = [body(e, RoundBody) for e in map(decode, script.records) if e.kind == "round"]
    assert [k.outcome for k in kept] == [outcome] == [script.pads.outcome]
    assert script.pads.snapshot()["rounds"] == {"total": 1, outcome: 1}


def said(answer, **changes):
    """Return an answer with another opinion."""
    return Answer(answer.peer, msgspec.structs.replace(answer.opinion, **changes))


def test_a_question_says_until_when_it_can_be_answered():
    """The deadline is that of the round, in every request, by the time of the event that opened it."""
    script = Script(system(market=TIMED, decision_timeout=2.5), always(EVEN))
    at = script.bars(walk(330), 330).now + SECOND
    script.bars(walk(331), 330, start=330)
    assert [r.deadline_ns for r in script.asked[0].requests.values()] == [at + 2_500_000_000] * 3


def test_three_timeouts_open_the_circuit_for_thirty_seconds():
    """The silent voter is skipped, then tried again."""
    says = lambda request, peer: None if peer == "qbmia" else [UP]  # noqa: E731
    script = Script(system(market=TIMED), says).bars(walk(331 + 70), 330)
    asked = ["qbmia" in ask.requests for ask in script.asked]
    assert asked[:6] == [True, True, True, False, False, True]
    assert len(script.decisions) == 8


def test_one_round_at_a_time_and_a_lost_one_is_given_up():
    """While answers are out no round opens; past the deadline the round ends without them."""
    script = Script(system(market=TIMED), always(EVEN))
    pads, closes = script.pads, walk(360)
    script.bars(closes[:330], 330)
    opened = [a for a in pads.on_update(update(closes, 330), None, script.now) if isinstance(a, Ask)]
    assert len(opened) == 1
    assert pads.snapshot()["round_open"]  # `qts run` waits for its end
    later = script.now + 3 * SECOND
    assert not [a for a in pads.on_update(update(closes, 331), None, later) if isinstance(a, Ask)]
    assert pads.on_tick(later) == []
    script.take(pads.on_tick(script.now + 5 * SECOND))
    assert [REASON_OF(d) for d in script.decisions] == ["NO_QUORUM"]
    assert not pads.snapshot()["round_open"]
    script.take(pads.on_answers(opened[0].round_id, (), later))
    assert len(script.decisions) == 1
    assert pads.snapshot()["rounds"]["late"] == 1


def REASON_OF(decision):  # noqa: N802
    return decision.reasons[array(decision.reason)[0]]


def test_no_round_opens_after_the_end_of_the_data():
    """`ended` and `drain` both stop rounds; `resume` lets them go on."""
    closes = walk(360)
    script = Script(system(), always(EVEN)).bars(closes[:331], 330)
    script.take(script.pads.on_message(SystemCommand("drain"), "cli", script.now))
    script.bars(closes[:341], 330, start=331)
    assert len(script.decisions) == 1
    script.take(script.pads.on_message(SystemCommand("resume"), "cli", script.now))
    script.bars(closes[:351], 330, start=341)
    assert len(script.decisions) == 2
    for seq in range(351, 360):
        script.take(script.pads.on_update(update(closes, seq, ended=seq == 359), None, script.now))
    assert len(script.decisions) == 2


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
                Answer(peer, _abstaining(opinion(asks[0].round_id, peer, p))) for peer in asks[0].requests
            )
            script.take(script.pads.on_answers(asks[0].round_id, said, script.now))
    last = script.decisions[-1]
    assert array(last.quorum).tolist() == [3, 0]
    assert [last.reasons[array(last.reason)[1]]] == ["NO_QUORUM"]
    assert ACTIONS[array(last.action)[1]] == "HOLD"


def _abstaining(made):
    bits = np.where(np.isnan(array(made.p)).any(axis=1), 4, 0)
    from qts_agents.columns import column

    return msgspec.structs.replace(made, abstain=column(bits, "u2"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"round_id": "other"}, "round other"),
        ({"p": opinion("r", "x", [UP, UP]).p}, "shape"),
        ({"actions": ("BUY", "DANCE", "HOLD")}, "DANCE"),
    ],
)
def test_a_broken_opinion_is_refused_with_the_reason(change, why):
    """Wrong round, wrong shape, unknown action: no vote, and the reason names it."""
    broken = msgspec.structs.replace(opinion("r", "qbmia", [UP]), **change)
    made, refused = hear("r", (Answer("qbmia", broken),), 1, np.zeros(1))
    assert not made.voted.any()
    assert why in refused["qbmia"] or "not in" in refused["qbmia"]


def test_a_refused_opinion_is_written_down_with_the_reason():
    """The journal says why, and replays; who is heard or silent keeps the record it had."""
    script = Script(system(), always(UP))
    plain = script.answers

    def answers(ask):
        said = plain(ask)
        broken = msgspec.structs.replace(said[0].opinion, round_id="other")
        return (
            msgspec.structs.replace(said[0], opinion=broken),
            *said[1:-1],
            Answer(said[-1].peer, None, "dead"),
        )

    script.answers = answers
    script.bars(walk(331), 330)
    kept = [body(e, Answers) for e in map(decode, script.records) if e.kind == "answers"][-1]
    assert [a.reason for a in kept.answers] == ["invalid: it answers round other", "", "dead"]
    assert kept.answers[0].opinion is not None
    assert script.pads.refused == {kept.answers[0].peer: kept.answers[0].reason, kept.answers[2].peer: "dead"}


def test_rows_that_are_no_distribution_do_not_vote():
    """Negative, unnormalised and half-known rows are left out; an action alone is read by the belief map."""
    rows = [[0.5, 0.6, -0.1], [0.5, 0.5, 0.5], [0.5, np.nan, 0.5], [np.nan] * 3, UP]
    said = opinion("r", "qbmia", rows, action=0)
    made, _ = hear("r", (Answer("qbmia", said),), 5, np.zeros(5))
    assert made.voted[:, 0].tolist() == [False, False, False, True, True]
    assert pytest.approx(made.p[3, 0].tolist()) == [0.4, 0.3, 0.3]


def test_action_needs_position_is_a_mark_only():
    """Bit 1024 does not silence a row, any other bit does."""
    for bits, votes in ((1024, True), (1024 | 4, False), (32, False)):
        said = opinion("r", "qbmia", [UP], abstain=bits)
        made, _ = hear("r", (Answer("qbmia", said),), 1, np.zeros(1))
        assert votes == made.voted[0, 0]


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
