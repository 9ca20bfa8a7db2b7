"""The data sets that ship in the package: loader, checksum, origin and licence."""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import tomllib
from importlib.resources import files
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.market.bars import Bars
from qts_agents.market.rows import Costs, Rows, check_rows, series_of
from qts_agents.market.windows import PRICES
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


def load_dataset(name: str, key: str = "market.replay.dataset") -> Bars:
    """Return a packaged data set that the setting `key` names; ConfigError when unknown or not as shipped."""
    origin = origin_of(name, key)
    return read_dataset(name, origin, (_DATA / origin.file).read_bytes())


def origin_of(name: str, key: str = "market.replay.dataset") -> Origin:
    """Return the entry of a data set that the setting `key` names; ConfigError when there is none."""
    known = origins()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise ConfigError(f'{key}: found "{name}", known are {", ".join(known)}{hint}')
    return known[name]


def read_dataset(name: str, origin: Origin, data: bytes) -> Bars:
    """Check the bytes of a data set against its entry and return its bars."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != origin.sha256:
        raise ConfigError(
            f"{origin.file}: found SHA-256 {digest}, expected {origin.sha256}; install the package again"
        )
    header, *cells = csv.reader(gzip.decompress(data).decode("utf-8").splitlines())
    # pandas would read this too, after seconds of imports that every start of the feed would pay
    columns = dict(zip(header, zip(*cells, strict=True), strict=True))
    rows = _closes(origin, columns) if origin.layout == "closes" else _bars(origin, columns)
    costs = Costs(origin.fee, origin.spread)
    return series_of(rows, origin.stamp, costs, f"dataset:{name} sha256:{digest}", origin.bar_s)


Columns = dict[str, tuple[str, ...]]


def _times_ns(columns: Columns) -> NDArray[np.int64]:
    """Return the column `timestamp`, ISO 8601 in UTC, in ns."""
    return np.array([text.removesuffix("Z") for text in columns["timestamp"]], "datetime64[ns]").astype(
        np.int64
    )


def _bars(origin: Origin, columns: Columns) -> Rows:
    """Return one row a bar; ConfigError names a row that is no bar."""
    ts_ns = _times_ns(columns)
    rows = Rows(
        file=origin.file,
        unit="line",
        lines=np.arange(ts_ns.size, dtype=np.int64) + 2,
        symbol=np.full(ts_ns.size, origin.symbols[0], dtype=object),
        ts_ns=ts_ns,
        ts_name="timestamp",
        values={name: np.array(columns[name], dtype=np.float64) for name in PRICES},
        quotes={},
    )
    check_rows(rows)
    return rows


def _closes(origin: Origin, columns: Columns) -> Rows:
    """Return one column of closes a symbol as rows; an empty cell is a bar that the symbol lacks."""
    ts_ns = _times_ns(columns)
    close = np.array([[float(text or "nan") for text in columns[s]] for s in origin.symbols]).T
    at, symbol = np.nonzero(np.isfinite(close))
    lacking = np.full(at.size, np.nan)
    return Rows(
        file=origin.file,
        unit="line",
        lines=at.astype(np.int64) + 2,
        symbol=np.array(origin.symbols, dtype=object)[symbol],
        ts_ns=ts_ns[at],
        ts_name="timestamp",
        values=dict.fromkeys(("open", "high", "low", "volume"), lacking) | {"close": close[at, symbol]},
        quotes={},
    )
