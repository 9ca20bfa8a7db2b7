"""The same market with one part of the board taken out or weighed otherwise: what is each worth? (pure)"""

from __future__ import annotations

from typing import Literal

import msgspec

from qts_agents.pads.tables import base_weights
from qts_core.spec import System


def without(system: System, seat: str) -> System:
    """Return the settings with `seat` empty and its weight shared among the others."""
    weights = base_weights(system.board())
    left = {name: weight for name, weight in weights.items() if name != seat}
    total = sum(left.values())
    board = {name: weight / total for name, weight in left.items()} | {seat: 0.0}  # said, or it is added
    return msgspec.structs.replace(system, board_members=board)


def without_phases(system: System) -> System:
    """Return the settings under which no phase is ever held, so that none moves weights, styles or sizes."""
    return msgspec.structs.replace(system, pads=msgspec.structs.replace(system.pads, phases=False))


def equal_weights(system: System) -> System:
    """Return the settings under which every seat that has a weight has the same, whatever its record says."""
    held = [seat for seat, weight in base_weights(system.board()).items() if weight > 0.0]
    board = dict.fromkeys(base_weights(system.board()), 0.0) | dict.fromkeys(held, 1.0 / len(held))
    pads = msgspec.structs.replace(system.pads, reputation="score", reputation_rate=0.0)
    return msgspec.structs.replace(system, board_members=board, pads=pads)


def other_reputation(system: System) -> tuple[str, System]:
    """Return name and settings of the way to earn reputation that these settings do not choose."""
    mode: Literal["score", "hedge"] = "score" if system.pads.reputation == "hedge" else "hedge"
    pads = msgspec.structs.replace(system.pads, reputation=mode)
    return f"reputation by {mode}", msgspec.structs.replace(system, pads=pads)


def other_representation(system: System) -> tuple[str, System]:
    """Return name and settings under which QUASAR sees its states the way that these do not choose."""
    form: Literal["table", "tiles"] = "table" if system.quasar.representation == "tiles" else "tiles"
    quasar = msgspec.structs.replace(system.quasar, representation=form)
    return f"quasar by {form}", msgspec.structs.replace(system, quasar=quasar)


def ablations(system: System) -> dict[str, System]:
    """Return the settings of every ablation by name; a board of two seats can lose none."""
    seats = [seat for seat, weight in base_weights(system.board()).items() if weight > 0.0]
    found = {f"without {seat}": without(system, seat) for seat in seats} if len(seats) > 2 else {}
    found["equal weights"] = equal_weights(system)
    for name, settings in (other_reputation(system), other_representation(system)):
        found[name] = settings
    return found | {"phases off": without_phases(system)}
