"""A record of bars that one setting names: a packaged data set, or a file where the name is one."""

from __future__ import annotations

from qts_agents.market.bars import Bars
from qts_agents.market.datasets import load_dataset, origin_of
from qts_agents.market.rows import SUFFIXES


def is_file(name: str) -> bool:
    """Tell whether a name is a file's, and not a packaged data set's."""
    return name.endswith(SUFFIXES) or "/" in name


def load(name: str, key: str) -> Bars:
    """Return the bars; ConfigError, where they are wrong, names the setting `key` or the line."""
    if not is_file(name):
        return load_dataset(name, key)
    from qts_agents.market.tables import load_table  # pandas loads for files only

    return load_table(name, key=key)


def check(name: str, key: str) -> None:
    """Refuse what `load` would; of a long file only for its first rows."""
    if not is_file(name):
        origin_of(name, key)  # its rows are as shipped
        return
    from qts_agents.market import tables

    if tables.is_short(name):
        load(name, key)
    else:
        tables.check_start(name, key=key)
