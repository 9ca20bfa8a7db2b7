"""A change of password that meets a server which is away for a moment reaches every wire all the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from redis.exceptions import ConnectionError as AwayError

from qts_messaging.rotation import Rotation


class Door:
    """A login that changes once."""

    def __init__(self) -> None:
        self.login, self._fresh = SimpleNamespace(generation=1), SimpleNamespace(generation=2)

    async def renew(self) -> bool:
        """Take the new login up, the first time."""
        changed, self.login = self.login != self._fresh, self._fresh
        return changed


class Wire:
    """A wire that may find the server away."""

    def __init__(self, *away: bool) -> None:
        self._away, self.renewed = list(away), 0

    async def renew(self) -> None:
        """Log in anew."""
        if self._away and self._away.pop(0):
            raise AwayError("away")
        self.renewed += 1


async def test_a_wire_that_could_not_log_in_anew_is_tried_again() -> None:
    """Until then the former generation is told: the operator drops its password when nobody uses it."""
    wires = Wire(True, False), Wire()
    options: Any = SimpleNamespace(secrets=None, name="qbmia")
    direct: Any = SimpleNamespace()
    door: Any = Door()
    rotation = Rotation(options, None, direct, door, *wires)
    assert not await rotation._renewed()
    assert rotation.generations() == {"redis": 1}
    assert await rotation._renewed()
    assert [wire.renewed for wire in wires] == [1, 1]
    assert rotation.generations() == {"redis": 2}
