"""What is thought of seats once the outcome is known, against loops that follow the text (agents.md §2.2, §2.4)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qts_agents.kernels.outcomes import DOWN, UNRESOLVED
from qts_agents.kernels.pool import lmsr_pool
from qts_agents.pads.reputation import Reputation, hindsight

MANY = settings(max_examples=100, deadline=None)
NAN = math.nan


def opinions(rng, S, N):
    """Return π [S,N,3]: most seats think, some are silent, some are sure."""
    pi = rng.dirichlet([1.0, 1.0, 1.0], (S, N))
    pi[rng.random((S, N)) < 0.2] = NAN
    sure = rng.random((S, N)) < 0.3
    pi[sure] = np.eye(3)[rng.integers(0, 3, (S, N))][sure]
    return pi


def clipped(row):
    """§2.2: clipped to [0.001, 0.999] and renormalised."""
    held = [min(max(x, 0.001), 0.999) for x in row]
    return [x / sum(held) for x in held]


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(2, 5))
@MANY
def test_hindsight_is_what_the_text_says(seed, S, N):
    """ln π[y], ln π[y] − ln p₋ᵢ[y] and ln p[y] − ln p₋ᵢ[y] seat by seat, NaN of the silent and the unresolved."""
    rng = np.random.default_rng(seed)
    pi, prior = opinions(rng, S, N), rng.dirichlet([5.0, 5.0, 5.0], S)
    omega = np.where(np.isfinite(pi).all(axis=2), rng.dirichlet(np.ones(N), S), 0.0)
    made = lmsr_pool(pi, omega, prior, 50.0)
    y = rng.choice([0, 1, 2, UNRESOLVED], S).astype(np.uint8)
    found = hindsight(pi, made.leave_one_out, made.p, made.share, y)
    for s in range(S):
        for i in range(N):
            wanted = [NAN] * 3
            if y[s] != UNRESOLVED and made.share[s, i] > 0.0:
                said = math.log(clipped(pi[s, i])[y[s]])
                left = math.log(made.leave_one_out[s, i, y[s]])
                wanted = [said, said - left, math.log(made.p[s, y[s]]) - left]
            told = [found.said[s, i], found.score[s, i], found.added[s, i]]
            assert told == pytest.approx(wanted, rel=1e-12, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("mode", ["score", "hedge"])
def test_who_was_sure_of_something_else_loses(mode):
    """A probability of 0 for what came costs ln 0.001, and is no silence."""
    pi = np.array([[[1.0, 0.0, 0.0], [0.3, 0.3, 0.4]]])
    made = lmsr_pool(pi, np.array([[0.5, 0.5]]), np.full((1, 3), 1.0 / 3.0), 50.0)
    record, before = Reputation(("sure", "other"), 0.05, mode), 1.0
    seen = hindsight(pi, made.leave_one_out, made.p, made.share, np.array([DOWN], np.uint8))
    assert seen.said[0, 0] == pytest.approx(math.log(0.001 / 1.001))
    for _ in range(4):
        record.learn(seen.score, seen.said)
        sure, other = record.value
        assert sure < min(before, other)
        before = sure


def mean(values):
    known = [x for x in values if math.isfinite(x)]
    return sum(known) / len(known) if known else NAN


def by_hedge(w, losses):
    """Fixed-share Hedge: who is awake shares what those awake had; nothing heard is nothing learned."""
    awake = [i for i, loss in enumerate(losses) if math.isfinite(loss)]
    if not awake:
        return w
    grown = {i: w[i] * math.exp(-0.1 * losses[i]) for i in awake}
    scale = sum(w[i] for i in awake) / sum(grown.values())
    return [0.99 * (grown[i] * scale if i in grown else w[i]) + 0.01 / len(w) for i in range(len(w))]


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(2, 5), st.floats(0.01, 1.0))
@MANY
def test_reputation_is_what_the_text_says(seed, S, N, rate):
    """Both ways to earn it through eight decisions of which some teach nothing, and some seats are silent."""
    rng, seats = np.random.default_rng(seed), tuple("abcde"[:N])
    scored, hedged = Reputation(seats, rate, "score"), Reputation(seats, rate, "hedge")
    rep, w = [0.5] * N, [1.0 / N] * N
    for silent in (0.0, 0.3, 1.0, 0.9, 0.0, 0.5, 1.0, 0.7):
        g, said = rng.normal(0.0, 1.5, (S, N)), -rng.exponential(2.0, (S, N))
        gone = rng.random((S, N)) < silent
        g[gone] = said[gone] = NAN
        scored.learn(g, said)
        hedged.learn(g, said)
        for i in range(N):
            step = mean([min(max(x, -1.0), 1.0) for x in g[:, i]])
            rep[i] = min(max(rep[i] + rate * step, 0.1), 1.0) if math.isfinite(step) else rep[i]
        w = by_hedge(w, [-mean(said[:, i]) for i in range(N)])
        assert list(scored.by_seat().values()) == pytest.approx(rep, rel=1e-12)
        assert list(hedged.by_seat().values()) == pytest.approx([x / max(w) for x in w], rel=1e-12)


def test_a_decision_without_an_outcome_moves_no_reputation():
    """Nor does Hedge's share draw the seats together then."""
    for mode in ("score", "hedge"):
        record = Reputation(("a", "b"), 0.05, mode)
        record.learn(np.array([[0.4, -0.4]]), np.array([[-0.1, -2.0]]))
        before = record.value.copy()
        assert before[0] > before[1]
        record.learn(np.full((2, 2), NAN), np.full((2, 2), NAN))
        assert record.value.tobytes() == before.tobytes()
