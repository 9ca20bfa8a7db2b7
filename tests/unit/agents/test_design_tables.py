"""The tables of the code are those of the design (agents.md), written out here by section."""

import numpy as np
import pytest
from tests.unit.agents.board_script import calm

from qts_agents.amos.beliefs import RISK_WEIGHTS
from qts_agents.amos.intention import TAU, intention, risk_of
from qts_agents.amos.society import SOCIETY
from qts_agents.kernels.factors import BASE_WEIGHTS, FACTOR_NAMES, KINDS, PHASE_MULTIPLIERS
from qts_agents.kernels.pool import log_pool
from qts_agents.pads import panarchy, regime, tables
from qts_agents.qbmia import orders, thought
from qts_agents.quasar import blend
from qts_agents.quasar.qar import FactorPool, experts, prior_weights
from qts_core.roster import SEATS
from qts_core.sections import AmosSettings, QbmiaSettings, QuasarSettings
from qts_core.spec import DEFAULT_BOARD
from qts_messaging.messages import ACTIONS, PHASES

CYCLE = ("growth", "conservation", "release", "reorganization")
ALL = (*CYCLE, "unknown")

# §1.2
VALUES = """
BUY SELL HOLD INCREASE DECREASE HEDGE EXIT
1.0 -0.75 0 0.5 -0.25 -0.5 -1.0
1 -1 0 1 -1 0 -1
"""
# §2.1
BOARD = {"qar": 0.30, "qstar": 0.25, "antifragility": 0.20, "consensus": 0.15, "adaptability": 0.10}
SEAT_MULTIPLIERS = """
qar qstar antifragility consensus adaptability market_maker
1.0 1.2 0.75 1.0 1.0 1.0
1.2 1.0 0.75 1.3 0.5 1.0
0.8 0.6 1.5 1.3 1.0 1.0
0.8 1.0 1.0 0.7 2.0 1.0
1 1 1 1 1 1
"""
# §2.5: style, A₀, threshold, stop ×, size ×, targets ×, profile `prospect`: stop ×, size ×
PHASE_TABLE = """
calculated_risk 0.7 0.55 1.1 1.2 1.5 2.0 3.0 1.2 1.2
consensus 0.5 0.65 1.0 1.0 1.2 1.6 2.2 0.8 0.8
defensive 0.3 0.75 0.7 0.7 1.8 2.5 4.0 0.6 0.5
contrarian 0.6 0.60 0.8 0.9 1.3 2.0 2.8 1.0 0.7
consensus 0.5 0.60 1.0 1.0 1.2 1.6 2.2 1.0 1.0
"""
# §3
TURBULENCE = {"release": 90, "reorganization": 75, "conservation": 50, "growth": 25}
TRUST = {"conservation": 0.9, "growth": 0.8, "release": 0.7, "reorganization": 0.6, "unknown": 0.5}
# §4
COMPONENTS = {
    "quantum_nash": 0.25,
    "machiavellian": 0.20,
    "robin_hood": 0.20,
    "temporal_nash": 0.20,
    "antifragile": 0.15,
}
PATTERNS = {"spoofing": 0.30, "layering": 0.25, "wash": 0.20, "pump_dump": 0.15, "front_running": 0.10}
# §5
EXPERTS = """
trend volatility momentum sentiment liquidity correlation cycle anomaly
odd risk odd odd risk odd odd risk
.60 .50 .55 .45 .35 .40 .50 .30
1.5 .8 1.3 1.1 .9 .7 .8 .9
.8 1.2 .9 1 1.1 1.3 1.1 1
.9 1.3 .8 .7 .8 .9 1.4 1.5
1 .9 .8 1.3 1.4 1 .9 .8
"""
# §6
TAUS = {"growth": 0.8, "conservation": 1.0, "release": 1.4, "reorganization": 1.1, "unknown": 1.0}


def rows(text):
    return [tuple(line.split()) for line in text.strip().splitlines()]


def numbers(text):
    return [tuple(float(x) for x in line) for line in rows(text)[1:]]


