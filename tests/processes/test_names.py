"""A peer's name with several processes behind it: whoever listens is found, and found again elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.loops import until
from tests.processes.stand import Stand

from qts_cli.sockets import free_ports
from qts_messaging import examples, zeromq_names
from qts_messaging.fabric import Fabric

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
NAME = "qbmia"


async def answers(pads: Fabric) -> bool:
    """Tell whether a request is answered."""
    await until(lambda: pads.wires.direct.reachable(NAME))
    return (await pads.ask(examples.messages()[0], NAME, 20.0)).envelope is not None


async def test_who_listens_behind_a_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three endpoints one listens; it ends and another one begins to: requests reach that one."""
    stand, ports = Stand(tmp_path, ("pads", NAME, "market")), free_ports(3)
    endpoints = [f"tcp://127.0.0.1:{port}" for port in ports]
    known: list[str] = []

    async def resolve(address: str) -> list[str]:
        assert address == "tcp://qbmia.test:7000"
        return known

    monkeypatch.setattr(zeromq_names, "resolve", resolve)
    stand.serve()
    pads = stand.buses["pads"] = stand.bus("pads", peers={NAME: "tcp://qbmia.test:7000"})
    await pads.start()
    await until(lambda: pads.mode == "connected")
    for at in (1, 2, 0):
        bus = stand.bus(NAME, bind=endpoints[at], state=tmp_path / f"state-{at}")
        await bus.start()
        known[:] = endpoints
        assert await answers(pads)
        await bus.close()
        await until(lambda: not pads.wires.direct.reachable(NAME))
    await stand.stop()


async def test_names_are_looked_up() -> None:
    """The machine's own name resolution is used; a name that nobody knows has no endpoint yet."""
    assert await zeromq_names.resolve("tcp://localhost:7000") == ["tcp://127.0.0.1:7000"]
    assert await zeromq_names.resolve("tcp://nobody.invalid:7000") == []
