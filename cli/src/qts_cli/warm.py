"""Whether the kernels that a run needs lie compiled in its cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import qts_agents


def stamp(cache: Path, workloads: Iterable[str]) -> Path:
    """Return the file whose presence tells that `workloads` were once ready with the kernels in `cache`.

    Its name is a digest of what numba keeps compiled code by: sources and their place, its own version.
    """
    place = Path(qts_agents.__path__[0])
    facts = [version("numba"), str(place), *sorted(workloads)]
    sources = (file.read_bytes() for file in sorted((place / "kernels").glob("*.py")))
    digest = hashlib.sha256(b"\0".join([*(fact.encode() for fact in facts), *sources]))
    return cache / f"warm-{digest.hexdigest()[:16]}"


def is_warm(cache: Path, workloads: Iterable[str]) -> bool:
    """Tell whether they start without compiling, as far as one can know without numba."""
    return stamp(cache, workloads).exists() and any(cache.rglob("*.nbc"))