def test_signal_values_and_board_votes():
    """§1.2."""
    assert (rows(VALUES)[0], *numbers(VALUES)) == (tuple(ACTIONS), tables.SIGNALS, tables.VOTES)


def test_seats_and_their_multipliers():
    """§2.1, through the weights that a phase gives."""
    seats, table = rows(SEAT_MULTIPLIERS)[0], numbers(SEAT_MULTIPLIERS)
    assert BOARD == DEFAULT_BOARD
    assert set(seats) <= set(SEATS)
    even = dict.fromkeys(seats, 1.0 / len(seats))
    for phase, wanted in enumerate(table):
        made = tables.seat_weights(even, phase)
        assert [made[s] for s in seats] == pytest.approx([x / sum(wanted) for x in wanted]), PHASES[phase]
        assert tuple(tables.MULTIPLIERS[s][phase] for s in seats) == wanted
    assert set(tables.MULTIPLIERS) == set(seats)


def profile(row):
    return row.prospect_stop, row.prospect_size


def test_scales():
    """Bars of each scale and the window of its ranks, agents.md §3: macro ranks among fewer."""
    assert panarchy.SCALES == (("micro", 1, 250), ("meso", 5, 250), ("macro", 30, 75))


def test_phase_table():
    """§2.5."""
    assert tuple(PHASES) == ALL
    found = [
        [tables.STYLES[r.style], r.appetite, r.threshold, r.stop, r.size, *r.targets, *profile(r)]
        for r in tables.ROWS
    ]
    assert [[style, *(float(x) for x in rest)] for style, *rest in rows(PHASE_TABLE)] == found


