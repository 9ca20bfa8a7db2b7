"""What a voter works out before it is asked is what it says when asked, byte for byte."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from tests.property import markets as market

from qts_agents.amos.agent import Amos
from qts_agents.newest import Ahead
from qts_agents.qbmia.agent import Qbmia
from qts_agents.qbmia.foresight import Foresight
from qts_agents.quasar.agent import Quasar
from qts_core.spec import SYSTEM
from qts_messaging.messages import SystemCommand

BARS = range(400, 460)
PLACES = {Amos: "_ahead", Quasar: "_ahead", Qbmia: "_recalled"}
MAKES = {Amos: "_form", Quasar: "_look", Qbmia: "_recall"}


def firm(tape: Any, t: int) -> Any:
    """Return a window that nobody can write into, as a shell's ring gives it."""
    window = market.window(tape, t)
    for values in (window.valid, window.spread):
        values.setflags(write=False)
    return window


def lived(
    agent: Any, tape: Any, *, blind: bool = False, in_step: bool = False, every: int = 1
) -> list[bytes]:
    """Live through bars and answer; outcomes come after the answer, or `in_step` before the question."""
    said = []
    for t in BARS:
        window = firm(tape, t)
        agent.on_bars(market.update(tape, t), window, market.now(t))
        if in_step and t >= BARS.start + market.HORIZON:
            agent.on_feedback(market.feedback(tape, t - market.HORIZON), market.now(t))
        if (t - BARS.start) % every == 0:
            if blind:
                setattr(agent, PLACES[type(agent)], Ahead())
            phase = "growth" if t < BARS.start + 45 else "release"
            side = 1.0 if t % 7 == 0 else 0.0
            asked = market.request(tape.symbols, t, side, phase=phase, explain=t % 10 == 0)
            said.append(msgspec.msgpack.encode(agent.on_request(asked, window, market.now(t))))
        if not in_step and t >= BARS.start + market.HORIZON:
            agent.on_feedback(market.feedback(tape, t - market.HORIZON), market.now(t))
    return said


def counted(monkeypatch: pytest.MonkeyPatch, kind: type) -> list[int]:
    """Return a list that grows with each time the answer's ground is worked out."""
    times: list[int] = []
    inner = getattr(kind, MAKES[kind])

    def make(self: Any, window: Any, *rest: Any) -> Any:
        times.append(window.window_seq)
        return inner(self, window, *rest)

    monkeypatch.setattr(kind, MAKES[kind], make)
    return times


@pytest.mark.parametrize("in_step", [False, True])
@pytest.mark.parametrize("kind", [Amos, Quasar, Qbmia])
def test_an_answer_worked_out_ahead_is_the_answer(kind, in_step):
    """Whatever is learned between, and where phase and position change."""
    tape = market.synthetic(7, symbols=3)
    plain = lived(kind(SYSTEM()), tape, blind=True, in_step=in_step)
    assert lived(kind(SYSTEM()), tape, in_step=in_step) == plain


@pytest.mark.parametrize("how", ["reset", "load"])
@pytest.mark.parametrize("kind", [Amos, Quasar, Qbmia])
def test_what_another_memory_worked_out_is_not_said(kind, how):
    """Between a bar and its question all is forgotten, or another's state is loaded that learned as often."""
    tape, elsewhere = market.synthetic(7, symbols=3), market.synthetic(8, symbols=3)
    told = {}
    for change in (False, True):
        for blind in (False, True):
            agent, other = kind(SYSTEM()), kind(SYSTEM())
            lived(agent, tape)
            t, window = BARS.stop, firm(tape, BARS.stop)
            agent.on_bars(market.update(tape, t), window, market.now(t))
            if change and how == "reset":
                agent.on_message(SystemCommand("reset"), market.now(t))
            elif change:
                lived(other, elsewhere)
                agent.load(other.save())
            if blind:
                setattr(agent, PLACES[kind], Ahead())
                agent._foresight = Foresight()
            asked = market.request(tape.symbols, t, phase="release", explain=False)
            answer = agent.on_request(asked, window, market.now(t))
            told[change, blind] = msgspec.msgpack.encode(answer), agent.save()
    assert told[True, False] == told[True, True] != told[False, False] == told[False, True]


@pytest.mark.parametrize("kind", [Amos, Quasar, Qbmia])
def test_it_is_worked_out_once_and_before_the_question(monkeypatch, kind):
    """Out of step nothing is learned between a bar and its question: only another phase costs it anew."""
    tape, times = market.synthetic(7, symbols=3), counted(monkeypatch, kind)
    lived(kind(SYSTEM()), tape)
    twice = {t for t in times if times.count(t) > 1}
    assert set(times) == set(BARS)
    assert twice == (set() if kind is Amos else {BARS.start + 45})


@pytest.mark.parametrize("kind", [Amos, Quasar, Qbmia])
def test_it_is_not_worked_out_where_that_is_of_no_use(monkeypatch, kind):
    """In step with the feed each outcome comes between; and asked at every third bar, two are left alone."""
    tape, times = market.synthetic(7, symbols=3), counted(monkeypatch, kind)
    lived(kind(SYSTEM()), tape, in_step=True)
    late = [t for t in times if t > BARS.start + market.HORIZON]
    assert len(late) == len(set(late))
    times.clear()
    lived(kind(SYSTEM()), tape, every=3)
    assert set(times) == {t for t in BARS if (t - BARS.start) % 3 == 0}


def test_a_window_that_may_change_is_not_relied_on():
    """Who can write into the bars may do so before the question."""
    tape, ahead = market.synthetic(7, symbols=1), Ahead[int]()
    window = firm(tape, 400)
    ahead.of(window, 0, lambda: 0)
    ahead.of(msgspec.structs.replace(window, window_seq=401), 0, lambda: 0)
    loose = msgspec.structs.replace(window, window_seq=402, close=np.array(window.close))
    ahead.prepare(loose, 0, lambda: 1)
    assert ahead.of(loose, 0, lambda: 2) == 2
    closed = msgspec.structs.replace(window, window_seq=403)
    ahead.prepare(closed, 0, lambda: 1)
    assert ahead.of(closed, 0, lambda: 2) == 1
