"""Game kernels: against nashpy and on the vectors of the design."""

from __future__ import annotations

import warnings

import nashpy
import numpy as np
import pytest

from qts_agents.kernels import ewa, ewl, lemke_howson, nash, recall, scaling
from qts_agents.kernels import statevector as sv
from qts_agents.kernels.supports import numbers, supports

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
C, D, Q = (0.0, 0.0), (np.pi, 0.0), (0.0, np.pi / 2)
DILEMMA = np.array([[3.0, 0.0], [5.0, 1.0]])


def random_games(seed, count, m, n):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, m, n)), rng.normal(size=(count, m, n))


def found(game, solved):
    return [np.concatenate([solved.x[game, e], solved.y[game, e]]) for e in range(solved.count[game])]


@pytest.mark.parametrize(("m", "n", "count"), [(2, 2, 100), (3, 4, 100), (4, 4, 80), (5, 3, 40)])
def test_enumeration_finds_the_same_equilibria_as_vertex_enumeration(m, n, count):
    """On random games nashpy's vertex enumeration finds the same set, none more, none less."""
    a, b = random_games(m * 10 + n, count, m, n)
    solved = nash.nash_all(a, b)
    for g in range(count):
        peers = [np.concatenate(pair) for pair in nashpy.Game(a[g], b[g]).vertex_enumeration()]
        ours = found(g, solved)
        assert len(peers) == len(ours)
        assert all(min(np.abs(peer - own).max() for own in ours) < 1e-8 for peer in peers)


