"""The supervisor with real processes: restarts, hangs, refusals, ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qts_cli.sockets import free_ports, http_get
from qts_cli.supervisor import Spec, Supervisor
from qts_core.clock import SystemClock
from qts_core.probes import Probe, Probes

pytestmark = pytest.mark.processes
FAKE = Path(__file__).with_name("fake_process.py")
QUICK = Probes(
    startup=Probe("/startupz", 0.05, 2000),
    liveness=Probe("/livez", 0.1, 3),
    readiness=Probe("/readyz", 0.05, 3),
)


class Stage:
    """A supervisor whose events can be waited for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.supervisor = Supervisor(SystemClock(), self.events.append)

    def spec(self, name: str, mode: str = "", *, restart: bool = True, must_start: bool = False) -> Spec:
        (port,) = free_ports(1)

        async def ask(probe: Probe) -> bool:
            return (await http_get(port, probe.path, probe.timeout_s))[0] == 200

        code = f"import os,sys; os.chdir({str(self.folder)!r}); sys.argv=[{str(FAKE)!r},'{port}','{mode}']"
        code += f"; exec(open({str(FAKE)!r}).read())"
        return Spec(
            name=name,
            argv=(sys.executable, "-c", code),
            env=dict(os.environ),
            logs=self.folder,
            probe=ask,
            probes=QUICK,
            restart=restart,
            must_start=must_start,
        )

    async def until(self, **wanted: Any) -> dict[str, Any]:
        """Wait for a new event with these values."""
        seen = 0
        while True:
            while seen < len(self.events):
                event = self.events[seen]
                seen += 1
                if all(event.get(key) == value for key, value in wanted.items()):
                    del self.events[:seen]
                    return event
            await asyncio.sleep(0.02)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.supervisor.kill_all()
    await stage.supervisor.stop(list(stage.supervisor.running), 1.0)


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def test_killed_process_is_restarted_with_its_cause(stage: Stage) -> None:
    """A SIGKILLed process comes back at once, ready, with another pid, and the signal is told."""
    stage.supervisor.start([stage.spec("a")])
    first = (await stage.until(agent="a", state="ready"))["pid"]
    os.kill(first, signal.SIGKILL)
    restart = await stage.until(kind="restart", agent="a")
    assert (restart["cause"], restart["delay_s"], restart["restarts"]) == ("signal SIGKILL", 0.0, 1)
    second = (await stage.until(agent="a", state="ready"))["pid"]
    assert first != second


async def test_hung_process_is_killed_by_its_liveness_probe(stage: Stage) -> None:
    """Three failed liveness probes end a process that still answers, and it is started again."""
    stage.supervisor.start([stage.spec("a")])
    await stage.until(agent="a", state="ready")
    (stage.folder / "hang").touch()
    restart = await stage.until(kind="restart", agent="a")
    assert restart["cause"] == "liveness probe failed 3 times"
    (stage.folder / "hang").unlink()
    await stage.until(agent="a", state="ready")


async def test_a_server_that_never_starts_is_refused_with_its_last_words(stage: Stage) -> None:
    """A server tells in its log why it ends; an agent's log has nothing for people."""
    stage.supervisor.start([stage.spec("a", "abort", must_start=True)])
    refused = await stage.until(agent="a", state="refused")
    assert refused["reason"] == "exit code 1: Failed listening on port 1"
    stage.supervisor.start([stage.spec("b", "abort")])
    assert (await stage.until(kind="restart", agent="b"))["cause"] == "exit code 1"


async def test_stays_down_when_restarts_are_off(stage: Stage) -> None:
    """With restarts off a killed process stays down and says why."""
    stage.supervisor.start([stage.spec("a", restart=False)])
    os.kill((await stage.until(agent="a", state="ready"))["pid"], signal.SIGKILL)
    down = await stage.until(agent="a", state="down")
    assert "auto_restart_failed is false" in down["reason"]
    assert stage.supervisor.pids() == {}


async def test_refusal_is_told_in_the_process_own_words(stage: Stage) -> None:
    """A process that refuses its settings is not restarted; its last line of error is the reason."""
    stage.supervisor.start([stage.spec("a", "refuse")])
    refused = await stage.until(agent="a", state="refused")
    assert refused["reason"] == "fake: rows.csv: no column close"


async def test_stop_ends_all_and_kills_the_deaf(stage: Stage) -> None:
    """SIGTERM ends those who listen; who ignores it is killed after the grace."""
    stage.supervisor.start([stage.spec("kind"), stage.spec("deaf", "deaf")])
    pids = [(await stage.until(agent=name, state="ready"))["pid"] for name in ("kind",)]
    while not any(event.get("agent") == "deaf" for event in stage.events):
        if stage.supervisor.running["deaf"].child.state == "ready":
            break
        await asyncio.sleep(0.02)
    pids += stage.supervisor.pids().values()
    stage.events.clear()
    await stage.supervisor.stop(["kind", "deaf"], 3.0)
    reasons = {event["agent"]: event["reason"] for event in stage.events if event["state"] == "stopped"}
    assert reasons == {"kind": "exit code 0", "deaf": "signal SIGKILL"}
    assert [pid for pid in pids if alive(pid)] == []


