"""When a whole PADS with scripted voters opens a round, whom it asks, and what a round is named after."""

import msgspec
import numpy as np
import pytest
from tests.unit.agents.pads_script import (
    BAR_S,
    EVEN,
    SECOND,
    TIMED,
    UP,
    Script,
    always,
    system,
    update,
    walk,
)

from qts_agents.columns import array, column
from qts_agents.pads.actions import Answer, Ask
from qts_agents.pads.records import RoundBody, body, decode
from qts_agents.pads.rounds import Rounds
from qts_core.spec import Market, Replay
from qts_messaging.messages import PerformanceFeedback, SystemCommand


def seqs(script):
    return [(d.asof_ns // SECOND) // int(BAR_S) - 1 for d in script.decisions]


def reason_of(decision):
    return decision.reasons[array(decision.reason)[0]]


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


@pytest.mark.parametrize("by_timer", [False, True])
def test_a_clock_that_is_set_back_stops_no_round(by_timer):
    """An hour back: no round opened for an hour, and an alarm of their age saw one from the future."""
    rounds = Rounds(system(market=TIMED))
    hour = 3600 * SECOND
    now, both = 2 * hour, frozenset({"qbmia", "quasar"})
    rounds.on_live_bar(1, now)
    rounds.open((1, now, ""), 0, both, now)
    silent = tuple(Answer(peer, None, "timeout") for peer in ("qbmia", "quasar"))
    for _ in range(3):
        rounds.close(silent, now)
    assert rounds.available(both, now) == ()
    if by_timer:
        assert not rounds.due_by_timer(2, 1.0, now - hour)
        assert rounds.due_by_timer(2, 1.0, now - hour + 21 * SECOND)
    else:
        rounds.on_live_bar(2, now - hour)
        assert not rounds.due(2, both, True, now - hour)
        rounds.on_live_bar(12, now - hour + 10 * SECOND)
        assert rounds.due(12, both, True, now - hour + 10 * SECOND)
    assert rounds.available(both, now - hour + 31 * SECOND) == ("qbmia", "quasar")


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
    assert [k.outcome for k in rounds_of(script)] == [outcome] == [script.pads.outcome]
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
    assert [reason_of(d) for d in script.decisions] == ["NO_QUORUM"]
    assert not pads.snapshot()["round_open"]
    script.take(pads.on_answers(opened[0].round_id, (), later))
    assert len(script.decisions) == 1
    assert pads.snapshot()["rounds"]["late"] == 1


def rounds_of(script):
    return [body(e, RoundBody) for e in map(decode, script.records) if e.kind == "round"]


def test_a_round_that_bars_overtake_is_of_the_window_that_was_asked_about():
    """Three bars come before the votes: record, decision and feedback name the window of the question.

    The horizon counts from the decision: it is known at the open after that, not after the question.
    """
    settings, closes = system(market=TIMED, horizon_bars=5), walk(345)
    prompt, script = (Script(settings, always(EVEN)).bars(closes[:330], 330) for _ in range(2))
    prompt.bars(closes[:331], 330, start=330)
    at = script.now + SECOND
    opened = [a for a in script.pads.on_update(update(closes, 330), None, at) if isinstance(a, Ask)]
    for seq in range(331, 334):
        script.take(script.pads.on_update(update(closes, seq), None, at))
    script.take(script.pads.on_answers(opened[0].round_id, script.answers(opened[0]), at))
    quick, late = rounds_of(prompt)[0], rounds_of(script)[0]
    assert late.window_seq == 330
    for name in ("round_id", "asof_ns", "window_seq", "window_sha256"):
        assert getattr(late, name) == getattr(quick, name), name
    for seq in range(334, 339):
        assert not script.of(PerformanceFeedback)
        script.take(script.pads.on_update(update(closes, seq), None, at))
    (told,) = script.of(PerformanceFeedback)
    assert (told.decision_id, told.asof_ns) == (late.decision_id, script.decisions[0].asof_ns)


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
