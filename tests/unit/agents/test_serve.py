"""A process that cannot start ends: what it had opened is closed before it says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qts_agents.context import Place
from qts_agents.runtime import serve
from qts_cli.sockets import free_ports
from qts_core import config
from qts_core.errors import ConfigError
from qts_core.roster import BY_NAME


async def test_a_refused_start_leaves_no_task_behind(tmp_path: Path) -> None:
    """The refusal comes when every wire is closed; one left open may swallow its cancellation and hang."""
    file = tmp_path / "rows.csv"
    file.write_text("time,open,high,low\n2020-01-01T00:00:00Z,1,1,1\n")
    sets = ("use_real_messaging=false", "market.source=replay", f'market.replay={{"path":"{file}"}}')
    (port,) = free_ports(1)
    place = Place(
        system_name="refused",
        state=tmp_path,
        secrets=None,
        bind="127.0.0.1",
        peers={},
        http_port=port,
        metrics_port=port,
    )
    before = asyncio.all_tasks()
    with pytest.raises(ConfigError, match=r"rows\.csv.*close"):
        await serve([BY_NAME["market"]], config.load(env={}, sets=sets), place)
    assert before == asyncio.all_tasks()
