"""What a run reads besides its settings: data that are wrong are told before anything starts."""

from __future__ import annotations

from typing import Any, cast

from qts_agents.market import record, source
from qts_core.errors import ConfigError, RemoteError
from qts_core.spec import System


def check(system: System) -> None:
    """Refuse a market, lessons or headlines that cannot be read; nobody is asked over the network."""
    if system.feed_runs():
        source.check(system)
    agents = cast(Any, system)
    if system.enabled("quasar") and agents.quasar.pretrain is not None:
        record.check(agents.quasar.pretrain, "quasar.pretrain")
    if system.enabled("sentiment") and not system.urls("sentiment"):
        _check_headlines(agents.sentiment.source)


def _check_headlines(file: str) -> None:
    """Refuse a file without one right line; wrong lines among right ones are left out, as in a run."""
    from qts_agents import sources
    from qts_agents.sentiment.headlines import parse

    try:
        read = parse(sources.read(file))
    except RemoteError as error:
        raise ConfigError(f"sentiment.source: {error}") from None
    if read.wrong and not read.rows:
        raise ConfigError(f"sentiment.source: {file}: {read.wrong}")
