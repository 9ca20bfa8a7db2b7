"""CSV and Parquet files, good and bad."""

from __future__ import annotations

import gzip
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qts_agents.market import tables
from qts_agents.market.tables import check_start, load_table
from qts_core.errors import ConfigError

HEAD = "ts,open,high,low,close,volume\n"
ONE = "1,1,1,1,0"
ROWS = (
    "2020-01-01T00:00:00Z,10,12,9,11,100\n",
    "2020-01-01T00:01:00Z,11,13,10,12,110\n",
    "2020-01-01T00:02:00Z,12,14,11,13,120\n",
)
GOOD = HEAD + "".join(ROWS)


def write(folder: Path, text: str | bytes, name: str = "gold.csv") -> str:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def refused(path: str, **options: str) -> str:
    """Return the text with which a file is refused."""
    with pytest.raises(ConfigError) as caught:
        load_table(path, **options)
    return str(caught.value)


def test_a_good_file_becomes_bars(tmp_path: Path) -> None:
    """Without a symbol column the file's name is the symbol; the source names file and checksum."""
    bars = load_table(write(tmp_path, GOOD))
    assert (bars.symbols, bars.bar_s) == (("gold",), 60.0)
    assert bars.close.tolist() == [[11.0, 12.0, 13.0]]
    assert np.datetime64("2020-01-01T00:00") == np.datetime64(int(bars.close_ns[0]), "ns")
    assert (bars.fee, bars.spread_assumed) == (0.001, 0.0005)
    assert bars.source.startswith("file:gold.csv sha256:")


def test_open_stamps_close_a_bar_later(tmp_path: Path) -> None:
    """With stamp open a row's time is the bar's beginning."""
    bars = load_table(write(tmp_path, GOOD), stamp="open")
    assert np.datetime64("2020-01-01T00:01") == np.datetime64(int(bars.close_ns[0]), "ns")


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_times_may_be_numbers(tmp_path: Path, unit: str, scale: int) -> None:
    """Each unit gives the same exact times; the header's case does not matter."""
    rows = "".join(f"{(1577836800 + 60 * i) * scale},1,1,1,1,0\n" for i in range(3))
    bars = load_table(write(tmp_path, "Timestamp,Open,High,Low,Close,Volume\n" + rows), ts_unit=unit)
    assert [1577836800 * 10**9 + 60 * 10**9 * i for i in range(3)] == bars.close_ns.tolist()


@pytest.mark.parametrize("name", ["gold.csv.gz", "gold.parquet"])
def test_other_containers_hold_the_same(tmp_path: Path, name: str) -> None:
    """A compressed and a columnar file give the bars of the text file."""
    plain = load_table(write(tmp_path, GOOD))
    if name.endswith(".gz"):
        path = write(tmp_path, gzip.compress(GOOD.encode()), name)
    else:
        path = str(tmp_path / name)
        frame = pd.read_csv(str(tmp_path / "gold.csv"), parse_dates=["ts"])
        frame.to_parquet(path)
    bars = load_table(path)
    assert plain.close_ns.tolist() == bars.close_ns.tolist()
    assert plain.close.tolist() == bars.close.tolist()


def test_a_symbol_that_stops_is_invalid_from_then_on(tmp_path: Path) -> None:
    """Rows that others have and one symbol lacks are missing bars; quotes become spread over mid, and imbalance."""
    text = (
        "symbol,ts,open,high,low,close,volume,bid,ask,bid_size,ask_size\n"
        "B,2020-01-01,4,4,4,4,5,3.96,4.04,3,1\n"
        "A,2020-01-01,2,2,2,2,5,,,,\n"
        "B,2020-01-02,1,1,1,1,5,1,1,0,0\n"
        "B,2020-01-03,1,1,1,1,5,,,,\n"
        "A,2020-01-03,2,2,2,2,5,,,,\n"
        "B,2020-01-04,1,1,1,1,5,,,,\n"
    )
    bars = load_table(write(tmp_path, text))
    assert bars.symbols == ("B", "A")
    assert bars.valid.tolist() == [[1, 1, 1, 1], [1, 0, 1, 0]]
    assert bars.bar_s == 86_400.0
    assert np.allclose([0.02, 0.5], [bars.spread[0, 0], bars.imbalance[0, 0]])
    assert (bars.spread[0, 1], str(bars.imbalance[0, 1])) == (0.0, "nan")  # nobody in the book has no side
    assert np.isnan(bars.spread[1]).all()
    assert np.isnan(bars.depth).all()


