"""The same market with one part of the board taken out: what is each part worth? (pure)"""

from __future__ import annotations

import msgspec

from qts_agents.pads.tables import base_weights
from qts_core.spec import System

NEVER = 1.0  # a phase's score is a share of four; none reaches all of it


def without(system: System, seat: str) -> System:
    """Return the settings with `seat` empty and its weight shared among the others."""
    weights = base_weights(system.board())
    left = {name: weight for name, weight in weights.items() if name != seat}
    total = sum(left.values())
    board = {name: weight / total for name, weight in left.items()} | {seat: 0.0}  # said, or it is added
    return msgspec.structs.replace(system, board_members=board)


def without_phases(system: System) -> System:
    """Return the settings under which no phase is ever held, so that none moves weights, styles or sizes."""
    return msgspec.structs.replace(
        system, pads=msgspec.structs.replace(system.pads, phase_enter=NEVER, phase_lead=NEVER)
    )


def ablations(system: System) -> dict[str, System]:
    """Return the settings of every ablation by name; a board of two seats can lose none."""
    seats = [seat for seat, weight in base_weights(system.board()).items() if weight > 0.0]
    found = {f"without {seat}": without(system, seat) for seat in seats} if len(seats) > 2 else {}
    found["phases off"] = without_phases(system)
    return found
