"""How often do the packaged markets call for an override? python -m bench.overrides --json [--smoke].

Each row is one condition of `pads.styles.overrides` that the market alone decides, at every closed bar, round
or not: how many bars of a symbol meet it. What else an override asks for (an open or a flat position, a
convex record, margin, an alert) is the board's and is not looked at: a run can name no more than these.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

import numpy as np
from bench.kernels import window
from msgspec.structs import replace

from qts_agents.agent import MarketWindow
from qts_agents.kernels.indicators import Indicators, indicators
from qts_agents.market.bars import Bars
from qts_agents.market.datasets import load_dataset
from qts_agents.opinions import NEEDED_BARS

SETS = ("eurusd_1h", "sp500_1d", "stocks20_close_1d")
PRICES = ("open", "high", "low", "close", "volume")


def windows(data: Bars, most: int) -> Iterator[MarketWindow]:
    """Yield what agents see at each bar of the last two thirds, at most `most`."""
    T = len(data.close_ns)
    blank = window(len(data.symbols), NEEDED_BARS)
    for t in range(max(T // 3, NEEDED_BARS - 1), T)[:most]:
        part = slice(t + 1 - NEEDED_BARS, t + 1)
        prices = {name: np.ascontiguousarray(getattr(data, name)[:, part]) for name in PRICES}
        valid = data.valid[:, part].astype(np.uint8)
        yield replace(
            blank, window_seq=t, close_ns=data.close_ns[part], bar_s=data.bar_s, valid=valid, **prices
        )


def conditions(ind: Indicators) -> dict[str, np.ndarray]:
    """Return which symbols meet each condition."""
    whale = ind.whale > 0.7
    with_it = whale & (np.abs(ind.momentum) > 0.6) & (ind.whale_side == np.sign(ind.momentum))
    return {
        "tail above 0.8": ind.tail > 0.8,
        "whale above 0.7": whale,
        "whale with momentum above 0.6 on its side": with_it,
        "flash above 0.8": ind.flash > 0.8,
        "volume known": ind.volume_seen > 0.0,
    }


def main() -> int:
    """Count and print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    options.add_argument("--json", action="store_true", help="nothing else is printed")
    options.add_argument("--smoke", action="store_true", help="a few bars only")
    most = 20 if options.parse_args().smoke else sys.maxsize
    for name in SETS:
        counts: dict[str, int] = {}
        for seen in windows(load_dataset(name), most):
            found = conditions(indicators(seen))
            for what, met in found.items():
                counts[what] = counts.get(what, 0) + int(met.sum())
            counts["all"] = counts.get("all", 0) + len(seen.symbols)
        for what, count in counts.items():
            row = {"figure": f"{name}: {what}", "value": count, "unit": "bars of a symbol"}
            sys.stdout.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
