"""`qts` and its subcommands; each lives in the file of its name and is imported only when called."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from qts_core.errors import ConfigError, QtsError

USAGE_EXIT = 2
_COMMANDS = (
    ("run", "qts_cli.run:run", "Run the whole system on this machine."),
    (
        "status",
        "qts_cli.status:status",
        "Ask the processes of the latest run, or of a system in the cluster, how they are.",
    ),
    ("decisions", "qts_cli.decisions:decisions", "Print a journal's decisions with every agent's vote."),
    ("scores", "qts_cli.scores:scores", "Print how good the forecasts of the seats and the board have been."),
    ("messages", "qts_cli.messages:messages", "Print what became of every message of a run."),
    ("dead", "qts_cli.dead:dead", "List messages no handler could take, or have them handled again."),
    ("replay", "qts_cli.replay:replay", "Recompute a journal's decisions and compare bytes."),
    ("plot", "qts_cli.plot:plot", "Draw a journal as one HTML file."),
    (
        "evaluate",
        "qts_cli.evaluate:evaluate",
        "Replay a market through the real agents and say whether there is an edge.",
    ),
    ("orders", "qts_cli.orders:orders", "Write synthetic order events beside a market's bars."),
    ("plan", "qts_cli.plan:plan", "Print what the operator would do for a resource."),
    (
        "support",
        "qts_cli.support:app",
        "Gather a system's state in the cluster in one archive, or explain one.",
    ),
    ("config", "qts_cli.config:app", "Check a settings file, or show the settings in effect."),
    ("keys", "qts_cli.keys:app", "Make key pairs for the wire."),
    ("generate", "qts_cli.generate:generate", "Write the files that are derived from the code."),
)


def build() -> Any:
    """Return the command line as an application that can be called with tokens."""
    from cyclopts import App

    app = App(
        name="qts",
        help="The Quantum Trading System: run it, look at it, plan it.",
        version=_version,
        help_format="plaintext",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, target, text in _COMMANDS:
        app.command(target, name=name, help=text)
    return app


def main(tokens: Sequence[str] | None = None) -> int:
    """Run `qts`; return 0, 2 for bad usage or settings, 130 when interrupted, 1 for other failures."""
    try:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # it was closed before we began: `>&-`
                setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - as long as we live
        if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="replace")  # the dots of a cut table are not in every encoding
        result = _run(list(sys.argv[1:] if tokens is None else tokens))
        sys.stdout.flush()  # what could not be written is told here, not at the interpreter's end
    except ConfigError as error:
        return _fail(str(error), USAGE_EXIT)
    except QtsError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # the reader of a pipe has seen enough
        sys.stderr.close()
        return 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail("no space is left where this writes; free some and try again", 1)
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}", USAGE_EXIT)  # a path that a person gave
    return result if isinstance(result, int) else 0


def _run(tokens: list[str]) -> Any:
    """Run the command of `tokens`; who presses Ctrl-C during these imports meets no traceback either."""
    from cyclopts import CycloptsError

    from qts_cli.__main__ import multiply_alone

    multiply_alone()
    try:
        return build()(tokens)
    except CycloptsError as error:
        raise ConfigError(f"{' '.join(str(error).split())}; see qts --help") from None


def _fail(text: str, code: int) -> int:
    print(f"qts: {text}", file=sys.stderr)
    return code


def _version() -> str:
    from importlib.metadata import version

    return version("quantum-trading-system")
