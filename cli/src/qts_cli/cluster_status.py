"""A system in a cluster: the resource's status, and what every process says of itself or of its messages.

Everything goes through the user's own kubectl, so contexts, logins and proxies are those of the user.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from typing import Any

from rich.console import Console
from rich.table import Table

from qts_cli.sockets import ask, told
from qts_core import names
from qts_core.errors import ConfigError, RemoteError

TIMEOUT_S = 15.0
_FORWARDED = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")


async def look(namespace: str, name: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the resource's status and each process's own answer, empty where there is none."""
    status, agents = await _status(namespace, name)
    bodies = await _answers(namespace, name, agents, names.PATH_STATUS)
    return status, {agent: told(body) for agent, body in bodies.items()}


async def books(namespace: str, name: str) -> dict[str, bytes]:
    """Return each process's book as it sends it, b"" where there is none."""
    _, agents = await _status(namespace, name)
    return await _answers(namespace, name, agents, names.PATH_BOOK)


async def answer(namespace: str, name: str, agent: str, path: str) -> bytes:
    """Return what one process of a system says at `path`, b"" without an answer."""
    return await _ask(_kubectl(namespace), name, agent, path)


async def _status(namespace: str, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the resource's status and the processes that it names."""
    text = await _output(*_kubectl(namespace), "get", f"{names.PLURAL}.{names.GROUP}", name, "-o", "json")
    status = dict(json.loads(text).get("status") or {})
    return status, [str(entry["name"]) for entry in status.get("agentStatuses") or ()]


async def _answers(namespace: str, name: str, agents: list[str], path: str) -> dict[str, bytes]:
    where = _kubectl(namespace)
    found = await asyncio.gather(*(_ask(where, name, agent, path) for agent in agents))
    return dict(zip(agents, found, strict=True))


def _kubectl(namespace: str) -> tuple[str, ...]:
    return program(", or leave -n and NAME out to ask the latest local run"), "-n", namespace


def program(otherwise: str = "") -> str:
    """Return where kubectl is; ConfigError with the remedy where it is not."""
    found = shutil.which("kubectl")
    if found is None:
        raise ConfigError(f"kubectl is not on PATH; install it{otherwise}")
    return found


def asked(command: str, namespace: str | None, name: str | None) -> tuple[str, str] | None:
    """Return namespace and name of the system that a command is about; None: the latest run here."""
    if name is not None:
        return namespace or "default", name
    if namespace is not None:
        raise ConfigError(f"NAME: which system? qts {command} -n NAMESPACE NAME")
    return None


def show(console: Console, name: str, status: dict[str, Any], processes: Table) -> None:
    """Print the conditions with reason and remedy, then the processes."""
    console.print(f"{name}   agents {status.get('agents', '0/0')}   gpus {status.get('gpus', '0/0')}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("condition", "status", "reason", "message"):
        table.add_column(column)
    for each in status.get("conditions") or ():
        table.add_row(each["type"], each["status"], each["reason"], each.get("message", ""))
    console.print(table)
    console.print(processes)


def is_ready(status: dict[str, Any]) -> bool:
    """Tell whether the resource says Ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


async def _output(*command: str) -> str:
    """Return what kubectl prints; its own words become the error."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise RemoteError(f"the cluster has not answered for {TIMEOUT_S:g} s") from None
    if process.returncode == 0:
        return out.decode()
    lines = err.decode().strip().splitlines() or [f"kubectl ended with {process.returncode}"]
    if "NotFound" in lines[-1]:
        raise ConfigError(f"{lines[-1]}; kubectl get qts -A lists what there is")
    raise RemoteError(lines[-1])


async def _ask(where: tuple[str, ...], name: str, agent: str, path: str) -> bytes:
    """Ask a process by port-forward, which needs no way into the pod's network."""
    target = f"deployment/{names.part(name, agent)}"
    process = await asyncio.create_subprocess_exec(
        *where, "port-forward", "--address", "127.0.0.1", target, f":{names.PORT_HTTP}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        first = await asyncio.wait_for(process.stdout.readline(), TIMEOUT_S)
        found = _FORWARDED.search(first)
        if found is None:
            return b""
        return await ask(int(found[1]), path, timeout_s=TIMEOUT_S)
    except TimeoutError:
        return b""
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
