"""`qts scores`: how good the forecasts of the seats and the board have been, as PADS knows it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from qts_cli import cluster_status, folder
from qts_cli.sockets import ask, told
from qts_cli.terminal import wide_console
from qts_core import names
from qts_core.errors import RemoteError

PADS = "pads"
MORE = "`qts run`, and ask in another terminal; `qts evaluate` scores a whole market"
PARTS = ("brier", "reliability", "resolution", "uncertainty", "within")


def scores(
    name: str | None = None,
    *,
    namespace: Annotated[str | None, Parameter(name=["--namespace", "-n"])] = None,
    bins: Annotated[bool, Parameter(negative=())] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    run_dir: Path = folder.HOME,
) -> int:
    """Print log score, Brier score and its parts (Murphy 1973) of every seat and the board.

    Of the last 5,000 resolved rows; below each the climatology on the same rows.

    Parameters
    ----------
    name
        A system in the cluster that kubectl talks to; without it the latest run on this machine.
    namespace
        Namespace of the system; without it "default".
    bins
        Print the reliability tables too: of each of ten bins with equal counts what was said and seen.
    json_
        Print the answer of PADS, everything in it.
    run_dir
        Folder for runs, as for qts run.
    """
    answer = _asked(name, namespace, run_dir)
    if json_:
        print(json.dumps(answer, indent=1))
        return 0
    console = wide_console()
    forecasters = answer.get("forecasters", {})
    console.print(f"{answer.get('resolved', 0)} rows resolved", highlight=False)
    console.print(_table(forecasters))
    if bins:
        for seat, score in forecasters.items():
            console.print(_bins(seat, score["own"]["diagram"]))
    return 0


def _asked(name: str | None, namespace: str | None, run_dir: Path) -> dict[str, Any]:
    """Return what PADS says; RemoteError when it does not answer."""
    system = cluster_status.asked("scores", namespace, name)
    if system is not None:
        body = asyncio.run(cluster_status.answer(*system, PADS, names.PATH_SCORES))
        remedy = f"qts status -n {' '.join(system)}"
    else:
        run = folder.latest(run_dir)
        if why := folder.ended(run):
            raise RemoteError(f"{run}: this run has ended ({why}); scores need one that is up: {MORE}")
        ports = folder.read_run(run).get("http", {})
        body = asyncio.run(ask(ports[PADS], names.PATH_SCORES, PADS)) if PADS in ports else b""
        remedy = "qts status"
    if not body:
        raise RemoteError(f"{PADS}: no answer at {names.PATH_SCORES}; see {remedy}")
    return told(body)


def _table(forecasters: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("seat", "rows", "log score", *PARTS):
        table.add_column(column, justify="left" if column == "seat" else "right")
    for seat, score in forecasters.items():
        table.add_row(seat, str(score["rows"]), *_figures(score["own"]))
        table.add_row("  climatology", "", *_figures(score["base"]), style="dim")
    return table


def _figures(quality: dict[str, Any]) -> list[str]:
    return [_figure(quality["log_score"]), *(_figure(quality["brier"][part]) for part in PARTS)]


def _figure(value: float | None) -> str:
    """Return a number; what JSON cannot hold is the log score of a sure forecast that was wrong."""
    return "−inf" if value is None else f"{value:.4f}"


def _bins(seat: str, diagram: dict[str, list[dict[str, float]]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title=seat, title_justify="left")
    for column in ("outcome", "rows", "said", "seen"):
        table.add_column(column, justify="left" if column == "outcome" else "right")
    for outcome, rows in diagram.items():
        for row in rows:
            table.add_row(outcome, str(int(row["n"])), f"{row['forecast']:.4f}", f"{row['observed']:.4f}")
    return table
