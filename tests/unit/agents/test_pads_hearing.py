"""Which opinions of voters PADS hears, and why it refuses the others."""

import msgspec
import numpy as np
import pytest
from tests.unit.agents.pads_script import (
    UP,
    Script,
    always,
    opinion,
    system,
    walk,
)

from qts_agents.pads.actions import Answer
from qts_agents.pads.hearing import hear
from qts_agents.pads.records import Answers, body, decode


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"round_id": "other"}, "round other"),
        ({"p": opinion("r", "x", [UP, UP]).p}, "shape"),
        ({"actions": ("BUY", "DANCE", "HOLD")}, "DANCE"),
    ],
)
def test_a_broken_opinion_is_refused_with_the_reason(change, why):
    """Wrong round, wrong shape, unknown action: no vote, and the reason names it."""
    broken = msgspec.structs.replace(opinion("r", "qbmia", [UP]), **change)
    made, refused = hear("r", (Answer("qbmia", broken),), 1, np.zeros(1))
    assert not made.voted.any()
    assert why in refused["qbmia"] or "not in" in refused["qbmia"]


def test_a_refused_opinion_is_written_down_with_the_reason():
    """The journal says why, and replays; who is heard or silent keeps the record it had."""
    script = Script(system(), always(UP))
    plain = script.answers

    def answers(ask):
        said = plain(ask)
        broken = msgspec.structs.replace(said[0].opinion, round_id="other")
        return (
            msgspec.structs.replace(said[0], opinion=broken),
            *said[1:-1],
            Answer(said[-1].peer, None, "dead"),
        )

    script.answers = answers
    script.bars(walk(331), 330)
    kept = [body(e, Answers) for e in map(decode, script.records) if e.kind == "answers"][-1]
    assert [a.reason for a in kept.answers] == ["invalid: it answers round other", "", "dead"]
    assert kept.answers[0].opinion is not None
    assert script.pads.refused == {kept.answers[0].peer: kept.answers[0].reason, kept.answers[2].peer: "dead"}


def test_rows_that_are_no_distribution_do_not_vote():
    """Negative, unnormalised and half-known rows are left out; an action alone is read by the belief map."""
    rows = [[0.5, 0.6, -0.1], [0.5, 0.5, 0.5], [0.5, np.nan, 0.5], [np.nan] * 3, UP]
    said = opinion("r", "qbmia", rows, action=0)
    made, _ = hear("r", (Answer("qbmia", said),), 5, np.zeros(5))
    assert made.voted[:, 0].tolist() == [False, False, False, True, True]
    assert pytest.approx(made.p[3, 0].tolist()) == [0.4, 0.3, 0.3]


def test_action_needs_position_is_a_mark_only():
    """Bit 1024 does not silence a row, any other bit does."""
    for bits, votes in ((1024, True), (1024 | 4, False), (32, False)):
        said = opinion("r", "qbmia", [UP], abstain=bits)
        made, _ = hear("r", (Answer("qbmia", said),), 1, np.zeros(1))
        assert votes == made.voted[0, 0]
