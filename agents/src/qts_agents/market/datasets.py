"""The data sets that ship in the package: loader, checksum, origin and licence."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from importlib.resources import files
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from qts_agents.market.bars import Bars
from qts_agents.market.rows import Costs, Rows, check_rows, series_of
from qts_agents.market.tables import parse, read_csv
from qts_core.errors import ConfigError

_DATA = files("qts_agents.market") / "data"


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of SOURCES.toml."""

    file: str
    title: str
    layout: Literal["bars", "closes"]  # OHLCV columns, or one column of closes a symbol
    symbols: tuple[str, ...]
    bar_s: float
    stamp: Literal["open", "close"]
    fee: float
    spread: float
    rows: int
    span: str
    origin: str
    licence: str
    sha256: str  # of the shipped file
    csv_sha256: str  # of the text inside it
    changes: str
    note: str


def origins() -> dict[str, Origin]:
    """Return what ships, by name."""
    text = (_DATA / "SOURCES.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Origin])


def load_dataset(name: str) -> Bars:
    """Return a packaged data set; ConfigError when it is unknown or not what was shipped."""
    known = origins()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise ConfigError(f'market.replay.dataset: found "{name}", known are {", ".join(known)}{hint}')
    return read_dataset(name, known[name], (_DATA / known[name].file).read_bytes())


def read_dataset(name: str, origin: Origin, data: bytes) -> Bars:
    """Check the bytes of a data set against its entry and return its bars."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != origin.sha256:
        raise ConfigError(
            f"{origin.file}: found SHA-256 {digest}, expected {origin.sha256}; install the package again"
        )
    rows = _closes(origin, data) if origin.layout == "closes" else parse(origin.file, data)
    if origin.layout == "bars":
        rows = msgspec.structs.replace(rows, symbol=np.full(rows.lines.size, origin.symbols[0], dtype=object))
        check_rows(rows)
    costs = Costs(origin.fee, origin.spread)
    return series_of(rows, origin.stamp, costs, f"dataset:{name} sha256:{digest}", origin.bar_s)


def _closes(origin: Origin, data: bytes) -> Rows:
    """Return one column of closes a symbol as rows; an empty cell is a bar that the symbol lacks."""
    frame = read_csv(origin.file, data)
    times = pd.to_datetime(frame["timestamp"], utc=True, format="ISO8601").dt.tz_localize(None)
    ts_ns = np.asarray(times.astype("datetime64[ns]")).astype(np.int64)
    close = np.column_stack([pd.to_numeric(frame[symbol]).to_numpy(np.float64) for symbol in origin.symbols])
    at, symbol = np.nonzero(np.isfinite(close))
    lacking = np.full(at.size, np.nan)
    return Rows(
        file=origin.file,
        unit="line",
        lines=np.asarray(frame.index, dtype=np.int64)[at] + 2,
        symbol=np.array(origin.symbols, dtype=object)[symbol],
        ts_ns=ts_ns[at],
        ts_name="timestamp",
        values=dict.fromkeys(("open", "high", "low", "volume"), lacking) | {"close": close[at, symbol]},
        quotes={},
    )
