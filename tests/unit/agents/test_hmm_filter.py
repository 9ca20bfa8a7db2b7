"""The filter of hidden Markov models: the textbook's logarithms, and the bits of what PADS computed before."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from qts_agents.kernels import backend
from qts_agents.kernels.hmm_filter import hmm_filter
from qts_agents.pads import hmm

pytestmark = pytest.mark.timeout(1200)  # compiling with a cold cache on a busy machine takes a minute
K = hmm.STATES


def models(seed: int, S: int, T: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return densities [S,T,K] over many orders of magnitude, transitions, and what is expected first."""
    draws = np.random.default_rng(seed)
    density = np.exp(-20.0 * draws.random((S, T, K)))
    return density, draws.dirichlet(np.ones(K), (S, K)), draws.dirichlet(np.ones(K), S)


@pytest.mark.usefixtures("either")
def test_it_is_the_forward_algorithm_in_logarithms() -> None:
    """Rabiner's forward variable by log-sum-exp, normalised at the end alone, to 1e-10."""
    density, move, start = models(1, 5, 200)
    ours = hmm_filter(density, move, start)
    for s in range(5):
        ahead = np.log(start[s])
        for t in range(200):
            ahead = ahead + np.log(density[s, t])
            np.testing.assert_allclose(ours[s, t], np.exp(ahead - logsumexp(ahead)), rtol=1e-10, atol=1e-14)
            ahead = logsumexp(ahead[:, None] + np.log(move[s]), axis=0)


@pytest.mark.usefixtures("either")
def test_a_batch_is_a_loop_over_its_rows_to_the_bit() -> None:
    """No row sees another, one row of a batch being alone or wrong included."""
    density, move, start = models(2, 6, 50)
    density[3, 10] = np.nan
    density[4, 20] = 0.0
    batch = hmm_filter(density, move, start)
    for s in range(6):
        alone = hmm_filter(density[s : s + 1], move[s : s + 1], start[s : s + 1])
        assert alone[0].tobytes() == batch[s].tobytes()
    np.testing.assert_array_equal(batch[4, 20], np.full(K, 0.25))


def before(b: np.ndarray, move: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return what the compiled smoother's forward pass said: sums in index order from 0."""
    forward = np.zeros(b.shape)
    for t in range(len(b)):
        total = 0.0
        for j in range(K):
            prior = float(start[j])
            if t > 0:
                prior = 0.0
                for i in range(K):
                    prior += float(forward[t - 1, i]) * float(move[i, j])
            forward[t, j] = prior * float(b[t, j])
            total += float(forward[t, j])
        for j in range(K):
            forward[t, j] = forward[t, j] / total if total > 0.0 else 1.0 / K
    return forward


def test_a_fit_ends_with_the_bits_that_it_had() -> None:
    """The compiled filter is the smoother's forward pass bit for bit: replays of older journals stay equal."""
    for seed in range(20):
        density, move, start = models(seed, 1, 100)
        density[0, seed % 7] = 0.0
        now = hmm_filter(density, move, start)[0]
        assert now.tobytes() == before(density[0], move[0], start[0]).tobytes()


def test_densities_have_the_bits_of_their_definition() -> None:
    """By whole arrays [T,4,2], as they were computed before; far observations and single ones included."""
    draws = np.random.default_rng(7)
    x = draws.normal(size=(500, 2)) * np.where(draws.random((500, 1)) < 0.1, 1e3, 1.0)
    known, _ = hmm.fit(x[:200])
    for seen in (x, x[:1], x[::2]):
        z = (seen - known.center) / known.scale
        apart = (z[:, None, :] - known.mean) ** 2 / known.variance
        logs = -0.5 * (apart + np.log(known.variance)).sum(axis=2)
        wanted = np.exp(logs - logs.max(axis=1, keepdims=True))
        assert hmm.likelihood(seen, known).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("jit", [True, False])
def test_a_step_has_the_bits_that_it_had(jit: bool) -> None:
    """Between fits: the prior by numpy's product, scaled by its sum, as PADS wrote it out before."""
    backend.set_jit(jit)
    try:
        draws = np.random.default_rng(3)
        model = hmm.Hmm(60)
        for t in range(400):
            x = np.array([draws.normal(), draws.normal() if t % 50 else 1e6])
            held, known = model.p.copy(), model.known
            model.step(float(x[0]), float(x[1]))
            if known is not None and model.known is known:
                after = (held @ known.move) * hmm.likelihood(x[None], known)[0]
                total = float(after.sum())
                expected = after / total if total > 0.0 else np.full(K, 1.0 / K)
                assert model.p.tobytes() == expected.tobytes()
    finally:
        backend.set_jit(True)
