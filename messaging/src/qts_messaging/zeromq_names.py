"""Whom the name of a peer leads to: several processes may stand behind it, of which one works and listens."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from qts_messaging.ending import end, for_ever
from qts_messaging.zeromq_sockets import Line

LOOK_S = 0.5


class Seeker:
    """Leads each line to the next endpoint behind its peer's name until somebody answers there.

    libzmq would look a name up itself, but take the first address alone, and let all its sockets wait for it.
    """

    def __init__(self, addresses: dict[str, str], lines: dict[str, list[Line]]) -> None:
        self._addresses, self._lines = addresses, lines
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look names up, twice a second; addresses of numbers alone need no looking."""
        if not all(map(literal, self._addresses.values())):
            self._task = asyncio.create_task(for_ever(self._run))

    async def close(self) -> None:
        """End."""
        await end(() if self._task is None else (self._task,))

    def dial(self, line: Line) -> None:
        """Dial a new line's peer; one with a name is dialled once that has been looked up."""
        address = self._addresses[line.peer]
        if literal(address):
            redial(line, address)

    async def _run(self) -> None:
        while True:
            for peer, address in self._addresses.items():
                if not literal(address):
                    await self._seek(peer, address)
            await asyncio.sleep(LOOK_S)

    async def _seek(self, peer: str, address: str) -> None:
        """Move the lines to one peer on that nobody answers."""
        if all(line.answered for line in self._lines.get(peer, ())):
            return
        endpoints = await resolve(address)
        for line in self._lines.get(peer, ()):
            if endpoints and not line.answered:
                redial(line, following(endpoints, line.endpoint))


def literal(address: str) -> bool:
    """Tell whether `address` names a host by its number, so that there is nothing to look up."""
    try:
        ipaddress.ip_address(urlsplit(address).hostname or "")
    except ValueError:
        return False
    return True


async def resolve(address: str) -> list[str]:
    """Return every endpoint behind tcp://name:port, in a steady order; [] while the name is not known."""
    parts, loop = urlsplit(address), asyncio.get_running_loop()
    host, port = parts.hostname or "", parts.port or 0
    try:
        found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({f"tcp://{where[0]!s}:{port}" for *_, where in found})


def following(endpoints: list[str], current: str) -> str:
    """Return the endpoint to try after `current`, where nobody answers."""
    place = endpoints.index(current) + 1 if current in endpoints else 0
    return endpoints[place % len(endpoints)]


def redial(line: Line, endpoint: str) -> None:
    """Dial another endpoint with the same socket."""
    if endpoint == line.endpoint:
        return
    if line.endpoint:
        line.socket.disconnect(line.endpoint)
        line.left = line.endpoint
    line.socket.connect(endpoint)
    line.endpoint = endpoint
