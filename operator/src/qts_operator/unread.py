"""Objects that cannot be read: counted, named once in the log and passed over; the others are seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from qts_operator.metrics import Metrics

_log = structlog.get_logger("qts_operator.unread")
T = TypeVar("T")
NAMED = 1024  # objects that are remembered as named


class Unread:
    """What one reader could not read."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._named: dict[tuple[str, str, str], None] = {}  # kind, namespace, name; the oldest first

    def attempt(self, kind: str, live: Any, read: Callable[[Any], T]) -> T | None:
        """Return what `read` makes of an object; None when that fails, whatever somebody wrote into it."""
        try:
            return read(live)
        except Exception as error:
            self._metrics.unread.labels(kind).inc()
            self._name(kind, live, error)
            return None

    def _name(self, kind: str, live: Any, error: Exception) -> None:
        metadata = (live.get("metadata") if isinstance(live, dict) else None) or {}
        who = (kind, str(metadata.get("namespace", "")), str(metadata.get("name", "")))
        if who in self._named:
            return
        self._named[who] = None
        if len(self._named) > NAMED:
            del self._named[next(iter(self._named))]
        name = "/".join(filter(None, who[1:]))
        _log.warning("object cannot be read", kind=kind, name=name, error=f"{type(error).__name__}: {error}")
