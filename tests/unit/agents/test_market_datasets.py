"""The shipped data sets and their checks."""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files

import msgspec
import numpy as np
import pytest

from qts_agents.market.datasets import load_dataset, origins, read_dataset
from qts_core.errors import ConfigError

NAMES = ("eurusd_1h", "sp500_1d", "stocks20_close_1d")


def shipped(name: str) -> bytes:
    """Return the bytes of a shipped file."""
    return (files("qts_agents.market") / "data" / origins()[name].file).read_bytes()


def test_three_sets_ship() -> None:
    """The catalogue names them."""
    assert tuple(origins()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shipped_bytes_are_those_of_the_catalogue(name: str) -> None:
    """Both checksums hold, and every set names origin, licence and changes."""
    origin, data = origins()[name], shipped(name)
    assert origin.sha256 == hashlib.sha256(data).hexdigest()
    assert origin.csv_sha256 == hashlib.sha256(gzip.decompress(data)).hexdigest()
    assert all((origin.origin, origin.licence, origin.changes, origin.span))


@pytest.mark.parametrize("name", NAMES)
def test_series_have_the_stated_rows_and_costs(name: str) -> None:
    """Rows, symbols, bar length, costs and the checksum in the source's name are the catalogue's."""
    origin, bars = origins()[name], load_dataset(name)
    assert (len(origin.symbols), origin.rows) == bars.close.shape
    assert origin.symbols == bars.symbols
    assert (origin.bar_s, origin.fee, origin.spread) == (bars.bar_s, bars.fee, bars.spread_assumed)
    assert f"dataset:{name} sha256:{origin.sha256}" == bars.source
    assert (np.diff(bars.close_ns) > 0).all()


def test_eurusd_stamps_are_bar_opens() -> None:
    """The first bar opens on Sunday at 22:00 and closes an hour later; its prices are as published."""
    bars = load_dataset("eurusd_1h")
    assert np.datetime64("2017-01-01T23:00") == np.datetime64(int(bars.close_ns[0]), "ns")
    first = [float(x[0, 0]) for x in (bars.open, bars.high, bars.low, bars.close, bars.volume)]
    assert first == [1.05236, 1.05253, 1.05221, 1.05227, 143539993.3]
    assert np.isnan(bars.spread).all()


def test_stocks_lack_all_but_closes() -> None:
    """Columns that the set lacks are NaN, the bars are valid."""
    bars = load_dataset("stocks20_close_1d")
    assert bars.close[0, -1] == 125.674
    assert np.isnan(bars.open).all()
    assert np.isnan(bars.volume).all()
    assert (bars.valid == 1).all()


def test_a_stock_that_stops_is_invalid_from_then_on() -> None:
    """An empty close is a missing bar, not a price."""
    text = b"timestamp,A,B\n2020-01-01,1,2\n2020-01-02,1.5,\n2020-01-03,1.6,\n"
    data = gzip.compress(text, mtime=0)
    digest = hashlib.sha256(data).hexdigest()
    origin = msgspec.structs.replace(origins()["stocks20_close_1d"], symbols=("A", "B"), sha256=digest)
    bars = read_dataset("small", origin, data)
    assert bars.valid.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert np.isnan(bars.close[1, 1:]).all()


def test_a_changed_file_is_refused() -> None:
    """Another checksum than the catalogue's is an error that names both."""
    origin = origins()["eurusd_1h"]
    with pytest.raises(ConfigError) as caught:
        read_dataset("eurusd_1h", origin, shipped("eurusd_1h") + b"x")
    assert "eurusd_1h.csv.gz: found SHA-256" in str(caught.value)
    assert origin.sha256 in str(caught.value)


def test_an_unknown_set_is_refused_with_the_known_ones() -> None:
    """The nearest name is offered."""
    with pytest.raises(ConfigError) as caught:
        load_dataset("eurusd_1d")
    text = str(caught.value)
    assert 'market.replay.dataset: found "eurusd_1d", known are eurusd_1h, sp500_1d' in text
    assert 'did you mean "eurusd_1h"?' in text
