"""`qts keys new`: key pairs for the wire, as files or as a Secret manifest."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from qts_core.errors import ConfigError
from qts_core.roster import ROSTER

app = App(name="keys", help="Make key pairs for the wire.")


@app.command
def new(directory: Path) -> int:
    """Write a new CURVE key pair for every agent and the feed into DIRECTORY (0700, files 0600).

    Parameters
    ----------
    directory
        Folder for the files; it is created, and must not hold keys yet.
    """
    from qts_messaging import keys

    held = sorted(directory.glob("curve/*.key")) if directory.is_dir() else []
    if held:
        raise ConfigError(f"{held[0]}: exists already; keys are never overwritten, name an empty folder")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys.create_curve(directory, (w.wire for w in ROSTER))
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written: {error.strerror}") from None
    print(f"{directory}: {len(ROSTER)} key pairs written; give each process its own .key and every .pub")
    return 0
