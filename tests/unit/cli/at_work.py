"""A run folder that looks as one whose run is at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qts_cli import folder


@contextmanager
def at_work(home: Path) -> Iterator[None]:
    """Hold the lock of `home`, whose latest run has its keys, as `qts run` does."""
    (home / "run" / "latest" / "keys").mkdir(parents=True, exist_ok=True)
    lock = folder.Lock(home)
    lock.take()
    try:
        yield
    finally:
        lock.free()
