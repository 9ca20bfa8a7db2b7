"""CSV and Parquet files with OHLCV columns → Bars; what is wrong is named by file, line and column.

Long format: one row per symbol and bar. Columns: `symbol` (without it the file's name is the symbol),
one of `ts`, `timestamp`, `time`, `date`, then `open, high, low, close, volume` and, optional,
`bid, ask, bid_size, ask_size`. Other columns are ignored.

A time of day needs a zone: nobody knows whose hour it is otherwise, and a wrong guess shifts every bar. A
date alone is the day in UTC, whose bar closes when the day ends.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import warnings
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from qts_agents.market.bars import Bars
from qts_agents.market.rows import DAY_NS, SUFFIXES, Costs, Rows, check_rows, series_of
from qts_agents.market.windows import F8, PRICES
from qts_core.errors import ConfigError

TIME_NAMES = ("ts", "timestamp", "time", "date")
QUOTE_NAMES = ("bid", "ask", "bid_size", "ask_size")
KNOWN = {*TIME_NAMES, "symbol", *PRICES, *QUOTE_NAMES, "side", "price", "size", "order", "event"}
REPLAY = "market.replay.path"  # the setting that names a file, unless told otherwise
#: bytes of text, and rows, that are read in a fraction of a second; and how much less a packed file may have
QUICK, FIRST_ROWS, PACKED = 4 * 1024 * 1024, 50_000, 4
UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
DATE = r"[^Tt: ]+"
#: a date alone, or a time that ends with Z or an offset
ZONED = rf"{DATE}|.+(?:[Zz]|[+-]\d\d(?::?\d\d)?)"
ZONE = "end it with Z if it is UTC, or with an offset such as -05:00"
#: what an int64 of nanoseconds can say, less a margin for a bar's length
LATEST_NS = 9_000_000_000_000_000_000


def load_table(
    path: str, stamp: str = "close", ts_unit: str = "iso", costs: Costs | None = None, key: str = REPLAY
) -> Bars:
    """Read and check a file; ConfigError names file, line, column, what was found and the remedy."""
    data = read_file(path, key)
    source = f"file:{Path(path).name} sha256:{hashlib.sha256(data).hexdigest()}"
    rows = parse(path, data, ts_unit)
    check_rows(rows)
    return series_of(rows, stamp, costs or Costs(), source)


def is_short(path: str) -> bool:
    """Tell whether a file is read in a fraction of a second, or is not there to be read."""
    most = QUICK if path.endswith(".csv") else QUICK // PACKED
    return not Path(path).is_file() or Path(path).stat().st_size <= most


def check_start(path: str, ts_unit: str = "iso", key: str = REPLAY) -> None:
    """Refuse a file for what is wrong in its first rows, without reading the others of a long one."""
    found = first_frame(path, key)
    if found is not None:
        check_rows(_rows(path, *found, ts_unit))


def symbols_in(path: str) -> tuple[str, ...]:
    """Return the symbols of a file, of which that column alone is read; () where it cannot be told."""
    packed, lines = path.endswith(".parquet"), csv.ParseOptions(newlines_in_values=True)
    try:
        names = pq.read_schema(path).names if packed else csv.open_csv(path, parse_options=lines).schema.names
        only = [name for name in names if name.strip().lower() == "symbol"]
        if not only:
            return (symbol_of(path),)
        text = csv.ConvertOptions(include_columns=only, column_types={only[0]: pa.string()})
        table = (
            pq.read_table(path, columns=only)
            if packed
            else csv.read_csv(path, parse_options=lines, convert_options=text)
        )
    except (pa.ArrowException, OSError):
        return ()  # the feed tells what is wrong, and where
    cells = table.column(0).unique().to_pylist()
    return tuple(name for cell in cells if (name := str(cell or "").strip()))


def first_frame(path: str, key: str = REPLAY) -> tuple[pd.DataFrame, str, int] | None:
    """Return what `read_frame` does, of a long file its first rows; None where they end inside a cell."""
    if is_short(path):
        return read_frame(path, read_file(path, key))
    if path.endswith(".parquet"):
        return _first_rows(path), "row", 1
    data = read_file(path, key, QUICK)
    if path.endswith(".gz"):
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, QUICK)
        except zlib.error as error:
            raise _not_gzip(path, error) from None
    data = data[: data.rfind(b"\n") + 1]
    return None if data.count(b'"') % 2 else (_csv(path, data), "line", 2)


def parse(path: str, data: bytes, ts_unit: str = "iso") -> Rows:
    """Return the columns of a file's bytes, not yet checked against each other."""
    return _rows(path, *read_frame(path, data), ts_unit)


