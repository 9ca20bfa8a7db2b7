"""QUASAR learns a longer record before the market's first bar, and nothing of it that a decision is judged by."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tests.property import markets

from qts_agents.market.datasets import load_dataset
from qts_agents.quasar import lessons
from qts_agents.quasar.agent import Quasar
from qts_agents.quasar.tape import History
from qts_core.errors import ConfigError
from qts_core.sections import QuasarSettings
from qts_core.spec import SYSTEM

RECORD = load_dataset("eurusd_1h")
LEARNED = 200
BEFORE = int(RECORD.close_ns[lessons.NEEDED_BARS - 1 + LEARNED])


def learner():
    """Return a fresh table."""
    return Quasar(SYSTEM())._state.learner


def test_every_bar_before_the_market_teaches_and_none_after() -> None:
    """Deleting the rest of the record changes nothing."""
    whole, cut = learner(), learner()
    assert lessons.teach(whole, RECORD, BEFORE) == LEARNED
    at = int(np.searchsorted(RECORD.close_ns, BEFORE))
    assert lessons.teach(cut, RECORD.part(0, at), BEFORE) == LEARNED
    np.testing.assert_array_equal(whole.Q, cut.Q)
    assert whole.N.sum() == 0.0  # no episode yet: 256 bars are needed
    assert lessons.teach(learner(), RECORD, int(RECORD.close_ns[0])) == 0


def test_the_agent_begins_where_the_lessons_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table has been visited and holds no bar of the record; a kept state and a second bar teach nothing."""
    start = 700
    tape = markets.eurusd(start, 420)
    plain = Quasar(SYSTEM())
    asked: list[int] = []

    def teach(table, record, before_ns):
        asked.append(before_ns)
        return lessons_teach(table, record, int(record.close_ns[start]))

    lessons_teach = lessons.teach
    monkeypatch.setattr(lessons, "teach", teach)
    taught = Quasar(SYSTEM(quasar=QuasarSettings(pretrain="eurusd_1h")))
    for t in (398, 399):
        for agent in (plain, taught):
            window = markets.window(tape, t)
            agent.on_bars(markets.update(tape, t), window, markets.now(t))
    assert asked == [int(markets.window(tape, 398).close_ns[0])]
    assert plain._state.learner.episodes == 0
    assert taught._state.learner.episodes > 0
    assert taught._state.learner.history.count == plain._state.learner.history.count == 2
    again = Quasar(SYSTEM(quasar=QuasarSettings(pretrain="eurusd_1h")))
    again.load(taught.save())
    again.on_bars(markets.update(tape, 400), markets.window(tape, 400), markets.now(400))
    assert len(asked) == 1


def test_lessons_are_taken_once_where_the_market_is_young(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars too few to learn from end the time of lessons too."""
    tape, asked = markets.synthetic(3, symbols=1), []
    monkeypatch.setattr(lessons, "teach", lambda *_: asked.append(1))
    agent = Quasar(SYSTEM(quasar=QuasarSettings(pretrain="eurusd_1h")))
    for t in (0, 1, 100):
        agent.on_bars(markets.update(tape, t), markets.window(tape, t), markets.now(t))
    assert asked == [1]


def test_the_record_of_bars_is_empty_after_the_lessons() -> None:
    table = learner()
    lessons.teach(table, RECORD, BEFORE)
    assert table.history.count == History().count == 0


def test_a_file_teaches_like_a_packaged_set(tmp_path) -> None:
    """The same bars from a CSV file."""
    path = tmp_path / "hours.csv"
    few = RECORD.part(0, 340)
    prices = np.stack([getattr(few, name)[0] for name in ("open", "high", "low", "close", "volume")], axis=1)
    stamps = np.asarray(few.close_ns).astype("datetime64[ns]")
    lines = [",".join([f"{stamp}Z", *map(str, row)]) for stamp, row in zip(stamps, prices, strict=True)]
    path.write_text("\n".join(["ts,open,high,low,close,volume", *lines]) + "\n")
    told = lessons.load(str(path))
    assert told is not None
    np.testing.assert_array_equal(told.close, few.close)
    np.testing.assert_array_equal(told.close_ns, few.close_ns)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eurusd_1hh", r'quasar\.pretrain: found "eurusd_1hh".*did you mean "eurusd_1h"'),
        ("/nowhere/bars.csv", r"no such file; check quasar\.pretrain"),
        ("./bars.txt", r"extension '\.txt'"),
    ],
)
def test_a_record_that_is_not_there_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Quasar(SYSTEM(quasar=QuasarSettings(pretrain=name)))


def test_a_rehearsal_takes_no_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warming up is for compiling; the record is read once."""
    read: list[str | None] = []
    monkeypatch.setattr(lessons, "load", read.append)
    agent = Quasar(SYSTEM(quasar=QuasarSettings(pretrain="eurusd_1h")))
    monkeypatch.setattr("qts_agents.rehearsal.rehearse", lambda voter, learn_bars: None)
    agent.warm_up()
    assert read == ["eurusd_1h", None]
    assert msgspec.structs.asdict(QuasarSettings())["pretrain"] is None
