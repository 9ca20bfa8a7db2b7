"""Nothing sees the future, nothing is learned from noise, and what is there to be found is found."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.unit.agents.evaluation import stages

from qts_agents.columns import array, column
from qts_agents.evaluation import equity, report, scores
from qts_agents.evaluation.stage import Stage, voter_of
from qts_agents.evaluation.track import BOARD, Track, play
from qts_agents.kernels.indicators import indicators
from qts_agents.market.source import Simulated
from qts_agents.pads.records import frame
from qts_agents.pads.replay import replay
from qts_agents.quasar import agent as quasar
from qts_core.spec import SYSTEM
from qts_messaging.messages import PerformanceFeedback

pytestmark = pytest.mark.timeout(600)  # a machine of two cores may be busy
LEVEL = 0.05


@pytest.fixture(scope="module")
def real() -> Track:
    """500 real bars, 51 rounds."""
    return play(stages.settings(), source=stages.source(stages.euro(stages.BACKFILL + 500)))


def test_deleting_the_future_changes_nothing() -> None:
    """Every byte said before a cut is the same without what follows it; the cut lies between two rounds."""
    assert stages.prefix_holds(stages.BACKFILL + 160, stages.BACKFILL + 87)


def test_a_planted_look_ahead_is_caught() -> None:
    """The same test fails when one agent leans towards a close ten bars ahead."""
    assert not stages.prefix_holds(stages.BACKFILL + 160, stages.BACKFILL + 87, stages.one_cheat)


def test_a_look_ahead_pays_so_the_scores_can_see_knowledge() -> None:
    """The cheat's log score beats the base rate beyond doubt and its stakes earn after double costs."""
    bars = stages.euro(stages.BACKFILL + 400)
    system = stages.settings(horizon_bars=stages.FUTURE)
    track = play(system, source=stages.source(bars), voters=stages.one_cheat(system, bars))
    name = system.voters()[0]
    gain = scores.log_gain(track.p[name], track.u, track.outcome, report.overlap_of(track))
    assert gain.p_value < 0.001
    assert scores.hit_rate(track.p[name], track.ret, track.outcome, 1.0).low > 0.5
    curve = equity.staked_curve(track, equity.stakes(track.p[name], 0.05), 2.0)
    assert curve.equity[-1] > 1.01


def test_outcomes_are_those_of_the_definition(real: Track) -> None:
    """R from the next open to the close h bars later, flat within max(cost, 0.43·σ₁₀₀·√h), from bars alone."""
    bars, h = stages.euro(stages.BACKFILL + 500), real.horizon
    checked = 0
    for r, at in enumerate(real.at):
        t = stages.BACKFILL + int(at)
        if t + h >= bars.close.shape[1]:
            assert real.outcome[r, 0] == 255
            continue
        R = np.log(bars.close[0, t + h] / bars.open[0, t + 1])
        sigma = np.std(np.diff(np.log(bars.close[0, t - 100 : t + 1])), ddof=1)
        kappa = max(2 * bars.fee + bars.spread_assumed, 0.43 * sigma * np.sqrt(h))
        assert real.ret[r, 0] == pytest.approx(R, abs=1e-12)
        assert real.outcome[r, 0] == (0 if R > kappa else 2 if R < -kappa else 1)
        checked += 1
    assert checked > 40


def test_the_account_is_booked_twice_alike(real: Track) -> None:
    """Equity from the decisions alone equals what PADS booked; costs ×2 are worse by what was traded."""
    once, twice = equity.board_curve(real), equity.board_curve(real, 2.0)
    assert np.array_equal(once.equity[real.at], real.orders.equity)
    assert once.traded > 0.0
    assert twice.equity[-1] < once.equity[-1]


def test_the_journal_of_an_evaluation_replays(tmp_path: Path) -> None:
    """What the stage lets PADS write is a journal like any other: replayed, every decision is equal."""
    bars = stages.lived(stages.euro(stages.BACKFILL + 60))
    file = tmp_path / "000001.qtsj"
    file.write_bytes(b"".join(frame(record) for bar in bars for record in bar.records))
    found = replay(file)
    assert (found.rounds, found.equal) == (7, 7)


def _random_outcomes(seed: int):
    draw = np.random.default_rng(seed)

    def tell(told: PerformanceFeedback) -> PerformanceFeedback:
        y = array(told.outcome)
        other = np.where(y == 255, y, draw.integers(0, 3, y.shape)).astype(np.uint8)
        return msgspec.structs.replace(told, outcome=column(other, "u1"))

    return tell


