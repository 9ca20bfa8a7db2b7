"""`qts run`: the whole system on this machine."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from qts_cli import credentials, folder, latency, launch, redis_server, warm
from qts_cli.__main__ import child_environment, environment
from qts_cli.events import Event, JsonLines
from qts_cli.launch import Setting
from qts_cli.screen import Screen
from qts_cli.session import Session
from qts_cli.terminal import draws
from qts_core import config, names
from qts_core.clock import SystemClock
from qts_core.errors import ConfigError
from qts_core.spec import System

_SHIPPED = Path("quantum_system_config.json")
_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ms|s|m|h|)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def run(
    *,
    for_: Annotated[str | None, Parameter(name="--for")] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    config_file: Annotated[Path | None, Parameter(name="--config")] = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    allow_simulated: Annotated[bool, Parameter(negative=())] = False,
    low_latency: Annotated[bool, Parameter(negative=())] = False,
    run_dir: Path = folder.HOME,
) -> int:
    """Run the whole system here until Ctrl-C, the end of the data, or a time.

    Parameters
    ----------
    for_
        End after this long, for example 30s or 5m; exit 0 only if rounds were decided.
    json
        Print one JSON object a line instead of the live screen; the last one is the summary.
    config_file
        Settings file; without it $QTS_CONFIG, else quantum_system_config.json of this folder.
    set_
        Override a setting, for example market.replay.speed=0; may be given again.
    allow_simulated
        Go on with simulated messaging in one process when no Redis can be had, until one can.
    low_latency
        Keep cores awake, run ahead of other programs: fastest decisions; costs power, needs the right to.
    run_dir
        Folder for runs, caches and the lock.
    """
    for_s = None if for_ is None else duration(for_)
    loaded = settings(config_file, set_)
    home = folder.make_home(run_dir)
    lock = folder.Lock(home)
    lock.take()
    run_folder: Path | None = None
    try:
        for words in credentials.clean_killed(home):
            print(f"qts: of a run that was killed, {words}", file=sys.stderr)
        system, redis = _redis(loaded.system, allow_simulated)
        launch.check(system)
        run_folder = folder.make_run(home)
        wanted = loaded.system if system is not loaded.system else None
        setting = prepare(system, redis, run_folder, home, wanted)
        with latency.low_latency() if low_latency else nullcontext():
            return _start(setting, for_s, json or not draws(), loaded.digest)
    finally:
        if run_folder is not None:
            folder.clean_run(run_folder)
        lock.free()


def passed_over(loaded: config.Loaded) -> str:
    """Return what is said of data that whoever gave them switched off in the same place; "" without such."""
    market = loaded.system.market
    if market.source != "simulated" or market.replay is None:
        return ""
    where = loaded.origin["market.source"]
    given = "path" if market.replay.dataset is None else "dataset"
    if loaded.origin[f"market.replay.{given}"] != where:
        return ""  # a flag or a variable switched them off, and means it
    passed = f'market.replay.{given} is passed over, as market.source is "simulated"'
    return f'{where}: {passed}; set "replay" to use it'


def settings(given: Path | None, sets: Sequence[str]) -> config.Loaded:
    """Return the settings in effect here, of file, environment and flags; say what is passed over."""
    loaded = config.load(settings_file(given), environment(), sets)
    tell_passed_over(loaded)
    return loaded


def tell_passed_over(loaded: config.Loaded) -> None:
    """Print what is said of such data, if anything is."""
    if note := passed_over(loaded):
        print(f"qts: {note}", file=sys.stderr)


def settings_file(given: Path | None) -> Path | None:
    """Return the settings file: the given one, $QTS_CONFIG, or the shipped one when it lies here."""
    if given is not None:
        return given
    named = environment().get(names.ENV_CONFIG)
    return Path(named) if named else (_SHIPPED if _SHIPPED.is_file() else None)


def duration(text: str) -> float:
    """Return the seconds of a text such as 30s, 5m or 500ms; ConfigError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _UNIT_S[match[2]] if match else 0.0
    if seconds <= 0.0:
        raise ConfigError(f'--for: expected a time above 0 such as "30s" or "5m", found "{text}"')
    return seconds


