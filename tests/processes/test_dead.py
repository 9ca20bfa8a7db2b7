"""`qts dead` on a run that is up: lists what failed, and gives it back with the right login."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.loops import until
from tests.processes.stand import SYSTEM_NAME, Stand
from tests.processes.whole import qts

from qts_core.roster import BY_WIRE
from qts_messaging import examples
from qts_messaging.messages import Envelope, PerformanceFeedback

pytestmark = pytest.mark.processes


async def dead(run: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return what `qts dead` prints."""
    done = await asyncio.to_thread(qts, "dead", str(run), "--json", *arguments, cwd=run)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_a_letter_is_listed_and_given_back(tmp_path: Path) -> None:
    """What QBMIA could not handle is listed with its reason; given back it is handled, and leaves the list."""
    stand = Stand(tmp_path, tuple(BY_WIRE))
    stand.serve()
    broken, seen = [True], []

    async def handler(envelope: Envelope) -> None:
        if broken[0]:
            raise ValueError("cannot digest this")
        seen.append(envelope.id)

    try:
        for name in ("pads", "qbmia"):
            stand.buses[name] = stand.bus(name)
            await stand.buses[name].start()
        pads, qbmia = stand.buses["pads"], stand.buses["qbmia"]
        qbmia.subscribe(PerformanceFeedback, handler)
        await until(lambda: all(bus.mode == "connected" for bus in stand.buses.values()))
        sent = await pads.publish(examples.feedback("d-1"))
        await until(lambda: qbmia.numbers().dead_letters == 1)
        (tmp_path / "config.json").write_text(json.dumps({"redis_url": stand.system().redis_url}))
        tree = {"config": "config.json", "redis": stand.system().redis_url, "system": SYSTEM_NAME}
        (tmp_path / "run.json").write_text(json.dumps(tree))
        broken[0] = False
        (letter,) = await dead(tmp_path)
        assert (letter["group"], letter["reason"]) == ("qbmia", "ValueError: cannot digest this")
        assert [each["again"] for each in await dead(tmp_path, "--again", letter["entry"])] == [True]
        await until(lambda: seen == [sent])
        assert await dead(tmp_path) == []
    finally:
        for bus in stand.buses.values():
            await bus.close(0.0)
        stand.kill()