def test_a_thousand_symbols_are_taken_and_one_more_is_refused(tmp_path: Path) -> None:
    names = [f"S{n}" for n in range(1001)]
    rows = [f"{name},2020-01-0{day},1,1,1,1,5" for day in (1, 2) for name in names]
    head = "symbol,ts,open,high,low,close,volume\n"
    assert "found 1001 symbols; give a file of at most 1000" in refused(
        write(tmp_path, head + "\n".join(rows))
    )
    rows = [row for row in rows if not row.startswith("S1000,")]
    assert load_table(write(tmp_path, head + "\n".join(rows))).symbols == tuple(names[:-1])


def test_blank_lines_do_not_shift_line_numbers(tmp_path: Path) -> None:
    """The line that is named is the file's."""
    text = refused(write(tmp_path, HEAD + ROWS[0] + "\n\n" + ROWS[1].replace(",11,13,", ",-11,13,")))
    assert "line 5, column open: found -11; prices must be above 0" in text


BAD_ROWS = [
    (",11,", ",,", "line 3, column open: found an empty cell; give a finite number in every row"),
    (",12,110", ",n/a,110", "line 3, column close: found 'n/a'; give a finite number"),
    (",12,110", ",nan,110", "line 3, column close: found 'nan'; give a finite number"),
    (",12,110", ",inf,110", "line 3, column close: found inf; give a finite number"),
    (",13,", ",0,", "line 3, column high: found 0; prices must be above 0"),
    (",10,", ",-10,", "line 3, column low: found -10; prices must be above 0"),
    (",110", ",-1", "line 3, column volume: found -1; volumes must not be negative"),
    (",10,", ",11.5,", "line 3, column low: found low 11.5 above open 11 or close 12; low must be at most"),
    (
        ",13,",
        ",11.5,",
        "line 3, column high: found high 11.5 below open 11 or close 12; high must be at least",
    ),
    (
        "00:01:00Z",
        "00:00:00Z",
        "line 3, column ts: found 2020-01-01T00:00:00.000000000 twice for gold; keep one",
    ),
    ("00:01:00Z", "00:05:00Z", "line 4, column ts: found 2020-01-01T00:02:00.000000000 after a later time"),
    ("2020-01-01T00:01:00Z", "01/02/2020", "line 3, column ts: found '01/02/2020'; write ISO 8601"),
    (
        "2020-01-01T00:01:00Z",
        "2020-01-01T00:01:00",
        "line 3, column ts: found '2020-01-01T00:01:00'; it names no zone: end it with Z if it is UTC",
    ),
    ("2020-01-01T00:01:00Z", "2020-01-01 00:01", "found '2020-01-01 00:01'; it names no zone"),
    ("2020-01-01T00:01:00Z", "1577836860", "line 3, column ts: found '1577836860'; write ISO 8601"),
    (",110\n", ",110,7\n", "line 3: found 7 fields, the header has 6; check quotes and commas"),
]


@pytest.mark.parametrize(("old", "new", "expected"), BAD_ROWS)
def test_a_bad_row_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """File, line, column, what was found and the remedy are in the text."""
    path = write(tmp_path, HEAD + ROWS[0] + ROWS[1].replace(old, new, 1) + ROWS[2])
    text = refused(path)
    assert text.startswith(f"{path}: line ")
    assert expected in text


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    """Each required column is asked for by name, with those found."""
    text = refused(write(tmp_path, GOOD.replace(column, "other")))
    assert f"line 1: column {column} is missing, found ts," in text


