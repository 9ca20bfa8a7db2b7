"""The seeded simulation: determinism, its stated moments, and what predictability plants."""

from __future__ import annotations

import numpy as np
import pytest

from qts_agents.kernels import philox
from qts_agents.market import regimes
from qts_agents.market.simulate import Simulation, Stretch


@pytest.fixture(scope="module")
def long_run() -> Stretch:
    """Return 40 symbols over 40,000 bars."""
    return Simulation(5, tuple(f"S{i}" for i in range(40))).advance(40_000)


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    """The seed decides everything."""
    first, again, other = (Simulation(seed, ("X",)).advance(300) for seed in (1, 1, 2))
    for name in Stretch.__struct_fields__:
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.close.tobytes() != other.close.tobytes()


def test_the_compiled_quantile_is_the_shared_one() -> None:
    """All three ranges of AS 241 agree bit by bit."""
    points = [1e-300, 1e-12, 2.0**-33, 0.01, 0.074, 0.0751, 0.3, 0.5, 0.9, 0.925, 0.9251, 1 - 2.0**-33]
    assert [philox.inverse_normal(p) for p in points] == [philox.quantile(p) for p in points]


def test_unpredictable_prices_are_martingales(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean simple return is 0 in each regime, jumps and variance included.

    A year of 100 bars makes ½v and the jump compensator large beside the error of the mean; without
    a common factor every symbol is an observation of its own.
    """
    monkeypatch.setattr(regimes, "YEAR_S", regimes.BAR_S * 100)
    simulation = Simulation(5, tuple(f"S{i}" for i in range(40)))
    simulation._constants[:, regimes.RHO] = 0.0
    run = simulation.advance(40_000)
    simple = run.close / run.open - 1.0
    for z in range(4):
        chosen = simple[:, run.regime == z]
        assert chosen.size > 40_000
        assert abs(chosen.mean() / (chosen.std() / np.sqrt(chosen.size))) < 3.5


def test_drift_and_momentum_exist_only_when_planted() -> None:
    """The constants are a compensator without, the table's with predictability."""
    plain, planted = regimes.constants(0), regimes.constants(1)
    assert (plain[:, regimes.PHI] == 0).all()
    assert [r.momentum for r in regimes.REGIMES] == planted[:, regimes.PHI].tolist()
    assert np.allclose([r.drift / 525_600 for r in regimes.REGIMES], planted[:, regimes.MEAN])
    assert 0 < plain[2, regimes.MEAN] < 2e-4  # release: jumps point down, the compensator up


def test_regimes_differ_in_volatility_and_last_as_stated(long_run: Stretch) -> None:
    """Each regime's deviation is near its annual σ, and time is shared as the chain says."""
    returns = np.log(long_run.close / long_run.open)
    for z, regime in enumerate(regimes.REGIMES):
        # without the bars after a change, in which the variance still moves to its new mean
        settled = (long_run.regime == z) & (np.roll(long_run.regime, 100) == z)
        calm = np.where(long_run.jump == 0, returns, np.nan)[:, settled]
        annual = np.nanstd(calm) * np.sqrt(525_600)
        assert regime.sigma * 0.8 < annual < regime.sigma * 1.4
    share = np.bincount(long_run.regime, minlength=4) / long_run.regime.size
    assert np.allclose(np.diff(regimes.occupancy(), prepend=0.0), share, rtol=0, atol=0.15)
    changes = (np.diff(long_run.regime) != 0).sum()
    assert 20 < changes < 130


def test_returns_have_fat_tails_and_jumps(long_run: Stretch) -> None:
    """Kurtosis is far above 3; jumps come at about the stated rate."""
    returns = np.log(long_run.close / long_run.open)
    assert (returns**4).mean() / (returns**2).mean() ** 2 > 6
    for z in (0, 2):
        rate = (long_run.jump[:, long_run.regime == z] != 0).mean()
        assert regimes.REGIMES[z].jump_rate * 0.7 < rate < regimes.REGIMES[z].jump_rate * 1.3


def test_symbols_move_together_most_in_release(long_run: Stretch) -> None:
    """The common factor's share of variance shows in the correlation."""
    returns = np.where(long_run.jump == 0, np.log(long_run.close / long_run.open), 0.0)
    mean = {}
    for z in (0, 2):
        matrix = np.corrcoef(returns[:, long_run.regime == z])
        mean[z] = matrix[~np.eye(40, dtype=bool)].mean()
    assert 0.2 < mean[0] < 0.4
    assert 0.7 < mean[2] < 0.9


@pytest.mark.parametrize(("planted", "low", "high"), [(0, -0.02, 0.02), (1, 0.55, 0.8)])
def test_imbalance_tells_the_next_return_only_when_planted(planted: int, low: float, high: float) -> None:
    """Without predictability there is no peek."""
    run = Simulation(9, ("A",), planted).advance(20_000)
    returns = np.log(run.close / run.open)
    assert low < np.corrcoef(run.imbalance[0, :-1], np.sign(returns[0, 1:]))[0, 1] < high
