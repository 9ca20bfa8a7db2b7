"""What `market` in the configuration makes the feed publish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qts_agents.market.bars import update_of
from qts_agents.market.datasets import load_dataset
from qts_agents.market.source import open_source
from qts_agents.pads.desk import _read
from qts_core.errors import ConfigError
from qts_core.spec import SYSTEM, Market, Replay, System


def replay(symbols: tuple[str, ...] | None = None, **market: float) -> System:
    """Return a system that replays the stocks."""
    settings = Market(source="replay", replay=Replay(dataset="stocks20_close_1d"), symbols=symbols, **market)
    return SYSTEM(market=settings)


def test_a_replay_backfills_a_third_of_its_bars() -> None:
    """At most 4,096."""
    source = open_source(SYSTEM(market=Market(source="replay", replay=Replay(dataset="eurusd_1h"))))
    assert (source.length, source.backfill) == (6225, 2075)
    assert load_dataset("eurusd_1h").source == source.name


def test_symbols_are_chosen_in_order_and_the_market_is_theirs() -> None:
    """The market return is over what is published."""
    source = open_source(replay(("XOM", "AAPL")))
    bars, whole = source.read(0, 50), load_dataset("stocks20_close_1d")
    assert bars.symbols == ("XOM", "AAPL")
    assert np.array_equal(whole.close[[19, 0], :50], bars.close)
    mean = np.diff(np.log(bars.close), axis=1).mean(axis=0)
    assert np.allclose(mean, bars.market_ret[1:])


def test_an_unknown_symbol_is_refused_with_the_known_ones() -> None:
    """The text names the setting."""
    with pytest.raises(ConfigError, match=r'market\.symbols: found "TSLA", the data hold AAPL, AMD'):
        open_source(replay(("AAPL", "TSLA")))


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, (0.0002, 0.0002)), ({"fee": 0.0}, (0.0, 0.0002)), ({"spread": 0.003}, (0.0002, 0.003))],
)
def test_costs_are_the_sets_unless_given(given: dict[str, float], expected: tuple[float, float]) -> None:
    """A fee of 0 is a fee."""
    bars = open_source(replay(**given)).read(0, 1)
    assert expected == (bars.fee, bars.spread_assumed)


def test_a_spread_that_is_given_replaces_quotes(tmp_path: Path) -> None:
    """Quotes replace the set's spread, the setting replaces both; where nothing was quoted nothing is."""
    path, rows = tmp_path / "x.csv", ["ts,open,high,low,close,volume,bid,ask"]
    rows += [f"{60 * i},1,1,1,1,0,{'' if i == 2 else 0.99},{'' if i == 2 else 1.01}" for i in range(1, 10)]
    path.write_text("\n".join(rows))
    file = Replay(path=str(path), ts_unit="s")
    plain, given = (
        open_source(SYSTEM(market=Market(source="replay", replay=file, spread=spread))).read(0, 9)
        for spread in (None, 0.003)
    )
    assert plain.spread[0, [0, 2]] == pytest.approx([0.02, 0.02])
    assert given.spread[0, [0, 2]].tolist() == [0.003, 0.003]
    assert np.isnan([plain.spread[0, 1], given.spread[0, 1]]).all()
    assert (plain.spread_assumed, given.spread_assumed) == (0.0005, 0.003)
    assert np.array_equal(plain.close, given.close)


def test_what_trading_costs_follows_the_spread_that_is_given() -> None:
    """In the simulation, which quotes each bar, the board's account pays the setting, not the quote."""
    costs: dict[float | None, tuple[float, float]] = {}
    for spread in (None, 0.003):
        source = open_source(SYSTEM(market=Market(source="simulated", spread=spread)))
        bar, quotes = _read(update_of(source.read(0, 1), 0, "snapshot"), 0)
        costs[spread] = (2.0 * float(bar.half_spread[0]), float(quotes.cost[0]) - 2.0 * bar.fee)
    assert costs[0.003] == pytest.approx((0.003, 0.003))
    assert 0.0 < costs[None][0] < 0.0005 * 0.99


def test_a_file_is_replayed_by_path_with_its_stamp(tmp_path: Path) -> None:
    """The settings reach the loader."""
    path = tmp_path / "x.csv"
    path.write_text(
        "ts,open,high,low,close,volume\n" + "".join(f"{60 * i},1,1,1,1,0\n" for i in range(1, 10))
    )
    settings = Replay(path=str(path), stamp="open", ts_unit="s")
    source = open_source(SYSTEM(market=Market(source="replay", replay=settings)))
    assert (source.length, source.backfill, source.symbols) == (9, 3, ("x",))
    assert source.read(0, 1).close_ns[0] == 120 * 10**9


def test_a_simulation_is_endless_and_reads_the_same_in_any_blocks() -> None:
    """Blocks join without a seam, also when reading goes back."""
    source = open_source(SYSTEM(market=Market(symbols=("A", "B"))))
    assert (source.length, source.backfill, source.symbols) == (None, 4096, ("A", "B"))
    first, second = source.read(0, 30), source.read(30, 50)
    whole = source.read(0, 50)
    assert np.array_equal(whole.close, np.concatenate([first.close, second.close], axis=1))
    joined = np.concatenate([first.market_ret, second.market_ret])
    assert np.array_equal(whole.market_ret, joined, equal_nan=True)
    assert np.array_equal(whole.close[:, 40:], source.read(40, 50).close)
    assert np.isfinite(joined[1:]).all()
    assert (whole.fee, whole.spread_assumed, whole.bar_s) == (0.001, 0.0005, 60.0)


def test_a_simulation_without_symbols_has_one() -> None:
    """The default is a single pair."""
    assert open_source(SYSTEM()).symbols == ("BTC/USDT",)


@pytest.mark.parametrize("system", [SYSTEM(), replay()])
def test_a_source_finds_a_bar_by_its_time(system: System) -> None:
    """A feed that is started again finds its place."""
    source = open_source(system)
    bars = source.read(0, 20)
    assert source.index_of(int(bars.close_ns[12])) == 12
    assert source.index_of(int(bars.close_ns[12]) + 1) is None


def test_no_feed_runs_for_an_external_publisher() -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match=r'market\.source: a feed of ours does not run for "external"'):
        open_source(SYSTEM(market=Market(source="external")))
