"""`qts orders`: write made-up order events beside a market's bars, each row labelled as synthetic."""

from __future__ import annotations

import gzip
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from qts_cli.evaluate import market_sets
from qts_cli.run import settings
from qts_cli.whole import Whole
from qts_core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from qts_agents.market.source import Source
    from qts_agents.qbmia.made_up import Plan

HALF_SPREAD = 1e-4  # of the made-up quotes, as a fraction of the close
DIGITS = 6  # of a price from its first figure on, or behind the point where it is above 1
BEFORE = 24  # bars of history that get events too: the detectors compare with a day


def orders(
    market: str | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("orders.csv.gz"),
    bars: Whole = 240,
    per_bar: Whole = 40,
    every: Whole = 48,
    seed: Whole = 0,
    config_file: Annotated[Path | None, Parameter(name="--config")] = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
) -> int:
    """Write synthetic order events beside a market's bars: honest flow with spoofing and wash episodes in it.

    Parameters
    ----------
    market
        A packaged data set, or a CSV or Parquet file of bars; without it the market of the settings.
    output
        The file to write, .csv or .csv.gz; give it back with --set market.replay.orders=FILE.
    bars
        Make events for so many bars after the history, and for the last day of the history.
    per_bar
        Honest orders in each bar and symbol.
    every
        Bars from one episode to the next.
    seed
        Equal seeds give equal files.
    config_file
        Settings file; without it $QTS_CONFIG, else quantum_system_config.json of this folder.
    set_
        Override a setting; may be given again.
    """
    for name, value, least, most in (
        ("--bars", bars, 1, 10_000_000),
        ("--per-bar", per_bar, 1, 100_000),
        ("--every", every, 2, 10_000_000),
        ("--seed", seed, 0, 2**63 - 1),
    ):
        if not least <= value <= most:
            raise ConfigError(f"{name}: expected {least} to {most}, found {value}")
    if not output.name.endswith((".csv", ".csv.gz")):
        raise ConfigError(f'--output: expected a name that ends in .csv or .csv.gz, found "{output}"')
    if not output.parent.is_dir():
        raise ConfigError(f"--output: the folder {output.parent} does not exist; make it first")
    loaded = settings(config_file, (*market_sets(market), *set_))
    from qts_agents.market.source import open_source
    from qts_agents.qbmia.made_up import Plan

    frame = _table(open_source(loaded.system), bars, Plan(per_bar, every, seed))
    text = frame.to_csv(index=False, lineterminator="\n").encode()
    # neither name nor time in the gzip header: equal seeds give equal bytes
    output.write_bytes(gzip.compress(text, mtime=0) if output.suffix == ".gz" else text)
    episodes = int((~frame["label"].str.endswith("honest")).sum())
    sys.stdout.write(f"{output}: {len(frame)} synthetic order events, {episodes} of them in episodes\n")
    return 0


def _table(source: Source, bars: int, plan: Plan) -> pd.DataFrame:
    """Return the events of the last day of the history and of `bars` bars after it, one row an event."""
    import numpy as np
    import pandas as pd

    from qts_agents.qbmia.made_up import bar_of_events
    from qts_messaging.messages import ORDER_EVENTS

    first, stop = max(0, source.backfill - BEFORE), source.backfill + bars
    stop = stop if source.length is None else min(stop, source.length)
    block, parts = source.read(first, stop), []
    for row, symbol in enumerate(source.symbols):
        for column in range(stop - first):
            opened_ns, close = (
                int(block.close_ns[column] - source.bar_s * 1e9),
                float(block.close[row, column]),
            )
            if not np.isfinite(close):
                continue
            places = DIGITS - min(0, math.floor(math.log10(close)))
            index = (first + column) * len(source.symbols) + row
            for label, made in bar_of_events(plan, index, opened_ns, source.bar_s, close):
                parts.append(
                    pd.DataFrame(
                        {
                            "time_ns": made.time_ns,
                            "symbol": symbol,
                            "side": np.where(made.side > 0, "buy", "sell"),
                            "price": np.round(made.price, places),
                            "size": np.round(made.size, 6),
                            "order": made.order,
                            "event": np.array(ORDER_EVENTS)[made.event],
                            "bid": np.round(close * (1.0 - HALF_SPREAD), places),
                            "ask": np.round(close * (1.0 + HALF_SPREAD), places),
                            "label": f"synthetic {label}",
                        }
                    )
                )
    whole = pd.concat(parts).sort_values("time_ns", kind="stable")
    stamps = pd.to_datetime(whole.pop("time_ns"), utc=True).dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    whole.insert(0, "time", stamps)
    return whole
