"""`python -m qts_cli`, and the one place of this package that reads the environment."""

from __future__ import annotations

import os
import sys

from qts_core import names


def environment() -> dict[str, str]:
    """Return a copy of the environment."""
    return dict(os.environ)


def multiply_alone() -> None:
    """Let this process and its children multiply matrices as agents do, if nobody has said how."""
    os.environ.setdefault(*names.ONE_BLAS_THREAD)


def child_environment() -> dict[str, str]:
    """Return the environment for a process of ours: settings travel in its file, not in variables."""
    kept = {names.ENV_SECRETS}
    return {key: value for key, value in os.environ.items() if not key.startswith("QTS_") or key in kept}


if __name__ == "__main__":
    from qts_cli import main

    sys.exit(main())