def _rows(path: str, frame: pd.DataFrame, unit: str, first: int, ts_unit: str) -> Rows:
    lines = np.asarray(frame.index, dtype=np.int64) + first
    names = columns_of(path, frame)
    ts_name = next((name for name in TIME_NAMES if name in names), None)
    if ts_name is None:
        raise ConfigError(missing(path, " or ".join(TIME_NAMES), names))
    for name in PRICES:
        if name not in names:
            raise ConfigError(missing(path, name, names))
    if "symbol" in names:
        symbol = symbols_of(path, unit, lines, frame[names["symbol"]])
    else:
        symbol = np.full(len(frame), symbol_of(path), dtype=object)
    place = f"{path}: {unit}"
    return Rows(
        file=path,
        unit=unit,
        lines=lines,
        symbol=symbol,
        ts_ns=times(place, ts_name, lines, frame[names[ts_name]], ts_unit),
        ts_name=ts_name,
        days=_are_days(place, ts_name, lines, frame[names[ts_name]], ts_unit),
        values={name: numbers(place, name, lines, frame[names[name]], False) for name in PRICES},
        quotes={
            name: numbers(place, name, lines, frame[names[name]], True)
            for name in QUOTE_NAMES
            if name in names
        },
    )


def symbol_of(path: str) -> str:
    """Return the symbol of a file that names none."""
    return Path(path).name.split(".")[0]


def read_frame(path: str, data: bytes) -> tuple[pd.DataFrame, str, int]:
    """Return a file's cells, what its rows are called, and the number of the first."""
    if path.endswith(".parquet"):
        return _parquet(path, data), "row", 1
    return read_csv(path, data), "line", 2


def columns_of(path: str, frame: pd.DataFrame) -> dict[str, str]:
    """Return the columns by their names in lower case; ConfigError where two have the same name."""
    names: dict[str, str] = {}
    for column in frame.columns:
        name = str(column).strip().lower()
        twin = names.get(name, names.get(name.removesuffix(".1")) if name.endswith(".1") else None)
        if twin is not None and str(twin).strip().lower() in KNOWN:
            raise ConfigError(f"{path}: line 1: column {str(twin).strip()} stands twice; keep one")
        names[name] = column
    return names


def read_file(path: str, key: str = REPLAY, most: int = -1) -> bytes:
    """Return the bytes of the file that the setting `key` names, or only so many of them."""
    if not path.endswith(SUFFIXES):
        known = ", ".join(SUFFIXES)
        raise ConfigError(f"{path}: found extension {Path(path).suffix or 'none'!r}; use a file of {known}")
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(most)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; check {key}") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); check the path and its mode"
        ) from error
    if not data:
        raise ConfigError(f"{path}: found an empty file; give a header line and at least 2 bars")
    return data


def read_csv(path: str, data: bytes) -> pd.DataFrame:
    """Return a CSV's cells as text; the index counts lines after the header, blank lines are left out."""
    if path.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise _not_gzip(path, error) from error
    return _csv(path, data)


def _not_gzip(path: str, error: Exception) -> ConfigError:
    return ConfigError(f"{path}: not a whole gzip file ({error}); compress it again")


