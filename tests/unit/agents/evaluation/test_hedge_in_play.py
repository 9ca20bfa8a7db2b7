"""`pads.reputation: hedge` in play: shares follow fixed-share Hedge on what the seats said, and replay to the byte."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.unit.agents.evaluation import stages

from qts_agents.columns import array
from qts_agents.evaluation.track import play
from qts_agents.pads.journal import JournalWriter, entries
from qts_agents.pads.records import OutcomeBody, RoundBody, body
from qts_agents.pads.replay import replay
from qts_agents.pads.tables import MULTIPLIERS, base_weights
from qts_core.spec import System
from qts_messaging.messages import PHASES
from qts_messaging.records import Decision

RATE, SHARE = 0.1, 0.01
BARS = 300


def lived(folder: Path, system: System) -> Path:
    """Let the agents live through 300 real bars; return the journal."""
    writer = JournalWriter(folder)
    try:
        play(system, BARS, stages.source(stages.euro(stages.BACKFILL + BARS)), keep=writer.append)
    finally:
        writer.close()
    return folder


def by_hand(weights: dict[str, float], told: OutcomeBody) -> dict[str, float]:
    """Return Hedge's weights (Freund & Schapire 1997) with a fixed share (Herbster & Warmuth 1998)."""
    scores = array(told.feedback.log_score)[0]
    grown = {
        seat: weight * (np.exp(RATE * score) if np.isfinite(score) else 1.0)
        for (seat, weight), score in zip(weights.items(), scores, strict=True)
    }
    total = sum(grown.values())
    return {seat: (1.0 - SHARE) * x / total + SHARE / len(grown) for seat, x in grown.items()}


def test_weights_follow_fixed_share_and_decisions_replay(tmp_path: Path) -> None:
    """Each round's shares are base weight × phase × Hedge of all outcomes before it."""
    system = stages.settings(pads={"reputation": "hedge"})
    journal = lived(tmp_path / "hedge", system)
    seats = tuple(base_weights(system.board()))
    weights, known, rounds, moved = dict.fromkeys(seats, 1.0 / len(seats)), 0, 0, set()
    for entry in entries(journal):
        if entry.kind == "outcome":
            told = body(entry, OutcomeBody)
            weights, known = by_hand(weights, told), known + 1
            ratios = {seat: weight / max(weights.values()) for seat, weight in weights.items()}
            assert told.reputation == pytest.approx(ratios, rel=1e-12)
        elif entry.kind == "round":
            kept, rounds = body(entry, RoundBody), rounds + 1
            phase = PHASES.index(msgspec.msgpack.decode(kept.decision, type=Decision).phase)
            raw = np.array([kept.weights[s] * MULTIPLIERS[s][phase] * weights[s] for s in seats])
            omega = array(kept.columns["omega"])[0]
            voted = omega > 0.0
            assert voted.sum() >= 4
            assert omega[voted] == pytest.approx((raw / raw.sum())[voted], rel=1e-9)
            moved.add(tuple(np.round(omega, 9)))
    assert known >= rounds - 3 > 20
    assert len(moved) > 10
    told_again = replay(journal)
    assert (told_again.rounds, told_again.equal) == (rounds, rounds)


def test_the_other_way_to_earn_reputation_decides_otherwise(tmp_path: Path) -> None:
    """The same bars by leave-one-out scores: other shares from the first outcome on, equal ones before."""
    kept = {}
    for way in ("score", "hedge"):
        journal = lived(tmp_path / way, stages.settings(pads={"reputation": way}))
        kept[way] = [body(e, RoundBody) for e in entries(journal) if e.kind == "round"]
    pairs = list(zip(kept["score"], kept["hedge"], strict=True))
    equal = [one.decision == other.decision for one, other in pairs]
    assert equal[:3] == [True] * 3
    assert not any(equal[6:])
