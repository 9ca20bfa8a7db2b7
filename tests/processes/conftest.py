"""Stands of the message fabric, ended whatever a test has left of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.processes.stand import Stand


@pytest.fixture
async def idle_stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """Give a stand whose server and buses are not started yet; end what a failed test left."""
    made = Stand(tmp_path)
    yield made
    for bus in made.buses.values():
        await bus.close(0.0)
    made.kill()


@pytest.fixture
async def stand(idle_stand: Stand) -> Stand:
    """Give a stand with everything up."""
    await idle_stand.start()
    return idle_stand
