"""Own-write guard: a key is not looked at again before the cache has seen what we wrote last."""

from __future__ import annotations

from collections.abc import Callable

LIMIT_S = 5.0
Object = tuple[str, str, str]  # kind, namespace, name


class Expectations:
    """Versions of our own writes that the watch has not shown yet."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[Object, tuple[str, float]]] = {}

    def note(self, key: str, item: Object, version: str, now: float) -> None:
        """Remember that the write of `item` for `key` was answered with `version`."""
        self._notes.setdefault(key, {})[item] = (version, now)

    def forget(self, key: str) -> None:
        """Drop all notes of a key."""
        self._notes.pop(key, None)

    def pending(self, key: str, seen: Callable[[Object], str | None], now: float) -> list[Object]:
        """Return what is still unseen; what is older than the limit is dropped and must be read."""
        notes = self._notes.get(key, {})
        for item, (version, _) in list(notes.items()):
            if not_older(seen(item), version):
                del notes[item]
        if not notes:
            self._notes.pop(key, None)
        return [item for item, (_, at) in notes.items() if now - at < LIMIT_S]

    def overdue(self, key: str, now: float) -> list[Object]:
        """Return and forget what the watch did not show in time."""
        notes = self._notes.get(key, {})
        late = [item for item, (_, at) in notes.items() if now - at >= LIMIT_S]
        for item in late:
            del notes[item]
        return late


def not_older(seen: str | None, version: str) -> bool:
    """Tell whether `seen` is `version` or younger; opaque versions must be equal."""
    if seen is None:
        return False
    if seen.isdigit() and version.isdigit():
        return int(seen) >= int(version)
    return seen == version
