"""SENTIMENT: what a document says, how it fades, and that it says nothing where nothing fresh was written."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import agent_properties as check
from tests.property import markets

from qts_agents.agent import NO_DATA, Reader
from qts_agents.columns import array
from qts_agents.sentiment.agent import Sentiment
from qts_agents.sentiment.headlines import ALL, HOUR_NS, Rows, weigh
from qts_core.spec import SYSTEM
from qts_messaging.messages import SystemCommand

AT = "1970-01-01T{:02}:{:02}:{:02}Z"


def line(minute: float, score: float, symbol: str = ALL) -> bytes:
    second = round(minute * 60)
    time = AT.format(second // 3600, second // 60 % 60, second % 60)
    return msgspec.json.encode({"time": time, "symbol": symbol, "score": score})


def informed(*lines: bytes, **changes: object) -> Sentiment:
    agent = Sentiment(msgspec.convert({"sentiment": {"source": "h.jsonl"} | changes}, SYSTEM))
    assert agent.on_document(b"\n".join(lines), 0) == ""
    return agent


def usual(sign: float = 1.0) -> Sentiment:
    """Return an agent told of every symbol and all together, good and bad, every 11 minutes of 23 hours."""
    symbols = (ALL, "S0", "S1", "S2", "S3", "EURUSD", "FLAT")
    return informed(*(line(m, sign * (m % 9 - 3) / 6, symbols[m % 7]) for m in range(0, 1380, 11)))


def test_it_is_a_reader() -> None:
    """The shell finds the hook by what the agent has."""
    assert isinstance(Sentiment(SYSTEM()), Reader)


def test_by_hand() -> None:
    """Two headlines, one half-life apart: Σw = 1 + ½, Σw·score = 0.8 − 0.1, over 2 + 1.5; p is x shrunk to u."""
    agent = informed(line(601, 0.8, "S0"), line(601 - 24 * 60 / 48, -0.2), half_life_h=0.5)
    opinion = markets.ask(agent, markets.synthetic(1, symbols=1), 600)
    told = dict(zip(opinion.contrib_names, array(opinion.contrib)[0], strict=True))
    assert told["evidence"] == pytest.approx(1.5)
    assert told["score"] == pytest.approx(0.7 / 3.5)
    up, flat, down = array(opinion.p)[0]
    share = array(markets.request(("S0",), 600).flat_share)[0]
    assert up == pytest.approx(0.75 * (1 - share) / 2 + 0.25 * (0.8 / 3 + 0.2))
    assert down == pytest.approx(0.75 * (1 - share) / 2 + 0.25 * 0.8 / 3)
    assert flat == pytest.approx(1 - up - down)


@given(
    times=st.lists(st.integers(0, 200 * HOUR_NS), min_size=1, max_size=30),
    later=st.integers(0, 100 * HOUR_NS),
    half_life=st.floats(0.5, 100.0),
)
@settings(max_examples=200, deadline=None)
def test_weights_fade_by_halves_and_end(times: list[int], later: int, half_life: float) -> None:
    """A half-life later all weights are halved, but for those which came or grew stale meanwhile."""
    now = max(times) + later
    rows = Rows(np.array(sorted(times), dtype=np.int64), np.ones(len(times)))
    score, weight = weigh(rows, now, half_life, 1e6)
    assert score == pytest.approx(weight)
    assert 0.0 <= weight <= len(times)
    assert weigh(rows, now + int(half_life * HOUR_NS), half_life, 1e6)[1] == pytest.approx(
        weight / 2, rel=1e-6
    )
    assert weigh(rows, max(times), half_life, 1.5 / HOUR_NS)[1] == times.count(max(times)), (
        "only what is as new as that"
    )
    assert weigh(rows, min(times) - 1000, half_life, 1e6) == (0.0, 0.0)


def test_what_comes_later_is_not_known_before() -> None:
    """No look-ahead: headlines after the bar that is asked about change nothing."""
    tape, past = markets.synthetic(2), [line(m, 0.5) for m in range(500, 600, 9)]
    a = markets.ask(informed(*past), tape, 600)
    b = markets.ask(informed(*past, line(602, -1.0), line(700, -1.0, "S0")), tape, 600)
    assert check.same(a, b)


def test_without_fresh_headlines_it_abstains_symbol_by_symbol() -> None:
    """Nothing at all, only old ones, only another symbol's: NO_DATA; the others vote."""
    tape = markets.synthetic(3)
    assert (array(markets.ask(informed(), tape, 600).abstain) == NO_DATA).all()
    stale = informed(line(100, 1.0), fresh_h=8.0)
    assert (array(markets.ask(stale, tape, 600).abstain) == NO_DATA).all()
    opinion = markets.ask(informed(line(599, 1.0, "S1")), tape, 600)
    assert array(opinion.abstain).tolist() == [NO_DATA, 0, NO_DATA]
    assert np.isnan(array(opinion.p)[0]).all()
    assert array(opinion.p)[1, 0] > array(opinion.p)[1, 2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (b"{", "line 3: Input data was truncated"),
        (b'{"score": 0.5}', "line 3: Object missing required field `time`"),
        (
            b'{"time": "2017-03-01T12:00:00", "score": 0.5}',
            "line 3: Expected `datetime` with a timezone component",
        ),
        (b'{"time": "yesterday", "score": 0.5}', "line 3: Invalid RFC3339 encoded datetime"),
        (b'{"time": "9999-12-31T00:00:00Z", "score": 0}', "line 3: Expected a time from 1970 to 2255"),
        (b'{"time": "1500-01-01T00:00:00Z", "score": 0}', "line 3: Expected a time from 1970 to 2255"),
        (b'{"time": "2017-03-01T12:00:00Z", "score": 7}', "line 3: Expected `float` <= 1.0 - at `$.score`"),
        (b'{"time": "2017-03-01T12:00:00Z", "score": NaN}', "line 3: JSON is malformed"),
        (b'{"time": "2017-03-01T12:00:00Z", "score": 0, "symbol": "\xff"}', "line 3: "),
        (b"\x00\xff", "line 3: "),
    ],
)
def test_a_wrong_line_is_named_with_its_remedy_and_left_out(wrong: bytes, words: str) -> None:
    """The rest is used; the next document may be right again."""
    agent, good = informed(), line(599, 1.0)
    said = agent.on_document(b"\n".join([good, b"", wrong, good]), 0)
    assert said.startswith(f"h.jsonl: {words}")
    assert (
        'write it like {"time": "2017-03-01T12:00:00Z", "symbol": "EURUSD", "score": -0.4}; it is left out'
        in said
    )
    evidence = array(markets.ask(agent, markets.synthetic(3, symbols=1), 600).contrib)[0, 1]
    assert evidence == pytest.approx(2.0, abs=0.01)
    assert agent.on_document(b"\n".join([wrong, good, wrong]), 0).endswith("; 2 lines are left out")
    assert agent.on_document(good, 0) == ""