def test_enumeration_misses_nothing_that_support_enumeration_finds():
    """Every equilibrium of nashpy's support enumeration is among ours; it drops some of ours to rounding."""
    a, b = random_games(1, 60, 3, 3)
    solved = nash.nash_all(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for g in range(len(a)):
            for pair in nashpy.Game(a[g], b[g]).support_enumeration(tol=1e-12):
                peer = np.concatenate(pair)
                assert min(np.abs(peer - own).max() for own in found(g, solved)) < 1e-8


def test_nondegenerate_games_have_an_odd_number_of_equilibria():
    """Wilson (1971): the number of equilibria of almost every game is odd; ε stays below 1e-9 of the range."""
    a, b = random_games(2, 3000, 4, 4)
    solved = nash.nash_all(a, b)
    assert set((solved.count % 2).tolist()) == {1}
    assert np.nanmax(solved.regret) <= 1e-9


@pytest.mark.parametrize("size", [2, 3, 5, 11])
def test_lemke_howson_ends_in_an_equilibrium(size):
    """From every label, on random games, the regret is below 1e-9 of the range."""
    a, b = random_games(size, 50, size, size)
    for label in range(2 * size):
        assert lemke_howson.nash_one(a, b, label).regret.max() <= 1e-9


@pytest.mark.parametrize("low", [2, 3])
def test_degenerate_games_get_an_equilibrium(low):
    """Small integer payoffs tie everywhere: the choice and every Lemke–Howson path still have regret 0."""
    rng = np.random.default_rng(low)
    a, b = (rng.integers(0, low, size=(500, 4, 4)).astype(float) for _ in range(2))
    assert nash.nash_choice(a, b).regret.max() <= 1e-9
    assert lemke_howson.nash_one(a, b, 3).regret.max() <= 1e-9
    for label in range(8):
        one = lemke_howson.nash_one(a, b, label)
        assert min(one.x.min(), one.y.min()) >= 0.0  # rounding once left −2e-16 where payoffs tie


def test_a_game_without_equal_supports_falls_back_to_lemke_howson():
    """A weakly dominated pair of columns with no equal-size equilibrium is still answered."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2, size=(20000, 3, 4)).astype(float) for _ in range(2))
    none = nash.nash_all(a, b).count == 0
    if none.any():
        assert nash.nash_choice(a[none], b[none]).regret.max() <= 1e-9
    assert nash.nash_choice(a, b).count.min() >= 1


def test_the_choice_has_most_entropy_and_averages_ties():
    """Coordination: of two pure equilibria and the mixed one the mixed is chosen; equal pure ones are averaged."""
    same = np.eye(2)
    chosen = nash.nash_choice(same[None], same[None])
    np.testing.assert_allclose(chosen.x[0], [0.5, 0.5], rtol=0, atol=1e-12)
    assert chosen.count.tolist() == [3]
    b = np.array([[1.0, 0.0, -9.0], [0.0, 1.0, -9.0], [0.5, 0.5, -9.0]])
    a = np.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [2.0, 2.0, 5.0]])
    tied = nash.nash_choice(a[None], b[None])
    np.testing.assert_allclose(tied.x[0, 0], tied.x[0, 1], rtol=0, atol=1e-12)


def test_regret_of_a_bad_profile_is_its_largest_gain():
    """Both defecting from coordination on the worse corner lose the whole range."""
    pure = np.array([[1.0, 0.0]])
    assert nash.regret(DILEMMA[None], DILEMMA.T[None], pure, pure).tolist() == [0.4]


def test_permuted_games_have_permuted_equilibria():
    """Renaming actions renames the strategies to the bit or nearly so: ties do not depend on order."""
    a, b = random_games(5, 300, 4, 4)
    rows, columns = [1, 0, 2, 3], [0, 1, 3, 2]
    one, two = nash.nash_choice(a, b), nash.nash_choice(a[:, rows][:, :, columns], b[:, rows][:, :, columns])
    np.testing.assert_allclose(two.x, one.x[:, rows], rtol=0, atol=1e-9)


@pytest.mark.parametrize("whole", [False, True], ids=["generic", "tied payoffs"])
@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (4, 4), (5, 5)])
def test_the_walk_over_vertices_loses_no_equilibrium(shape, whole):
    """By way of the vertices every game has the equilibria, in order and bit for bit, of trying all pairs."""
    a, b = random_games(11, 300, *shape)
    if whole:
        a, b = np.floor(1.5 * a), np.floor(1.5 * b)
    games = (scaling.scaled(a), scaling.scaled(b), supports(*shape), 20)
    sets, index = numbers(*shape)
    walked, tried = (nash.enumerated(*games, sets, way) for way in (index, np.full(1, -1)))
    assert walked[2].tolist() == tried[2].tolist()
    for g, count in enumerate(tried[2]):
        for ours, theirs in zip(walked[:2], tried[:2], strict=True):
            assert ours[g, :count].tobytes() == theirs[g, :count].tobytes()


PAYOFFS = [
    (0.0, [(3, 3), (0, 5), (1, 1), (3, 3), (0, 5), (3, 3)]),
    (np.pi / 4, [(3, 3), (0, 5), (1, 1), (3, 3), (2.5, 2.5), (2, 2)]),
    (np.pi / 2, [(3, 3), (0, 5), (1, 1), (3, 3), (5, 0), (1, 1)]),
]


@pytest.mark.parametrize(("gamma", "expected"), PAYOFFS)
def test_the_quantum_dilemma_pays_what_the_design_says(gamma, expected):
    """Prisoner's dilemma with C, D, Q at three entanglements."""
    angles = np.array([(C, C), (C, D), (D, D), (Q, Q), (Q, D), (Q, C)])
    paid, _ = ewl.ewl(angles, gamma, DILEMMA, DILEMMA.T)
    np.testing.assert_allclose(paid, expected, rtol=0, atol=1e-12)


def test_outcome_probabilities_of_the_design():
    """γ = 0 is classical mixing; γ = 0.7 has the listed probabilities and payoffs."""
    classical = np.array([[(2 * np.pi / 3, 0.0), (np.pi / 2, 0.0)]])
    paid, probs = ewl.ewl(classical, 0.0, DILEMMA, DILEMMA.T)
    np.testing.assert_allclose(probs[0], [0.125, 0.125, 0.375, 0.375], rtol=0, atol=1e-12)
    np.testing.assert_allclose(paid[0], [2.625, 1.375], rtol=0, atol=1e-12)
    mixed = np.array([[(2 * np.pi / 3, 0.4), (np.pi / 2, 0.9)]])
    paid, probs = ewl.ewl(mixed, 0.7, DILEMMA, DILEMMA.T)
    expected = [0.0768350413, 0.0113651028, 0.2198460619, 0.6919537940]
    np.testing.assert_allclose(probs[0], expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(paid[0], [2.0216892276, 0.9792844318], rtol=0, atol=1e-10)


@pytest.mark.parametrize("gamma", [0.0, 0.3, np.pi / 2])
def test_classical_moves_embed_exactly(gamma):
    """Moves of 0 and π on each of two qubits pay the 4×4 table's entries, whatever the entanglement."""
    (a,), (b,) = random_games(3, 1, 4, 4)
    bits = [(i >> 1, i & 1) for i in range(4)]
    angles = np.array(
        [[(np.pi * r[0], 0, np.pi * r[1], 0), (np.pi * c[0], 0, np.pi * c[1], 0)] for r in bits for c in bits]
    )
    paid, _ = ewl.ewl(angles, gamma, a, b)
    np.testing.assert_allclose(paid, np.stack([a.ravel(), b.ravel()], axis=1), rtol=0, atol=1e-8)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("qubits", [1, 2])
def test_without_entanglement_it_is_the_classical_game(qubits):
    """At γ = 0 any 500 moves, phases included, pay what mixing each qubit's ends at cos²(θ/2) pays."""
    draws, size = np.random.default_rng(qubits), 2**qubits
    a, b = draws.normal(size=(2, size, size))
    angles = draws.uniform(0.0, np.pi, (500, 2, qubits, 2))
    stay = np.cos(angles[..., 0] / 2) ** 2
    ends = np.stack([stay, 1 - stay], axis=-1)  # [K,2,qubits,2]
    mixed = ends[:, :, 0]
    for q in range(1, qubits):
        mixed = np.einsum("kpi,kpj->kpij", mixed, ends[:, :, q]).reshape(500, 2, -1)
    expected = [np.einsum("ki,ij,kj->k", mixed[:, 0], payoff, mixed[:, 1]) for payoff in (a, b)]
    paid, _ = ewl.ewl(angles.reshape(500, 2, 2 * qubits), 0.0, a, b)
    np.testing.assert_allclose(paid, np.stack(expected, axis=1), rtol=0, atol=1e-8)


def test_best_responses_find_the_known_equilibria():
    """Unentangled the dilemma ends in (D,D); fully entangled in (Q,Q), which pays 3 and has no regret."""
    free = ewl.play(DILEMMA[None], DILEMMA.T[None].copy(), 0.0)
    np.testing.assert_allclose(free.payoff, [[1, 1]], rtol=0, atol=1e-9)
    bound = ewl.play(DILEMMA[None], DILEMMA.T[None].copy(), np.pi / 2)
    np.testing.assert_allclose(bound.payoff, [[3, 3]], rtol=0, atol=1e-9)
    assert bound.regret[0] <= 1e-9


def test_swapping_qubits_swaps_the_quantum_game():
    """The mirror of the market game is a swap of each player's qubits and must be exact."""
    a, b = random_games(8, 20, 4, 4)
    swap = [0, 2, 1, 3]
    one, two = ewl.play(a, b, np.pi / 2), ewl.play(a[:, swap][:, :, swap], b[:, swap][:, :, swap], np.pi / 2)
    np.testing.assert_allclose(two.joint, one.joint[:, swap][:, :, swap], rtol=0, atol=1e-9)


def test_one_step_of_attraction():
    """The vector of the design: N, A and softmax(A) after one step."""
    u = np.array([[3.7, 1.7, 1.7, 3.7], [-8.3, -10.3, -8.3, -10.3], [0, 0, 0, 0], [3.515] * 4])
    pull = np.zeros(4)
    assert ewa.attractions(u, np.array([0]), np.array([0]), pull) == pytest.approx(1.95)
    np.testing.assert_allclose(pull, [1.8974358974, -2.1282051282, 0, 0.9012820513], rtol=0, atol=1e-10)
    expected = [0.6505750468, 0.0116140507, 0.0975554332, 0.2402554694]
    np.testing.assert_allclose(np.exp(pull) / np.exp(pull).sum(), expected, rtol=0, atol=1e-10)


def test_populations_ignore_what_has_not_reached_them():
    """The last 3 observations are too new for all three populations."""
    (u,), _ = random_games(6, 1, 4, 4)
    own, seen = np.zeros((1, 150), np.int64), np.zeros((1, 150), np.int64)
    later = own.copy()
    later[0, -3:] = 2
    assert ewa.ewa(u[None], own, seen).tobytes() == ewa.ewa(u[None], later, seen).tobytes()
    later[0, -4] = 2
    assert ewa.ewa(u[None], own, seen).tobytes() != ewa.ewa(u[None], later, seen).tobytes()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0.0]]), np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0.0]])),
        (np.array([[6, 2], [7, 0.0]]), np.array([[6, 7], [2, 0.0]])),
    ],
    ids=["rock_paper_scissors", "chicken"],
)
def test_regret_matching_reaches_the_correlated_equilibria(a, b):
    """After 1e5 rounds no player gains more than 0.02 by following a switch of one action for another."""
    (joint,) = ewa.regret_match(a[None], b[None], np.random.default_rng(7).random((1, 100_000, 2)))
    assert joint.sum() == pytest.approx(1.0)
    rows = [(joint[i] * (a[k] - a[i])).sum() for i in range(len(a)) for k in range(len(a))]
    columns = [(joint[:, j] * (b[:, k] - b[:, j])).sum() for j in range(len(a)) for k in range(len(a))]
    assert max(rows + columns) <= 0.02


