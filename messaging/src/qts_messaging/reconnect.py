"""When to try again, and which transport a route uses now (pure)."""

from __future__ import annotations

from collections.abc import Sequence

BASE_S, CAP_S = 0.05, 1.0
BACK_AFTER_S = 5.0


class Backoff:
    """Full jitter: sleep = draw * min(1 s, 0.05 s * 2^n); no limit on tries."""

    def __init__(self, base_s: float = BASE_S, cap_s: float = CAP_S) -> None:
        self._base_s, self._cap_s = base_s, cap_s
        self.tries = 0

    def next(self, draw: float) -> float:
        """Return seconds to wait; `draw` in [0, 1)."""
        ceiling = min(self._cap_s, self._base_s * float(2 ** min(self.tries, 20)))
        self.tries += 1
        return draw * ceiling

    def reset(self) -> None:
        """Begin anew after a success."""
        self.tries = 0


class Failover:
    """One route's transports in order of preference; the better one is used again after 5 s of health."""

    def __init__(self, back_after_s: float = BACK_AFTER_S) -> None:
        self._back_ns = int(back_after_s * 1e9)
        self._current = 0
        self.first = True  # the preferred transport is in use
        self._better_since: int | None = None
        self.switches = 0

    def choose(self, up: Sequence[bool], now_ns: int) -> int | None:
        """Return the index of the transport to use; None when all are down."""
        best = next((i for i, ok in enumerate(up) if ok), None)
        if best is None:
            self._better_since = None
            return None
        if not up[self._current]:
            self._switch(best)
        elif best < self._current:
            if self._better_since is None:
                self._better_since = now_ns
            if now_ns - self._better_since >= self._back_ns:
                self._switch(best)
        else:
            self._better_since = None
        return self._current

    def _switch(self, index: int) -> None:
        """Use another transport from now on."""
        if index != self._current:
            self.switches += 1
        self._current, self.first, self._better_since = index, index == 0, None
