"""What a worker's health says of its bus: simulated, without Redis, refused, deaf, or with messages lost."""

from __future__ import annotations

from qts_agents.health import Health
from qts_messaging.bus import Bus

REDIS_GRACE_S = 5.0
#: a Redis at its limit refuses one write and takes the next: nobody is told of each
REFUSED_S = 30.0
LOST_S = 60.0  # what a damaged spool costs is over at once; so long the state is degraded, to be seen
SIMULATED = "messaging is simulated: all agents share one process, no wire is used"


class BusWatch:
    """Remembers when Redis answered last, and what it refused of late."""

    def __init__(self) -> None:
        self._seen_s: float | None = None
        self._refused: dict[str, tuple[str, float]] = {}  # kind → words, when that was so last
        self._lost = ("", 0.0)  # words, since when
        self._away = ("", 0.0)  # words, since when: not another cause at each try

    @property
    def refuses(self) -> dict[str, str]:
        """Return what Redis refused within the last 30 s, and the remedy, by kind."""
        return {kind: words for kind, (words, _) in self._refused.items()}

    @property
    def away(self) -> str:
        """Return why Redis is not reached, in plain words; "" where it is, or nobody knows."""
        return self._away[0]

    def look(self, bus: Bus, health: Health, now_s: float) -> None:
        """Put what is wrong with the bus into `health`, and take out what is over."""
        if self._seen_s is None or bus.redis_reached or bus.mode == "simulated":
            self._seen_s = now_s
        refusals = bus.refusals
        if bus.redis_reached or not self.away or now_s - self._away[1] >= REFUSED_S:
            self._away = ("" if bus.redis_reached else refusals.away, now_s)
        of_late = {kind: told for kind, told in self._refused.items() if now_s - told[1] < REFUSED_S}
        self._refused = of_late | {kind: (words, now_s) for kind, words in refusals.by_redis.items()}
        for reasons in (health.blockers, health.troubles):
            for reason in ("simulated", "redis", "evicts", "deaf", "keys"):
                reasons.pop(reason, None)
        self._spool(bus.lost, health, now_s)
        if bus.mode == "simulated":
            health.troubles["simulated"] = SIMULATED
            return
        self._redis(bus, refusals.redis, health, now_s - self._seen_s)
        if refusals.evicts:
            health.troubles["evicts"] = refusals.evicts
        if refusals.keys.peers:
            health.troubles["keys"] = f"{'; '.join(refusals.keys.peers)}; Redis carries what goes there"
        if bus.deaf:
            health.blockers["deaf"] = "the Redis subscription hears nothing"

    def _redis(self, bus: Bus, refused: str, health: Health, away_s: float) -> None:
        if away_s > REDIS_GRACE_S:
            why = f": {self.away}" if self.away else ""
            health.blockers["redis"] = (
                f"{refused or f'Redis has not answered for {away_s:.0f} s{why}'}; ZeroMQ only"
            )
        elif refused:
            health.troubles["redis"] = f"{refused}; ZeroMQ carries what is live, the spool keeps the rest"
        elif not bus.redis_reached:
            health.troubles["redis"] = "Redis does not answer; ZeroMQ carries everything"

    def _spool(self, lost: str, health: Health, now_s: float) -> None:
        if lost != self._lost[0]:
            self._lost = (lost, now_s)
            health.troubles["spool"] = lost
        elif now_s - self._lost[1] >= LOST_S:
            health.over("spool")