def test_a_missing_time_column_is_named(tmp_path: Path) -> None:
    """All accepted names are given."""
    text = refused(write(tmp_path, GOOD.replace("ts,", "when,")))
    assert "column ts or timestamp or time or date is missing, found when, open" in text


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    """The first is named, the others are counted."""
    text = refused(write(tmp_path, HEAD + "".join(row.replace(",1", ",-1", 1) for row in ROWS)))
    assert "line 2, column open: found -10 (2 more like it); prices must be above 0" in text


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.csv", b"", "found an empty file"),
        ("a.csv", b" \n \n", "found an empty file"),
        ("a.csv", HEAD.encode(), "found a header without bars"),
        (
            "a.csv",
            HEAD.encode() + b"2020-01-01,1,1,1,\xff,1\n",
            "line 2: found byte 0xff that is not UTF-8; save",
        ),
        ("a.csv", GOOD.encode("utf-16"), "line 1: found byte 0xff that is not UTF-8"),
        ("a.csv", (HEAD + '"2020-01-01,1,1,1,1,1\n').encode(), "malformed CSV"),
        ("a.csv", (HEAD + ROWS[0]).encode(), "found bars of one time only; at least 2 are needed"),
        ("a.csv.gz", GOOD.encode(), "not a whole gzip file"),
        ("a.parquet", GOOD.encode(), "not a Parquet file"),
        ("a.xlsx", b"x", "found extension '.xlsx'; use a file of .csv, .csv.gz, .parquet"),
        ("a", b"x", "found extension 'none'; use a file of"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    """Empty, foreign, broken and unknown files are named with the remedy."""
    path = write(tmp_path, data, name)
    text = refused(path)
    assert text.startswith(f"{path}: ")
    assert expected in text


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    """The path and the setting are named."""
    assert "no.csv: no such file; check market.replay.path" in refused(str(tmp_path / "no.csv"))
    (tmp_path / "d.csv").mkdir()
    assert "d.csv: cannot be read (Is a directory)" in refused(str(tmp_path / "d.csv"))


def test_a_wrong_unit_is_refused(tmp_path: Path) -> None:
    """Nanoseconds read as seconds lie beyond what a time can be."""
    text = refused(write(tmp_path, HEAD + "1577836800000000000,1,1,1,1,1\n"), ts_unit="s")
    assert "line 2, column ts: found '1577836800000000000'; write a number of s since 1970" in text
    text = refused(write(tmp_path, HEAD + "1577836800,1,1,1,1,1\n"))
    assert "or set market.replay.ts_unit to s, ms, us, ns" in text
    assert "ts_unit" not in refused(write(tmp_path, HEAD + "01/02/2020,1,1,1,1,1\n"))


def test_crossed_quotes_and_unnamed_symbols_are_refused(tmp_path: Path) -> None:
    """Optional columns are checked too."""
    head = "symbol,ts,open,high,low,close,volume,bid,ask\n"
    crossed = refused(write(tmp_path, head + "A,2020-01-01,1,1,1,1,5,1.2,1.1\n"))
    assert "line 2, column bid: found bid 1.2 above ask 1.1; a bid must be at most the ask" in crossed
    assert "column symbol: found no name" in refused(write(tmp_path, head + ",2020-01-01,1,1,1,1,5,1,1\n"))


def test_an_offset_is_read_and_a_date_is_the_day_in_utc(tmp_path: Path) -> None:
    """Every way to name a zone gives the same instant."""
    same = [
        "2020-01-02T00:00:00Z",
        "2020-01-02 00:00:00+00:00",
        "2020-01-01T19:00-05",
        "2020-01-02T05:30+0530",
    ]
    for at in [*same, "20200102T000000Z"]:
        rows = [f"2020-01-01T00:00:00Z,{ONE}", f"{at},{ONE}", f"2020-01-03T00:00:00Z,{ONE}"]
        bars = load_table(write(tmp_path, HEAD + "\n".join(rows)))
        assert int(bars.close_ns[1]) == 1_577_923_200_000_000_000, at
    for dates in (("2020-01-01", "2020-01-02", "2020-01-03"), ("20200101", "20200102", "20200103")):
        rows = [f"{at},{ONE}" for at in dates]
        bars = load_table(write(tmp_path, HEAD + "\n".join(rows)))
        assert int(bars.close_ns[0]) == 1_577_923_200_000_000_000


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            "2020-01-01",
            "2020-01-02T15:00:00Z",
            "line 3, column ts: found a time of day, '2020-01-02T15",
        ),
        ("2020-01-01T15:00:00Z", "2020-01-02", "line 3, column ts: found a date alone, '2020-01-02',"),
    ],
)
def test_dates_beside_times_are_refused(tmp_path: Path, first: str, second: str, words: str) -> None:
    """A history of days with the hour of today behind it: which day's close is the last one's?"""
    assert words in refused(write(tmp_path, f"{HEAD}{first},{ONE}\n{second},{ONE}\n"))