def test_regime_tables():
    """§3: turbulence by phase, by ADX, weights of the terms; trust by phase and by changes."""
    by_name = {name: PHASES.index(name) for name in PHASES}
    for name, value in TURBULENCE.items():
        nan = float("nan")
        assert regime.turbulence(by_name[name], nan, nan, nan, nan) == pytest.approx(value)
    terms = [(25, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    base = regime.turbulence(by_name["growth"], 0.0, 0.0, 0.0, 20.0)
    assert base == pytest.approx(0.30 * 25 + 0.10 * 30)
    gains = [regime.turbulence(by_name["growth"], *t[1:], 20.0) - base for t in terms]
    assert gains == pytest.approx([0, 25, 25, 10])
    adx = [17.99, 18.0, 39.99, 40.0]
    found = [regime.turbulence(by_name["growth"], 0.0, 0.0, 0.0, x) - 7.5 for x in adx]
    assert found == pytest.approx([7, 3, 3, 6])


@pytest.mark.parametrize("phase", TRUST)
def test_regime_confidence(phase):
    """§3: 0.6·(1 − min(1, changes/5)) + 0.4·trust."""
    held = regime.Regime()
    found = []
    for changes in (0, 1, 4, 5, 9):
        held.step(calm(), np.array([0.5]), PHASES.index(phase), changes)
        found.append(held.confidence)
    assert found == pytest.approx([0.6 * share + 0.4 * TRUST[phase] for share in (1.0, 0.8, 0.2, 0.0, 0.0)])


def test_regime_score_is_smoothed_over_five():
    """§3: EWMA of span 5."""
    held, nan = regime.Regime(), np.array([np.nan])
    plain = {"volatility": np.nan, "ews": np.nan, "adx": np.nan}
    for phase in ("growth", "release"):
        held.step(calm(**plain), nan, PHASES.index(phase), 0)
    assert held.score == pytest.approx(25 + (90 - 25) / 3)


def test_qbmia_weights():
    """§4: components, manipulation tests, least number, and memory's 0.2, by what they pool to."""
    assert dict(zip(thought.COMPONENTS, thought.WEIGHTS, strict=True)) == COMPONENTS
    assert dict(zip(orders.NAMES, orders.WEIGHTS, strict=True)) == PATTERNS
    x = np.array([[[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6], [0.5, 0.2, 0.3]]])
    recalled = np.array([[0.7, 0.2, 0.1]])
    parts = np.concatenate((x, recalled[None]), axis=1)
    weight = np.array([0.8 * w for w in COMPONENTS.values()] + [0.2])
    wanted = np.exp((weight[:, None] * np.log(parts[0])).sum(axis=0))
    both, enough = thought.fuse(x, recalled, QbmiaSettings().memory_share)
    np.testing.assert_allclose(both[0], wanted / wanted.sum(), rtol=0, atol=1e-12)
    assert enough.tolist() == [True]
    for lost, heard in ((2, True), (3, False)):
        x[:, :lost] = np.nan
        assert thought.fuse(x, recalled, QbmiaSettings().memory_share)[1].tolist() == [heard]


def test_qar_experts():
    """§5: kinds, base weights, and multipliers by what a phase pools to."""
    names, kinds, *table = rows(EXPERTS)
    base, *phases = [tuple(float(x) for x in line) for line in table]
    assert (FACTOR_NAMES, KINDS) == (names, kinds)
    assert tuple(BASE_WEIGHTS) == base
    assert prior_weights() == pytest.approx(np.array(base) / sum(base))
    b = np.array([[0.9, 0.4, -0.7, 0.5, 0.6, -0.3, 0.8, 0.2]])
    for name, times in zip(CYCLE, phases, strict=True):
        assert tuple(PHASE_MULTIPLIERS[name]) == times
        wanted = log_pool(experts(b), np.array(base) * np.array(times))
        np.testing.assert_allclose(FactorPool(QuasarSettings()).pool(b, name), wanted, rtol=0, atol=1e-12)
    assert tuple(PHASE_MULTIPLIERS["unknown"]) == (1.0,) * 8


def test_quasar_reads_a_factor_as_a_distribution():
    """§5 by the belief map of §10, c = 0.6: an odd factor takes its side, a risk factor votes flat."""
    much, little, none = 0.7333333333, 0.1333333333, 1.0 / 3.0
    found = experts(np.array([[0.6, 0.6, -0.6, 0.0, 0.0, 1.0, -1.0, 0.05]]))[0]
    assert found == pytest.approx(
        np.array([
            [much, little, little], [little, much, little], [little, little, much], [none] * 3, [none] * 3,
            [1, 0, 0], [0, 0, 1], [0.95 / 3, 0.95 / 3 + 0.05, 0.95 / 3],
        ]),
        abs=1e-9,
    )  # fmt: skip


def test_quasar_scores_a_sure_expert_that_errs_by_the_floor():
    """§5: ℓ = −ln π[y] with π clipped to 0.001 (§2.2): w changes by 1000^−0.1; who is absent keeps its weight."""
    pool, b = FactorPool(QuasarSettings(hedge_share=0.0)), np.full((1, 8), np.nan)
    b[0, [0, 3]] = 1.0, -1.0
    before = pool.weights.copy()
    pool.learn(b, np.array([2]))
    found = pool.weights / before
    assert found[0] / found[3] == pytest.approx(1000.0**-0.1)
    assert np.delete(found, [0, 3]) == pytest.approx(np.ones(6))


#: §5: qstar, qar, model before the floor and renormalising
BLENDS = [
    ("unknown", 0, 0, (0.4, 0.4, 0.2)),
    ("unknown", 1, 0, (0.3, 0.6, 0.1)),
    ("unknown", 0, 1, (0.6, 0.3, 0.1)),
    ("unknown", 1, 1, (0.5, 0.5, 0.05)),
    ("growth", 0, 0, (0.35, 0.35, 0.3)),
    ("conservation", 0, 0, (0.4, 0.5, 0.2)),
    ("release", 0, 0, (0.5, 0.4, 0.2)),
    ("reorganization", 0, 0, (1.0, 1.0, 1.0)),
]


@pytest.mark.parametrize(("phase", "anomaly", "drift", "raw"), BLENDS)
def test_quasar_blend(phase, anomaly, drift, raw):
    """§5: what anomaly, drift and phase add and take."""
    found = blend.weights(phase, np.array([anomaly]), np.array([drift]))[0]
    assert found == pytest.approx([w / sum(raw) for w in raw])


def test_quasar_flattens_an_anomaly():
    """§5: p^0.7/Σ, and nothing without one."""
    p = np.array([[0.6, 0.3, 0.1]] * 2)
    raised = np.array([0.6, 0.3, 0.1]) ** 0.7
    np.testing.assert_allclose(blend.flatten(p, np.array([True, False])), [raised / raised.sum(), p[0]])


def test_quasar_threshold():
    """§2.8: min(0.9, θ(2−ψ))."""
    assert [blend.threshold_of(0.6, psi) for psi in (1.0, 0.8, 0.5)] == pytest.approx([0.6, 0.72, 0.9])
    assert blend.threshold_of(0.7, 0.5) == 0.9


ENTRIES = [("BUY", 0.0, 1.0), ("SELL", 0.0, -1.0), ("INCREASE", 1.0, 1.0), ("INCREASE", -1.0, -1.0)]


@pytest.mark.parametrize(("entry", "d", "way"), ENTRIES)
def test_quasar_needs_the_threshold_on_its_scale(entry, d, way):
    """§5: an entry needs min(1, abs(x_up−x_down)/0.2) ≥ θ = 0.6 its way; the other way it is none."""
    for lean, wanted in ((0.1199, "HOLD"), (0.1201, entry), (0.9, entry), (-0.1201, "HOLD")):
        x = np.array([[(1 + way * lean) / 2 - 0.1, 0.2, (1 - way * lean) / 2 - 0.1]])
        greedy = np.array([ACTIONS.index(entry)], dtype=np.int8)
        found = blend.propose(x, greedy, np.array([True]), np.array([d]), QuasarSettings().threshold)
        assert ACTIONS[found[0]] == wanted


def test_quasar_blends_each_row_by_its_own_flags():
    """§5: a row's weights do not depend on the rows beside it."""
    flags = np.array([[False, True, False, True], [False, False, True, True]])
    alone = [blend.weights("growth", *flags[:, row : row + 1])[0] for row in range(4)]
    np.testing.assert_array_equal(blend.weights("growth", *flags), alone)


def test_amos_tau():
    """§6: I = tanh((1.0·B + 0.5·PT + 0.5·des + 0.15·I_prev)/τ)·Sit·Norm by phase."""
    assert TAUS == TAU
    terms = tuple(np.array([x]) for x in (0.3, 0.4, 0.1, -0.2))
    for phase, tau in TAUS.items():
        found = intention(terms, AmosSettings(), phase, np.array([0.9]), 0.8)[0]
        assert found == pytest.approx(np.tanh((0.3 + 0.2 + 0.05 - 0.03) / tau) * 0.9 * 0.8), phase


def test_amos_takes_more_for_a_risk_when_it_has_been_warned():
    """§6: ψ is 1 until an alert lowers it; what is sure stays sure."""
    hazard = np.array([0.0, 0.4, 1.0])
    np.testing.assert_allclose(risk_of(hazard, 1.0), hazard, rtol=0, atol=1e-15)
    np.testing.assert_allclose(risk_of(hazard, 0.5), [0.5, 0.7, 1.0], rtol=0, atol=1e-15)


def test_amos_risk_and_society():
    """§6: weights of the risk input, what each variant changes (trend, momentum, sentiment, correlation, cycle)."""
    assert RISK_WEIGHTS == (0.5, 0.3, 0.2)
    assert [(v.name, v.tilt, v.tau, v.risk) for v in SOCIETY] == [
        ("trend", (1.5, 1.5, 1, 1, 1), 1.0, 0.0),
        ("mean_reversion", (-1, -1, 1, 1, -1), 1.0, 0.0),
        ("risk_averse", (1, 1, 1, 1, 1), 1.5, 0.2),
        ("contrarian", (-1, -1, -1, -1, -1), 1.0, 0.0),
    ]
