"""Ask PADS which peers it hears, whether it reaches Redis, in which mode its bus is; all for credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import TypeVar

import aiohttp
import msgspec
import structlog

from qts_core import names
from qts_core.probes import Status
from qts_operator.snapshot import Heard, Pod

TIMEOUT_S = 2.0
LONGEST = 65_536  # bytes of an answer; ours are some 2 KB
FIRST_S = 0.25
PERIOD_S = 30.0
SOON_S = 3.0
SURVEY_S = 1.0
Answer = TypeVar("Answer", Status, Heard)
_log = structlog.get_logger("qts_operator.statusz")


class Known(msgspec.Struct, frozen=True):
    """An answer, when it came, of which pod, and how often in a row there was none."""

    told: Status | None
    mark: str
    address: str
    misses: int = 0

    @property
    def period_s(self) -> float:
        """Return when to ask again: soon until PADS hears everybody and Redis refuses it nothing (Ready
        waits), rarer in silence."""
        if self.told is None:
            return min(PERIOD_S, SOON_S * float(2**self.misses))
        return PERIOD_S if _content(self.told) else SOON_S


class Answers:
    """The last answer for each system, and when to ask again.

    Only the first question to a pod is asked by a pass, which waits for it, and for a moment only. The others
    are asked beside the passes: a thousand pods that cannot be reached would hold every worker for two
    seconds each, and a pass that does nothing but ask costs more than the question. `moved` is told whose
    answer is another; while it is not `wanted`, as by a standby, nothing is asked.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession | None = None,
        moved: Callable[[str], None] = lambda _: None,
        random: Random | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._http, self._moved = http, moved
        self._random, self._wanted = random or Random(), wanted
        self._known: dict[str, Known] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._waiting: set[str] = set()  # for whom a pass waits: it sees the answer itself
        self._surveys: dict[str, tuple[dict[str, Heard], float]] = {}
        self._context = Context()  # of no pass, whose trace a question would keep

    async def ask(self, key: str, pods: tuple[Pod, ...]) -> Status | None:
        """Return the answer of the running PADS pod; who was not asked yet is asked now."""
        asked = next((p for p in pods if p.ip and p.phase == "Running" and not p.deleting), None)
        if asked is None:
            self._known.pop(key, None)
            return None
        mark = f"{asked.uid} {asked.ip} {asked.ready}"  # a sandbox that is made anew has another address
        known = self._known.get(key)
        if known is not None and known.mark == mark:
            return known.told
        self._known[key] = fresh = Known(None, mark, asked.ip, misses=-1)
        self._waiting.add(key)
        await asyncio.wait({self._start(key, fresh)}, timeout=FIRST_S)
        self._waiting.discard(key)
        # the pod may have gone meanwhile
        known = self._known.get(key)
        return known.told if known is not None else None

    def _start(self, key: str, former: Known) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._again(key, former), context=self._context)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _again(self, key: str, former: Known) -> None:
        told = await self._get(former.address)
        if self._known.get(key) is not former:
            return  # the pod is another by now
        misses = former.misses + 1 if told is None else 0
        if told is None and (former.told is not None or former.misses < 0):  # once, not at each try
            _log.info("PADS cannot be asked", key=key, address=former.address)
        self._known[key] = known = Known(told, former.mark, former.address, misses)
        self._plan(key, known)
        if told != former.told and key not in self._waiting:
            self._moved(key)

    def _plan(self, key: str, known: Known) -> None:
        delay_s = known.period_s * self._random.uniform(0.8, 1.2)
        asyncio.get_running_loop().call_later(delay_s, self._due, key, known, context=self._context)

    def _due(self, key: str, known: Known) -> None:
        if self._known.get(key) is not known:
            return
        if self._wanted():
            self._start(key, known)
        else:
            self._plan(key, known)

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

    def forget(self, key: str) -> None:
        """Drop a system that is gone."""
        self._known.pop(key, None)
        self._surveys.pop(key, None)

    async def _get(self, address: str) -> Status | None:
        return await self._fetch(address, Status)

    async def _fetch(self, address: str, kind: type[Answer]) -> Answer | None:
        if self._http is None or self._http.closed:  # closed: the operator is ending
            return None
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{names.PORT_HTTP}{names.PATH_STATUS}"
        try:
            limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with self._http.get(url, timeout=limit, allow_redirects=False) as response:
                return msgspec.json.decode(await _bounded(response), type=kind)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError, RecursionError) as error:
            _log.debug("a pod cannot be asked", address=address, error=type(error).__name__)
            return None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Return the body: what runs in a pod is its owner's choice, and must not fill the operator's memory."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(LONGEST):
        body += chunk
        if len(body) > LONGEST:
            raise aiohttp.ClientPayloadError("more than a status holds")
    return bytes(body)


def _content(told: Status | None) -> bool:
    """Tell whether the answer needs no second look soon."""
    if told is None or not told.peers or told.redis_refuses:
        return False
    return all(isinstance(p, dict) and p.get("state") == "alive" for p in told.peers.values())
