"""Every worked number of the design has a test: this table says which, and fails when a number leaves it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import numpy as np
import pytest

from qts_agents.kernels.pool import lmsr_pool

TESTS = Path(__file__).parents[2]
KERNEL, PADS, BOARD = "test_kernel_vectors", "test_pads_vectors", "test_pads_board"

#: group of agents.md §10 → (file, function or "" for a table of the file, its numbers as they are written there)
VECTORS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "LMSR pool": (
        (KERNEL, "test_lmsr_pool_of_three_seats", ("51.6778745895 51.8464940351 67.2426298521 0.3664170062 "
         "0.3651833868 0.2683996070 0.0089622440 0.0126172285 4.7314527846 4.5628333390 10.8333024780")),
        (BOARD, "test_the_worked_pool_through_the_board", "0.0980173992"),
        (KERNEL, "test_leave_one_out_pays_what_a_seat_adds", ("0.3199041537 0.3716292544 0.3084665919 "
         "0.4465866673 6.7875307422 0.3503494875 0.3610229939 0.2886275187 0.1325333551 2.2420427023 0.3991709779 "
         "0.3312122160 0.2696168061 0.6910724746 4.2808897573")),
        (KERNEL, "test_full_weight_pool_and_log_pool_agree", "0.3765323722 0.3748430882 0.2486245396"),
        ("test_design_vectors", "test_the_signal_of_the_full_weight_pool", "0.1279078327"),
        (KERNEL, "test_belief_map_of_actions", "0.7333333333 0.1333333333 0.2833333333 0.5833333333"),
        ("test_opinions", "test_reliability_vector", "0.0107390612 0.2566666667 0.2415151515"),
        (PADS, "test_votes_that_disagree_do_not_make_a_consensus", "0.7777777778 0.1685205807"),
        ("test_design_vectors", "test_the_spread_of_the_votes", "0.4157397096"),
    ),
    "P, C, R": (
        (PADS, "test_phase_scores_of_ten_closes", ("0.8333333333 0.6070983811 0.1504773765 0.0481527605 "
         "0.1942714819 0.3730593607 0.6625")),
        (PADS, "test_autocorrelation_and_deviation_of_the_last_four_windows", ("0.5505572192 0.4194871984 "
         "0.5401072205 0.5202949285 0.0220081557 0.0207350337 0.0222552507 0.0195691660")),
        (PADS, "test_raw_connectedness_of_ten_closes", ("0.2247213904 0.5062759584 0.2512997991 0.0804159357 "
         "0.1620083067")),
    ),
    "AMOS readout": (
        ("test_readout", "", ("0.9267766953 0.0732233047 0.0562682921 0.1498390818 0.7938926261 0.1184654721 "
         "0.8370478045")),
        ("test_readout", "test_long_vectors", ("0.0444867234 0.0749195409 0.0435459312 0.3969463131 0.4401014914 "
         "0.8535533906 0.1464466094")),
        ("property/test_amos_agent", "test_intention_vector", "0.1194807730 0.3811871057"),
    ),
    "EWL": (
        ("test_games", "", "2.5, 2.5"),
        ("test_games", "test_outcome_probabilities_of_the_design", ("0.0768350413 0.0113651028 0.2198460619 "
         "0.6919537940 2.0216892276 0.9792844318 2.625 1.375")),
    ),
    "QBMIA game": (
        ("test_qbmia", "test_the_payoffs_of_the_design", "1.9182818285 2.3036383235"),
        ("test_qbmia", "test_the_equilibrium_of_the_design", "0.3591409142 0.6408590858 2.4309690971"),
        ("test_games", "test_one_step_of_attraction", ("1.8974358974 2.1282051282 0.9012820513 0.6505750468 "
         "0.0116140507 0.0975554332 0.2402554694")),
        ("test_order_events", "test_the_cauchy_rule_of_the_design", "0.0276733276"),
    ),
    "Prospect theory": (
        (KERNEL, "test_prospect_values_weights_and_a_planned_long", ("0.0173780083 0.1318256739 0.0391005186 "
         "0.2966077662 0.0552661368 0.1863025664 0.4206393543 0.7117160639 0.0396719397 0.1701454281 0.4539875495 "
         "0.7749034872 0.0011428366")),
    ),
    "Hedge": (
        (KERNEL, "test_hedge_and_fixed_share", ("0.6931471806 0.9162907319 1.6094379124 0.4122065263 0.3527214858 "
         "0.2350719879 0.4114177944 0.3525276043 0.2360546014")),
    ),
    "Double Q": (
        ("test_qtable", "test_double_q_vectors", "0.29235 0.389775"),
        ("test_qtable", "test_expected_sarsa_vector", "1.254625"),
    ),
    "Other": (
        (PADS, "test_size_before_the_volatility_factor", "0.0250523507"),
        (PADS, "test_the_alert_factor_returns_to_one", "0.8412598948"),
        (KERNEL, "test_philox_vectors", "6627E8D5 E169C58D BC57AC4C 9B00DBD8 F8E4CCA4 5CB200DB B1A574EB 097EFF67"),
    ),
}  # fmt: skip


@functools.cache
def source(file: str, function: str) -> str:
    """Return the text of a test with its decorators, or of a whole file."""
    text = (TESTS / f"{file if '/' in file else 'unit/agents/' + file}.py").read_text()
    if not function:
        return text
    node = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == function)
    first = min([d.lineno for d in node.decorator_list] + [node.lineno])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


@pytest.mark.parametrize("group", VECTORS)
def test_every_number_is_in_the_test_that_the_table_names(group: str) -> None:
    """Numbers are compared there to ten digits; one that is taken out or rounded fails here."""
    lacking = []
    for file, function, numbers in VECTORS[group]:
        words = numbers.split(", ") if ", " in numbers else numbers.split()
        text = source(file, function).lower()
        lacking += [(file, function, word) for word in words if word.lower() not in text]
    assert lacking == []


def test_the_signal_of_the_full_weight_pool() -> None:
    """ω = (.4, ⅓, .2666…), Ω = 1: s* = p_up − p_down = 0.1279078327."""
    pi = np.array([[[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.2, 0.5, 0.3]]])
    p = lmsr_pool(pi, np.array([[0.4, 1 / 3, 0.8 / 3]]), np.full((1, 3), 1 / 3), 50.0).p[0]
    assert p[0] - p[2] == pytest.approx(0.1279078327, abs=5e-11)


def test_the_spread_of_the_votes() -> None:
    """Votes (1,1,0,1) of weights (.3,.25,.2,.15): σ_v = 0.4157397096, and agreement is 1 − 2σ_v of it."""
    from qts_agents.pads.members import agreement

    _, agree = agreement(np.array([[1.0, 1, 0, 1]]), np.array([[0.3, 0.25, 0.2, 0.15]]))
    assert (1.0 - agree[0]) / 2.0 == pytest.approx(0.4157397096, abs=5e-11)
