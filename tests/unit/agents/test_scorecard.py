"""What the running board publishes of its forecasts: kept, scored and shown as `qts evaluate` would."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.agents import pads_script
from tests.unit.agents.evaluation import stages

from qts_agents import calibration
from qts_agents.columns import array
from qts_agents.evaluation import equity, report
from qts_agents.evaluation.stage import Stage
from qts_agents.evaluation.track import BOARD, play
from qts_agents.metrics import Metrics
from qts_agents.opinions import climatology
from qts_agents.pads import kept
from qts_agents.pads.scorecard import Scorecard, Scores, scores
from qts_agents.scoring import Scoring
from qts_messaging.messages import PerformanceFeedback

SEATS = ("a", "b")


def waiting(draw: np.random.Generator, S: int) -> Any:
    """Return a decision about S symbols; seat b is silent about one row in three."""
    pi = draw.dirichlet((1.0, 1.0, 1.0), (S, 2))
    pi[draw.random(S) < 1 / 3, 1] = np.nan
    flat = draw.random(S)
    return SimpleNamespace(pi=pi, p=draw.dirichlet((1.0, 1.0, 1.0), S), prior=climatology(flat))


@pytest.mark.parametrize("sizes", [[3] * 40, [700] * 9, [12_000, 5, 4_999]])
def test_the_ring_holds_the_newest_resolved_rows(sizes: list[int]) -> None:
    """Against a list of all rows: unresolved ones are left out, those before the last 5,000 forgotten."""
    draw, card = np.random.default_rng(7), Scorecard(SEATS)
    p, flat, y = np.empty((0, 3, 3)), np.empty(0), np.empty(0, dtype=np.uint8)
    for S in sizes:
        w, outcome = waiting(draw, S), draw.choice(np.array([0, 1, 2, 255], dtype=np.uint8), S)
        card.learn(w, outcome)
        known = outcome != 255
        p = np.concatenate([p, np.concatenate([w.pi, w.p[:, None]], axis=1)[known]])
        flat = np.concatenate([flat, w.prior[known, 1]])
        y = np.concatenate([y, outcome[known]])
    rows = card.rows()
    assert rows.resolved == y.size
    assert len(rows.y) == min(5_000, y.size)
    np.testing.assert_array_equal(rows.p, p[-5_000:].astype(np.float32))
    np.testing.assert_array_equal(rows.flat, flat[-5_000:])
    np.testing.assert_array_equal(rows.y, y[-5_000:])
    again = Scorecard.unpack(card.pack())
    for one in (card, again):
        one.learn(waiting(np.random.default_rng(1), 11), np.zeros(11, dtype=np.uint8))
    for one, other in zip(card.pack(), again.pack(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_is_scored_beside_the_climatology_on_its_own_rows() -> None:
    """A seat that is silent on some rows is compared with u on the others; one that never spoke is absent."""
    draw, card = np.random.default_rng(3), Scorecard((*SEATS, "mute"))
    w = waiting(draw, 400)
    w.pi = np.concatenate([w.pi, np.full((400, 1, 3), np.nan)], axis=1)
    outcome = draw.integers(0, 3, 400).astype(np.uint8)
    card.learn(w, outcome)
    found = scores(card.rows()).forecasters
    assert list(found) == ["a", "b", "board"]
    spoke = np.isfinite(w.pi[:, 1]).all(axis=1)
    assert found["b"].rows == spoke.sum() < 400 == found["a"].rows
    base = calibration.quality(w.prior[spoke], outcome[spoke].astype(int))
    assert found["b"].base.log_score == pytest.approx(base.log_score, abs=1e-12)
    own = calibration.quality(w.pi[spoke, 1], outcome[spoke].astype(int))
    assert found["b"].own.brier.reliability == pytest.approx(own.brier.reliability, abs=1e-6)
    assert [len(table) for table in found["a"].own.diagram.values()] == [calibration.BINS] * 3
    assert {row.n for row in found["a"].own.diagram["up"]} == {40}


def test_the_running_board_publishes_what_an_evaluation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same market, bar by bar: rows, scores and tables of agents and board agree."""
    stages_made: list[Stage] = []

    class Kept(Stage):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            stages_made.append(self)

    monkeypatch.setattr("qts_agents.evaluation.track.Stage", Kept)
    played = play(stages.settings(), source=stages.source(stages.euro(stages.BACKFILL + 260)))
    rows = stages_made[0]._pads.scored()
    assert rows is not None
    running = scores(rows).forecasters
    hold = equity.performance(equity.board_curve(played), equity.bars_a_year(played.tape), [])
    seats = {BOARD: "board", "qbmia": "qar", "quasar": "qstar", "quantum_amos": "antifragility"}
    for name, seat in seats.items():
        said = report.forecaster(played, name, 0.05, [], hold)
        ours = running[seat]
        assert said.rows == ours.rows > 10
        assert ours.own.log_score == pytest.approx(said.log_score, abs=1e-6)
        assert ours.base.log_score == pytest.approx(said.base_log_score, abs=1e-12)
        assert ours.base.brier.brier == pytest.approx(said.base_brier, abs=1e-12)
        assert ours.own.brier.resolution == pytest.approx(said.brier.resolution, abs=1e-6)
        for side, table in said.diagram.items():
            assert [row.n for row in ours.own.diagram[side]] == [row.n for row in table]