async def test_a_stop_ends_the_wait_for_a_restart(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that crashed and waits for its second restart is not started again, and nobody waits for it."""
    monkeypatch.setattr("random.random", lambda: 0.99)  # half a second, not by chance nothing
    crashing = msgspec.structs.replace(stage.spec("a"), argv=(sys.executable, "-c", "raise SystemExit(3)"))
    stage.supervisor.start([crashing])
    waits = await stage.until(kind="restart", restarts=2)
    assert (waits["delay_s"], waits["cause"]) == (pytest.approx(0.495), "exit code 3")
    task = stage.supervisor.running["a"].task
    await stage.supervisor.stop(["a"], 5.0)
    assert task is not None
    assert task.done()
    assert stage.events == []


async def test_killing_all_ends_the_deaf_for_good(stage: Stage) -> None:
    """Nobody is asked, and who was killed is not started again."""
    stage.supervisor.start([stage.spec("kind"), stage.spec("deaf", "deaf")])
    for running in stage.supervisor.running.values():
        while running.child.state != "ready":
            await asyncio.sleep(0.02)
    pids = stage.supervisor.pids()
    assert sorted(pids) == ["deaf", "kind"]
    stage.events.clear()
    stage.supervisor.kill_all()
    tasks = [running.task for running in stage.supervisor.running.values() if running.task is not None]
    await asyncio.wait(tasks, timeout=10.0)
    assert {event["agent"]: (event["state"], event["reason"]) for event in stage.events} == dict.fromkeys(
        pids, ("stopped", "signal SIGKILL")
    )
    assert [pid for pid in pids.values() if alive(pid)] == []
    assert stage.supervisor.pids() == {}


async def test_what_cannot_be_started_says_why(stage: Stage) -> None:
    """A program or a log folder that is not there is told in the system's words, and never raises."""
    spec = stage.spec("a", restart=False)
    nowhere = stage.folder / "nowhere"
    broken = (
        (msgspec.structs.replace(spec, name="program", argv=("/nowhere/qts",)), "/nowhere/qts"),
        (msgspec.structs.replace(spec, name="folder", logs=nowhere), str(nowhere / "folder.jsonl")),
    )
    stage.supervisor.start([each for each, _ in broken])
    for each, missing in broken:
        down = await stage.until(agent=each.name, state="down")
        assert down["reason"].startswith("cannot be started: [Errno 2] No such file or directory"), missing
        assert missing in down["reason"]


async def test_a_program_that_went_away_is_not_taken_for_its_last_process(stage: Stage) -> None:
    """Killed, and gone when it is started anew: the second end is told as what it is."""
    program = stage.folder / "program"
    program.symlink_to(sys.executable)
    spec = stage.spec("a")
    stage.supervisor.start([msgspec.structs.replace(spec, argv=(str(program), *spec.argv[1:]))])
    pid = (await stage.until(agent="a", state="ready"))["pid"]
    program.unlink()
    os.kill(pid, signal.SIGKILL)
    assert (await stage.until(kind="restart", restarts=1))["cause"] == "signal SIGKILL"
    assert (await stage.until(kind="restart", restarts=2))["cause"].startswith("cannot be started")


async def test_a_probe_without_an_answer_ends_with_its_process(stage: Stage) -> None:
    """Neither does it keep the end from being seen, nor is it left behind."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def silent(probe: Probe) -> bool:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return False

    stage.supervisor.start([msgspec.structs.replace(stage.spec("a", restart=False), probe=silent)])
    await asked.wait()
    os.kill(stage.supervisor.pids()["a"], signal.SIGKILL)
    assert "signal SIGKILL" in (await stage.until(agent="a", state="down"))["reason"]
    await asyncio.wait_for(ended.wait(), 5.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="parent-death signals are Linux's")
def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    """SIGKILL of the supervisor leaves no child."""
    code = (
        "import asyncio, os, sys; from pathlib import Path; from qts_cli.supervisor import Spec, Supervisor;"
        "from qts_core.clock import SystemClock; from qts_core.probes import probes\n"
        "async def ask(probe): return False\n"
        "async def main():\n"
        " s = Supervisor(SystemClock(), lambda e: None)\n"
        f" s.start([Spec(name='a', argv=(sys.executable, {str(FAKE)!r}, '0', 'sleep'), env=dict(os.environ),"
        f" logs=Path({str(tmp_path)!r}), probe=ask, probes=probes(30.0))])\n"
        " print(s.pids()['a'], flush=True)\n"
        " await asyncio.sleep(3600)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert alive(pid)
        supervisor.kill()
        supervisor.wait()
    for _ in range(3000):
        if not alive(pid):
            break
        signal.sigtimedwait([], 0.02)
    assert not alive(pid)
