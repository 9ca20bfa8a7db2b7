"""How far a change of keys or passwords has come: stage by stage, kept on the Secret itself. Pure."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from qts_core import names

SETTLED = "Settled"
#: what helps when content is gone that pods still use
REMEDY = (
    "put it back as it was; or suspend the system, delete the Secret and the pod of Redis, and resume when "
    "the operator has made it anew"
)
#: the stages of a change, in order; each begins with one write of the Secret
PHASES: dict[str, tuple[str, ...]] = {
    names.CURVE_SECRET: ("Accepting", "Using"),
    names.REDIS_SECRET: ("Accepting", "Using", "Dropping"),
}
_ALL = frozenset(phase for phases in PHASES.values() for phase in phases)


class Stage(msgspec.Struct, frozen=True):
    """The generation that is in use or on its way in, and where it stands."""

    generation: int = 1
    phase: str = SETTLED

    @property
    def settled(self) -> bool:
        """Tell whether only one generation is valid."""
        return self.phase == SETTLED

    def text(self) -> str:
        """Return what is written on the Secret."""
        return str(self.generation) if self.settled else f"{self.generation} {self.phase}"


@lru_cache(1024)
def read(text: str) -> Stage:
    """Read what is written on a Secret; nothing, or what somebody broke, is the first generation."""
    number, _, phase = text.partition(" ")
    if not (number.isascii() and number.isdigit() and int(number) > 0) or (phase and phase not in _ALL):
        return Stage()
    return Stage(int(number), phase or SETTLED)


def after(part: str, stage: Stage) -> Stage:
    """Return the stage that follows one that is under way."""
    phases = (*PHASES[part], SETTLED)
    return Stage(stage.generation, phases[phases.index(stage.phase) + 1])
