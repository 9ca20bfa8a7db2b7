"""What QBMIA's detectors find: `python -m bench.detectors --json [--smoke]`.

1,000 injected episodes of four kinds, each through three windows of ten minutes, and as many honest ones, at
the level that QBMIA alarms at: two windows of three below one false alarm a day and symbol.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from bench.harness import Row, text

from qts_agents.qbmia import episodes, flow, machiavellian

EPISODES, WINDOWS = 1000, 3
ALPHA = episodes.WINDOW_S / flow.DAY_S  # one test a window and symbol


def alarmed(rng: np.random.Generator, baseline: episodes.OrderEvents, kind: str) -> bool:
    """Tell whether three windows in a row raise the alarm."""
    combined = [
        machiavellian.examine(episodes.evidence(rng, baseline, kind)).combined for _ in range(WINDOWS)
    ]
    return machiavellian.alarm(combined, ALPHA)


def main() -> int:
    """Print recall by kind and the rate of false alarms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--smoke", action="store_true", help="short: does it run")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    count = 8 if options.smoke else EPISODES
    baseline = episodes.honest(rng, 4000, flow.DAY_S)
    each = count // len(episodes.KINDS)
    found = {kind: [alarmed(rng, baseline, kind) for _ in range(each)] for kind in episodes.KINDS}
    false = float(np.mean([alarmed(rng, baseline, "") for _ in range(count)]))
    everything = [hit for hits in found.values() for hit in hits]
    rows = [Row("recall, all kinds", float(np.mean(everything)), "1", goal=0.8, lower_is_better=False)]
    rows += [
        Row(f"recall, {kind}", float(np.mean(hits)), "1", lower_is_better=False)
        for kind, hits in found.items()
    ]
    rows.append(Row("false alerts per 10 minutes and symbol", false, "1/600 s", goal=1.0))
    for row in rows:
        print(json.dumps(row.line()) if options.json else text(row.line()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
