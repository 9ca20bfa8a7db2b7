"""The four errors of the system: who broke the rule is in the type."""

from __future__ import annotations


class QtsError(Exception):
    """Root of all errors that carry a message for a person."""


class ConfigError(QtsError):
    """A setting, file or argument is wrong; the text names it and the remedy. Exit code 2."""

    exit_code = 2


class RemoteError(QtsError):
    """A peer or server broke the contract or is away."""


class LocalError(QtsError):
    """The caller broke the contract: too large, queue full, wrong state."""


class UnkeptError(LocalError):
    """What a process is there to keep cannot be kept: its disk is full or gone. Exit code 4."""

    exit_code = 4


class Retry(QtsError):  # noqa: N818 - it is an instruction, not a failure
    """Try the same thing again after `after_s` seconds."""

    def __init__(self, after_s: float, reason: str = "") -> None:
        super().__init__(reason or f"retry after {after_s:g} s")
        self.after_s = after_s
