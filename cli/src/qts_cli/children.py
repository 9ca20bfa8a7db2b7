"""One supervised process as a state machine: events in, actions out (pure).

The same probes, back-off and budget as in the cluster (`qts_core.probes`); no clock, no process here.
"""

from __future__ import annotations

import signal

import msgspec

from qts_core.errors import UnkeptError
from qts_core.probes import BackOff, Probe, ProbeMachine, Probes, RestartBudget, Verdict

STARTUP, LIVENESS, READINESS = "startup", "liveness", "readiness"
CONFIG_EXIT = 2
UNSTARTED_EXIT = 127  # as a shell says it
UNKEPT_EXIT = UnkeptError.exit_code
_UNKEPT = "what it decides cannot be kept: the disk of the run folder is full or gone; free some, run again"
#: until it is ready for the first time a process is asked more often than by a kubelet: somebody waits for it
LOOK_S = 0.25


class Start(msgspec.Struct, frozen=True):
    """Start the process after `delay_s`; `cause` is None for the first start."""

    delay_s: float = 0.0
    cause: str | None = None


class Kill(msgspec.Struct, frozen=True):
    """Kill the process now, because of `cause`."""

    cause: str


class Became(msgspec.Struct, frozen=True):
    """The process is in another state; `reason` says why in plain words."""

    state: str  # starting | ready | unready | waiting | down | refused | stopped
    reason: str = ""


Action = Start | Kill | Became


def exit_words(code: int) -> str:
    """Return what an exit status means: `exit code 3` or `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


class Child:
    """State of one process; feed it starts, exits and probe results, carry out what it returns."""

    def __init__(self, name: str, probes: Probes, *, restart: bool = True, must_start: bool = False) -> None:
        self.name = name
        self.state = "starting"
        self.restarts = 0
        self.last_cause = ""
        self._restart = restart
        self._must_start = must_start  # whatever ends it before it was ever up is told as a refusal
        self._rules = probes
        self._back_off = BackOff()
        self._budget = RestartBudget()
        self._machines: dict[str, ProbeMachine] = {}
        self._ever_up = False
        self._ready_since: float | None = None
        self._kill_cause: str | None = None
        self._stopping = False

    def started(self, now_s: float) -> list[Action]:
        """Note that the process runs; probing begins."""
        self._machines = {STARTUP: ProbeMachine(_often(self._rules.startup))}
        self._machines[STARTUP].next_s = now_s
        self._kill_cause, self._ready_since = None, None
        return self._become("starting")

    def stop(self) -> None:
        """Note that the next exit is wanted."""
        self._stopping = True
        self._machines = {}

    def due(self, now_s: float) -> list[tuple[str, Probe]]:
        """Return the probes to try at `now_s`."""
        return [(which, m.probe) for which, m in self._machines.items() if m.due(now_s)]

    def probed(self, which: str, ok: bool, now_s: float) -> list[Action]:
        """Take one probe's result."""
        machine = self._machines.get(which)
        if machine is None or self._stopping or self._kill_cause:
            return []
        verdict = machine.feed(ok, now_s)
        if which == READINESS:
            return self._readiness(verdict, now_s)
        if verdict is Verdict.KILL:
            self._kill_cause = f"{which} probe failed {machine.failures} times"
            return [Kill(self._kill_cause)]
        if which == STARTUP and verdict is Verdict.OK:
            return self._up(now_s)
        return []

    def exited(self, code: int, now_s: float, jitter: float, words: str = "") -> list[Action]:
        """Take the process's end; `jitter` in [0, 1) spreads restarts, `words` is its last line of error."""
        cause = self._kill_cause or (words if code == UNSTARTED_EXIT and words else exit_words(code))
        self._machines = {}
        if self._stopping:
            return self._become("stopped", cause)
        self.last_cause = cause
        if self._must_start and not self._ever_up:
            return self._become("refused", cause if words in ("", cause) else f"{cause}: {words}")
        if code == CONFIG_EXIT and not self._ever_up:
            return self._become("refused", words or cause)
        if code == CONFIG_EXIT and words:  # what it read before has changed since, and a person must mend it
            cause = self.last_cause = f"{cause}: {words}"
        if code == UNKEPT_EXIT:
            return self._become("down", _UNKEPT)
        if not self._restart:
            return self._become("down", f"{cause}; auto_restart_failed is false, it stays down")
        if self._ready_since is not None:
            self._back_off.healthy(now_s - self._ready_since)
        if not self._budget.spend(now_s):
            budget = f"{self._budget.max_restarts} restarts in {self._budget.window_s / 60:g} min are used up"
            return self._become("down", f"{cause}; {budget}, it stays down")
        self.restarts += 1
        return [*self._become("waiting", cause), Start(self._back_off.next(jitter), cause)]

    def _up(self, now_s: float) -> list[Action]:
        self._ever_up = True
        live, ready = ProbeMachine(self._rules.liveness), ProbeMachine(_often(self._rules.readiness))
        live.next_s, ready.next_s = now_s + self._rules.liveness.period_s, now_s
        self._machines = {LIVENESS: live, READINESS: ready}
        return []

    def _readiness(self, verdict: Verdict, now_s: float) -> list[Action]:
        if verdict is Verdict.OK:
            if self._ready_since is None:
                self._ready_since = now_s
                machine = self._machines[READINESS] = ProbeMachine(self._rules.readiness)
                machine.next_s = now_s + machine.probe.period_s
            return self._become("ready")
        if verdict is Verdict.KILL and self.state == "ready":
            self._ready_since = None
            return self._become("unready", "readiness probe failed 3 times")
        return []

    def _become(self, state: str, reason: str = "") -> list[Action]:
        if state == self.state and not reason:
            return []
        self.state = state
        return [Became(state, reason)]


def _often(probe: Probe) -> Probe:
    """Return a probe that is tried every `LOOK_S` and gives up after as long a time as `probe`."""
    if probe.period_s <= LOOK_S:
        return probe
    failures = round(probe.failures * probe.period_s / LOOK_S)
    return msgspec.structs.replace(probe, period_s=LOOK_S, failures=failures)
