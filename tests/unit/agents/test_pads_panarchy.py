"""Hysteresis, edges, revolt, transition rules."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from qts_agents.kernels.phase import scores
from qts_agents.pads.account import Bar
from qts_agents.pads.authority import Authority, Evidence, reply
from qts_agents.pads.cycle import Candidate, Cycle, edge_allowed
from qts_agents.pads.panarchy import Panarchy, Step, system
from qts_agents.pads.scale import Reading, Scale, absorption
from qts_agents.pads.tables import CONSERVATION, GROWTH, RELEASE, REORGANIZATION, UNKNOWN
from qts_core.sections import PadsSettings
from qts_messaging.messages import PhaseTransition

LEADS = {k: np.array([0.6 if i == k else 0.4 / 3 for i in range(4)]) for k in range(4)}


def held(phase, dwell=20):
    cycle = Cycle(PadsSettings())
    cycle.commit(phase)
    cycle.dwell = dwell
    return cycle


def test_a_leader_must_lead_three_bars():
    """The third bar in a row proposes the change, a break starts the count again."""
    cycle = held(GROWTH)
    steps = [cycle.step(LEADS[k], 0.0) for k in (1, 1, 0, 1, 1, 1)]
    assert [None] * 5 + [Candidate(CONSERVATION, CONSERVATION)] == steps


def test_ten_bars_of_dwell_come_first():
    """A young phase is not left however clear its successor."""
    cycle = held(GROWTH, dwell=0)
    steps = [cycle.step(LEADS[1], 0.0) for _ in range(10)]
    assert steps[:9] == [None] * 9
    assert Candidate(CONSERVATION, CONSERVATION) == steps[9]


@pytest.mark.parametrize("score", [np.array([0.30, 0.39, 0.21, 0.10]), np.array([0.29, 0.34, 0.27, 0.10])])
def test_a_narrow_or_weak_lead_changes_nothing(score):
    """Below a lead of 0.10 or a score of 0.35 the phase stays."""
    cycle = held(GROWTH)
    assert [cycle.step(score, 0.0) for _ in range(20)] == [None] * 20


def test_a_crisis_opens_release_at_once():
    """Crisis above 0.7 goes to release from anywhere without dwell; at 0.7 it does not."""
    for phase in (GROWTH, CONSERVATION, REORGANIZATION):
        assert Candidate(RELEASE, RELEASE, crisis=True) == held(phase, 0).step(LEADS[phase], 0.71)
        assert held(phase, 0).step(LEADS[phase], 0.7) is None


def test_a_leader_across_the_cycle_moves_one_edge_after_thirty_bars():
    """Reorganization leading over growth for 30 bars steps to conservation first."""
    cycle = held(GROWTH)
    steps = [cycle.step(LEADS[REORGANIZATION], 0.0) for _ in range(30)]
    assert [None] * 29 + [Candidate(CONSERVATION, REORGANIZATION)] == steps


def test_edges_of_the_cycle():
    """Exactly the four edges of the cycle, release in a crisis, and anything from unknown."""
    calm = {(a, b) for a in range(4) for b in range(4) if edge_allowed(a, b, 0.0)}
    assert {(0, 1), (1, 2), (2, 3), (3, 0)} == calm
    assert {(0, 2), (3, 2)} == {(a, b) for a in range(4) for b in range(4) if edge_allowed(a, b, 0.8)} - calm
    assert all(edge_allowed(UNKNOWN, new, 0.0) for new in range(4))
    assert not edge_allowed(GROWTH, UNKNOWN, 0.9)


def proposal(**changes):
    made = PhaseTransition("t1", "proposal", "growth", "conservation", (), {}, 10**12, "qbmia")
    return msgspec.structs.replace(made, **changes)


KNOWN = Evidence(GROWTH, LEADS[CONSERVATION], 0.1, 10, 10**12 - 120 * 10**9)
WEAK = np.array([0.5, 0.2, 0.2, 0.1])


@pytest.mark.parametrize(
    ("rule", "change", "known"),
    [
        (0, {}, {}),
        (1, {"old_phase": "release"}, {}),
        (2, {"new_phase": "release"}, {}),
        (2, {"new_phase": "paradise"}, {}),
        (3, {}, {"scores": WEAK}),
        (4, {}, {"dwell": 9}),
        (5, {"transition_time_ns": 10**12 - 120 * 10**9 - 1}, {}),
        (0, {"transition_time_ns": 10**12 - 120 * 10**9}, {}),
        (0, {"new_phase": "release"}, {"crisis": 0.71, "dwell": 0, "scores": WEAK}),
        (0, {}, {"scores": WEAK, "leader": GROWTH}),
    ],
)
def test_transition_rules(rule, change, known):
    """Each rule refuses what it is about and nothing else; its number is in the answer."""
    evidence = msgspec.structs.replace(KNOWN, **known)
    asked = proposal(**change)
    found = Authority(PadsSettings()).judge(asked, evidence)
    answer = reply(asked, found, evidence)
    assert rule == found
    assert ("rejection" if rule else "announcement") == answer.kind
    assert (f"rule {rule}" in answer.reason) == bool(rule)


def test_a_transition_id_counts_once():
    """Rule 6: the same id again is refused."""
    authority = Authority(PadsSettings())
    assert [authority.judge(proposal(), KNOWN) for _ in range(2)] == [0, 6]


def quiet_panarchy(S=4):
    """Return a Panarchy whose meso crisis is told instead of measured."""
    return Panarchy(S, PadsSettings())


def revolt(panarchy, crisis, times):
    """Let so many micro bars of a crisis pass; return what each led to."""
    out = []
    for _ in range(times):
        panarchy.crisis["micro"] = crisis
        out.append(panarchy._revolt())
    return out


def test_a_crisis_of_three_micro_bars_revolts_once_an_episode():
    """The third bar revolts, lifts the meso crisis by 0.8·(crisis − 0.6), and no other bar of the episode does."""
    panarchy = quiet_panarchy()
    found = revolt(panarchy, 0.7, 6)
    assert [r is not None for r in found] == [False, False, True, False, False, False]
    assert panarchy.lift == pytest.approx(0.8 * 0.1)
    assert panarchy.resilience == 1.0
    assert found[2].advice == "increase_resilience"
    revolt(panarchy, 0.5, 1)
    assert revolt(panarchy, 0.7, 3)[2] is not None
    assert panarchy.lift == pytest.approx(0.16)


def test_a_severe_revolt_weakens_the_system_and_warns_conservation():
    """Severity above 0.8 takes a tenth of resilience and says what to prepare for."""
    panarchy = quiet_panarchy()
    panarchy.cycles["meso"].commit(CONSERVATION)
    found = revolt(panarchy, 0.9, 3)[2]
    assert (found.severity, found.advice) == (0.9, "prepare_for_release")
    assert panarchy.resilience == pytest.approx(0.9)


def test_many_symbols_in_release_revolt_without_a_crisis():
    """More than half of the symbols in micro release for three bars: a revolt to be monitored."""
    panarchy = quiet_panarchy()
    panarchy._release_bars = np.array([3, 3, 3, 0])
    found = revolt(panarchy, 0.1, 1)[0]
    assert (found.share, found.advice) == (0.75, "monitor")
    assert panarchy.lift == 0.0
    panarchy._episode, panarchy._release_bars = False, np.array([3, 3, 0, 0])
    assert revolt(panarchy, 0.1, 1)[0] is None


@pytest.mark.parametrize(
    ("crisis", "phase", "advice"),
    [
        (0.81, CONSERVATION, "prepare_for_release"),
        (0.8, CONSERVATION, "increase_resilience"),
        (0.9, GROWTH, "increase_resilience"),
        (0.61, UNKNOWN, "increase_resilience"),
        (0.6, CONSERVATION, "monitor"),
    ],
)
def test_advice_of_a_revolt(crisis, phase, advice):
    """Above 0.8 in conservation, above 0.6 anywhere, else."""
    panarchy = quiet_panarchy(11)
    panarchy.cycles["meso"].held = phase
    panarchy._release_bars[:6] = 3  # six of eleven are just more than half
    assert revolt(panarchy, crisis, 1)[0].advice == advice


def test_no_revolt_without_a_known_crisis():
    """Many symbols in release raise nothing as long as nobody can say how severe it is."""
    panarchy = quiet_panarchy()
    panarchy._release_bars[:] = 3
    assert revolt(panarchy, np.nan, 2) == [None, None]
    assert revolt(panarchy, 0.1, 1)[0] is not None


def test_a_symbol_is_in_release_where_that_leads_with_0_35():
    """Counted bar by bar; a weaker lead, another leader or unknown scores begin again."""
    panarchy, unknown = quiet_panarchy(5), np.full(4, np.nan)
    rows = np.array(
        [LEADS[RELEASE], [0.3, 0.2, 0.35, 0.15], [0.3, 0.2, 0.349, 0.151], [0.45, 0, 0.4, 0.15], unknown]
    )
    now = Reading(rows[:, 0], rows[:, 0], rows[:, 0], rows)
    for bars in (1, 2, 3):
        panarchy._turn("micro", now)
        assert panarchy._release_bars.tolist() == [bars, bars, 0, 0, 0]
    panarchy._turn("meso", now)
    panarchy._turn("micro", Reading(*[rows[::-1, 0]] * 3, rows[::-1]))
    assert panarchy._release_bars.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(panarchy.scores["micro"], rows[:4].mean(axis=0))


def test_scores_of_the_system_are_the_mean_of_known_symbols():
    """Unknown for as long as no symbol has any."""
    known, unknown = LEADS[GROWTH], np.full(4, np.nan)
    np.testing.assert_array_equal(system(known[None]), known)
    np.testing.assert_array_equal(system(np.array([unknown, known, known])), known)
    for none in (unknown[None], np.array([unknown, unknown])):
        np.testing.assert_array_equal(system(none), unknown)


def test_lift_halves_in_30_bars_and_resilience_returns_in_120():
    """What a revolt did fades: half of the lift after 30 bars, half of the lost resilience after 120."""
    panarchy = quiet_panarchy(1)
    panarchy.lift, panarchy.resilience = 0.4, 0.9
    one = np.ones(1)
    bar = Bar(1, one, one, one, one, one, np.ones(1, bool), 0.0, 0 * one)
    panarchy.push(bar, 0)
    assert panarchy.resilience == pytest.approx(1.0 - 0.1 * 0.5 ** (1 / 120))
    for seq in range(1, 30):
        panarchy.push(bar, seq)
    assert panarchy.lift == pytest.approx(0.2)
    for seq in range(30, 120):
        panarchy.push(bar, seq)
    assert panarchy.resilience == pytest.approx(0.95)


def test_the_macro_scale_is_remembered(monkeypatch):
    """In reorganization meso scores are 0.3·own + 0.7·macro; under a growing macro a low P is lifted by 0.1."""
    panarchy = quiet_panarchy(2)
    p, c, r = np.array([0.2, 0.5]), np.array([0.4, 0.4]), np.array([0.6, 0.6])
    own = Reading(p, c, r, scores(p, c, r))
    monkeypatch.setattr(panarchy.scales["meso"], "reading", lambda resilience=1.0: own)
    panarchy.crisis["meso"] = 0.0
    panarchy._meso()
    np.testing.assert_allclose(panarchy.scores["meso"], own.scores.mean(axis=0))
    panarchy.scores["macro"] = np.array([0.7, 0.1, 0.1, 0.1])
    panarchy.cycles["meso"].commit(REORGANIZATION)
    panarchy._meso()
    np.testing.assert_allclose(
        panarchy.scores["meso"], 0.3 * own.scores.mean(axis=0) + [0.49, 0.07, 0.07, 0.07]
    )
    panarchy.cycles["meso"].commit(CONSERVATION)
    panarchy.cycles["macro"].commit(GROWTH)
    panarchy._meso()
    assert panarchy.meso_pcr[0] == pytest.approx((0.3 + 0.5) / 2)
    lifted = np.array([0.3, 0.5])
    np.testing.assert_allclose(panarchy.scores["meso"], scores(lifted, c, r).mean(axis=0))
    assert panarchy.meso_capacity == pytest.approx(0.4 * 0.6 + 0.3 * 0.4 + 0.3 * 0.6)
    assert panarchy.describe()["transformability"] == 0.3


def test_a_potential_of_0_3_is_not_lifted(monkeypatch):
    """Only P < 0.3 is, under a macro phase of growth or conservation; what was taken is told."""
    panarchy = quiet_panarchy(2)
    half, panarchy.crisis["meso"] = np.full(2, 0.5), 0.0
    for macro, low, wanted, told in (
        (GROWTH, 0.3, 0.3, ()),
        (CONSERVATION, 0.3 - 1e-9, 0.4, ("potential",)),
        (RELEASE, 0.1, 0.1, ()),
        (UNKNOWN, 0.1, 0.1, ()),
    ):
        p = np.array([low, 0.9])
        own = Reading(p, half, half, scores(p, half, half))
        monkeypatch.setattr(panarchy.scales["meso"], "reading", lambda resilience=1.0, own=own: own)
        panarchy.cycles["macro"].held = macro
        panarchy._meso()
        assert panarchy.meso_pcr.tolist() == pytest.approx([(wanted + 0.9) / 2, 0.5, 0.5])
        assert panarchy.remembered == told


def test_scales_complete_their_bars_of_1_5_and_30():
    """What is pushed is told by scale; a first longer one, which may have begun before, is left out."""
    panarchy, one = quiet_panarchy(1), np.ones(1)
    done = [
        panarchy.push(Bar(t, one, one, one, one, one, np.ones(1, bool), 0.0, 0 * one), t) for t in range(90)
    ]
    for name, first, bars in (("micro", 1, 1), ("meso", 10, 5), ("macro", 60, 30)):
        assert [t + 1 for t in range(90) if done[t][name]] == list(range(first, 91, bars))


@pytest.mark.parametrize("higher", [False, True])
def test_a_step_turns_the_scales_that_are_done(higher, monkeypatch):
    """Micro each time; meso with its crisis raised by the lift; the regime and what was found at the end."""
    panarchy, turned = quiet_panarchy(1), []
    shown = SimpleNamespace(
        crisis=np.array([0.4]), ews=np.array([0.9]), tail=np.array([0.1]), sigma20=np.ones(1)
    )
    for scale in panarchy.scales.values():
        monkeypatch.setattr(scale, "reading", lambda *_: None)
        monkeypatch.setattr(scale, "indicators", lambda _: shown)
    monkeypatch.setattr(panarchy, "_turn", lambda name, _: turned.append(name))
    monkeypatch.setattr(panarchy, "_meso", lambda: turned.append("meso") or "candidate")
    monkeypatch.setattr(panarchy, "_revolt", lambda: "revolt")
    monkeypatch.setattr(panarchy.regime, "step", lambda *_: turned.append("regime"))
    monkeypatch.setattr(panarchy.baselines, "step", lambda *_: None)
    panarchy.lift = 0.3
    found = panarchy.step({"micro": True, "meso": higher, "macro": higher}, shown, np.ones(1), np.ones(1))
    assert panarchy.crisis["micro"] == 0.4
    if higher:
        assert (turned, found) == (["micro", "macro", "meso", "regime"], Step(True, "candidate", "revolt"))
        assert panarchy.crisis["meso"] == pytest.approx(0.7)
    else:
        assert (turned, found) == (["micro", "regime"], Step(False, None, "revolt"))
        assert np.isnan(panarchy.crisis["meso"])
    for scale, phase in (("micro", RELEASE), ("meso", CONSERVATION), ("macro", CONSERVATION)):
        panarchy.cycles[scale].held = phase
    assert panarchy.regime_name(shown) == "critical_top"


def test_absorption_is_the_share_of_the_first_eigenvalue():
    """One for symbols that move as one, numpy's on any others, half where nothing can be said."""
    rng = np.random.default_rng(6)
    one = rng.normal(size=50)
    assert absorption(np.stack([one, -2.0 * one, 3.0 * one])) == pytest.approx(1.0)
    returns = rng.normal(size=(6, 50)) + one
    assert absorption(returns) == pytest.approx(np.linalg.eigvalsh(np.corrcoef(returns))[-1] / 6)
    assert absorption(np.stack([one, np.zeros(50)])) == 0.5


