"""`qts config check` and `qts config show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter
from rich.table import Table

from qts_cli.credentials import without_secret
from qts_cli.run import settings, tell_passed_over
from qts_cli.terminal import wide_console
from qts_core import config

app = App(name="config", help="Check a settings file, or show the settings in effect.")


@app.command
def check(file: Path) -> int:
    """Say whether FILE is a valid configuration; exit 2 with path, finding and remedy when it is not.

    Parameters
    ----------
    file
        A JSON file such as quantum_system_config.json.
    """
    loaded = config.load(file, {})
    tell_passed_over(loaded)
    given = sum(origin != "default" for origin in loaded.origin.values())
    print(f"{file}: ok, {given} of {len(loaded.origin)} settings given, digest {loaded.digest}")
    return 0


@app.command
def show(
    *,
    origin: Annotated[bool, Parameter(negative=())] = False,
    config_file: Annotated[Path | None, Parameter(name="--config")] = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Show the settings in effect here, without secrets.

    Parameters
    ----------
    origin
        Say beside each value where it came from: default, file, environment or --set.
    config_file
        Settings file; without it $QTS_CONFIG, else quantum_system_config.json of this folder.
    set_
        Override a setting, as for qts run.
    json_
        With --origin: print {path: {value, origin}} as JSON.
    """
    loaded = settings(config_file, set_)
    system = without_secret(loaded.system)
    if not origin:
        print(config.dump(system).decode(), end="")
        return 0
    leaves: dict[str, Any] = config.flatten(msgspec.to_builtins(system))
    rows = {
        path: {"value": value, "origin": loaded.origin.get(path, "default")} for path, value in leaves.items()
    }
    if json_:
        print(json.dumps(rows, indent=1))
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("setting", "value", "origin"):
        table.add_column(column, overflow="fold")
    for path, row in rows.items():
        table.add_row(
            path,
            json.dumps(row["value"]),
            str(row["origin"]),
            style=None if row["origin"] != "default" else "dim",
        )
    wide_console().print(table)
    return 0
