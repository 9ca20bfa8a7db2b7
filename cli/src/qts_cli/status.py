"""`qts status`: what processes of the latest local run or of a system in a cluster say of themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from qts_cli import cluster_status, folder
from qts_cli.sockets import ask_status
from qts_cli.terminal import wide_console

_NONE: Mapping[str, str] = MappingProxyType({})


def status(
    name: str | None = None,
    *,
    namespace: Annotated[str | None, Parameter(name=["--namespace", "-n"])] = None,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    run_dir: Path = folder.HOME,
) -> int:
    """Ask every process of the latest run, or of a system in the cluster, how it is.

    Exit code 1 when one does not answer or is not ready, the run has ended, or the system is not ready.

    Parameters
    ----------
    name
        A system in the cluster that kubectl talks to; without it the latest run on this machine.
    namespace
        Namespace of the system; without it "default".
    json_
        Print the answers as one JSON object.
    run_dir
        Folder for runs, as for qts run.
    """
    system = cluster_status.asked("status", namespace, name)
    if system is not None:
        return _of_cluster(*system, as_json=json_)
    run = folder.latest(run_dir)
    described = folder.read_run(run)
    ended = folder.ended(run)
    plights = {} if ended else described.get("plights", {})
    answers = {} if ended else asyncio.run(_ask(described.get("http", {})))
    if json_:
        told = {"run": str(run), "ended": ended, "processes": answers}
        print(json.dumps(told | {"plights": plights}, indent=1))
    elif ended:
        left = "qts decisions reads" if ended == folder.KILLED else "qts decisions and qts messages read"
        print(f"run {run.name} has ended: {ended}; {left} what it left")
    else:
        console = wide_console()
        console.print(f"run {run.name}   redis {_redis(described)}", highlight=False)
        console.print(_table(answers, plights))
    return 0 if answers and all(answer.get("ready") for answer in answers.values()) else 1


def _redis(described: dict[str, Any]) -> str:
    """Return which Redis a run uses, and what is wrong with its process."""
    plight = described.get("plights", {}).get("redis", "")
    return f"{described.get('redis') or 'none'}{plight and f' ({plight})'}"


def _of_cluster(namespace: str, name: str, *, as_json: bool) -> int:
    told, answers = asyncio.run(cluster_status.look(namespace, name))
    if as_json:
        print(
            json.dumps({"namespace": namespace, "name": name, "status": told, "processes": answers}, indent=1)
        )
    else:
        cluster_status.show(wide_console(), name, told, _table(answers))
    return 0 if cluster_status.is_ready(told) and all(answers.values()) else 1


async def _ask(ports: dict[str, int]) -> dict[str, dict[str, Any]]:
    found = await asyncio.gather(*(ask_status(port, name) for name, port in ports.items()))
    return dict(zip(ports, found, strict=True))


def _table(answers: dict[str, dict[str, Any]], plights: Mapping[str, str] = _NONE) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("process", "state", "bus", "computes on", "up", "sent", "delivered", "note"):
        table.add_column(column, justify="right" if column in ("up", "sent", "delivered") else "left")
    for name, answer in answers.items():
        if not answer:
            table.add_row(name, Text("no answer", "red"), *[""] * 5, plights.get(name, ""))
            continue
        messages = answer.get("messages", {})
        table.add_row(
            name,
            str(answer.get("state")),
            str(answer.get("bus_mode")),
            f"{answer.get('backend')} {answer.get('device')}",
            f"{answer.get('uptime_s', 0.0):.0f} s",
            str(messages.get("sent", "")),
            str(messages.get("delivered", "")),
            _note(answer),
        )
    return table


def _note(answer: dict[str, Any]) -> str:
    """Return what a process says of itself, whom it does not hear, and who knocks in vain."""
    strangers = answer.get("strangers")
    unheard, past = _unheard(answer.get("peers", {})), [f"before: {text}" for text in answer.get("past", [])]
    told = [*answer.get("reasons", []), *unheard, *([strangers] if strangers else []), *past]
    return "; ".join(told)


def _unheard(peers: dict[str, dict[str, Any]]) -> list[str]:
    """Return whom a process has not heard of late: who hangs says nothing of it itself."""
    return [
        f"has not heard {peer} for {told.get('age_s', 0.0):.0f} s"
        for peer, told in peers.items()
        if told.get("state") != "alive"
    ]
