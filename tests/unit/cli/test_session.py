"""What a run makes of its Redis' end, of addresses that cannot be, and of signals."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from qts_cli import launch, redis_server, sockets, status
from qts_cli.children import STARTUP, Became, Child
from qts_cli.events import Event
from qts_cli.screen import render
from qts_cli.session import Session, heeded
from qts_core import config
from qts_core.clock import SystemClock
from qts_core.errors import ConfigError
from qts_core.probes import probes

DOWN = "signal SIGKILL; 5 restarts in 10 min are used up, it stays down"


def session(run: Path) -> Session:
    """Return a session whose processes are not started."""
    redis = redis_server.Redis(
        "redis://localhost:7400", embedded=True, port=7400, binary="/bin/valkey-server"
    )
    system = config.load(None, {}, ()).system
    ports = dict.fromkeys((w.name for w in launch.workloads(system)), 1)
    setting = launch.Setting(system, "local", run, {}, redis, ports)
    told: list[Event] = []
    made = Session(setting, SystemClock(), told.append, lambda: None)
    made.view.take(launch.redis_event(redis))
    return made


def redis_is(made: Session, state: str, reason: str) -> None:
    made._tell(
        {"kind": "agent", "agent": "redis", "state": state, "reason": reason, "pid": None, "at_s": 1.0}
    )


def test_a_redis_that_is_down_for_good_is_told_wherever_people_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the screen, in run.json and in `qts status`; the summary of such a run is no success."""
    made = session(tmp_path)
    redis_is(made, "ready", "")
    assert (made.view.down(), made.view.trouble(), made.view.redis_down()) == ([], [], "")
    redis_is(made, "down", DOWN)
    assert made.view.trouble() == [f"redis is down: {DOWN}"]
    console = Console(width=150, file=io.StringIO())
    console.print(render(made.view, "title", 1.0))
    assert isinstance(console.file, io.StringIO)
    assert "on 127.0.0.1:7400   down" in console.file.getvalue()
    described: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    assert described["plights"] == {"redis": f"down: {DOWN}"}
    assert status._redis(described) == f"embedded valkey-server on 127.0.0.1:7400 (down: {DOWN})"
    assert status._redis({"redis": None}) == "none"
    made._why = "time is up"
    assert made._conclude(4) == 1
    assert f"redis is down: {DOWN}" in json.loads((tmp_path / "summary.json").read_text())["failures"]
    assert not made._ending.is_set()  # agents go on without it


def test_what_a_process_that_died_complained_of_is_taken_back(tmp_path: Path) -> None:
    """Who reads the JSON lines sees the degraded reason end with its process."""
    told: list[Event] = []
    made = session(tmp_path)
    made._sink = told.append
    made.view._degraded("amos", ["hears nobody"])
    made._tell(
        {"kind": "agent", "agent": "amos", "state": "waiting", "reason": "x", "pid": None, "at_s": 1.0}
    )
    assert [(event["kind"], event.get("on")) for event in told] == [("agent", None), ("degraded", False)]


def test_a_redis_that_never_was_ready_refuses_the_run(tmp_path: Path) -> None:
    """What it said last is the reason, with the place of its log and what to do."""
    made = session(tmp_path)
    redis_is(made, "refused", "exit code 1: Failed listening on port 7400 (tcp), aborting.")
    assert made._ending.is_set()
    assert "Failed listening on port 7400" in made.refusal
    assert [
        w for w in ("redis_url: ", str(tmp_path / "logs"), "--set redis_url=") if w not in made.refusal
    ] == []


def test_who_must_start_is_refused_once_and_restarted_later() -> None:
    """Its end before it was ever ready refuses it, whatever the code; one that was up is started again."""
    child = Child("redis", probes(5.0), must_start=True)
    child.started(0.0)
    assert child.exited(1, 1.0, 0.0, "Unbalanced quotes") == [
        Became("refused", "exit code 1: Unbalanced quotes")
    ]
    killed = Child("redis", probes(5.0), must_start=True)
    killed.started(0.0)
    assert killed.exited(-9, 1.0, 0.0) == [Became("refused", "signal SIGKILL")]
    up = Child("redis", probes(5.0), must_start=True)
    up.started(0.0)
    up.probed(STARTUP, True, 0.0)
    assert up.exited(1, 1.0, 0.0, "words")[0] == Became("waiting", "exit code 1")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_redis_at_the_port_of_an_agent(host: str) -> None:
    """Both would listen there; the setting is named, and one on another machine may have that port."""
    (port,) = sockets.free_ports(1)
    sets = (f"redis_url=redis://{host}:{port}", f"zmq_ports.pads={port}")
    with pytest.raises(ConfigError, match=rf"redis_url: port {port} .*zmq_ports\.pads"):
        launch.check(config.load(None, {}, sets).system)
    assert not redis_server.is_local(f"redis://192.0.2.1:{port}", port)


def test_an_embedded_server_is_only_for_what_it_binds() -> None:
    """It binds 127.0.0.1, which `::1` never reaches: that address is refused as any other without a Redis."""
    (port,) = sockets.free_ports(1)
    with pytest.raises(ConfigError, match=rf"no Redis answers at redis://\[::1\]:{port}"):
        redis_server.choose(f"redis://[::1]:{port}")


def test_a_hang_up_that_was_ignored_stays_so() -> None:
    """`nohup` has it ignored; a run that heeds it would end with the terminal. A shell ignores SIGINT of what it
    starts behind itself, and who sends that to a run means it.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        assert heeded() == [signal.SIGINT, signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert heeded() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
