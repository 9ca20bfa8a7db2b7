"""`python -m qts_agents NAME...`: run one workload, or several over in-process queues."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from qts_agents import baked
from qts_core import config, names
from qts_core.allocator import keep_threshold
from qts_core.errors import ConfigError
from qts_core.roster import AGENTS, BY_NAME

if TYPE_CHECKING:
    from qts_agents.context import Place

LAST_WORDS = "/dev/termination-log"
TURN_S = 0.0005  # for which a thread may keep another from Python: the loop waits for who computes or exports
Address = Annotated[
    str, msgspec.Meta(pattern=r"^tcp://[^:/\s]+:[0-9]{1,5}$|^tcp://\[[0-9a-fA-F:]+\]:[0-9]{1,5}$")
]
#: what libraries of ours load only if it is there, and no agent needs: together a tenth of an agent's imports
WITHOUT = (
    "rich",  # structlog's, for tracebacks on a terminal; brings pygments and attrs
    "yaml",  # numba's, for a file of settings
    "opentelemetry.sdk.metrics",  # redis-py's, for metrics of its own
)
UNTIL_REDIS = "--until-redis"  # simulated at first: change over to the real wires when Redis answers


def main(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Check the arguments and the environment, run until a signal; 2 for what a person must mend."""
    together = UNTIL_REDIS in arguments
    arguments = [each for each in arguments if each != UNTIL_REDIS]
    try:
        unknown = [name for name in arguments if name not in BY_NAME]
        if unknown or not arguments:
            what = f"unknown workload {unknown[0]!r}" if unknown else "no workload named"
            raise ConfigError(f"{what}; give one or more of {', '.join(BY_NAME)}")
        if len(set(arguments)) < len(arguments):
            raise ConfigError(f"a workload is named twice in {' '.join(arguments)}; name each once")
        loaded = config.load()
        keep_threshold()
        sys.setswitchinterval(TURN_S)
        place = place_of(env, loaded.system.ports())
        from qts_agents.runtime import serve  # numba and numpy load only for arguments that are right

        return asyncio.run(serve([BY_NAME[name] for name in arguments], loaded, place, until_redis=together))
    except ConfigError as error:
        print(f"qts_agents: {error}", file=sys.stderr)  # noqa: T201 - the message for a person
        _leave(str(error))
        return error.exit_code


def _leave(words: str) -> None:
    """Leave the last words where the kubelet reads them; outside a pod there is no such file."""
    with suppress(OSError), Path(LAST_WORDS).open("r+") as file:
        file.write(words)


def place_of(env: Mapping[str, str], ports: Mapping[str, int]) -> Place:
    """Read where this process stands, and make its folder; ConfigError names the variable."""
    from qts_agents.context import Place

    state = Path(env.get(names.ENV_STATE, "."))
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"{names.ENV_STATE}: {state}: {error.strerror}"
        raise ConfigError(f"{found}; name a folder that this process may write to") from None
    peers = _peers(env.get(names.ENV_PEERS) or "{}")
    if not peers:
        peers = {agent.wire: f"tcp://127.0.0.1:{ports[agent.wire]}" for agent in AGENTS}
    secrets = env.get(names.ENV_SECRETS)
    return Place(
        system_name=env.get(names.ENV_SYSTEM, "local"),
        state=state,
        secrets=Path(secrets) if secrets else None,
        bind=env.get(names.ENV_BIND, "127.0.0.1"),
        peers=peers,
        http_port=_port(env, names.ENV_HTTP_PORT, names.PORT_HTTP),
        metrics_port=_port(env, names.ENV_METRICS_PORT, names.PORT_METRICS),
    )


def _peers(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, Address])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(
            f'{names.ENV_PEERS}: expected {{"name": "tcp://HOST:PORT", ...}} as JSON: {error}'
        ) from None


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise ConfigError(f"{name}: expected a port from 1 to 65535, found {text!r}")
    return int(text)


if __name__ == "__main__":
    os.environ.setdefault(*names.ONE_BLAS_THREAD)  # before anything loads numpy
    gc.disable()  # a tenth of what loading takes, and nothing to collect; on again once kernels are warm
    sys.modules.update(dict.fromkeys(WITHOUT))  # type: ignore[arg-type] # None: not to be found
    # before anything loads numba, which reads its settings once
    kept = os.environ.get(names.ENV_KERNELS), os.environ.get(names.ENV_KERNEL_CACHE)
    os.environ.update(baked.prepare(os.environ, *kept))
    code = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a kernel that is still compiling cannot be told to stop; nothing is left to lose here
