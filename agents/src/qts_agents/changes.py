"""Lines of the log for what changes: how a worker is, and which peers it hears. Nothing while all stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qts_agents.health import Health
from qts_messaging.heartbeat import PERIOD_S, SUSPECT_AFTER, PeerHealth

SILENT_S = SUSPECT_AFTER * PERIOD_S
PAUSED_S = 2.0


class Changes:
    """Remembers what the last lines said."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._said: frozenset[str] = frozenset()  # what was wrong
        self._silent: set[str] = set()
        self._stuck = False
        self._looked_s: float | None = None

    def look(self, health: Health, peers: Mapping[str, PeerHealth], now_s: float) -> None:
        """Say what has changed since the last look; a start and an end have lines of their own."""
        before_s, self._looked_s = self._looked_s, now_s
        if before_s is not None and now_s - before_s > PAUSED_S:
            # whoever slept has heard nobody, which says nothing of the others
            self._log.warning("paused", lag_s=round(now_s - before_s, 1))
            return
        stuck = health.live(now_s)
        if stuck is not None and not self._stuck:
            # with an empty cache kernels compile for as long at each first start
            say = self._log.error if health.warm else self._log.info
            say("stuck", what=stuck, remedy="none is needed if it ends: else the probe restarts it")
        self._stuck = stuck is not None
        if not health.caught_up or health.draining:
            return
        self._own(health)
        for name, peer in peers.items():
            self._peer(name, peer.age_s)

    def _own(self, health: Health) -> None:
        wrong = frozenset((*health.blockers, *health.troubles))
        if wrong == self._said:
            return
        self._said = wrong
        if wrong:
            ready = health.unready() is None
            self._log.warning("degraded", state=health.state(), ready=ready, reasons=health.reasons())
        else:
            self._log.info("recovered", state=health.state())

    def _peer(self, name: str, age_s: float) -> None:
        if age_s >= SILENT_S and name not in self._silent:
            self._silent.add(name)
            self._log.warning("peer_silent", peer=name, age_s=round(age_s, 1))
        elif age_s < SILENT_S and name in self._silent:
            self._silent.remove(name)
            self._log.info("peer_heard", peer=name)
