"""Which bars the feed publishes: a packaged data set, a file, or the simulation."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from qts_agents.market.bars import Bars, market_return
from qts_agents.market.datasets import load_dataset, origin_of
from qts_agents.market.regimes import BAR_S
from qts_agents.market.rows import Costs
from qts_core.errors import ConfigError
from qts_core.spec import Market, Replay, System

BACKFILL = 4096
SIMULATED_SYMBOLS = ("BTC/USDT",)
#: opening of simulated bar 0: 2024-01-01T00:00:00Z
SIMULATED_START_NS = 1_704_067_200_000_000_000
#: a simulation is taken up again after a restart only up to this many bars of symbols (some 10 s of work)
RESUMABLE_CELLS = 20_000_000


class Source(Protocol):
    """A series of closed bars from index 0 on."""

    symbols: tuple[str, ...]
    name: str  # with the file's SHA-256, or the seed
    bar_s: float
    length: int | None  # bars; None = endless
    backfill: int  # bars that are history before the first live one

    def read(self, start: int, stop: int) -> Bars:
        """Return the bars [start, stop)."""
        ...

    def index_of(self, close_ns: int) -> int | None:
        """Return the index of the bar that closes at `close_ns`; None when there is none to go on from."""
        ...


class Recorded:
    """Bars of a file, whole in memory."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self.symbols, self.name, self.bar_s = bars.symbols, bars.source, bars.bar_s
        self.length: int | None = int(bars.close_ns.size)
        self.backfill = min(BACKFILL, self.length // 3)

    def read(self, start: int, stop: int) -> Bars:
        """Return the bars [start, stop)."""
        return self._bars.part(start, stop)

    def index_of(self, close_ns: int) -> int | None:
        """Return the index of the bar that closes at `close_ns`."""
        at = int(np.searchsorted(self._bars.close_ns, close_ns))
        return at if at < self._bars.close_ns.size and self._bars.close_ns[at] == close_ns else None


class Simulated:
    """Bars of the seeded simulation, computed as they are read; going back starts it anew."""

    length: int | None = None

    def __init__(self, system: System) -> None:
        market = system.market
        self.settings = (  # of the simulation: its truth can be computed again from them
            system.system_seed,
            market.symbols or SIMULATED_SYMBOLS,
            market.predictability,
        )
        self.symbols = self.settings[1]
        self.name = f"simulated seed:{system.system_seed} predictability:{market.predictability}"
        self.bar_s = BAR_S
        self.backfill = BACKFILL
        self._market = market
        self._restart()

    def _restart(self) -> None:
        from qts_agents.market.simulate import Simulation  # numba loads for the simulation only

        self._simulation = Simulation(*self.settings)
        self._before = np.full(len(self.symbols), np.nan)

    def read(self, start: int, stop: int) -> Bars:
        """Return the bars [start, stop)."""
        if start < self._simulation.bar:
            self._restart()
        while self._simulation.bar < start:
            self._before = self._simulation.advance(min(BACKFILL, start - self._simulation.bar)).close[:, -1]
        stretch = self._simulation.advance(stop - start)
        valid = np.ones(stretch.close.shape, dtype=np.uint8)
        market_ret = market_return(stretch.close, valid, self._before)
        self._before = stretch.close[:, -1]
        bars = Bars(
            symbols=self.symbols,
            close_ns=SIMULATED_START_NS + round(BAR_S * 1e9) * np.arange(start + 1, stop + 1, dtype=np.int64),
            open=stretch.open,
            high=stretch.high,
            low=stretch.low,
            close=stretch.close,
            volume=stretch.volume,
            valid=valid,
            spread=stretch.spread,
            imbalance=stretch.imbalance,
            depth=np.full(valid.shape, np.nan),
            market_ret=market_ret,
            bar_s=BAR_S,
            fee=Costs().fee,
            spread_assumed=Costs().spread,
            source=self.name,
        )
        return _costed(bars, self._market)

    def index_of(self, close_ns: int) -> int | None:
        """Return the index of the bar that closes at `close_ns`, unless it is too far to compute again."""
        index, rest = divmod(close_ns - SIMULATED_START_NS, round(BAR_S * 1e9))
        near = 0 < index * len(self.symbols) <= RESUMABLE_CELLS
        return index - 1 if near and rest == 0 else None


def open_source(system: System) -> Source:
    """Return what `market` asks for; ConfigError when the data or the choice of symbols is wrong."""
    market = system.market
    if market.source == "simulated":
        return Simulated(system)
    if market.source != "replay" or market.replay is None:
        raise ConfigError(f'market.source: a feed of ours does not run for "{market.source}"')
    bars = _with_orders(_load(market.replay), market.replay)
    if market.symbols is not None:
        bars = bars.choose(_known(market.symbols, bars.symbols))
    return Recorded(_costed(bars, market))


def check(system: System) -> None:
    """Refuse, before anything starts, data that `open_source` would; of a long file only its first rows."""
    market, replay = system.market, system.market.replay
    if market.source != "replay" or replay is None:
        return
    if replay.path is None and replay.orders is None and market.symbols is None:
        origin_of(replay.dataset or "")  # its rows are as shipped
        return
    from qts_agents.market import order_tables, tables

    if all(tables.is_short(file) for file in (replay.path, replay.orders) if file):
        open_source(system)
        return
    if replay.path is not None:
        tables.check_start(replay.path, replay.ts_unit)
        known = tables.symbols_in(replay.path) if market.symbols else ()
    else:
        known = origin_of(replay.dataset or "").symbols
    if replay.orders is not None:
        order_tables.check_columns(replay.orders)
    if market.symbols is not None and known:
        _known(market.symbols, known)


def _load(replay: Replay) -> Bars:
    if replay.dataset is not None:
        return load_dataset(replay.dataset)
    from qts_agents.market.tables import load_table  # pandas loads for files only

    return load_table(replay.path or "", replay.stamp, replay.ts_unit)


def _with_orders(bars: Bars, replay: Replay) -> Bars:
    """Return the bars with the order events of `market.replay.orders`, if it names a file."""
    if replay.orders is None:
        return bars
    from qts_agents.market.order_tables import load_orders

    orders, name = load_orders(replay.orders, bars.symbols, bars.close_ns, replay.ts_unit)
    return msgspec.structs.replace(bars, orders=orders, source=f"{bars.source} {name}")


def _known(wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for symbol in wanted:
        if symbol not in known:
            shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
            raise ConfigError(f'market.symbols: found "{symbol}", the data hold {shown}; name some of these')
    return wanted


def _costed(bars: Bars, market: Market) -> Bars:
    """Return the bars at the costs that the settings give; a given spread replaces quotes too."""
    if market.fee is not None:
        bars = msgspec.structs.replace(bars, fee=market.fee)
    if market.spread is None:
        return bars
    quoted = np.where(np.isfinite(bars.spread), market.spread, np.nan)  # where none is known, none is made up
    return msgspec.structs.replace(bars, spread=quoted, spread_assumed=market.spread)
