"""What QBMIA's detectors find: `python -m bench.detectors --json [--episodes N] [--smoke]`.

1,000 injected episodes of four kinds, each through three windows of ten minutes, and as many honest ones, at
the level that QBMIA alarms at: two windows of three below one false alarm a day and symbol. Then a market
whose distances from the touch are known, with and without them: spoofing near the touch, layering, honest
makers that moved away, where orders are cancelled more often, and one that follows a touch that moves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from bench.harness import Row, command, told

from qts_agents.qbmia import episodes, flow, machiavellian
from qts_agents.qbmia.orders import NAMES, SIGNIFICANT

EPISODES, WINDOWS = 1000, 3
ALONE = ("spoofing", "layering")  # the tests that know distances
QUOTED = (
    ("spoofing", episodes.CALM, "recall, spoofing near the touch"),
    ("", episodes.CALM, "false alerts, calm market"),
    ("", episodes.AWAY, "false alerts, makers moved away"),
    ("layering", episodes.CALM, "recall, layering in a calm market"),
    ("layering", episodes.AWAY, "recall, layering where makers moved away"),
    ("requoting", episodes.CALM, "false alerts, makers follow the touch"),
)
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


def quoted_rows(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Yield recall and false alarms where distances matter, with and without knowing them."""
    baseline = episodes.quoted(rng, orders=4000, span_s=flow.DAY_S)
    for kind, shares, what in QUOTED:
        yield from _looked_at(rng, baseline, count, kind, shares, what)


def _looked_at(
    rng: np.random.Generator, baseline: episodes.OrderEvents, count: int, kind: str, shares: Any, what: str
) -> list[Row]:
    """Return how often three such windows alarm, and how often a test alone is low in one of them."""
    hits: dict[str, list[bool]] = {"distance known": [], "distance unknown": []}
    low: dict[tuple[str, str], list[bool]] = {(test, name): [] for name in hits for test in ALONE}
    for _ in range(count):
        three = [episodes.evidence(rng, baseline, kind, shares) for _ in range(WINDOWS)]
        for name, looks in zip(hits, (three, [blind(e) for e in three]), strict=True):
            told = [machiavellian.examine(e) for e in looks]
            hits[name].append(machiavellian.alarm([f.combined for f in told], ALPHA))
            for test in ALONE:
                low[test, name] += [bool(f.p[NAMES.index(test)] < SIGNIFICANT) for f in told]
    bad, rows = kind in NAMES, []
    for name, found in hits.items():
        goal = (0.8 if bad else 1.0) if name == "distance known" else None
        unit = "1" if bad else "1/600 s"
        rows.append(Row(f"{what}, {name}", float(np.mean(found)), unit, goal=goal, lower_is_better=not bad))
        for test in ALONE:
            alone = f"{what}: windows where {test} alone has p < {SIGNIFICANT}, {name}"
            rows.append(Row(alone, float(np.mean(low[test, name])), "1", lower_is_better=not bad))
    return rows


def main() -> int:
    """Print recall by kind and the rate of false alarms."""
    parser = command(__doc__, "short: does it run")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="of four kinds together")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    count = 8 if options.smoke else options.episodes
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
    return told(itertools.chain(rows, quoted_rows(np.random.default_rng(1), each)), options.json)


if __name__ == "__main__":
    raise SystemExit(main())
