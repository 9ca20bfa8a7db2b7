"""What a run tells: one dictionary per event, as JSON lines or to the live screen."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

Event = dict[str, Any]
Sink = Callable[[Event], None]
KINDS = ("start", "redis", "agent", "restart", "decision", "degraded", "summary")


def plain(value: Any) -> Any:
    """Replace what JSON cannot say: NaN and infinities become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def line(event: Event) -> str:
    """Return an event as one line of JSON."""
    return json.dumps(plain(event), ensure_ascii=False, allow_nan=False)


class JsonLines:
    """Print each event as one JSON line at once."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def __call__(self, event: Event) -> None:
        """Print `event`; a reader that went away, or a full disk, ends the printing, not the run."""
        try:
            print(line(event), file=self._stream, flush=True)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                print(f"no more is printed ({error.strerror}); the run goes on", file=sys.stderr)
            nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123 - lives as long as the process
            with contextlib.suppress(OSError, ValueError):  # what is buffered must not fail at the end again
                os.dup2(nowhere.fileno(), self._stream.fileno())
            self._stream = nowhere
