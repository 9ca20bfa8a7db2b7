"""Rolling statistics: causal, equal to pandas, compiled = reference, blind to other rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qts_agents.kernels import backend, rolling

F8 = NDArray[np.float64]
some = settings(max_examples=30, deadline=None)
ALL: tuple[Callable[[F8, int], F8], ...] = (
    lambda x, n: rolling.rolling_moments(x, n).mean,
    lambda x, n: rolling.rolling_moments(x, n).std,
    lambda x, n: rolling.rolling_moments(x, n).rho,
    lambda x, n: rolling.rolling_moments(x, n).skew,
    rolling.rolling_rank,
    lambda x, n: rolling.rolling_entropy(np.where(np.isnan(x), -1.0, np.abs(x) * 1000 // 8), n, 4),
)


def series(seed: int, missing: float = 0.0) -> F8:
    """Return three rows of returns on a grid, some of them NaN."""
    draws = np.random.default_rng(seed)
    x = np.round(draws.normal(0.0, 0.01, (3, 120)), 3)
    x[draws.random(x.shape) < missing] = np.nan
    return x


@pytest.mark.parametrize("statistic", ALL)
@some
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 120), st.booleans())
def test_later_values_change_nothing(
    statistic: Callable[[F8, int], F8], seed: int, n: int, end: int, jit: bool
) -> None:
    """Deleting all values after t leaves every output up to t bit-identical."""
    backend.set_jit(jit)
    x = series(seed, 0.02)
    whole, cut = statistic(x, n), statistic(x[:, :end], n)
    backend.set_jit(True)
    assert np.ascontiguousarray(whole[:, :end]).tobytes() == cut.tobytes()


@some
@given(st.integers(0, 2**32 - 1), st.integers(3, 40))
def test_agrees_with_pandas(seed: int, n: int) -> None:
    """Means and deviations equal pandas'; the mid-rank is (average rank − ½)/n, as it counts ½ for itself."""
    x = series(seed)
    frame = pd.DataFrame(x.T).rolling(n)
    found = rolling.rolling_moments(x, n)
    np.testing.assert_allclose(found.mean, frame.mean().to_numpy().T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.std, frame.std().to_numpy().T, rtol=0, atol=1e-8)
    average = (frame.rank(method="average").to_numpy().T - 0.5) / n
    np.testing.assert_allclose(rolling.rolling_rank(x, n), average, rtol=0, atol=1e-12)


def test_nothing_is_full_in_a_series_shorter_than_the_window() -> None:
    """Fewer values than the window are all NaN."""
    for statistic in ALL:
        for jit in (True, False):
            backend.set_jit(jit)
            assert np.isnan(statistic(np.zeros((2, 4)), 5)).all()
    backend.set_jit(True)


@pytest.mark.parametrize("n", [5, 30])
def test_an_outlier_costs_no_digits(n: int) -> None:
    """Beside a jump of a million and on a level of a thousand the moments keep their digits."""
    x = np.random.default_rng(8).normal(0.0, 1.0, (2, 200))
    x[0, 77] = 1e6
    x[1] += 1e3
    ours = rolling.rolling_moments(x, n)
    backend.set_jit(False)
    exact = rolling.rolling_moments(x, n)
    backend.set_jit(True)
    np.testing.assert_allclose(ours.std, exact.std, rtol=1e-11)
    np.testing.assert_allclose(ours.rho, exact.rho, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.skew, exact.skew, rtol=0, atol=1e-9)
