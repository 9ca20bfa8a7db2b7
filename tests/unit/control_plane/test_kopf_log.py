"""What kopf logs stands in our log as one line, and shows nobody a traceback."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from qts_operator.shell import hear_kopf, told_by_loop


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give kopf's logger back as it was."""
    logger = logging.getLogger("kopf")
    before = logger.level, logger.handlers[:], logger.propagate
    yield
    logger.setLevel(before[0])
    logger.handlers[:], logger.propagate = before[1], before[2]


def test_a_refused_list_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """kopf adds a traceback to the failure of a task; the line says the error, and nothing else is written."""
    hear_kopf()
    with capture_logs() as told:
        try:
            raise PermissionError("403")
        except PermissionError as error:
            logging.getLogger("kopf._cogs.aiokits.aiotasks").exception("Observer has failed: %r", error)
        logging.getLogger("kopf.objects").info("nobody asked")
    assert told == [
        {
            "event": "kopf",
            "log_level": "warning",
            "level_of_kopf": "ERROR",
            "said": "Observer has failed: PermissionError('403')",
        }
    ]
    assert "Traceback" not in "".join(capsys.readouterr())


def test_a_task_that_nobody_asks_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """kopf drops the tasks with which it reads the served kinds; asyncio printed a traceback for each refused one."""

    async def refused() -> None:
        raise ConnectionRefusedError("6443")

    async def dropped() -> None:
        asyncio.get_running_loop().set_exception_handler(told_by_loop)
        task = asyncio.ensure_future(refused())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    with capture_logs() as told:
        asyncio.run(dropped())
    assert [(line["said"], line["error"]) for line in told] == [
        ("Task exception was never retrieved", "ConnectionRefusedError('6443')")
    ]
    assert "Traceback" not in "".join(capsys.readouterr())