def _csv(path: str, data: bytes) -> pd.DataFrame:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        found = f"byte 0x{data[error.start]:02x} that is not UTF-8"
        raise ConfigError(f"{path}: line {line}: found {found}; save the file as UTF-8") from None
    if not text.strip():
        raise ConfigError(f"{path}: found an empty file; give a header line and at least 2 bars")
    try:
        frame = _cells(text)
    except pd.errors.ParserWarning:
        head, _, rest = text.partition("\n")
        if not all(line.rstrip().endswith(",") for line in rest.split("\n") if line.strip()):
            remedy = "quote cells that hold commas, and write 1.5, not 1,5"
            raise ConfigError(f"{path}: line 2: found more fields than the header has; {remedy}") from None
        return _csv(path, f"{head.rstrip()},\n{rest}".encode())  # each row ends with a comma, the header not
    except pd.errors.ParserError as error:
        match = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if match is None:
            raise ConfigError(f"{path}: malformed CSV ({error}); check quotes and commas") from None
        fields, line_no, saw = match.groups()
        raise ConfigError(
            f"{path}: line {line_no}: found {saw} fields, the header has {fields}; check quotes and commas"
        ) from None
    frame = frame[~(frame.fillna("") == "").all(axis=1)]
    if frame.empty:
        raise ConfigError(f"{path}: found a header without bars; give at least 2 bars")
    return frame


def _parquet(path: str, data: bytes) -> pd.DataFrame:
    """Return a Parquet file's columns."""
    try:
        frame = cast(pd.DataFrame, pq.read_table(io.BytesIO(data)).to_pandas())
    except (pa.ArrowInvalid, OSError) as error:
        raise _not_parquet(path, error) from error
    return _indexed(path, frame)


def _cells(text: str) -> pd.DataFrame:
    """Return the cells as they are; ParserWarning, as an error, where pandas would leave some out."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            io.StringIO(text),
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            skip_blank_lines=False,
            index_col=False,
        )


def _first_rows(path: str) -> pd.DataFrame:
    try:
        with pq.ParquetFile(path) as file:
            batch = next(file.iter_batches(FIRST_ROWS), None)
            found = file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])
            return _indexed(path, cast(pd.DataFrame, found.to_pandas()))
    except (pa.ArrowInvalid, OSError) as error:
        raise _not_parquet(path, error) from error


def _not_parquet(path: str, error: Exception) -> ConfigError:
    return ConfigError(f"{path}: not a Parquet file ({error}); write it again")


def _indexed(path: str, frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        raise ConfigError(f"{path}: found no rows; give at least 2 bars")
    if isinstance(frame.index, pd.DatetimeIndex):
        frame.index.name = frame.index.name or TIME_NAMES[0]
    return frame.reset_index(drop=not any(frame.index.names))


def missing(
    path: str, wanted: str, names: dict[str, Any], all_: str = "ts, open, high, low, close, volume"
) -> str:
    """Return what to say about a table without the column `wanted`."""
    found = ", ".join(names)
    if len(names) == 1 and re.search(r"[;\t|]", found):
        return f"{path}: line 1: found one column, {found!r}; separate the columns by commas"
    return f"{path}: line 1: column {wanted} is missing, found {found}; name the columns {all_}"


def symbols_of(path: str, unit: str, lines: NDArray[np.int64], cells: pd.Series[Any]) -> NDArray[Any]:
    """Return every row's symbol."""
    known = cells.notna()
    symbol = np.asarray(cells.where(known, "").astype(str).str.strip(), dtype=object)
    bad = np.flatnonzero((symbol == "") | (symbol == "nan") | (symbol == "None"))
    if bad.size:
        raise ConfigError(
            f"{path}: {unit} {lines[bad[0]]}, column symbol: found no name; name every row's symbol"
        )
    return symbol