def prepare(
    system: System,
    redis: redis_server.Redis | None,
    run_folder: Path,
    home: Path,
    wanted: System | None = None,
) -> Setting:
    """Write settings, keys and the Redis configuration into the run folder."""
    name = launch.SYSTEM_NAME
    if wanted is not None or (redis is not None and not redis.embedded):
        name = f"{name}-{secrets.token_hex(2)}"  # somebody else's server: keys of two runs must not meet
    path = run_folder / names.CONFIG_FILE
    path.touch(mode=0o600)
    path.write_bytes(config.dump(credentials.without_secret(wanted or system)))
    credentials.write(run_folder, name, redis)
    env = cached(child_environment(), home / "cache")
    return Setting(system, name, run_folder, env, redis, launch.probe_ports(system), wanted)


def cached(env: dict[str, str], cache: Path) -> dict[str, str]:
    """Return `env` with places for compiled kernels and byte code, unless it names its own.

    Who wants no byte code beside the sources has it here: without any, reading numba's sources anew takes
    each process longer than all else until it is ready.
    """
    found = {"NUMBA_CACHE_DIR": str(cache / "numba")} | env
    if found.pop("PYTHONDONTWRITEBYTECODE", ""):
        found.setdefault("PYTHONPYCACHEPREFIX", str(cache / "python"))
    return found


def _redis(system: System, allow_simulated: bool) -> tuple[System, redis_server.Redis | None]:
    """Choose the Redis; without one a run may go on simulated, if that was allowed."""
    if not system.use_real_messaging:
        return system, None
    try:
        return system, redis_server.choose(system.redis_url)
    except ConfigError as error:
        if not allow_simulated:
            raise
        print(f"qts: {error}; messaging is simulated until then, as --allow-simulated says", file=sys.stderr)
        import msgspec

        return msgspec.structs.replace(system, use_real_messaging=False), None


def _start(setting: Setting, for_s: float | None, lines: bool, digest: str) -> int:
    events: list[Event] = [_first(setting, digest), launch.redis_event(setting.redis)]
    code, refusal = asyncio.run(_go(setting, for_s, lines, events))
    if refusal:
        raise ConfigError(refusal.removeprefix("qts_agents: "))
    return code


async def _go(setting: Setting, for_s: float | None, lines: bool, events: list[Event]) -> tuple[int, str]:
    printer = JsonLines()
    screen: Screen | None = None
    session = Session(
        setting,
        SystemClock(),
        lambda event: (screen or printer)(event),
        lambda: screen.draw() if screen is not None else None,
    )
    if not lines:
        screen = Screen(session.view, f"quantum trading system · {setting.run.name}")
        screen.start()
    for event in events:
        session.view.take(event)
        (screen or printer)(event)
    try:
        code = await session.run(for_s)
        if session.was_ready:
            with suppress(OSError):  # then the next start tells of a compilation that there is none of
                warm.stamp(Path(setting.env["NUMBA_CACHE_DIR"]), _kinds(setting.system)).touch()
        return code, session.refusal
    finally:
        if screen is not None:
            screen.stop()
        credentials.forget(session.setting)


def _kinds(system: System) -> list[str]:
    return [w.name for w in launch.workloads(system)]


def _first(setting: Setting, digest: str) -> Event:
    system = setting.system
    cold = not warm.is_warm(Path(setting.env["NUMBA_CACHE_DIR"]), _kinds(system))
    return {
        "kind": "start",
        "run": str(setting.run),
        "pid": os.getpid(),
        "config_digest": digest,
        "processes": _kinds(system),
        "market": system.market.source if system.feed_runs() else "none",
        "cold": cold,
        "note": "kernels are compiled first, once; that takes about half a minute" if cold else "",
        "free_gib": round(shutil.disk_usage(setting.run).free / 2**30, 1),
    }
