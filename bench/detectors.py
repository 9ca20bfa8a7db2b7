"""What QBMIA's detectors find: `python -m bench.detectors --json [--smoke]`.

1,000 injected episodes of four kinds, each through three windows of ten minutes, and as many honest ones, at
the level that QBMIA alarms at: two windows of three below one false alarm a day and symbol. Then a market
whose distances from the touch are known, with and without them: spoofing near the touch, and honest makers
that moved away, where orders are cancelled more often.
"""

from __future__ import annotations

import argparse
import json

import msgspec
import numpy as np
from bench.harness import Row, text

from qts_agents.qbmia import episodes, flow, machiavellian
from qts_agents.qbmia.orders import NAMES, SIGNIFICANT

EPISODES, WINDOWS = 1000, 3
SPOOFING = NAMES.index("spoofing")
ALPHA = episodes.WINDOW_S / flow.DAY_S  # one test a window and symbol


def alarmed(rng: np.random.Generator, baseline: episodes.OrderEvents, kind: str) -> bool:
    """Tell whether three windows in a row raise the alarm."""
    combined = [
        machiavellian.examine(episodes.evidence(rng, baseline, kind)).combined for _ in range(WINDOWS)
    ]
    return machiavellian.alarm(combined, ALPHA)


def blind(evidence: machiavellian.Evidence) -> machiavellian.Evidence:
    """Return the same orders at distances that nobody knows."""
    nowhere = [
        msgspec.structs.replace(part, distance=np.full(part.time_ns.size, np.nan))
        for part in (evidence.recent, evidence.baseline)
    ]
    return msgspec.structs.replace(evidence, recent=nowhere[0], baseline=nowhere[1])


def quoted_rows(rng: np.random.Generator, count: int) -> list[Row]:
    """Return recall and false alarms of spoofing where distances matter, with and without knowing them."""
    baseline = episodes.quoted(rng, orders=4000, span_s=flow.DAY_S)
    rows = []
    for kind, shares, what in (
        ("spoofing", episodes.CALM, "recall, spoofing near the touch"),
        ("", episodes.CALM, "false alerts, calm market"),
        ("", episodes.AWAY, "false alerts, makers moved away"),
    ):
        hits: dict[str, list[bool]] = {"distance known": [], "distance unknown": []}
        low: dict[str, list[bool]] = {name: [] for name in hits}
        for _ in range(count):
            three = [episodes.evidence(rng, baseline, kind, shares) for _ in range(WINDOWS)]
            for name, looks in zip(hits, (three, [blind(e) for e in three]), strict=True):
                told = [machiavellian.examine(e) for e in looks]
                hits[name].append(machiavellian.alarm([f.combined for f in told], ALPHA))
                low[name] += [bool(f.p[SPOOFING] < SIGNIFICANT) for f in told]
        for name, found in hits.items():
            goal = (0.8 if kind else 1.0) if name == "distance known" else None
            unit = "1" if kind else "1/600 s"
            rows.append(
                Row(f"{what}, {name}", float(np.mean(found)), unit, goal=goal, lower_is_better=not kind)
            )
            alone = f"{what}: windows where spoofing alone has p < {SIGNIFICANT}, {name}"
            rows.append(Row(alone, float(np.mean(low[name])), "1", lower_is_better=not kind))
    return rows


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
    rows += quoted_rows(np.random.default_rng(1), each)
    for row in rows:
        print(json.dumps(row.line()) if options.json else text(row.line()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
