"""Which code and libraries computed something: bits of a decision may change with each of them."""

from __future__ import annotations

import functools
import platform
from importlib import metadata

from qts_agents.kernels.backend import sources

LIBRARIES = ("numpy", "numba")


@functools.cache
def kernels_and_libraries() -> dict[str, str]:
    """Return name → version of the interpreter and the libraries, and the digest of the kernels' sources."""
    found = {name: metadata.version(name) for name in LIBRARIES}
    return {"kernels": sources()[:16], "python": platform.python_version(), **found}
