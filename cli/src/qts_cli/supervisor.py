"""Starts, probes, restarts and stops the processes of a local run.

What to do is decided by `children.Child`; here it is done. Children live in process groups of their
own, die with the supervisor (Linux), and are never looked up by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from qts_cli.children import UNSTARTED_EXIT, Became, Child, Kill, Start
from qts_cli.events import Event, Sink
from qts_core.clock import Clock
from qts_core.probes import Probe, Probes

_TICK_S = 0.05
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
ProbeCall = Callable[[Probe], Awaitable[bool]]


class Spec(msgspec.Struct, frozen=True):
    """How to start one process and how to ask after its health."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    logs: Path
    probe: ProbeCall
    probes: Probes
    restart: bool = True
    must_start: bool = False  # without it there is no run: its end before it was up refuses it


class Running:
    """A process under supervision."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.child = Child(spec.name, spec.probes, restart=spec.restart, must_start=spec.must_start)
        self.process: subprocess.Popen[bytes] | None = None
        self.task: asyncio.Task[None] | None = None
        self.unstarted = ""  # why the last try made no process

    @property
    def pid(self) -> int | None:
        """Return the pid while the process lives."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None


class Supervisor:
    """Tends processes until they are stopped; tells what happens to `sink`."""

    def __init__(self, clock: Clock, sink: Sink) -> None:
        self._clock, self._sink = clock, sink
        self._began_s = self._now()
        self.running: dict[str, Running] = {}

    def start(self, specs: Iterable[Spec]) -> None:
        """Start every process at once."""
        for spec in specs:
            running = self.running[spec.name] = Running(spec)
            self._spawn(running)
            running.task = asyncio.create_task(self._tend(running), name=f"tend {spec.name}")

    def pids(self) -> dict[str, int]:
        """Return the pids of the living."""
        return {name: running.pid for name, running in self.running.items() if running.pid is not None}

    def restarts(self) -> dict[str, int]:
        """Return restarts by process."""
        return {name: running.child.restarts for name, running in self.running.items()}

    async def stop(self, names: Iterable[str], grace_s: float) -> None:
        """Ask processes to end by SIGTERM, kill what is left after `grace_s`."""
        group = [self.running[name] for name in names if name in self.running]
        for running in group:
            running.child.stop()
            if running.pid is not None:
                _signal(running.pid, signal.SIGTERM)
        tasks = [running.task for running in group if running.task is not None]
        for running in group:
            if running.pid is None and running.task is not None:
                running.task.cancel()  # it waits for its restart
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for running in group:
            if running.pid is not None:
                self._kill(running)
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def kill_all(self) -> None:
        """Kill every process at once."""
        for running in self.running.values():
            running.child.stop()
            if running.pid is not None:
                self._kill(running)

    async def _tend(self, running: Running) -> None:
        child = running.child
        while True:
            process = running.process
            if process is not None:
                await self._watch(running, process)
                code = process.wait()
                words = last_words(running.spec)
                actions = child.exited(code, self._now(), random.random(), words)
            else:
                actions = child.exited(UNSTARTED_EXIT, self._now(), random.random(), running.unstarted)
            delay_s = self._carry_out(running, actions)
            if delay_s is None:
                return
            await self._clock.sleep(delay_s)
            self._spawn(running)

    async def _watch(self, running: Running, process: subprocess.Popen[bytes]) -> None:
        """Probe until the process has ended."""
        while process.poll() is None:
            for which, probe in running.child.due(self._now()):
                asked = asyncio.ensure_future(running.spec.probe(probe))
                while not asked.done() and process.poll() is None:
                    await asyncio.wait([asked], timeout=_TICK_S)
                if not asked.done():
                    asked.cancel()
                    return
                self._carry_out(running, running.child.probed(which, asked.result(), self._now()))
            await self._clock.sleep(_TICK_S)

    def _carry_out(self, running: Running, actions: Iterable[object]) -> float | None:
        """Do what the machine says; return the delay before a restart, if there is one."""
        delay_s = None
        for action in actions:
            match action:
                case Became(state, reason):
                    self._tell(running, {"kind": "agent", "state": state, "reason": reason})
                case Kill():
                    self._kill(running)
                case Start(delay, cause):
                    delay_s = delay
                    event: Event = {"kind": "restart", "cause": cause, "delay_s": round(delay, 3)}
                    self._tell(running, event | {"restarts": running.child.restarts})
        return delay_s

    def _spawn(self, running: Running) -> None:
        spec = running.spec
        running.process = None
        try:
            with _output_file(spec).open("ab") as out, error_file(spec).open("ab") as err:
                running.process = subprocess.Popen(
                    spec.argv,
                    env=dict(spec.env),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    preexec_fn=die_with_parent if _LIBC is not None else None,
                )
        except OSError as error:
            running.unstarted = f"cannot be started: {error}"
            return
        self._carry_out(running, running.child.started(self._now()))

    def _kill(self, running: Running) -> None:
        if running.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(running.pid, signal.SIGKILL)

    def _tell(self, running: Running, event: Event) -> None:
        after_s = round(self._now() - self._began_s, 3)
        self._sink(
            {"kind": event["kind"], "agent": running.spec.name, **event, "pid": running.pid, "at_s": after_s}
        )

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def error_file(spec: Spec) -> Path:
    """Return where a process's standard error goes."""
    return spec.logs / f"{spec.name}.err"


def _output_file(spec: Spec) -> Path:
    return spec.logs / f"{spec.name}.jsonl"


def last_words(spec: Spec) -> str:
    """Return a process's last line of error; a server that must start may have told it in its log."""
    return last_line(error_file(spec)) or (last_line(_output_file(spec)) if spec.must_start else "")


def last_line(path: Path) -> str:
    """Return the last line with text in it of a small file."""
    try:
        lines = path.read_bytes()[-8192:].decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((text.strip() for text in reversed(lines) if text.strip()), "")


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
