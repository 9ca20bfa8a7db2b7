"""Ask PADS which peers it hears, whether it reaches Redis, in which mode its bus is; all for credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import aiohttp
import msgspec
import structlog

from qts_core import names
from qts_core.probes import Status
from qts_operator.snapshot import Heard, Pod

TIMEOUT_S = 2.0
FIRST_S = 0.25
PERIOD_S = 30.0
SOON_S = 3.0
SURVEY_S = 1.0
Answer = TypeVar("Answer", Status, Heard)
_log = structlog.get_logger("qts_operator.statusz")


class Known(msgspec.Struct, frozen=True):
    """An answer, when it came, of which pod, and how often in a row there was none."""

    told: Status | None
    at_s: float
    mark: str
    misses: int = 0

    @property
    def period_s(self) -> float:
        """Return when to ask again: soon until PADS hears everybody (Ready waits), rarer in silence."""
        if self.told is None:
            return min(PERIOD_S, SOON_S * float(2**self.misses))
        return PERIOD_S if _content(self.told) else SOON_S


class Answers:
    """The last answer for each system, and when to ask again.

    Only the first question to a pod is waited for, and for a moment only. The others run beside the passes: a
    thousand pods that cannot be reached would hold every worker for two seconds each. `moved` is told whose
    answer is another.
    """

    def __init__(
        self, http: aiohttp.ClientSession | None = None, moved: Callable[[str], None] = lambda _: None
    ) -> None:
        self._http, self._moved = http, moved
        self._known: dict[str, Known] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._waiting: set[str] = set()  # for whom a pass waits: it sees the answer itself
        self._surveys: dict[str, tuple[dict[str, Heard], float]] = {}

    async def ask(self, key: str, pods: tuple[Pod, ...], now_s: float) -> Status | None:
        """Return the answer of the running PADS pod; asked anew every 30 s and when the pod changes."""
        asked = next((p for p in pods if p.ip and p.phase == "Running" and not p.deleting), None)
        if asked is None:
            self._known.pop(key, None)
            return None
        mark = f"{asked.uid} {asked.ready}"
        known = self._known.get(key)
        if known is None or known.mark != mark:
            self._known[key] = fresh = Known(None, now_s, mark, misses=-1)
            self._waiting.add(key)
            await asyncio.wait({self._start(key, asked.ip, now_s, fresh)}, timeout=FIRST_S)
            self._waiting.discard(key)
            # the pod may have gone meanwhile
            known = self._known.get(key)
            return known.told if known is not None else None
        if now_s - known.at_s >= known.period_s and key not in self._asking:
            self._start(key, asked.ip, now_s, known)
        return known.told

    def _start(self, key: str, address: str, now_s: float, former: Known) -> asyncio.Task[None]:
        task = asyncio.create_task(self._again(key, address, now_s, former))
        self._asking[key] = task
        task.add_done_callback(lambda _: self._done(key, task))
        return task

    def _done(self, key: str, task: asyncio.Task[None]) -> None:
        if self._asking.get(key) is task:
            del self._asking[key]

    async def _again(self, key: str, address: str, now_s: float, former: Known) -> None:
        told = await self._get(address)
        if self._known.get(key) is former:  # else the pod is another by now
            misses = former.misses + 1 if told is None else 0
            self._known[key] = Known(told, now_s, former.mark, misses)
            if told != former.told and key not in self._waiting:
                self._moved(key)

    async def survey(self, key: str, pods: tuple[Pod, ...], now_s: float) -> dict[str, Heard]:
        """Return the answers of all running pods by uid; asked anew each second at most."""
        known = self._surveys.get(key)
        if known is not None and now_s - known[1] < SURVEY_S:
            return known[0]
        asked = [p for p in pods if p.ip and p.phase == "Running"]
        told = await asyncio.gather(*(self._fetch(p.ip, Heard) for p in asked))
        heard = {p.uid: answer for p, answer in zip(asked, told, strict=True) if answer is not None}
        self._surveys[key] = (heard, now_s)
        return heard

    def recheck_s(self, key: str, fraction: float) -> float | None:
        """Return seconds until the next question, ± 20 % by `fraction` in [0, 1)."""
        known = self._known.get(key)
        if known is None:
            return None
        return known.period_s * (0.8 + 0.4 * fraction)

    def forget(self, key: str) -> None:
        """Drop a system that is gone."""
        self._known.pop(key, None)
        self._surveys.pop(key, None)

    async def _get(self, address: str) -> Status | None:
        return await self._fetch(address, Status)

    async def _fetch(self, address: str, kind: type[Answer]) -> Answer | None:
        if self._http is None:
            return None
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{names.PORT_HTTP}{names.PATH_STATUS}"
        try:
            limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with self._http.get(url, timeout=limit) as response:
                return msgspec.json.decode(await response.read(), type=kind)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            _log.info("a pod cannot be asked", address=address, error=type(error).__name__)
            return None


def _content(told: Status | None) -> bool:
    """Tell whether the answer needs no second look soon."""
    if told is None or not told.peers:
        return False
    return all(isinstance(p, dict) and p.get("state") == "alive" for p in told.peers.values())
