"""The shell of PADS writes states into its journal as it grows and goes on from the newest after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.agents import pads_script

from qts_agents.decider import DeciderShell
from qts_agents.pads import journal, kept, records
from qts_agents.pads.replay import replay


def shell(folder: Path) -> DeciderShell:
    """Return the shell around a bus that carries nothing and a compute that runs at once."""
    clock = iter(range(10**9, 10**18, 10**9))

    async def compute(work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    async def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    def ignore(*_: Any, **__: Any) -> None:
        return None

    context: Any = SimpleNamespace(
        system=pads_script.system(),
        place=SimpleNamespace(state=folder, system_name="x"),
        compute=compute,
        bus=SimpleNamespace(publish=nothing, send=nothing, recall=nothing, peers=dict),
        log=SimpleNamespace(info=ignore, warning=ignore, error=ignore),
        health=SimpleNamespace(troubles={}, draining=False),
        now_ns=lambda: next(clock),
        tracing=SimpleNamespace(emit=ignore, child=ignore, root=ignore),
    )
    made = DeciderShell(context)
    made._inlet.window = ignore  # type: ignore[method-assign,assignment]
    made._measure = ignore  # type: ignore[method-assign]
    return made


def test_a_long_journal_is_read_from_its_newest_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after many bars, the next process reads a part of the journal and is what the first one was."""
    monkeypatch.setattr(journal, "UNREAD", 60_000)
    closes = pads_script.walk(420, 1, 3)

    async def live(made: DeciderShell, first: int, last: int) -> None:
        await made.begin()
        for seq in range(first, last):
            await made._on_bar(pads_script.update(closes, seq), None)

    first, second = shell(tmp_path), shell(tmp_path)
    asyncio.run(live(first, 0, 400))
    folder = tmp_path / "journal"
    heads = [e for e in journal.entries(folder) if e.kind == "header"]
    assert len(heads) > 2
    assert [bool(records.body(e, records.Header).state) for e in heads] == [False] + [True] * (len(heads) - 1)
    asyncio.run(live(second, 400, 401))
    asyncio.run(live(first, 400, 401))
    whole = sum(file.stat().st_size for file in folder.iterdir())
    assert 0 < second._journal.unread < whole / 2
    desks = [made.pads._desk for made in (first, second)]
    assert [d.bars for d in desks if d is not None] == [401, 401]
    assert kept.save(second.pads)[:100] == kept.save(first.pads)[:100]
    for made in (first, second):
        asyncio.run(made.finish())


def test_the_journal_of_several_lives_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "UNREAD", 60_000)
    closes = pads_script.walk(420, 1, 4)

    async def live(made: DeciderShell, first: int, last: int) -> None:
        await made.begin()
        for seq in range(first, last):
            await made._on_bar(pads_script.update(closes, seq), None)
        await made.finish()

    for part in (0, 1, 2):
        asyncio.run(live(shell(tmp_path), 140 * part, 140 * (part + 1)))
    found = replay(tmp_path / "journal")
    assert found.first_difference is None
    assert found.rounds == found.equal > 30
