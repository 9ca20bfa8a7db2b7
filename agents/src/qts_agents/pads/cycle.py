"""The held phase of one scale: hysteresis, dwell, allowed edges (agents.md §3; pure)."""

from __future__ import annotations

import msgspec
import numpy as np

from qts_agents.agent import F8
from qts_agents.pads.tables import CONSERVATION, GROWTH, RELEASE, REORGANIZATION, UNKNOWN
from qts_core.sections import PadsSettings
from qts_messaging.messages import PHASES

#: the one way round: growth → conservation → release → reorganization → growth
NEXT: dict[int, int] = {
    GROWTH: CONSERVATION,
    CONSERVATION: RELEASE,
    RELEASE: REORGANIZATION,
    REORGANIZATION: GROWTH,
}
CRISIS = 0.7


def edge_allowed(old: int, new: int, crisis: float) -> bool:
    """Tell whether a phase may follow: the next one, release in a crisis, any after unknown."""
    if old == new:
        return False
    return old == UNKNOWN or NEXT[old] == new or (new == RELEASE and crisis > CRISIS)


class Candidate(msgspec.Struct, frozen=True):
    """A change the detector wants."""

    new: int
    leader: int  # the phase that leads; differs from `new` on a detour along the cycle
    crisis: bool = False


class Cycle:
    """Held phase and what leads against it, one step a bar of its scale."""

    def __init__(self, settings: PadsSettings) -> None:
        self._settings = settings
        self.held = UNKNOWN
        self.dwell = 0
        self.leader = UNKNOWN
        self.led = 0
        self.changed_at: list[int] = []
        self.bars = 0

    def step(self, scores: F8, crisis: float) -> Candidate | None:
        """Take the system scores [4] of a new bar; return the change that hysteresis admits.

        A crisis needs no scores: they may be unknown when it breaks out.
        """
        known = bool(np.isfinite(scores).all())
        if known:
            self._count(int(np.argmax(scores)))
        if not self._settings.phases:
            return None
        if self.held not in (RELEASE, UNKNOWN) and crisis > CRISIS:
            return Candidate(RELEASE, RELEASE, crisis=True)
        if not known or self.leader == self.held or self.dwell < self._settings.phase_dwell:
            return None
        return self._confirmed(scores, self.leader, crisis)

    def _count(self, leader: int) -> None:
        self.bars += 1
        self.dwell += 1
        self.led = self.led + 1 if leader == self.leader else 1
        self.leader = leader

    def _confirmed(self, scores: F8, leader: int, crisis: float) -> Candidate | None:
        """Return the change to the leader, or one edge towards it where there is none."""
        known = self.held != UNKNOWN
        if known and not edge_allowed(self.held, leader, crisis):
            return Candidate(NEXT[self.held], leader) if self.led >= self._settings.phase_detour else None
        held = float(scores[self.held]) if known else -np.inf
        clear = scores[leader] >= self._settings.phase_enter and (
            scores[leader] >= held + self._settings.phase_lead
        )
        return Candidate(leader, leader) if clear and self.led >= self._settings.phase_confirm else None

    def commit(self, new: int) -> None:
        """Hold `new` from now on."""
        self.held = new
        self.dwell = 0
        self.changed_at = [bar for bar in self.changed_at if bar > self.bars - 50] + [self.bars]

    def changes(self) -> int:
        """Return the number of changes in the last 50 bars."""
        return sum(1 for bar in self.changed_at if bar > self.bars - 50)

    @property
    def name(self) -> str:
        """Return the name of the held phase."""
        return PHASES[self.held]
