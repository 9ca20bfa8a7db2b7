"""A running engine gives free memory back, again and again."""

from __future__ import annotations

import asyncio

import pytest

from qts_operator import main
from qts_operator.session import Access
from qts_operator.testing import FakeCluster

from .engines import running


async def test_free_memory_is_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given = asyncio.Semaphore(0)
    monkeypatch.setattr(main, "TIDY_S", 0.01)
    monkeypatch.setattr(main, "give_back", given.release)
    dropped: list[bool] = []
    monkeypatch.setattr(main, "let_go", lambda: dropped.append(True))
    options = main.Options(access=Access(server="http://nowhere"), identity="a", http_port=0, metrics_port=0)
    async with running(FakeCluster(), options), asyncio.timeout(60):
        for _ in range(3):
            await given.acquire()
    assert len(dropped) >= 3  # what passes rendered first, or its pages are not free
