"""One local run from the first process to the last: start, look, end in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from typing import Any

import msgspec

from qts_agents.pace import lockstep
from qts_cli import credentials, launch, redis_server, summary
from qts_cli.books import account
from qts_cli.children import CONFIG_EXIT
from qts_cli.events import Event, Sink
from qts_cli.folder import write_json
from qts_cli.sockets import ask_status
from qts_cli.supervisor import Supervisor
from qts_cli.tail import Tail
from qts_cli.view import View
from qts_core import names
from qts_core.clock import Clock
from qts_core.errors import ConfigError
from qts_core.roster import BY_NAME

_LOOK_S, _TAIL_S, _DRAW_S = 0.5, 0.1, 0.25
_FEED_GRACE_S, _ROUND_GRACE_S, _AGENT_GRACE_S, _REDIS_GRACE_S = 1.0, 0.8, 2.2, 0.5
_QUIET_S = 1.0
_REDRAW = 2
_SEEK_S = 5.0
INTERRUPTED = 130


def heeded() -> list[signal.Signals]:
    """Return the signals that end a run: a hang-up only where who started it did not ignore it (nohup)."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


class Session:
    """Runs the processes of `setting` until a time, the end of the data or a signal."""

    def __init__(self, setting: launch.Setting, clock: Clock, sink: Sink, draw: Callable[[], None]) -> None:
        self._setting, self._clock, self._sink, self._draw = setting, clock, sink, draw
        running = launch.workloads(setting.system)
        self.workloads = tuple(w.name for w in running)
        self.view = View(
            tuple(w.name for w in running if w.agent), tuple(w.name for w in running if not w.agent)
        )
        self._supervisor = Supervisor(clock, self._tell)
        self._tail = Tail(setting.run / "journal")
        self._ending: asyncio.Event = asyncio.Event()
        self._why = ""
        self._refusal = ""
        self._signals = 0
        self.was_ready = False  # every agent, at some time: what they compile is in the cache
        self._ended_at_s: float | None = None
        self._began_s = self._now()

    async def run(self, for_s: float | None) -> int:
        """Run; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in heeded():
            loop.add_signal_handler(number, self._signal)
        tasks: list[asyncio.Task[None]] = []
        try:
            self._supervisor.start(launch.specs(self._setting))
            self._write_run()
            tasks = [asyncio.create_task(each) for each in (self._look(), self._follow(), self._redraw())]
            if self._setting.wanted is not None:
                tasks.append(asyncio.create_task(self._seek(self._setting.wanted.redis_url)))
            if for_s is not None:
                tasks.append(asyncio.create_task(self._end_after(for_s)))
            await self._until_ending(tasks)
            await self._glance()  # what was last said may be older than the end
            ready = self.view.ready()
            tasks[_REDRAW].cancel()  # the last picture shows the system at work
            await self._stop()
        finally:
            for task in tasks:
                task.cancel()
            self._supervisor.kill_all()
        if self._signals > 1:
            return INTERRUPTED
        self._new_decisions()
        return self._conclude(ready)

    @property
    def refusal(self) -> str:
        """Return the words of a process that refused its settings, if one did."""
        return self._refusal

    @property
    def setting(self) -> launch.Setting:
        """Return what the processes share now."""
        return self._setting

    async def _seek(self, url: str) -> None:
        """Give a run that is simulated for want of a Redis one, as soon as that can be had; then rest."""
        while self._setting.redis is None:
            await self._clock.sleep(_SEEK_S)
            try:
                redis = await asyncio.to_thread(redis_server.choose, url)
            except ConfigError:
                continue
            setting = self._setting = msgspec.structs.replace(self._setting, redis=redis)
            credentials.write_login(setting.run, setting.name, redis)
            if redis.embedded:
                self._supervisor.start([launch.redis_spec(setting)])
            self._tell(launch.redis_event(redis))
            self._write_run()
        await asyncio.Event().wait()

    async def _until_ending(self, tasks: list[asyncio.Task[None]]) -> None:
        ending = asyncio.create_task(self._ending.wait())
        done, _ = await asyncio.wait([ending, *tasks], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        for task in done - {ending}:
            task.result()  # a task that ends by itself has failed, unless it is the time's

    async def _end_after(self, for_s: float) -> None:
        await self._clock.sleep(for_s)
        self._end(summary.ENDED_BY_TIME)

    def _end(self, why: str) -> None:
        self._why = self._why or why
        self._ending.set()

    def _signal(self) -> None:
        self._signals += 1
        if self._signals > 1:
            self._supervisor.kill_all()
        self._end(summary.ENDED_BY_SIGNAL)

    def _tell(self, event: Event) -> None:
        """Take an event of the supervisor."""
        over = self.view.take(event)
        for each in (event, *over):
            self._sink(each)
        if event["kind"] == "agent" and event["state"] == "refused":
            reason = event["reason"]
            ours = event["agent"] == launch.REDIS
            self._refusal = launch.redis_refusal(self._setting, reason) if ours else reason
            self._end(summary.ENDED_BY_FAILURE)
        states = [
            running.child.state for name, running in self._supervisor.running.items() if name != launch.REDIS
        ]
        down = event["kind"] == "agent" and event["state"] == "down"
        alone = down and event["agent"] == "pads" and lockstep(self._setting.system)
        if alone or (states and all(state == "down" for state in states)):
            self._end(summary.ENDED_BY_FAILURE)
        if event["kind"] in ("agent", "restart") and event.get("state") != "stopped":
            with contextlib.suppress(OSError):  # the file as it was tells most of it; who is full says so
                self._write_run()

    async def _look(self) -> None:
        """Ask every process how it is."""
        while True:
            self._notice_end(await self._glance())
            await self._clock.sleep(_LOOK_S)

    async def _glance(self) -> dict[str, dict[str, Any]]:
        """Show what every process says of itself now; return it by name, empty where there is no answer."""
        answers = await asyncio.gather(*(self._status(name) for name in self.workloads))
        found = dict(zip(self.workloads, answers, strict=True))
        for event in self.view.statuses(found, self._now()):
            self._sink(event)
        self.was_ready |= 0 < len(self.view.agents) == self.view.ready()
        return found

    async def _status(self, name: str) -> dict[str, Any]:
        port = self._setting.ports[launch.process_of(self._setting.system, name)]
        return await ask_status(port, name, 1.0)

    def _notice_end(self, found: dict[str, dict[str, Any]]) -> None:
        """End when the feed has ended and no decision came for a while after."""
        feed = next((found[name] for name in found if not BY_NAME[name].agent), {})
        if feed.get("state") != "ended" and not feed.get("feed", {}).get("ended"):
            self._ended_at_s = None
            return
        last_s = max(self._ended_at_s or self._now(), self._tail.changed_s)
        self._ended_at_s = self._ended_at_s or self._now()
        if self._now() - last_s > self._setting.system.decision_timeout + _QUIET_S:
            self._end(summary.ENDED_BY_DATA)

    async def _follow(self) -> None:
        """Read decisions from the journal as PADS writes it, so that none is missed."""
        while True:
            self._new_decisions()
            await self._clock.sleep(_TAIL_S)

    def _new_decisions(self) -> None:
        at_s = round(self._now() - self._began_s, 3)
        for event in self._tail.read(self._now()):
            told = {**event, "at_s": at_s}
            self.view.take(told)
            self._sink(told)

    async def _redraw(self) -> None:
        while True:
            self._draw()
            await self._clock.sleep(_DRAW_S)

    async def _stop(self) -> None:
        """End in order: the feed, the running round, the agents, the Redis."""
        running = self._supervisor.running
        feeds = [name for name in running if name in BY_NAME and not BY_NAME[name].agent]
        agents = [name for name in running if name not in feeds and name != launch.REDIS]
        await self._supervisor.stop(feeds, _FEED_GRACE_S)
        if feeds and "pads" in self.workloads:
            await self._round_ends()
        await self._supervisor.stop(agents, _AGENT_GRACE_S)
        await self._supervisor.stop([launch.REDIS], _REDIS_GRACE_S)

    async def _round_ends(self) -> None:
        """Wait until PADS has no round open, or the budget is spent."""
        deadline_s = self._now() + _ROUND_GRACE_S
        while self._now() < deadline_s and self._signals < 2:
            if not (await self._status("pads")).get("board", {}).get("round_open"):
                return
            await self._clock.sleep(0.1)

    def _conclude(self, ready: int) -> int:
        setting, view = self._setting, self.view
        if self._refusal:
            return CONFIG_EXIT
        facts = summary.Facts(
            ended=self._why,
            down=tuple(view.down()),
            redis=view.redis_down(),
            ready=ready,
            agents=len(view.agents),
            decides="pads" in self.workloads and setting.system.feed_runs(),
            decisions=dict(view.actions.most_common()),
            decided=view.decisions,
            bars=self._tail.bars,
            backfilled=self._tail.backfilled,
            rounds=self._tail.rounds,
            restarts=self._supervisor.restarts(),
            messages=account(setting.run),
            run=str(setting.run),
            seconds=self._now() - self._began_s,
            first_decision_s=view.first_decision_s,
            round_ms={"p50": view.latency_ms(0.5), "p99": view.latency_ms(0.99)},
        )
        event = summary.summarise(facts)
        try:
            write_json(setting.run / "summary.json", event)
        except OSError as error:
            event["failures"].append(f"summary.json cannot be written: {error.strerror}")
        self._sink(event)
        return 1 if event["failures"] else 0

    def _write_run(self) -> None:
        """Write `run.json`: pids, addresses, settings, and who is not at work."""
        setting = self._setting
        tree = {
            "run": str(setting.run),
            "pids": self._supervisor.pids(),
            "http": {name: setting.ports[launch.process_of(setting.system, name)] for name in self.workloads},
            "peers": launch.peers(setting.system) if setting.system.use_real_messaging else {},
            "redis": None if setting.redis is None else setting.redis.words(),
            "system": setting.name,
            "plights": self.view.plights(self._time_of),
            "config": names.CONFIG_FILE,
        }
        write_json(setting.run / "run.json", tree)

    def _time_of(self, at_s: float) -> str:
        """Return the time of day at a second of the run."""
        left_s = self._began_s + at_s - self._now()
        return time.strftime("%H:%M:%S", time.localtime(self._clock.wall_ns() / 1e9 + left_s))

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9
