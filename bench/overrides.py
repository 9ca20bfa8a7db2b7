"""How often do the packaged markets call for an override? python -m bench.overrides --json [--smoke].

Each row is one condition of `pads.styles.overrides` that the market alone decides, at every closed bar, round
or not: how many bars of a symbol meet it. What else an override asks for (an open or a flat position, a
convex record, margin, an alert) is the board's and is not looked at: a run can name no more than these.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
from bench.harness import Row, told
from bench.kernels import window
from msgspec.structs import replace

from qts_agents.agent import MarketWindow
from qts_agents.kernels.indicators import Indicators, indicators
from qts_agents.market.bars import Bars
from qts_agents.market.datasets import load_dataset
from qts_agents.market.windows import PRICES
from qts_agents.opinions import NEEDED_BARS

SETS = ("eurusd_1h", "sp500_1d", "stocks20_close_1d")


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


def counted(name: str, most: int) -> Iterator[Row]:
    """Yield how many bars of a packaged set meet each condition, and how many were looked at."""
    counts: Counter[str] = Counter()
    for seen in windows(load_dataset(name), most):
        counts.update({what: int(met.sum()) for what, met in conditions(indicators(seen)).items()})
        counts["all"] += len(seen.symbols)
    for what, count in counts.items():
        yield Row(f"{name}: {what}", count, "bars of a symbol", lower_is_better=False)


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--smoke", action="store_true", help="a few bars only")
    options = parser.parse_args()
    most = 20 if options.smoke else sys.maxsize
    return told((row for name in SETS for row in counted(name, most)), options.json)


if __name__ == "__main__":
    sys.exit(main())
