"""What a run looks like at a moment: events and status answers in, one state out (pure)."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec

from qts_cli.events import Event

_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+)?")
SIMULATED = "simulated"
UP = ("ready", "degraded", "ended")  # states of a process that is at work, or was to the end
_RECENT = 8
_LATENCIES = 4096


class Row(msgspec.Struct):
    """One process on the screen."""

    name: str
    state: str = "starting"
    restarts: int = 0
    pid: int | None = None
    cause: str = ""
    again_s: float = 0.0  # when it is started again, in seconds of the run
    status: dict[str, Any] = {}


class View:
    """The state behind screen, status lines and summary."""

    def __init__(self, agents: tuple[str, ...], others: tuple[str, ...]) -> None:
        self.agents = agents
        self.rows = {name: Row(name) for name in (*agents, *others)}
        self.actions: Counter[str] = Counter()
        self.recent: deque[Event] = deque(maxlen=_RECENT)
        self.decisions = 0
        self.first_decision_s: float | None = None
        self.redis = ""
        self.server = Row("redis")  # an embedded Redis as a process; no row of the table
        self._note = ""  # why the start takes as long as it does
        self.rates: dict[str, float] = {}
        self._latency_ms: deque[float] = deque(maxlen=_LATENCIES)
        self._reasons: dict[str, dict[str, str]] = {}
        self._counted: tuple[float, dict[str, int]] | None = None

    def take(self, event: Event) -> list[Event]:
        """Take one event of the supervisor or the journal; return what ceased to be degraded by it."""
        match event["kind"]:
            case "start":
                self._note = event.get("note", "")
            case "agent":
                return self._process(event)
            case "restart":
                for row in self._of(event["agent"]):
                    row.restarts, row.cause = event["restarts"], event["cause"]
                    row.again_s = event.get("at_s", 0.0) + event.get("delay_s", 0.0)
            case "redis":
                self.redis = event["words"]
            case "decision":
                self._decision(event)
        return []

    def statuses(self, answers: dict[str, dict[str, Any]], now_s: float) -> list[Event]:
        """Take the answers of /statusz by workload; return what became or ceased to be degraded."""
        events: list[Event] = []
        for name, row in self.rows.items():
            row.status = answers.get(name) or row.status  # a slow answer is no news
            if row.status and row.status.get("state") not in ("starting", "draining"):
                events.extend(self._degraded(name, row.status.get("reasons", [])))
        self._rate(answers, now_s)
        return events

    def ready(self) -> int:
        """Return how many agents are up: the probe says so, or the process itself says it is at work."""
        return sum(state_of(row) in UP for name, row in self.rows.items() if name in self.agents)

    def note(self) -> str:
        """Return what the start waits for, until every agent is up; empty when there is nothing to say."""
        return self._note if self.ready() < len(self.agents) else ""

    def trouble(self) -> list[str]:
        """Return everything that is not as it should be, in plain words."""
        return [
            *self.down(),
            *(f"{name}: {text}" for name, texts in self._reasons.items() for text in texts.values()),
        ]

    def down(self) -> list[str]:
        """Return which processes stay down, and why."""
        return [words for row in self._all() if (words := _down(row))]

    def redis_down(self) -> str:
        """Return why the embedded Redis stays down; "" when it does not."""
        return _down(self.server)

    def plights(self, time_of: Callable[[float], str]) -> dict[str, str]:
        """Return what its supervisor knows of each process that has no say itself.

        `time_of` tells the time of day at a second of the run.
        """
        found = {row.name: _plight(row, time_of) for row in self._all()}
        return {name: words for name, words in found.items() if words}

    def latency_ms(self, quantile: float) -> float | None:
        """Return a quantile of the rounds' durations, None before the first round."""
        if not self._latency_ms:
            return None
        ordered = sorted(self._latency_ms)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

    def board(self) -> dict[str, Any]:
        """Return what PADS says of itself."""
        row = self.rows.get("pads")
        return dict(row.status.get("board") or {}) if row else {}

    def mode(self) -> str:
        """Return the bus mode, the worst of all agents."""
        modes = {str(row.status.get("bus_mode")) for row in self.rows.values() if row.status.get("bus_mode")}
        order = ("disconnected", "degraded", "simulated", "connected")
        return next((mode for mode in order if mode in modes), "starting")

    def _all(self) -> list[Row]:
        """Return the rows of the table, and the Redis behind them."""
        return [*self.rows.values(), self.server]

    def _of(self, process: str) -> list[Row]:
        """Return the rows of a process; the simulated one holds those of all agents and the feed."""
        if process == self.server.name:
            return [self.server]
        if process in self.rows:
            return [self.rows[process]]
        return list(self.rows.values()) if process == SIMULATED else []

    def _process(self, event: Event) -> list[Event]:
        """Take a process's state; one that runs no more, or anew, complains of nothing."""
        over: list[Event] = []
        for row in self._of(event["agent"]):
            row.state, row.pid = event["state"], event.get("pid")
            if event.get("reason"):
                row.cause = event["reason"]
            if row.state != "ready":
                row.status = {}
            if row.state not in ("ready", "unready"):
                over.extend(self._degraded(row.name, []))
        return over

    def _decision(self, event: Event) -> None:
        self.decisions += 1
        if self.first_decision_s is None:
            self.first_decision_s = event.get("at_s")
        self.actions.update(event["actions"])
        self.recent.append(event)
        if event.get("elapsed_ms") is not None:
            self._latency_ms.append(float(event["elapsed_ms"]))

    def _degraded(self, name: str, reasons: list[str]) -> list[Event]:
        """Compare reasons without their numbers, so that a growing age is no news."""
        before, after = self._reasons.get(name, {}), {_NUMBERS.sub("#", text): text for text in reasons}
        self._reasons[name] = after
        return [
            *(
                {"kind": "degraded", "agent": name, "reason": t, "on": True}
                for k, t in after.items()
                if k not in before
            ),
            *(
                {"kind": "degraded", "agent": name, "reason": t, "on": False}
                for k, t in before.items()
                if k not in after
            ),
        ]

    def _rate(self, answers: dict[str, dict[str, Any]], now_s: float) -> None:
        counts = {
            key: sum(_count(answer.get("messages", {}).get(key)) for answer in answers.values())
            for key in ("sent", "delivered", "dropped", "expired")
        }
        if self._counted is not None and now_s > self._counted[0]:
            passed_s, old = now_s - self._counted[0], self._counted[1]
            self.rates = {key: max(0, counts[key] - old[key]) / passed_s for key in counts}
        self._counted = (now_s, counts)


def state_of(row: Row) -> str:
    """Return what a process is: what it says of itself, unless that is older than what its supervisor saw."""
    said = str(row.status.get("state", ""))
    if row.state in ("down", "waiting", "refused", "stopped"):
        return row.state
    return row.state if row.state == "ready" and said == "starting" else said or row.state


def _down(row: Row) -> str:
    return f"{row.name} is down: {row.cause}" if row.state == "down" else ""


def _plight(row: Row, time_of: Callable[[float], str]) -> str:
    """Return why a process does not run, or began anew; "" where it is at work."""
    match row.state:
        case "waiting":
            return f"{row.cause}; restart {row.restarts} follows at {time_of(row.again_s)}"
        case "starting" if row.restarts:
            return f"starts anew after {row.cause} (restart {row.restarts})"
        case "down" | "refused" | "stopped" | "unready":
            return f"{row.state}: {row.cause}"
        case _:
            return ""


def _count(value: Any) -> int:
    """Return a counter, or the sum of counters by reason."""
    if isinstance(value, dict):
        return sum(_count(item) for item in value.values())
    return int(value) if isinstance(value, (int, float)) else 0