def test_a_restart_keeps_the_rows_and_a_reset_forgets_them() -> None:
    """The rows are state as all else is; every outcome that was told is among them."""
    script = pads_script.Script(pads_script.system(), lambda request, peer: [[0.4, 0.3, 0.3]])
    script.bars(pads_script.walk(420), 330)
    told = [array(m.outcome) for m in script.of(PerformanceFeedback)]
    before = script.pads.scored()
    assert before is not None
    assert before.y.tolist() == np.concatenate(told).tolist() != []
    again = kept.restore(kept.save(script.pads), pads_script.system())
    after = again.scored()
    assert after is not None
    assert scores(after) == scores(before)
    assert again._desk is not None
    again._desk.forget()
    forgotten = again.scored()
    assert forgotten is not None
    assert scores(forgotten) == Scores()


def test_a_full_state_is_bounded() -> None:
    """Under half a MiB with six seats and any number of rows."""
    card = Scorecard(tuple("abcdef"))
    for _ in range(3):
        w = waiting(np.random.default_rng(0), 4000)
        w.pi = np.repeat(w.pi[:, :1], 6, axis=1)
        card.learn(w, np.ones(4000, dtype=np.uint8))
    assert sum(part.nbytes for part in card.pack()[2:]) <= 2**19


async def test_gauges_are_worked_out_once_for_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again nothing is scored; after a reset the gauges of the old rows are gone."""
    script = pads_script.Script(pads_script.system(), lambda request, peer: [[0.4, 0.3, 0.3]])
    script.bars(pads_script.walk(420), 330)
    worked: list[int] = []

    def counted(rows: Any) -> Scores:
        worked.append(rows.resolved)
        return scores(rows)

    async def compute(work: Any) -> Any:
        return work()

    monkeypatch.setattr("qts_agents.scoring.scores", counted)
    metrics = Metrics()
    context: Any = SimpleNamespace(compute=compute, metrics=metrics)
    scoring = Scoring(context)
    one, two = await scoring.scores(script.pads), await scoring.scores(script.pads)
    assert one is two
    assert len(worked) == 1
    told = metrics.registry.get_sample_value
    own = {"seat": "board", "of": "own"}
    assert told("qts_forecast_rows", {"seat": "board"}) == one.resolved > 0
    assert told("qts_forecast_log_score", own) == one.forecasters["board"].own.log_score
    assert told("qts_forecast_brier_within", own) == one.forecasters["board"].own.brier.within
    base = told("qts_forecast_brier_score", own | {"of": "climatology"})
    assert base == one.forecasters["board"].base.brier.brier
    assert script.pads._desk is not None
    script.pads._desk.forget()
    assert (await scoring.scores(script.pads)).forecasters == {}
    assert told("qts_forecast_rows", {"seat": "board"}) is None


async def test_a_busy_board_does_not_keep_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the compute thread is stuck the scores of the last time are told."""
    monkeypatch.setattr("qts_agents.scoring.PATIENCE_S", 0.01)

    async def stuck(work: Any) -> Any:
        await asyncio.Event().wait()

    context: Any = SimpleNamespace(compute=stuck, metrics=Metrics())
    pads = pads_script.Script(pads_script.system(), lambda request, peer: None).pads
    assert await Scoring(context).scores(pads) == Scores()