def test_the_statevector_knows_bell():
    """Hadamard and controlled NOT give ½, 0, 0, ½; a circuit of 13 qubits is refused."""
    bell = (sv.Gate(sv.H, 0), sv.Gate(sv.X, 1, control=0))
    np.testing.assert_allclose(
        sv.probabilities(bell, np.zeros((1, 0)), 2), [[0.5, 0, 0, 0.5]], rtol=0, atol=1e-12
    )
    with pytest.raises(ValueError, match="1 to 12"):
        sv.probabilities(bell, np.zeros((1, 0)), 13)


def test_recall_weighs_by_cosine_and_age():
    """Five of the nearest count; an episode 5,000 bars older counts half."""
    one = np.zeros((1, 16), np.float32)
    one[0, 0] = 1.0
    held = np.repeat(one.T, 5, axis=1)
    x, count = recall.recall(
        one, held, np.array([0, 5000, 5000, 5000, 5000]), np.array([0, 1, 1, 2, 2]), 5000
    )
    assert count.tolist() == [5]
    np.testing.assert_allclose(x[0], [0.5 / 4.5, 2 / 4.5, 2 / 4.5], rtol=0, atol=1e-12)
    x, count = recall.recall(one, held, np.arange(4), np.zeros(4), 5)
    assert count.tolist() == [4]
    assert np.isnan(x).all()


@pytest.mark.parametrize("width", [3, 8, 16, 20])
def test_what_half_of_the_columns_rule_out_is_not_among_the_nearest(width):
    """Five of 1,100 episodes in many tiles, equal ones among them, are those of a full sort."""
    draws = np.random.default_rng(width)
    vectors = draws.normal(size=(40, width))[draws.integers(0, 40, 1_100)]
    vectors += draws.choice([0.0, 0.02, 0.5], (1_100, 1)) * draws.normal(size=vectors.shape)
    held = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    now = np.concatenate([held[::20], np.full((1, width), np.nan, np.float32)])
    given = now, np.ascontiguousarray(held.T), np.arange(1_100), draws.integers(0, 3, 1_100), 1_100
    x, count = recall.recall(*given)
    expected = recall.recall_reference(*given)
    np.testing.assert_array_equal(count, expected[1])
    np.testing.assert_allclose(x, expected[0], rtol=0, atol=1e-12)
    assert count[-1] == 0
    assert count.max() == recall.TOP