@pytest.mark.parametrize("seed", [11, 12])
def test_shuffled_labels_score_chance(seed: int) -> None:
    """Agents that are told drawn outcomes beat the base rate on them at the 5 % level nowhere."""
    bars = stages.euro(stages.BACKFILL + 600)
    track = play(stages.settings(), source=stages.source(bars), tell=_random_outcomes(seed))
    overlap = report.overlap_of(track)
    gains = {name: scores.log_gain(p, track.u, track.outcome, overlap) for name, p in track.p.items()}
    assert {name: gain.p_value > LEVEL for name, gain in gains.items()} == dict.fromkeys(track.p, True)


def test_a_shuffled_market_has_no_edge() -> None:
    """The real moves in another order: no forecaster's log score is above chance, and the verdict says so."""
    bars = stages.shuffled(stages.euro(stages.BACKFILL + 600), 21)
    track = play(stages.settings(), source=stages.source(bars))
    told = report.report(track, {}, 0.05, [0.0, 0.01], {})
    assert {n: f.log_gain.p_value > LEVEL for n, f in told.forecasters.items()} == dict.fromkeys(
        track.p, True
    )
    assert told.verdict.startswith("no edge: not shown: ")


def _quasar_track(monkeypatch: pytest.MonkeyPatch, oracle: bool) -> Track:
    """Let QUASAR decide every bar on the next one; with `oracle` its RSI shows the next return."""
    bars = stages.euro(stages.BACKFILL + 700)
    ret = np.diff(np.log(bars.close), axis=1, append=np.nan)

    def peeking(window, extra):
        ind = indicators(window, extra)
        ahead = ret[:, window.window_seq] / np.maximum(ind.sigma20, 1e-12)
        return msgspec.structs.replace(ind, rsi=50.0 + 50.0 * np.tanh(np.nan_to_num(ahead)))

    if oracle:
        monkeypatch.setattr(quasar, "indicators", peeking)
    system = stages.settings(horizon_bars=1, decision_interval=1.0)
    return play(
        system, source=stages.source(bars), voters=[voter_of(wire, system) for wire in system.voters()]
    )


def test_quasar_finds_and_exploits_an_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next return in place of RSI its log score beats u, and its stakes earn after costs ×2."""
    track = _quasar_track(monkeypatch, True)
    gain = scores.log_gain(track.p["quasar"], track.u, track.outcome, 1.0)
    assert gain.p_value < 0.001
    curve = equity.staked_curve(track, equity.stakes(track.p["quasar"], 0.05), 2.0)
    assert curve.equity[-1] > 1.05


def test_quasar_without_the_oracle_earns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same life with the true RSI: no log score above u at the 5 % level, and less money."""
    track = _quasar_track(monkeypatch, False)
    gain = scores.log_gain(track.p["quasar"], track.u, track.outcome, 1.0)
    assert gain.p_value > LEVEL
    curve = equity.staked_curve(track, equity.stakes(track.p["quasar"], 0.05), 2.0)
    assert curve.equity[-1] < 1.0


@pytest.mark.parametrize("predictability", [0, 1])
def test_structure_planted_in_the_simulation_is_found(predictability: int) -> None:
    """`predictability: 1` puts the sign of the next return into the imbalance: the market maker's seat sees it."""
    market = {"source": "simulated", "predictability": predictability, "fee": 0.0, "spread": 0.0}
    board = {"market_maker": 0.5, "adaptability": 0.3, "consensus": 0.2}
    system = msgspec.convert(
        {"market": market, "board_members": board, "horizon_bars": 1, "decision_interval": 1.0}, SYSTEM
    )
    feed = Simulated(system)
    feed.backfill = stages.BACKFILL
    track = play(system, 400, source=feed)
    gain = scores.log_gain(track.p[BOARD], track.u, track.outcome, 1.0)
    assert (gain.p_value < 0.01) == (predictability == 1)


def test_a_failing_agent_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A voter that raises is an abstention with its reason, as in a run, and the report names it."""
    bars = stages.euro(stages.BACKFILL + 20)
    system = stages.settings()
    voters = stages.honest(system, bars)
    monkeypatch.setattr(voters[0], "on_request", lambda *_: 1 / 0)
    stage = Stage(system, stages.source(bars), voters)
    heard = [bar for bar in stage.bars() if bar.decision is not None]
    assert stage.failures == {voters[0].name: "ZeroDivisionError: division by zero"}
    assert all(bar.decision.quorum.data == b"\x02" for bar in heard)