def test_connectedness_may_be_absorption():
    """All symbols share it; a single symbol keeps its rank."""

    def reading(kind, S):
        scale, price = Scale(S, 1, 60, kind), np.full(S, 100.0)
        for seq, r in enumerate(np.random.default_rng(7).normal(0, 0.01, (120, 1)) * np.ones(S)):
            price = price * np.exp(r)
            scale.push(Bar(seq, price, price, price, price, price, np.ones(S, bool), 0.0, 0 * price), seq)
        return scale.reading().c

    np.testing.assert_allclose(reading("absorption", 3), 1.0)
    np.testing.assert_array_equal(reading("absorption", 1), reading("rank", 1))
    assert (reading("rank", 3) < 1.0).all()


def test_a_crisis_needs_no_scores():
    """Release is open in a crisis whose bar has unknown scores; without one nothing changes or is counted."""
    unknown = np.full(4, np.nan)
    cycle = held(GROWTH)
    assert cycle.step(unknown, 0.7) is None
    assert (cycle.bars, cycle.dwell) == (0, 20)
    assert Candidate(RELEASE, RELEASE, crisis=True) == cycle.step(unknown, 0.71)


def made_bars(seed, missing=()):
    """Yield 1,700 bars of one symbol, those of `missing` without a value."""
    price = 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, 1700)))
    for seq, x in enumerate(price):
        one, known = np.array([x if seq not in missing else np.nan]), np.array([seq not in missing])
        yield Bar(seq, one, one * 1.01, one * 0.99, one, one, known, 0.0, 0.0 * one)


