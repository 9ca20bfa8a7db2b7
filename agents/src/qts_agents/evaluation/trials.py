"""The ledger of trials: every ratio ever looked at on a market, so that luck can be counted.

One JSON object a line. A trial is one strategy under one code (commit and digest of the source) and one set
of settings on one stretch of bars; evaluating the same again replaces its line, anything else adds one.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from qts_core.errors import ConfigError
from qts_core.files import replace_file


class Trial(msgspec.Struct, frozen=True):
    """One strategy that was tried; `sharpe` is per bar after costs."""

    market: str
    bars: int
    code: str
    settings: str
    strategy: str
    sharpe: float

    @property
    def key(self) -> tuple[str, int, str, str, str]:
        """Return what makes two lines the same trial."""
        return self.market, self.bars, self.code, self.settings, self.strategy


def read(path: Path) -> list[Trial]:
    """Return the trials of a ledger, none when there is no file; ConfigError names a line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--ledger: {path} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(msgspec.json.decode(line, type=Trial))
        except msgspec.DecodeError as error:
            raise ConfigError(f"--ledger: {path}:{number}: no trial: {error}; mend or remove it") from None
    return found


def ratios(trials: Iterable[Trial], market: str, bars: int) -> list[float]:
    """Return the ratios per bar of all trials on a market, each as if on `bars` bars: times √(own bars/bars).

    Luck widens a ratio by 1/√bars, so of two worthless trials the shorter looks the luckier: unscaled, one
    look at 60 bars would make every later trial of thousands seem poor.
    """
    return [t.sharpe * math.sqrt(t.bars / bars) for t in trials if t.market == market]


def merge(known: Iterable[Trial], new: Iterable[Trial]) -> list[Trial]:
    """Return `known` with the new trials in place of equal ones, else behind them."""
    merged = {trial.key: trial for trial in known}
    merged.update((trial.key, trial) for trial in new)
    return list(merged.values())


def add(path: Path, new: Iterable[Trial]) -> list[Trial]:
    """Merge `new` into the ledger and return all of it; ConfigError when the disk refuses.

    A lock beside the ledger lets one evaluation at a time do so: of two that end together the later one would
    write what it read before the earlier one wrote. The empty file stays; its lock goes with the process.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(path.name + ".lock")):
            merged = merge(read(path), new)
            replace_file(path, b"".join(msgspec.json.encode(trial) + b"\n" for trial in merged))
    except OSError as error:
        raise ConfigError(f"--ledger: {path} cannot be written: {error.strerror or error}") from None
    return merged


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock where the file system has locks; another user's file will do, as nothing is written."""
    lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(OSError):  # a share without locks still holds the ledger of one evaluation
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
