"""PADS alone holds the phase: who may change it, and why not (agents.md §2.9; pure)."""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import numpy as np

from qts_agents.agent import F8
from qts_agents.pads.cycle import CRISIS, edge_allowed
from qts_agents.pads.tables import RELEASE
from qts_core.sections import PadsSettings
from qts_messaging.messages import PHASES, PhaseTransition

LEAST_SCORE, FRESH_BARS = 0.25, 2
REMEMBERED = 4096
#: rule number → what a proposer reads
RULES: dict[int, str] = {
    0: "accepted",
    1: "rule 1: old_phase is not the held phase",
    2: "rule 2: the edge is not allowed",
    3: "rule 3: our own score of the new phase is below 0.25 and below pads.phase_enter",
    4: "rule 4: the held phase is younger than pads.phase_dwell meso bars",
    5: "rule 5: the evidence is older than 2 bars",
    6: "rule 6: the transition id was used before",
    7: "rule 7: no phase is held, by pads.phases",
}
OFF = 7


class Evidence(msgspec.Struct, frozen=True):
    """What PADS itself knows when it judges a proposal."""

    held: int
    scores: F8  # [4] own meso scores
    crisis: float  # own meso crisis
    dwell: int  # meso bars
    oldest_ns: (
        float  # close of the oldest bar whose evidence is fresh: bars are counted, no pause of the market
    )
    leader: int | None = None  # own detector: what leads, where the step is a detour towards it


class Authority:
    """Judges proposals in the order of the rules and remembers their ids."""

    def __init__(self, settings: PadsSettings) -> None:
        self._settings = settings
        self._seen: OrderedDict[str, None] = OrderedDict()

    def judge(self, proposal: PhaseTransition, known: Evidence) -> int:
        """Return 0 if the proposal is accepted, else the number of the first rule it breaks."""
        fresh = proposal.transition_id not in self._seen
        self._seen[proposal.transition_id] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        checks = (
            proposal.old_phase == PHASES[known.held],
            proposal.new_phase in PHASES
            and edge_allowed(known.held, PHASES.index(proposal.new_phase), known.crisis),
            self._supported(proposal, known),
            known.dwell >= self._settings.phase_dwell or self._crisis_edge(proposal, known),
            proposal.transition_time_ns >= known.oldest_ns,
            fresh,
        )
        return next((number for number, passed in enumerate(checks, start=1) if not passed), 0)

    @staticmethod
    def _crisis_edge(proposal: PhaseTransition, known: Evidence) -> bool:
        return proposal.new_phase == PHASES[RELEASE] and known.crisis > CRISIS

    def _supported(self, proposal: PhaseTransition, known: Evidence) -> bool:
        """Rule 3; a detour of our own detector is supported by the phase it leads to."""
        if self._crisis_edge(proposal, known):
            return True
        if not np.isfinite(known.scores).all() or proposal.new_phase not in PHASES[:4]:
            return False
        target = PHASES.index(proposal.new_phase) if known.leader is None else known.leader
        return bool(known.scores[target] >= min(LEAST_SCORE, self._settings.phase_enter))


def reply(proposal: PhaseTransition, rule: int, known: Evidence) -> PhaseTransition:
    """Return the announcement of an accepted proposal, or its rejection with the rule's number."""
    return msgspec.structs.replace(
        proposal,
        kind="rejection" if rule else "announcement",
        scores=tuple(float(x) for x in known.scores),
        reason=RULES[rule] if rule else proposal.reason,
    )
