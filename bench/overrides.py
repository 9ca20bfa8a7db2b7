"""Why do the packaged markets name so few overrides? python -m bench.overrides --json [--every BARS].

First the market alone, at every closed bar, round or not: how many bars of a symbol meet a condition of
`pads.styles.overrides`, and how heavy tails begin: from 0.5 on the style `defensive` closes what is open.
Then the board: one life of the real agents with a round every ten bars (`--every`), and of its rows those
that each further condition leaves, down to what was named and what was traded.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from unittest import mock

import msgspec
import numpy as np
from bench.harness import Row, command, told
from bench.kernels import window
from msgspec.structs import replace

from qts_agents.agent import MarketWindow
from qts_agents.columns import array
from qts_agents.evaluation.stage import Stage
from qts_agents.kernels.indicators import Indicators, indicators
from qts_agents.market.bars import Bars
from qts_agents.market.datasets import load_dataset
from qts_agents.market.source import open_source
from qts_agents.market.windows import PRICES
from qts_agents.opinions import NEEDED_BARS
from qts_agents.pads import styles
from qts_core.spec import SYSTEM

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
    moves = (np.abs(ind.momentum) > 0.6) & (ind.whale_side == np.sign(ind.momentum))
    return {
        "tail above 0.8": ind.tail > 0.8,
        "whale above 0.7": whale,
        "momentum above 0.6 on the side of its bar": moves,
        "whale with momentum above 0.6 on its side": whale & moves,
        "flash above 0.8": ind.flash > 0.8,
        "volume known": ind.volume_seen > 0.0,
    }


def rows(name: str, counts: Counter[str]) -> Iterator[Row]:
    """Yield the counts of a packaged set."""
    for what, count in counts.items():
        yield Row(f"{name}: {what}", count, "bars of a symbol", lower_is_better=False)


def counted(name: str, most: int) -> Counter[str]:
    """Count how many bars of a packaged set meet each condition, and how many were looked at."""
    counts: Counter[str] = Counter()
    before: Indicators | None = None
    for seen in windows(load_dataset(name), most):
        ind = indicators(seen)
        counts.update({what: int(met.sum()) for what, met in conditions(ind).items()})
        if before is not None:
            begins = (ind.tail > 0.8) & ~(before.tail > 0.8)
            counts["tail above 0.8 that begins there"] += int(begins.sum())
            counts["of these after a bar of at most 0.5"] += int((begins & (before.tail <= 0.5)).sum())
        before = ind
        counts["all"] += len(seen.symbols)
    return counts


def looked_at(view: styles.View, exposure: styles.Exposure) -> dict[str, np.ndarray]:
    """Return which rows of a round meet each condition, with those before it."""
    is_open, convex = view.d != 0.0, view.af > 0.7
    tail, flash = view.ind.tail > 0.8, view.ind.flash > 0.8
    with_it = conditions(view.ind)["whale with momentum above 0.6 on its side"]
    return {
        "asked about": np.ones_like(is_open),
        "open": is_open,
        "profits convex (above 0.7)": convex,
        "tail above 0.8": tail,
        "tail above 0.8, open": tail & is_open,
        "whale with momentum on its side": with_it,
        "whale with momentum on its side, flat": with_it & ~is_open,
        "flash above 0.8": flash,
        "flash above 0.8, flat": flash & ~is_open,
        "flash above 0.8, flat, profits convex": flash & ~is_open & convex,
        "a severe alert, open": exposure.reduce & is_open,
        "liquidation risk known": np.isfinite(exposure.liquidation_risk),
    }


def decided(name: str, every: int, most: int) -> Counter[str]:
    """Count the same over the rounds of one life, which overrides were named, and which of them traded."""
    market = {"source": "replay", "replay": {"dataset": name, "speed": 0.0}}  # as `qts evaluate`
    system = msgspec.convert({"market": market, "decision_interval": float(every)}, SYSTEM)
    counts: Counter[str] = Counter()
    named: list[np.ndarray] = []
    inner = styles.overrides

    def watched(view: styles.View, exposure: styles.Exposure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        answer = inner(view, exposure)
        counts.update({what: int(met.sum()) for what, met in looked_at(view, exposure).items()})
        named.append(answer[0])
        return answer

    with mock.patch.object(styles, "overrides", watched):
        for bar in Stage(system, open_source(system)).bars(None if most == sys.maxsize else most):
            if bar.decision is None or not named:
                continue
            which = named.pop()
            acted = array(bar.decision.size) != 0.0
            for index, what in enumerate(styles.OVERRIDES[1:], start=1):
                counts[f"override {what}"] += int((which == index).sum())
                counts[f"override {what} that traded"] += int(((which == index) & acted).sum())
    return counts


def told_of(name: str, every: int, most: int) -> Iterator[Row]:
    """Yield what the market calls for, then what the board made of it."""
    yield from rows(name, counted(name, most))
    yield from rows(f"{name}, rounds every {every} bars", decided(name, every, most))


def main() -> int:
    """Count and print."""
    parser = command((__doc__ or "").split("\n", 1)[0], "a few bars of one market only")
    parser.add_argument("--every", type=int, default=10, help="bars from a round to the next; default: 10")
    parser.add_argument("--market", choices=SETS, help="one of the packaged markets; default: all")
    options = parser.parse_args()
    if options.every < 1:
        parser.error(f"--every {options.every}: rounds are at least one bar apart")
    most = 20 if options.smoke else sys.maxsize
    names = SETS[:1] if options.smoke else SETS
    names = (options.market,) if options.market else names
    return told((row for name in names for row in told_of(name, options.every, most)), options.json)


if __name__ == "__main__":
    sys.exit(main())
