"""The served definition beside ours: an older one drops what users write, and refuses what we would.

Where it may not be read, as with Roles alone, the schema that the API server publishes tells the same; every
account may read that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

import structlog

from qts_core import names
from qts_core.clock import Clock
from qts_core.crd import ANNOTATION_SCHEMA, crd
from qts_operator import pruning
from qts_operator.cluster import DEFINITIONS, SYSTEMS, Api
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError
from qts_operator.snapshot import Finding

_log = structlog.get_logger("qts_operator.definition")
CHECK_S = 60.0
AGAIN_S = 10.0  # while it is not ours, or nobody could tell: somebody is putting it right
NAMED = 3
Tree = dict[str, Any]


class Definition:
    """What the last look at the definition has shown; `changed` is called when it shows other things."""

    def __init__(self, api: Api, clock: Clock, metrics: Metrics, changed: Callable[[], None]) -> None:
        self._api, self._clock, self._metrics, self._changed = api, clock, metrics, changed
        ours = crd()
        self._hash, self._schema = ours["metadata"]["annotations"][ANNOTATION_SCHEMA], schema_of(ours) or {}
        self.findings: tuple[Finding, ...] = ()
        self.denied = ""  # why it may not be read: the published schema tells nearly as much
        self._looked = asyncio.Event()
        self.pruned: Tree = {}  # what it lacks

    async def run(self, *, visible: bool) -> None:
        """Look again and again; `visible`: the definition itself may be read."""
        while True:
            try:
                self._judge(*await self._served(visible=visible))
            except ApiError as error:
                _log.warning("definition not read", code=error.code, error=error.message)
                self._looked.set()
                await self._clock.sleep(CHECK_S if error.code == 403 else AGAIN_S)
                continue
            self._looked.set()
            await self._clock.sleep(AGAIN_S if self.findings else CHECK_S)

    async def decided(self) -> None:
        """Wait until it was looked at once: what that shows is not to change a status a moment later."""
        await self._looked.wait()

    async def _served(self, *, visible: bool) -> tuple[Tree | None, bool]:
        """Return the served schema, None when there is none, and whether its definition calls it ours."""
        if visible:
            try:
                live = await self._api.get(DEFINITIONS, "", names.CRD_NAME)
                self._may("")
                notes = ((live or {}).get("metadata") or {}).get("annotations") or {}
                return schema_of(live or {}), live is None or notes.get(ANNOTATION_SCHEMA) == self._hash
            except ApiError as error:
                if error.code != 403:
                    raise
                self._metrics.denied.labels(DEFINITIONS.name).inc()
                _log.warning("definition may not be read", reason="AccessDenied", error=error.message)
                self._may(error.message)
        return await self._api.schema(SYSTEMS), True

    def _may(self, denied: str) -> None:
        if denied != self.denied:
            self.denied = denied
            self._changed()

    def _judge(self, served: Tree | None, ours: bool) -> None:
        gone = {} if served is None else pruning.lacking(self._schema, served)
        found = () if ours and not gone else (_finding(gone),)
        self._metrics.crd_outdated.set(len(found))
        if (found, gone) != (self.findings, self.pruned):
            self.findings, self.pruned = found, gone
            for each in found:
                _log.warning("definition outdated", reason=each.reason, error=each.message)
            self._changed()


def schema_of(definition: Tree) -> Tree | None:
    """Return the schema of our version of a definition; None when it has none."""
    for version in (definition.get("spec") or {}).get("versions") or ():
        if version.get("name") == names.VERSION:
            return dict((version.get("schema") or {}).get("openAPIV3Schema") or {})
    return None


def _finding(gone: Tree) -> Finding:
    text = f"the served {names.CRD_NAME} is not the one of this operator; apply its definition"
    named = list(pruning.paths(gone))
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    text += f"; it does not keep {', '.join(islice(named, NAMED))}{more}" if named else ""
    return Finding(reason="CRDOutdated", message=text)
