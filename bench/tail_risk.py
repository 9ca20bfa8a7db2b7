"""Tail risk by simulated amplitude estimation beside Monte Carlo; `python -m bench.tail_risk --json`.

Errors of the expected shortfall of 30-bar losses of EUR/USD over seeds, at equal numbers of oracle queries
and of samples. Queries are counted, not timed: the simulation is slower than the exact sum.
"""

from __future__ import annotations

import numpy as np
from bench.harness import Row, command, told

from qts_agents.market.datasets import load_dataset
from qts_agents.quasar import tail_risk

LEVEL, HORIZON, QUBITS = 0.95, 30, 5


def rows(seeds: int, errors: tuple[float, ...]) -> list[Row]:
    """Return root mean square errors, in steps of the histogram, for each accuracy of the amplitudes."""
    close = load_dataset("eurusd_1h").close[0]
    losses = -np.log(close[HORIZON:] / close[:-HORIZON])
    known = tail_risk.discretised(losses, QUBITS)
    threshold, shortfall = tail_risk.exact(known, LEVEL)
    step = float(known.loss[1] - known.loss[0])
    out = []
    for error in errors:
        ours, theirs, queries = [], [], []
        for seed in range(seeds):
            found, asked = tail_risk.expected_shortfall(known, threshold, error, tail_risk.drawing(seed, 0))
            uniforms = np.random.default_rng(seed).random(asked)
            ours.append((found - shortfall) / step)
            theirs.append((tail_risk.sampled(known, LEVEL, uniforms)[1] - shortfall) / step)
            queries.append(asked)
        ours_rms, theirs_rms = (float(np.sqrt(np.mean(np.square(x)))) for x in (ours, theirs))
        title = f"expected shortfall, error of {error} in the amplitudes, {np.mean(queries):.0f} queries"
        out.append(Row(title, ours_rms, "steps rms", "Monte Carlo, as many samples", theirs_rms))
    return out


def main() -> int:
    """Print a row for each accuracy."""
    options = command(__doc__, "short: does it run").parse_args()
    found = rows(3, (0.01,)) if options.smoke else rows(40, (0.01, 0.003, 0.001, 0.0003))
    return told(found, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
