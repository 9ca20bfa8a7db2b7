"""Markets made by hand, as files: a bar a minute of seeded noise, and in the middle what a test is about.

A third of a file is history (`Recorded`), so all that matters happens after bar `FIRST`. Live bars are counted
from it, and a round is decided at every tenth: 0, 9, 19, 29, …
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BARS, FIRST = 1020, 340
SIGMA = 0.0004
START = datetime(2024, 1, 1, tzinfo=UTC)
F8 = NDArray[np.float64]


def noise(seed: int) -> tuple[F8, F8]:
    """Return log returns and volumes of a market where nothing happens."""
    draws = np.random.default_rng(seed)
    return draws.normal(0.0, SIGMA, BARS), 1000.0 * np.exp(draws.normal(0.0, 0.2, BARS))


def rising(seed: int) -> tuple[F8, F8]:
    """Return a market that rises from live bar 20 to 75, which the board follows."""
    returns, volume = noise(seed)
    returns[FIRST + 20 : FIRST + 75] += 0.6 * SIGMA
    return returns, volume


def calm() -> tuple[F8, F8]:
    return noise(3)


def crash() -> tuple[F8, F8]:
    """Return one that falls by 42 deviations in the five bars before the round at 59."""
    returns, volume = rising(2)
    returns[FIRST + 55 : FIRST + 60] = -SIGMA * np.array([6.0, 8.0, 9.0, 11.0, 8.0])
    return returns, volume


def whale() -> tuple[F8, F8]:
    """Return one where ten rising bars end, at the round at 39, with nine times the usual volume."""
    returns, volume = rising(1)
    returns[FIRST + 31 : FIRST + 41] = np.abs(returns[FIRST + 31 : FIRST + 41])
    volume[FIRST + 39] *= 9.0
    return returns, volume


def bleed() -> tuple[F8, F8]:
    """Return one that loses about a deviation a bar from live bar 51 on, without a single large one."""
    returns, volume = rising(2)
    returns[FIRST + 51 : FIRST + 100] = 0.3 * returns[FIRST + 51 : FIRST + 100] - SIGMA
    return returns, volume


def dry() -> tuple[F8, F8]:
    """Return one whose volume all but ends for ten bars around the round at 59."""
    returns, volume = rising(2)
    volume[FIRST + 55 : FIRST + 65] *= 0.03
    return returns, volume


def spike() -> tuple[F8, F8]:
    """Return one that shoots up by 20 deviations in the five bars before the round at 109."""
    returns, volume = rising(1)
    returns[FIRST + 105 : FIRST + 110] = 4.0 * SIGMA
    return returns, volume


def written(folder: Path, returns: F8, volume: F8) -> Path:
    """Write the market as a CSV file of one symbol, MADE; return its path."""
    path = folder / "made.csv"
    close = 100.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate(([100.0], close[:-1]))
    wick = np.abs(np.random.default_rng(0).normal(0.0, SIGMA / 4.0, (2, BARS)))
    high, low = np.maximum(opened, close) * (1.0 + wick[0]), np.minimum(opened, close) * (1.0 - wick[1])
    with path.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(("symbol", "ts", "open", "high", "low", "close", "volume"))
        for t in range(BARS):
            prices = (f"{x[t]:.6f}" for x in (opened, high, low, close))
            out.writerow(("MADE", stamp(t), *prices, f"{volume[t]:.3f}"))
    return path


def stamp(t: int) -> str:
    """Return when bar `t` of a file closes."""
    return (START + timedelta(minutes=t + 1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def live(t: int) -> str:
    """Return when live bar `t` closes, as decisions are stamped."""
    return (START + timedelta(minutes=FIRST + t + 1)).strftime("%Y-%m-%d %H:%M")