@pytest.mark.parametrize("stamp", ["close", "open"])
def test_the_bar_of_a_date_closes_when_the_day_ends(tmp_path: Path, stamp: str) -> None:
    """Whatever the stamp says of times: what happens in a day is not known when it begins."""
    rows = [f"2020-01-0{day},{ONE}\n" for day in (1, 2, 3)]
    bars = load_table(write(tmp_path, HEAD + "".join(rows)), stamp=stamp)
    assert np.datetime64("2020-01-02") == np.datetime64(int(bars.close_ns[0]), "ns")
    parquet = str(tmp_path / "days.parquet")
    ones = {name: [1.0, 1.0, 1.0] for name in ("open", "high", "low", "close", "volume")}
    days = pd.date_range("2020-01-01", periods=3)
    for dates in (days, days.date):
        pd.DataFrame({"date": dates, **ones}).to_parquet(parquet)
        assert load_table(parquet, stamp=stamp).close_ns.tolist() == bars.close_ns.tolist()


def test_a_columnar_time_needs_a_zone_too(tmp_path: Path) -> None:
    """A naive column holds dates or is refused with the row; one with a zone is converted."""
    ones = {name: [1.0, 1.0, 1.0] for name in ("open", "high", "low", "close", "volume")}
    path = str(tmp_path / "x.parquet")

    def written(times: pd.DatetimeIndex) -> str:
        pd.DataFrame({"date": times, **ones}).to_parquet(path)
        return path

    days = pd.date_range("2020-01-01", periods=3)
    hours = pd.date_range("2020-01-01", periods=3, freq="h")
    first = load_table(written(days.tz_localize("UTC"))).close_ns[0]
    assert np.datetime64("2020-01-01") == np.datetime64(int(first), "ns")
    eastern = load_table(written(hours.tz_localize("America/New_York"))).close_ns
    assert int(eastern[0] - first) == 5 * 3_600_000_000_000
    assert "row 2, column date: found '2020-01-01 01:00:00'; it names no zone" in refused(written(hours))


def test_a_bad_parquet_row_is_named(tmp_path: Path) -> None:
    """Rows of a columnar file count from 1."""
    path = str(tmp_path / "x.parquet")
    times = pd.to_datetime(["2020-01-01", "2020-01-02"])
    ones = {name: [1.0, 1.0] for name in ("open", "high", "low", "volume")}
    pd.DataFrame({"date": times, **ones, "close": [1.0, np.nan]}).to_parquet(path)
    assert "row 2, column close: found an empty cell" in refused(path)


