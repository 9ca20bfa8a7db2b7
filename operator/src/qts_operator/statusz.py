"""Ask PADS which peers it hears, whether it reaches Redis, in which mode its bus is."""

from __future__ import annotations

import aiohttp
import msgspec
import structlog

from qts_core import names
from qts_core.probes import Status
from qts_operator.snapshot import Pod

TIMEOUT_S = 2.0
PERIOD_S = 30.0
_log = structlog.get_logger("qts_operator.statusz")


class Answers:
    """The last answer for each system, and when to ask again."""

    def __init__(self, http: aiohttp.ClientSession | None = None) -> None:
        self._http = http
        self._known: dict[str, tuple[Status | None, float, str]] = {}

    async def ask(self, key: str, pods: tuple[Pod, ...], now_s: float) -> Status | None:
        """Return the answer of the running PADS pod; asked anew every 30 s and when the pod changes."""
        asked = next((p for p in pods if p.ip and p.phase == "Running" and not p.deleting), None)
        if asked is None:
            self._known.pop(key, None)
            return None
        mark = f"{asked.uid} {asked.ready}"
        known = self._known.get(key)
        # until PADS hears everybody it is asked more often: Ready waits for that
        period = PERIOD_S if known is not None and _content(known[0]) else 3.0
        if known is not None and known[2] == mark and now_s - known[1] < period:
            return known[0]
        told = await self._get(asked.ip)
        self._known[key] = (told, now_s, mark)
        return told

    def recheck_s(self, key: str, fraction: float) -> float | None:
        """Return seconds until the next question, ± 20 % by `fraction` in [0, 1)."""
        known = self._known.get(key)
        if known is None:
            return None
        return (PERIOD_S if _content(known[0]) else 3.0) * (0.8 + 0.4 * fraction)

    def forget(self, key: str) -> None:
        """Drop a system that is gone."""
        self._known.pop(key, None)

    async def _get(self, address: str) -> Status | None:
        if self._http is None:
            return None
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{names.PORT_HTTP}{names.PATH_STATUS}"
        try:
            limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with self._http.get(url, timeout=limit) as response:
                return msgspec.json.decode(await response.read(), type=Status)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            _log.info("PADS cannot be asked", address=address, error=type(error).__name__)
            return None


def _content(told: Status | None) -> bool:
    """Tell whether the answer needs no second look soon."""
    if told is None or not told.peers:
        return False
    return all(isinstance(p, dict) and p.get("state") == "alive" for p in told.peers.values())