def numbers(place: str, name: str, lines: NDArray[np.int64], cells: pd.Series[Any], optional: bool) -> F8:
    """Return a column as float64; empty cells are NaN where `optional`, everything else must be a number."""
    values = np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=np.float64)
    blank = np.asarray(cells.isna() | (cells.astype(str).str.strip() == ""))
    bad = np.isnan(values) & ~blank if optional else np.isnan(values)
    at = np.flatnonzero(bad)
    if at.size:
        row = int(at[0])
        cell = "an empty cell" if blank[row] else repr(str(cells.iloc[row]))
        remedy = "give a finite number in every row, or leave the whole row out"
        more = f" ({at.size - 1} more like it)" if at.size > 1 else ""
        raise ConfigError(f"{place} {lines[row]}, column {name}: found {cell}{more}; {remedy}")
    return values


def times(
    place: str, name: str, lines: NDArray[np.int64], cells: pd.Series[Any], unit: str
) -> NDArray[np.int64]:
    """Return times as UTC nanoseconds; ConfigError for the first that is none, or has no zone."""
    zoneless = np.zeros(len(cells), dtype=bool)
    if pd.api.types.is_datetime64_any_dtype(cells):
        stamps_ns, bad = _stamps_ns(pd.to_datetime(cells, utc=True))
        if cells.dt.tz is None:
            zoneless = ~bad & (stamps_ns % DAY_NS != 0)
        remedy = "give a time in every row"
    elif unit == "iso":
        text = cells.astype(str)
        stamps_ns, bad = _stamps_ns(pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce"))
        zoneless = ~bad & ~text.str.strip().str.fullmatch(ZONED).to_numpy(dtype=bool)
        remedy = "write ISO 8601 times such as 2017-01-01T22:00:00Z, from 1970 to 2255"
        if pd.to_numeric(text.head(1), errors="coerce").notna().all():
            remedy = f"{remedy}, or set market.replay.ts_unit to {', '.join(UNITS)}"
    else:
        stamps_ns, bad = _counted_ns(cells, unit)
        remedy = f"write a number of {unit} since 1970, or set market.replay.ts_unit to what it is"
    at = np.flatnonzero(bad | zoneless)
    if at.size:
        row = int(at[0])
        remedy = f"it names no zone: {ZONE}" if zoneless[row] else remedy
        raise ConfigError(f"{place} {lines[row]}, column {name}: found {str(cells.iloc[row])!r}; {remedy}")
    return stamps_ns


def _are_days(place: str, name: str, lines: NDArray[np.int64], cells: pd.Series[Any], unit: str) -> bool:
    """Tell whether times that were taken are dates alone; ConfigError where some are and others are not."""
    if pd.api.types.is_datetime64_any_dtype(cells):
        return cells.dt.tz is None
    if unit != "iso":
        return False
    days = cells.astype(str).str.strip().str.fullmatch(DATE).to_numpy(dtype=bool)
    other = np.flatnonzero(days != days[0])
    if other.size:
        row, kinds = int(other[0]), ("a date alone", "a time of day")
        raise ConfigError(
            f"{place} {lines[row]}, column {name}: found {kinds[int(days[0])]}, {str(cells.iloc[row])!r},"
            f" behind {kinds[int(days[row])]}; give all rows a time of day or none: a date is the whole day"
        )
    return bool(days[0])


def _stamps_ns(stamps: pd.Series[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return time stamps in ns and which are none."""
    bad = np.asarray(stamps.isna(), dtype=bool)
    naive = stamps.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    inside = (naive > np.datetime64(0, "us")) & (naive < np.datetime64(LATEST_NS // 1000, "us"))
    ns = stamps.where(inside).dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")
    return ns.astype(np.int64), bad | ~inside


def _counted_ns(cells: pd.Series[Any], unit: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return numbers of `unit` since 1970 in ns and which are none; integers stay exact."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        rough = numbers.astype(np.float64) * UNITS[unit]
    bad = ~((rough > 0) & (rough < LATEST_NS))
    if numbers.dtype.kind == "i":
        return np.where(bad, 0, numbers) * UNITS[unit], bad
    return np.where(bad, 0.0, np.round(rough)).astype(np.int64), bad