@pytest.fixture
def soon_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a file long that has more than 4,000 bytes."""
    monkeypatch.setattr(tables, "QUICK", 4000)
    monkeypatch.setattr(tables, "FIRST_ROWS", 50)


def filed(frame: pd.DataFrame, path: str) -> str:
    """Write a file of the kind that its name says; return its path."""
    frame.to_parquet(path) if path.endswith(".parquet") else frame.to_csv(path, index=False)
    return path


@pytest.mark.usefixtures("soon_long")
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_the_first_rows_of_a_long_file_are_checked_alone(tmp_path: Path, kind: str) -> None:
    """What is wrong there is told as if all had been read; the cut, and what is wrong behind it, is not."""
    for bad in (20, 500):
        closes = np.where(np.arange(1, 1001) == bad, -1, 1)
        frame = pd.DataFrame({"ts": 60 * np.arange(1, 1001), "close": closes})
        frame = frame.assign(open=1, high=1, low=1, volume=1, note="so, \n so")
        path = filed(frame, str(tmp_path / f"{bad}.{kind}"))
        assert not tables.is_short(path)
        told = pytest.raises(ConfigError, match="close: found -1; prices must be above 0")
        with told if bad < 50 else nullcontext():
            check_start(path, "s")


@pytest.mark.usefixtures("soon_long")
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_the_symbols_of_a_long_file_are_known_without_its_rows(tmp_path: Path, kind: str) -> None:
    """Also those behind its first rows; without such a column the file's name is the symbol."""
    frame = pd.DataFrame({"ts": 60 * np.arange(1, 1001), "close": 1.0, "note": "so, \n so"})
    frame = frame.assign(Symbol=np.where(np.arange(1000) < 700, "A ", "NA"))
    for name, given, expected in (
        ("x", frame, ("A", "NA")),
        ("EURUSD", frame.drop(columns="Symbol"), ("EURUSD",)),
    ):
        assert tables.symbols_in(filed(given, str(tmp_path / f"{name}.{kind}"))) == expected


def test_a_long_file_of_another_kind_is_refused_by_its_start(tmp_path: Path) -> None:
    """Neither reader is given what it cannot read."""
    for name, words in (("a.csv.gz", "not a whole gzip file"), ("a.parquet", "not a Parquet file")):
        with pytest.raises(ConfigError, match=words):
            check_start(write(tmp_path, b"nothing of the kind", name))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            HEAD + "2020-01-01T00:00:00Z,1,10,1,12,1,09,1,11,100,0\n",
            "line 2: found more fields than the header has; quote cells that hold commas, and write 1.5, not 1,5",
        ),
        (GOOD.replace("volume", "close"), "line 1: column close stands twice; keep one"),
        (GOOD.replace("volume", "volume, Close ").replace("\n2", ",1\n2"), "column close stands twice"),
        (
            GOOD.replace(",", ";"),
            "found one column, 'ts;open;high;low;close;volume'; separate the columns by commas",
        ),
        (GOOD.replace(",", "\t"), "separate the columns by commas"),
    ],
)
def test_no_cell_is_left_out_in_silence(tmp_path: Path, text: str, words: str) -> None:
    """Decimal commas, a name that stands twice and other separators are named; one column was taken for another."""
    assert words in refused(write(tmp_path, text))


def test_rows_may_end_with_a_comma(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Some programs write one behind each row and none behind the header."""
    bars = load_table(write(tmp_path, HEAD + "".join(row.replace("\n", ",\n") for row in ROWS)))
    assert bars.close.tolist() == [[11.0, 12.0, 13.0]]
    assert not recwarn.list


@pytest.mark.parametrize("names", [(None,), ("ts",), ("symbol", "ts")])
def test_a_parquet_index_is_read(tmp_path: Path, names: tuple[str | None, ...]) -> None:
    """The index that pandas writes holds times and symbols; a series without a name for it is no exception."""
    times = pd.date_range("2020-01-01", periods=3, freq="h", tz="UTC")
    index = (
        times.rename(names[0]) if len(names) == 1 else pd.MultiIndex.from_product([["A"], times], names=names)
    )
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}, index=index)
    frame.to_parquet(tmp_path / "A.parquet")
    bars = load_table(str(tmp_path / "A.parquet"))
    assert (bars.symbols, bars.close_ns.tolist()) == (("A",), times.as_unit("ns").asi8.tolist())


def test_a_parquet_row_without_a_symbol_is_named(tmp_path: Path) -> None:
    """A missing name among others ended with a traceback."""
    times = pd.date_range("2020-01-01", periods=3, freq="h", tz="UTC")
    frame = pd.DataFrame({"ts": times, "symbol": ["A", None, "A"], "open": 1.0, "high": 1.0, "low": 1.0})
    frame.assign(close=1.0, volume=1.0).to_parquet(tmp_path / "x.parquet")
    assert "row 2, column symbol: found no name" in refused(str(tmp_path / "x.parquet"))
