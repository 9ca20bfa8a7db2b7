"""Choosing 3 of 8 stocks by a simulated QAOA circuit beside brute force; `python -m bench.selection --json`.

Mean–variance utility over windows of the packaged 20 stocks. The peer of each figure is a feasible choice at
random, or the 56 choices that brute force looks at. Nothing is timed: the simulation costs more than both.
"""

from __future__ import annotations

import numpy as np
from bench.harness import Row, command, told

from qts_agents.market.datasets import load_dataset
from qts_agents.quasar import selection

SYMBOLS, CHOSEN, WINDOW = 8, 3, 500
AVERSION = 10.0


def problems(count: int) -> list[selection.Problem]:
    """Return problems from windows and symbols spread over the data."""
    close = load_dataset("stocks20_close_1d").close
    returns = np.diff(np.log(close), axis=1)
    starts = np.linspace(0, returns.shape[1] - WINDOW, count).astype(int)
    out = []
    for n, start in enumerate(starts):
        rows = (np.arange(SYMBOLS) * 2 + n) % len(returns)
        r = returns[rows, start : start + WINDOW]
        r = r[:, np.isfinite(r).all(axis=0)]
        if r.shape[1] > WINDOW // 2:
            out.append(selection.problem(r.mean(axis=1), np.cov(r), CHOSEN, AVERSION))
    return out


def rows(count: int, depths: tuple[int, ...]) -> list[Row]:
    """Return the means over all problems for each depth."""
    known, out = problems(count), []
    choices = int(known[0].feasible.sum())
    allowed = [p.utility[p.feasible] for p in known]
    chance = float(np.mean([(a.mean() - a.min()) / np.ptp(a) for a in allowed]))
    for depth in depths:
        found = [selection.solve(p, depth) for p in known]
        title = f"QAOA, {depth} layers, {CHOSEN} of {SYMBOLS} stocks, {len(known)} problems"
        out += [
            Row(f"{title}: mean utility of its shots", float(np.mean([f.quality for f in found])), "1",
                "choice at random", chance, lower_is_better=False),
            Row(f"{title}: chance of the best choice", float(np.mean([f.best for f in found])), "1",
                "choice at random", 1.0 / choices, lower_is_better=False),
            Row(f"{title}: shots that show the best choice, median of problems",
                float(np.median([selection.shots_until_likely(f.best) for f in found])), "shots",
                "choices of brute force", float(choices)),
        ]  # fmt: skip
    return out


def main() -> int:
    """Print the rows of each depth."""
    options = command(__doc__, "short: does it run").parse_args()
    return told(rows(2, (1,)) if options.smoke else rows(12, (1, 2, 4)), options.json)


if __name__ == "__main__":
    raise SystemExit(main())
