"""The k-th smallest value against a sort, over kinds of numbers that partitions stumble on."""

import numba
import numpy as np
import pytest

from qts_agents.kernels import nth

KINDS = {
    "spread": lambda draws, n: draws.standard_t(4, n),
    "few values": lambda draws, n: draws.integers(0, 3, n).astype(float),
    "all equal": lambda draws, n: np.full(n, 2.5),
    "ascending": lambda draws, n: np.arange(n, dtype=float),
    "descending": lambda draws, n: -np.arange(n, dtype=float),
    "half nought": lambda draws, n: np.maximum(draws.normal(size=n), 0.0),
    "infinite": lambda draws, n: np.where(draws.random(n) < 0.2, np.inf, draws.normal(size=n)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_kth_of_the_sorted_values(kind) -> None:
    """And what is before it is not larger, what is behind not smaller; values behind `n` stay."""
    draws = np.random.default_rng(7)
    for n in (1, 2, 3, 10, 101):
        for k in {0, n // 3, n // 2, n - 1}:
            values = np.append(KINDS[kind](draws, n), -9.0)
            room = values.copy()
            found = nth.nth_part(room, n, k)
            assert found == np.sort(values[:n])[k]
            assert room[n] == -9.0
            assert sorted(room) == sorted(values)
            assert (room[:k] <= found).all()
            assert (room[k:n] >= found).all()


def test_compiled_it_finds_the_same() -> None:
    """As kernels call it."""
    compiled = numba.njit(nth.nth_part)
    draws = np.random.default_rng(8)
    for n in (2, 50, 99, 100):
        values = draws.normal(size=n)
        assert compiled(values.copy(), n, n // 2) == np.sort(values)[n // 2]


def test_many_equal_values_do_not_take_a_step_for_each_of_them() -> None:
    """A flat market has a hundred equal returns."""

    class Counted(np.ndarray):
        reads = 0

        def __getitem__(self, key):
            Counted.reads += 1
            return super().__getitem__(key)

    nth.nth_part(np.zeros(200).view(Counted), 200, 150)
    assert Counted.reads < 10 * 200
