"""A line that would repeat is logged once a minute, with how often it was held back (pure)."""

from __future__ import annotations

EVERY_S = 60.0
BOUND = 256  # different lines remembered


class Seldom:
    """Decides for each key whether it may be said now."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._said: dict[str, tuple[float, int]] = {}  # key → when it was said, how often held back since

    def due(self, key: str, now_s: float) -> int | None:
        """Return how often `key` was held back since it was said last; None: hold it back now."""
        at, held = self._said.get(key, (float("-inf"), 0))
        if now_s - at < self._every_s:
            self._said[key] = (at, held + 1)
            return None
        self._said.pop(key, None)
        self._said[key] = (now_s, 0)
        if len(self._said) > BOUND:
            del self._said[next(iter(self._said))]
        return held