def test_a_missing_bar_silences_no_phase():
    """The meso bar around it is of the others, so every reading is known; a gap of many bars is not bridged."""

    def known(missing):
        scale, found = Scale(1, 5, 250, "rank"), []
        for bar in made_bars(8, missing):
            if scale.push(bar, bar.close_ns) and scale.warm():
                found.append(bool(np.isfinite(scale.reading().scores).all()))
        return found

    assert known(()) == known((1602,)) == known((1604,)) == [True] * len(known(()))
    assert not all(known(range(1500, 1600)))


def test_a_missing_base_bar_leaves_the_micro_scale_its_ranks():
    """Two of fifty returns are unknown: P, C and R go on with the others."""
    scale, found = Scale(1, 1, 250, "rank"), {}
    for bar in made_bars(9, (1000,)):
        scale.push(bar, bar.close_ns)
        found[bar.close_ns] = scale.reading() if scale.warm() else None
    assert all(np.isfinite(found[t].scores).all() for t in range(1000, 1700))


def test_a_merged_bar_is_of_what_is_valid():
    """Open of the first valid bar, close of the last one, volume of both; of nothing valid comes nothing."""
    scale, taken = Scale(1, 3, 60, "rank"), []
    scale._complete = taken.append
    for bar in made_bars(10, (3, 8, 9, 10, 11)):
        scale.push(bar, bar.close_ns)
    bars = list(made_bars(10))
    second, third, fourth = taken[0], taken[1], taken[2]
    assert (second.open[0], second.close[0]) == (bars[4].open[0], bars[5].close[0])
    assert second.volume[0] == bars[4].volume[0] + bars[5].volume[0]
    assert (third.open[0], third.close[0]) == (bars[6].open[0], bars[7].close[0])
    assert third.high[0] == max(bars[6].high[0], bars[7].high[0])
    assert (third.valid[0], fourth.valid[0]) == (True, False)
