"""Events as they are written, and the namespaces in which they may not be.

Only an Event that is refused shows that the right is missing, and at rest none would show its return. So a
namespace that refused one is asked again by what writes nothing: each minute, and once by a process that
finds a status which says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from qts_core import names
from qts_core.clock import Clock
from qts_operator import events
from qts_operator.apply import error_of
from qts_operator.cluster import ABSENT, Api
from qts_operator.conditions import RESTRICTED, said
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.writes import lacks_right

_log = structlog.get_logger("qts_operator.recorder")
CHECK_S = 60.0
ASKED = 20  # namespaces that are refused once more before the others wait for the next round


class Recorder:
    """Writes Events; `changed` is told of a namespace in which they may be written no more, or again."""

    def __init__(
        self, api: Api, clock: Clock, metrics: Metrics, changed: Callable[[str], None] = lambda _: None
    ) -> None:
        self._api, self._clock, self._metrics, self._changed = api, clock, metrics, changed
        self._series = events.Series()
        self._denied: dict[str, str] = {}  # namespace → what the server said; "": it may be again

    async def tell(self, event: dict[str, Any]) -> None:
        """Write an Event, or count one more of those that say the same; ApiError when it is refused."""
        try:
            await self._write(event)
        except ApiError as error:
            if lacks_right(error_of(error)):
                self._metrics.denied.labels(events.KIND.name).inc()
                _log.warning("event refused", reason="AccessDenied", error=error.message)
                self._take(event["metadata"]["namespace"], error.message)
            raise

    async def _write(self, event: dict[str, Any]) -> None:
        now, namespace = self._clock.wall_ns() / 1e9, event["metadata"]["namespace"]
        known = self._series.of(event, now)
        answer = None
        if known is not None:
            change = self._series.next(known, now)
            try:
                answer = await self._api.amend(events.KIND, namespace, known.name, known.version, change)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
                self._series.lost(event)
        answer = answer or await self._api.create(events.KIND, event)
        self._series.written(event, answer, now)

    async def denied(self, namespace: str, status: dict[str, Any]) -> str:
        """Return why no Event may be written in a namespace, "" where one may; `status` is of a system."""
        if namespace not in self._denied and _says_so(status):
            self._take(namespace, await self._asked(namespace))
        return self._denied.get(namespace, "")

    async def run(self) -> None:
        """Ask for ever whether the right is back where it was missing."""
        while True:
            await self._clock.sleep(CHECK_S)
            left = ASKED
            for namespace in [name for name, text in self._denied.items() if text]:
                try:
                    self._take(namespace, await self._asked(namespace))
                except ApiError as error:  # no answer, or nobody leads here: it is as it was
                    _log.info("not known whether Events may be written", error=error.message)
                left -= bool(self._denied[namespace])
                if not left:
                    break

    async def _asked(self, namespace: str) -> str:
        """Return what the server says to who may not write Events; "" to others. It keeps nothing of it."""
        try:
            await self._api.rehearse(events.KIND, events.rehearsal(namespace, self._clock.wall_ns() / 1e9))
            # the right is asked before the object is looked for
            await self._api.amend(events.KIND, namespace, names.FIELD_MANAGER, ABSENT, {"metadata": {}})
        except ApiError as error:
            if lacks_right(error_of(error)):
                self._metrics.denied.labels(events.KIND.name).inc()  # it is still missing
                return error.message
            if error.code in (0, 429) or error.code >= 500:
                raise
        return ""

    def _take(self, namespace: str, text: str) -> None:
        before = self._denied.pop(namespace, "")
        self._denied[namespace] = text  # the last that is asked again
        if bool(before) != bool(text):
            self._changed(namespace)


def _says_so(status: dict[str, Any]) -> bool:
    return events.UNWRITTEN in str(said(status, RESTRICTED).get("message", ""))
