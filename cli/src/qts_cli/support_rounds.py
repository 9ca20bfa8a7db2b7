"""What the kept rounds of a bundle tell: how many and why, who did not answer, who took longest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from qts_core import names
from qts_core.probes import KeptRound, KeptRounds

FOLDER = f"{names.PATH_KEPT[1:]}/"
ASKED, HEARD, WORKED = "send requests ", "process votes ", "evaluate "


def told(held: dict[str, Any], made: float) -> list[str]:
    """Return what there is to say at `made` (s since 1970); nothing where no round was kept."""
    answers = [_read(value) for name, value in held.items() if name.startswith(FOLDER)]
    rounds = [each for answer in answers for each in answer.rounds if each.why]  # as PADS tells them
    if not rounds:
        return []
    reasons = ", ".join(f"{n} {why}" for why, n in Counter(each.why for each in rounds).most_common())
    newest_ns = max((part.start_ns for each in rounds for part in each.stages), default=made * 1e9)
    silent = Counter(wire for each in rounds for wire in _silent(each))
    return [
        f"rounds kept by PADS: {reasons}; the newest {max(0.0, made - newest_ns / 1e9):.0f} s before",
        *(f"  no answer of {wire} in {n} of {len(rounds)}" for wire, n in silent.most_common()),
        *_longest(answers, {each.trace_id for each in rounds}),
    ]


def _read(answer: Any) -> KeptRounds:
    """Return what a process answered; nothing where it is another version's."""
    try:
        return msgspec.convert(answer, KeptRounds)
    except msgspec.ValidationError:
        return KeptRounds("", ())


def _silent(kept: KeptRound) -> list[str]:
    """Return who was asked and not heard."""
    stages = [part.stage for part in kept.stages]
    heard = {stage.removeprefix(HEARD) for stage in stages if stage.startswith(HEARD)}
    asked = [stage.removeprefix(ASKED) for stage in stages if stage.startswith(ASKED)]
    return [wire for wire in asked if wire not in heard]


def _longest(answers: list[KeptRounds], traces: set[str]) -> list[str]:
    """Return the longest work of an agent in one of these rounds."""
    work = [
        (part.duration_s, part.stage.removeprefix(WORKED), each.round_id)
        for answer in answers
        for each in answer.rounds
        for part in each.stages
        if each.trace_id in traces and part.stage.startswith(WORKED)
    ]
    if not work:
        return []
    took_s, name, round_id = max(work)
    return [f"  the longest work: {took_s:.3f} s of {name} in round {round_id}"]
