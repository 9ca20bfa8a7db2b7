"""What QBMIA thinks before it is asked is what it thinks when it is asked, bit for bit."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import markets as market

from qts_agents.qbmia import foresight
from qts_agents.qbmia.agent import Qbmia
from qts_core.sections import QbmiaSettings
from qts_core.spec import SYSTEM

BARS = range(400, 412)
EXPLAINED = 406
ROWS = st.integers(0, 7)
#: of a bar: rows whose position turns, scores of order events (-1: none any more), whether the answer is to be
#: explained, the horizon, and how many symbols are asked about
STEPS = st.lists(
    st.tuples(
        st.sets(ROWS, max_size=3),
        st.dictionaries(ROWS, st.sampled_from([-1.0, 0.0, 0.6]), max_size=2),
        st.sampled_from([False, False, True]),
        st.sampled_from([30, 30, 30, 12]),
        st.sampled_from([8, 8, 8, 5]),
    ),
    min_size=4,
    max_size=8,
)


def lived(agent: Qbmia, tape: Any, positions: Any, every: int = 1, blind: bool = False) -> list[bytes]:
    """Let an agent live through bars and answer at each `every`-th; `blind`: nothing is foreseen."""
    said = []
    for t in BARS:
        window = market.window(tape, t)
        agent.on_bars(market.update(tape, t), window, market.now(t))
        if (t - BARS.start) % every:
            continue
        if blind:
            agent._foresight = foresight.Foresight()
        request = market.request(tape.symbols, t, positions(t), explain=t == EXPLAINED)
        said.append(msgspec.msgpack.encode(agent.on_request(request, window, market.now(t))))
    return said


@pytest.mark.parametrize(("symbols", "every"), [(1, 1), (3, 2), (40, 1)])
def test_a_foreseen_answer_is_the_answer(monkeypatch, symbols, every):
    """Positions that stay, that change in one symbol, that change in all; one answer is explained."""
    tape, thoughts = market.synthetic(5, symbols=symbols), []
    think = foresight.think

    def counted(scene, *rest):
        thoughts.append(len(scene.side))
        return think(scene, *rest)

    monkeypatch.setattr(foresight, "think", counted)

    def positions(t):
        qty = np.zeros(symbols)
        qty[0] = 1.0 if t in (403, 404, 410) else 0.0
        return -np.ones(symbols) if t == 408 else qty

    plain = lived(Qbmia(SYSTEM()), tape, positions, every, blind=True)
    thoughts.clear()
    assert lived(Qbmia(SYSTEM()), tape, positions, every) == plain
    assert len(thoughts) > len(plain)  # it thought ahead, and anew where it was wrong
    if symbols == 40:
        assert 1 in thoughts  # only the symbol whose position changed


def test_nothing_is_thought_ahead_of_a_question_that_is_not_expected(monkeypatch):
    """Asked at every third bar, an agent thinks at every third bar alone."""
    tape, agent, thoughts = market.synthetic(5, symbols=1), Qbmia(SYSTEM()), []
    think = foresight.think

    def counted(scene, *rest):
        thoughts.append(scene.window.window_seq)
        return think(scene, *rest)

    monkeypatch.setattr(foresight, "think", counted)
    lived(agent, tape, lambda _t: np.zeros(1), every=3)
    assert sorted(set(thoughts)) == [t for t in BARS if (t - BARS.start) % 3 == 0]


def stepped(system: Any, steps: Any, blind: bool) -> list[bytes]:
    """Let an agent live through a bar a step and answer; `blind`: nothing is foreseen."""
    tape, agent, side, said = market.synthetic(6, symbols=8), Qbmia(system), np.zeros(8), []
    for t, (turned, scored, explain, horizon, count) in enumerate(steps, BARS.start):
        for row in turned:
            side[row] = 1.0 - side[row]
        for row, score in scored.items():
            agent._state.findings[f"S{row}"] = ([0.5], score if score >= 0.0 else np.nan)
        window = market.window(tape, t)
        agent.on_bars(market.update(tape, t), window, market.now(t))
        if blind:
            agent._foresight = foresight.Foresight()
        asked = market.request(tape.symbols[:count], t, side[:count], explain=explain, horizon_bars=horizon)
        said.append(msgspec.msgpack.encode(agent.on_request(asked, window, market.now(t))))
    return [*said, agent.save()]


@pytest.mark.parametrize("mode", ["classical", "ewl"])
@given(steps=STEPS)
@settings(max_examples=12, deadline=None)
def test_whatever_changes_before_the_question_is_in_the_answer(mode, steps):
    """Positions, what order events tell, the horizon, whether to explain, who is asked about; in any order."""
    system = SYSTEM(qbmia=QbmiaSettings(nash_mode=mode))
    assert stepped(system, steps, blind=False) == stepped(system, steps, blind=True)