@given(document=st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_document_is_too_wrong(document: bytes) -> None:
    """Whatever comes, it is named or used, and the agent can be asked."""
    agent = informed()
    agent.on_document(document, 0)
    assert len(array(markets.ask(agent, TAPE, 600).abstain)) == 1


TAPE = markets.synthetic(3, symbols=1)


def test_a_reset_forgets_what_was_learned_and_not_what_was_read() -> None:
    """Headlines are facts of their days; they hold in the next epoch too."""
    agent, tape = usual(), markets.synthetic(7)
    fresh = markets.ask(agent, tape, 600)
    markets.train(agent, tape, 400, 600)
    assert not check.same(markets.ask(agent, tape, 600), fresh)
    agent.on_message(SystemCommand("reset", {"epoch": "2"}), 0)
    assert check.same(markets.ask(agent, tape, 600), fresh)


def test_negated_scores_on_the_inverted_market_give_the_inverted_answer() -> None:
    """Its mirror is that of the news; prices only say who may vote."""
    tape = markets.eurusd(1000, 900)
    one, other = usual(), usual(-1.0)
    markets.train(one, tape, 400, 800)
    markets.train(other, markets.mirrored(tape), 400, 800)
    for d in (0.0, 1.0, -1.0):
        a, b = markets.ask(one, tape, 800, d), markets.ask(other, markets.mirrored(tape), 800, -d)
        np.testing.assert_allclose(array(a.p), array(b.p)[:, ::-1], rtol=0, atol=1e-12)
        swap = {check.BUY: check.SELL, check.SELL: check.BUY}
        assert array(a.action).tolist() == [swap.get(x, x) for x in array(b.action).tolist()]


def make(**_: object) -> Sentiment:
    return usual()


def test_the_common_properties_hold() -> None:
    """Truncation, units, broken rows, batches, restarts (agents.md §1.7)."""
    tape = markets.synthetic(11)
    check.check_no_look_back(make, tape, 600)
    check.check_scale(make, tape, 600, 1e3, 1e-3)
    check.check_gaps(make, tape, 600)
    check.check_short_gap(make, tape, 600)
    check.check_batch(make, markets.synthetic(5, symbols=4), 600)
    check.check_state(make, markets.synthetic(7))


def test_nothing_is_learned_from_random_outcomes() -> None:
    """No log score better than climatology at the 5 % level."""
    check.check_null(make, markets.synthetic(21, bars=1500), 400, 1200)
