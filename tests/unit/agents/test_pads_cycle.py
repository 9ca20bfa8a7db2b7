"""Who changes the phase and when, against plain readings of the text (agents.md §2.9, §3)."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.agents.test_pads_panarchy import KNOWN, proposal

from qts_agents.pads.account import Bar
from qts_agents.pads.authority import FRESH_BARS, RULES, Authority, Evidence, reply
from qts_agents.pads.cycle import Candidate, Cycle, edge_allowed
from qts_agents.pads.scale import Scale
from qts_agents.pads.tables import CONSERVATION, GROWTH, RELEASE, REORGANIZATION, UNKNOWN
from qts_core.sections import PadsSettings
from qts_messaging.messages import PHASES, PhaseTransition

MANY = settings(max_examples=150, deadline=None)
AROUND = {GROWTH: CONSERVATION, CONSERVATION: RELEASE, RELEASE: REORGANIZATION, REORGANIZATION: GROWTH}
BLIND = np.full(4, math.nan)


def stretches(rng, bars):
    """Yield scores and crisis of so many bars: each phase leads for a while, some bars are unknown."""
    while bars > 0:
        first = rng.choice([0.34, 0.35, 0.45])
        second = first - rng.choice([0.05, 0.1, 0.2])
        rest = 0.5 * (1.0 - first - second)
        score = rng.permutation([first, second, min(rest, second), min(rest, second)])
        for _ in range(min(bars, int(rng.choice([1, 2, 3, 12, 45])))):
            yield (BLIND if rng.random() < 0.1 else score), float(rng.choice([0.0] * 20 + [0.7, 0.71]))
            bars -= 1


def admitted(held, dwell, leaders, scores, crisis):
    """§3: edges r→K→Ω→α→r, any→Ω in a crisis, unknown→any; 0.35, +0.10, 3 bars, 10 of dwell, 30 across."""
    if held not in (UNKNOWN, RELEASE) and crisis > 0.7:
        return Candidate(RELEASE, RELEASE, crisis=True)
    if not np.isfinite(scores).all() or dwell < 10 or leaders[-1] == held:
        return None
    leader, led = leaders[-1], 0
    while led < len(leaders) and leaders[-1 - led] == leader:
        led += 1
    if held == UNKNOWN or AROUND[held] == leader:
        ahead = held == UNKNOWN or scores[leader] >= scores[held] + 0.10
        return Candidate(leader, leader) if scores[leader] >= 0.35 and ahead and led >= 3 else None
    return Candidate(AROUND[held], leader) if led >= 30 else None


@given(st.integers(0, 2**32), st.booleans())
@MANY
def test_the_held_phase_changes_as_the_text_says(seed, young):
    """Bar by bar, from unknown on or from a phase; what nobody commits is offered again."""
    rng = np.random.default_rng(seed)
    cycle, held, dwell, leaders, changed, bars = Cycle(PadsSettings()), UNKNOWN, 0, [], [], 0
    if not young:
        held = int(rng.integers(4))
        cycle.commit(held)
        changed.append(0)
    for scores, crisis in stretches(rng, 300):
        if np.isfinite(scores).all():
            leaders.append(int(np.argmax(scores)))
            dwell, bars = dwell + 1, bars + 1
        wanted = admitted(held, dwell, leaders, scores, crisis)
        assert cycle.step(scores, crisis) == wanted
        assert (cycle.held, cycle.dwell) == (held, dwell)
        if wanted is not None and rng.random() < 0.7:
            cycle.commit(wanted.new)
            held, dwell = wanted.new, 0
            changed.append(bars)
        assert cycle.changes() == sum(bar > bars - 50 for bar in changed)
        assert cycle.name == PHASES[held]


def test_a_phase_that_leads_itself_is_kept():
    """However long: only another one moves it, and none is known before ten bars."""
    mine = np.array([0.1, 0.1, 0.7, 0.1])
    cycle = Cycle(PadsSettings())
    assert [cycle.step(mine, 0.0) for _ in range(10)] == [None] * 9 + [Candidate(RELEASE, RELEASE)]
    cycle.commit(RELEASE)
    assert [cycle.step(mine, 0.9) for _ in range(100)] == [None] * 100


def test_a_crisis_is_above_0_7():
    """At 0.7 no edge is open that was not."""
    for old in range(5):
        for new in range(5):
            assert edge_allowed(old, new, 0.7) == edge_allowed(old, new, 0.0)


BAR_NS = 60 * 10**9
LATE = [-1, 0, 1, 2 * BAR_NS, 2 * BAR_NS + 1]
SCORES = [[0.25] * 4, [0.2499, 0.25, 0.25, 0.2501], [0.5, 0.2, 0.2, 0.1], [math.nan] * 4]


@st.composite
def cases(draw):
    """Return what is proposed and what PADS knows then, mostly about the edges of the cycle."""
    held = draw(st.integers(0, UNKNOWN))
    new = draw(st.sampled_from([AROUND.get(held, GROWTH), AROUND.get(held, GROWTH), *range(5)]))
    known = Evidence(
        held=held,
        scores=np.array(draw(st.sampled_from(SCORES))),
        crisis=draw(st.sampled_from([0.1, 0.7, 0.701, math.nan])),
        dwell=draw(st.sampled_from([0, 9, 10, 11])),
        oldest_ns=10**15 - 2 * BAR_NS,
        leader=draw(st.sampled_from([None, None, 0, 1, 2, 3])),
    )
    name, late = draw(st.sampled_from("abcdefgh")), draw(st.sampled_from(LATE))
    old = PHASES[draw(st.sampled_from([held] * 5 + [GROWTH, UNKNOWN]))]
    made = PhaseTransition(
        name, "proposal", old, PHASES[new], (), {}, 10**15 - late, "qbmia", reason="because"
    )
    return made, known


def broken(asked, known, seen):
    """§2.9: the number of the first rule that a proposal breaks, 0 for none."""
    old, new = known.held, PHASES.index(asked.new_phase)
    crisis = new == RELEASE and known.crisis > 0.7
    target = new if known.leader is None else known.leader
    edges = set(AROUND.items()) | {(UNKNOWN, b) for b in range(4)}
    if asked.old_phase != PHASES[old]:
        return 1
    if (old, new) not in edges and not (crisis and old != RELEASE):
        return 2
    if not crisis and not known.scores[target] >= 0.25:
        return 3
    if known.dwell < 10 and not crisis:
        return 4
    if asked.transition_time_ns < known.oldest_ns:
        return 5
    return 6 if asked.transition_id in seen else 0


@given(st.lists(cases(), max_size=8))
@settings(max_examples=400, deadline=None)
def test_proposals_are_judged_by_the_six_rules_in_order(asked):
    """Whatever comes in whatever order: the first rule that is broken, and an answer that says so."""
    authority, seen = Authority(PadsSettings()), set()
    for one, known in asked:
        rule = broken(one, known, seen)
        seen.add(one.transition_id)
        assert authority.judge(one, known) == rule
        told = reply(one, rule, known)
        wanted = ("rejection", RULES[rule]) if rule else ("announcement", "because")
        assert (told.kind, told.reason) == wanted
        assert told.scores == pytest.approx(tuple(known.scores), nan_ok=True)


def test_the_newest_4096_proposals_are_known_again():
    """So an id counts once, and the memory is bounded: the oldest is forgotten first."""
    authority, known = Authority(PadsSettings()), Evidence(GROWTH, np.full(4, 0.25), 0.1, 10, 10**15)

    def judged(number):
        made = PhaseTransition(f"t{number}", "proposal", "growth", "conservation", (), {}, 10**15, "qbmia")
        return authority.judge(made, known)

    assert {judged(number) for number in range(4096)} == {0}
    assert judged(0) == 6
    assert judged(4096) == 0
    assert judged(1) == 6
    assert judged(0) == 0


@pytest.mark.parametrize(
    ("rule", "key", "value", "known"),
    [
        (4, "phase_dwell", 3, {"dwell": 2}),
        (0, "phase_dwell", 3, {"dwell": 3}),
        (4, "phase_dwell", 20, {"dwell": 19}),
        (3, "phase_enter", 0.1, {"scores": np.full(4, 0.09)}),
        (0, "phase_enter", 0.1, {"scores": np.full(4, 0.1)}),
        (0, "phase_enter", 0.9, {"scores": np.full(4, 0.25)}),
    ],
)
def test_the_settings_of_the_detector_bind_every_proposal(rule, key, value, known):
    """What `pads.phase_dwell` and a low `pads.phase_enter` let the detector propose is not refused after all."""
    authority = Authority(PadsSettings(**{key: value}))
    assert authority.judge(proposal(), msgspec.structs.replace(KNOWN, **known)) == rule


def test_evidence_ages_by_bars_and_not_by_pauses_of_the_market():
    """A weekend between two bars makes nothing old; a scale that knows too few bars refuses nothing."""
    scale, day_ns = Scale(1, 1, 250, "rank"), 86_400 * 10**9
    one, yes = np.ones(1), np.array([True])
    assert scale.closed_ns(FRESH_BARS) == -math.inf
    closes = [day * day_ns for day in (1, 2, 3, 6)]  # Wednesday to Friday, then Monday
    for seq, close_ns in enumerate(closes):
        scale.push(Bar(close_ns, one, one, one, one, one, yes, 0.0, one), seq)
    assert scale.closed_ns(FRESH_BARS) == closes[1]
    known = Evidence(GROWTH, np.full(4, 0.25), 0.1, 10, scale.closed_ns(FRESH_BARS))
    friday, tuesday = (
        Authority(PadsSettings()).judge(
            PhaseTransition("t", "proposal", "growth", "conservation", (), {}, at, "qbmia"), known
        )
        for at in (closes[2], closes[0])
    )
    assert (friday, tuesday) == (0, 5)
