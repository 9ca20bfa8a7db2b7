"""Equity by hand: fills at the next open, costs, drawdown, turnover, thin phases; the ledger of trials."""

from __future__ import annotations

import fcntl
from pathlib import Path

import msgspec
import numpy as np
import pytest

from qts_agents.evaluation import ablations, equity, report, scores, trials
from qts_agents.evaluation.track import Orders, Tape, Track
from qts_agents.pads.tables import base_weights
from qts_core.errors import ConfigError
from qts_core.spec import SYSTEM

DAY_NS = 86_400_000_000_000


def track(open_: list[list[float]], close: list[list[float]], at: list[int], **costs: float) -> Track:
    """Return a track of S symbols over T bars, decided at the closes `at`, without orders of the board."""
    opened, closed = np.array(open_), np.array(close)
    S, T = closed.shape
    R = len(at)
    tape = Tape(
        symbols=tuple("ABCDEFG"[:S]),
        source="by hand",
        bar_s=86_400.0,
        close_ns=DAY_NS * np.arange(1, T + 1, dtype=np.int64),
        open=opened,
        high=np.fmax(opened, closed),
        low=np.fmin(opened, closed),
        close=closed,
        volume=np.ones((S, T)),
        valid=np.isfinite(closed),
        fee=costs.get("fee", 0.0),
        half_spread=np.full((S, T), costs.get("half", 0.0)),
    )
    zero, nan = np.zeros((R, S)), np.full((R, S), np.nan)
    return Track(
        tape=tape,
        at=np.array(at, dtype=np.int64),
        phase=("growth",) * R,
        p={"board": np.full((R, S, 3), 1 / 3)},
        u=np.full((R, S, 3), 1 / 3),
        outcome=np.full((R, S), 255, dtype=np.uint8),
        ret=nan,
        orders=Orders(zero, zero != 0, nan, np.full((R, S, 3), np.nan), np.ones(R)),
        margin=None,
        horizon=1,
        failures={},
        elapsed_s=1.0,
    )


def test_a_stake_is_filled_at_the_next_open_and_pays_for_it() -> None:
    """All in after the first close, out after the second: bought at 110, sold at 121, 1 % a trade."""
    made = track([[100.0, 110.0, 121.0]], [[100.0, 115.5, 200.0]], [0, 1], fee=0.006, half=0.004)
    curve = equity.staked_curve(made, np.array([[1.0], [0.0]]))
    bought = 1.0 / 110.0
    cash = -0.01
    assert curve.equity[0] == 1.0
    assert curve.equity[1] == pytest.approx(cash + bought * 115.5)
    assert curve.equity[2] == pytest.approx(cash + bought * 121.0 * 0.99)
    assert curve.traded == pytest.approx(1.0 + bought * 121.0 / (cash + bought * 121.0))
    assert equity.staked_curve(made, np.array([[1.0], [0.0]]), 2.0).equity[2] < curve.equity[2]


def test_what_a_bar_buys_and_sells_again_was_traded() -> None:
    """A tenth bought at 100 and stopped at 90 within the bar is a turnover of 0.19."""
    made = track([[100.0, 100.0, 80.0]], [[100.0, 80.0, 80.0]], [0])
    orders = Orders(
        size=np.array([[0.1]]),
        entry=np.array([[True]]),
        stop=np.array([[0.1]]),
        targets=np.full((1, 1, 3), np.nan),
        equity=np.ones(1),
    )
    curve = equity.board_curve(msgspec.structs.replace(made, orders=orders))
    assert curve.exposure.tolist() == [0.0, 0.0, 0.0]
    assert curve.equity[1] == pytest.approx(0.99)
    assert curve.traded == pytest.approx(0.19)


@pytest.mark.parametrize("none", [np.nan, 0.0])
def test_without_opens_a_stake_is_filled_at_the_next_close(none: float) -> None:
    """A set of closes alone earns from the close after the decision on, not from its own."""
    made = track([[none] * 3], [[100.0, 200.0, 220.0]], [0])
    assert equity.staked_curve(made, np.array([[-1.0]])).equity.tolist() == pytest.approx([1.0, 1.0, 0.9])


def test_a_symbol_without_a_bar_waits_and_keeps_its_worth() -> None:
    """B lacks its second bar: its order is filled on the third, and A's is not held up."""
    nan = np.nan
    made = track([[10.0, 10.0, 10.0], [10.0, nan, 20.0]], [[10.0, 11.0, 11.0], [10.0, nan, 22.0]], [0])
    curve = equity.staked_curve(made, np.array([[0.5, 0.5]]))
    assert curve.equity[1] == pytest.approx(1.05)
    # at the third open A is at 10 again and B at 20: worth 1, half of which buys 0.025 of B
    assert curve.equity[2] == pytest.approx(1.0 + 0.05 * 1.0 + 0.025 * 2.0)


def test_what_the_board_holds_and_trades_is_counted() -> None:
    """Half of the equity from the second open on: 0.6 of 1.1 when it has risen by a fifth, then sold whole."""
    price = [100.0, 110.0, 132.0, 132.0]
    made = track([price], [price], [0, 2])
    half, change = np.full((2, 1), 0.9), np.array([[0.5], [-0.6 / 1.1]])
    made = msgspec.structs.replace(
        made, orders=Orders(change, change > 0.0, half, np.full((2, 1, 3), 0.9), np.ones(2))
    )
    curve = equity.board_curve(made)
    assert curve.equity.tolist() == pytest.approx([1.0, 1.0, 1.1, 1.1])
    assert curve.exposure.tolist() == pytest.approx([0.0, 0.5, 0.6 / 1.1, 0.0])
    assert curve.traded == pytest.approx(0.5 + 0.6 / 1.1)
    tape = msgspec.structs.replace(made.tape, fee=0.01, half_spread=np.full((1, 4), 0.002))
    dear = msgspec.structs.replace(made, tape=tape)
    assert equity.board_curve(dear).equity[1] == pytest.approx(1.0 - 0.5 * 0.012)
    assert equity.board_curve(dear, 2.0).equity[1] == pytest.approx(1.0 - 0.5 * 0.024)


def test_buy_and_hold_buys_equal_shares_once() -> None:
    """Of two symbols one doubles: half of the equity has, and nothing is bought or sold again."""
    made = track([[1.0, 1.0, 2.0], [5.0, 5.0, 5.0]], [[1.0, 1.0, 2.0], [5.0, 5.0, 5.0]], [0, 1])
    curve = equity.staked_curve(made, equity.buy_and_hold(made), purse=1.0)
    assert curve.equity.tolist() == pytest.approx([1.0, 1.0, 1.5])
    assert curve.exposure.tolist() == pytest.approx([0.0, 1.0, 1.0])
    assert curve.traded == pytest.approx(1.0)


def test_what_is_bought_later_is_bought_of_the_first_equity() -> None:
    """The first symbol has tripled when the second one begins: of today's equity its half would be on credit."""
    price = [[1.0, 1.0, 3.0, 3.0], [np.nan, np.nan, np.nan, 1.0]]
    made = track(price, price, [0])
    curve = equity.staked_curve(made, equity.buy_and_hold(made), purse=1.0)
    assert curve.equity.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert curve.exposure.tolist() == [0.0, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(("opened", "closed"), [(100.0, 250.0), (250.0, 250.0)])
def test_who_has_lost_all_trades_no_more(opened: float, closed: float) -> None:
    """A short of the whole equity, and a price that more than doubles, within a bar or between two."""
    made = track([[100.0, 100.0, opened, 10.0, 10.0]], [[100.0, 100.0, closed, 10.0, 10.0]], [0, 1, 2, 3])
    curve = equity.staked_curve(made, np.full((4, 1), -1.0))
    assert curve.equity.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert curve.returns.tolist() == [0.0, 0.0, -1.0, 0.0, 0.0]
    assert equity.drawdown(curve.equity) == 1.0
    assert curve.exposure[2:].tolist() == [0.0, 0.0, 0.0]


def test_a_stake_is_a_share_of_what_the_equity_is_by_then() -> None:
    """All in, doubled to 2, then a half: 1 is held, which doubles again."""
    price = [[1.0, 1.0, 2.0, 2.0, 4.0]]
    curve = equity.staked_curve(track(price, price, [0, 2]), np.array([[1.0], [0.5]]))
    assert curve.equity.tolist() == pytest.approx([1.0, 1.0, 2.0, 2.0, 3.0])


def test_a_year_of_a_curve_in_numbers() -> None:
    """Four bars of which two are a year: +10 %, -10 %, 0, +10 %, and twice the equity traded in all."""
    curve = equity.Curve(np.array([1.1, 0.99, 0.99, 1.089]), np.array([0.2, 0.4, 0.0, 0.6]), 2.0)
    found = equity.performance(curve, 2.0, [0.0, 0.1])
    deviation = np.sqrt((0.075**2 * 2 + 0.125**2 + 0.025**2) / 3)
    assert found.total_return == pytest.approx(0.089)
    assert found.volatility == pytest.approx(deviation * np.sqrt(2.0))
    assert found.drawdown == pytest.approx(0.1)
    assert (found.exposure, found.turnover) == (pytest.approx(0.3), pytest.approx(1.0))
    assert found.sharpe == pytest.approx(found.sharpe_bar * np.sqrt(2.0))
    assert found.sharpe_bar == pytest.approx(0.025 / deviation)


def test_stakes_are_leans_and_silence_holds_nothing() -> None:
    """One rule for all: (p_up − p_down)/scale, at most 1, shared among the symbols."""
    p = np.array([[[0.36, 0.3, 0.34], [0.2, 0.3, 0.5]], [[np.nan] * 3, [1 / 3] * 3]])
    assert equity.stakes(p, 0.05) == pytest.approx(np.array([[0.2, -0.5], [0.0, 0.0]]))


def test_drawdown_and_year() -> None:
    """The start is a peak; a year of daily bars has 365.25 of them."""
    assert equity.drawdown(np.array([0.9, 1.2, 0.6, 1.0])) == pytest.approx(0.5)
    assert equity.drawdown(np.array([0.9])) == pytest.approx(0.1)
    made = track([[1.0] * 11], [[1.0] * 11], [0])
    assert equity.bars_a_year(made.tape) == pytest.approx(365.25)


def test_returns_belong_to_the_phase_of_the_decision_before() -> None:
    """What is earned between two decisions counts for the phase the earlier one was made in."""
    made = track([[1.0] * 4], [[1.0] * 4], [0, 2])
    made = type(made)(
        **{f: getattr(made, f) for f in made.__struct_fields__} | {"phase": ("growth", "release")}
    )
    curve = equity.Curve(np.array([2.0, 4.0, 8.0, 24.0]), np.ones(4), 0.0)
    assert report.by_phase(made, curve) == pytest.approx({"growth": 2 * np.log(2), "release": np.log(3)})


def test_the_pool_is_compared_on_rounds_that_both_spoke_in() -> None:
    """One round up, one flat: the board is ahead of an agent by the mean of ln p_y − ln q_y."""
    made = track([[1.0] * 4], [[1.0] * 4], [0, 1, 2])
    board = np.array([[[0.5, 0.3, 0.2]], [[0.2, 0.6, 0.2]], [[0.2, 0.6, 0.2]]])
    agent = np.array([[[0.4, 0.3, 0.3]], [[0.3, 0.3, 0.4]], [[np.nan] * 3]])
    outcome = np.array([[0], [1], [1]], dtype=np.uint8)
    ret = np.array([[0.01], [0.01], [-0.01]])
    made = msgspec.structs.replace(made, p={"board": board, "x": agent}, outcome=outcome, ret=ret)
    found = report.pools(made, {"again": made})
    assert found["x"].ahead.value == pytest.approx((np.log(0.5 / 0.4) + np.log(0.6 / 0.3)) / 2)
    assert found["x"].brier == pytest.approx((0.36 + 0.09 + 0.09 + 0.09 + 0.49 + 0.16) / 2)
    assert found["x"].log_gain.value == pytest.approx((np.log(0.4 * 3) + np.log(0.3 * 3)) / 2)
    assert (found["again"].ahead.value, list(found)) == (0.0, ["again", "x", "past frequencies"])
    assert (found["x"].hit.n, found["x"].hit.rate) == (2, 0.5)


def test_past_frequencies_know_what_had_resolved_and_no_more() -> None:
    """The base rate weighs ten outcomes; those of earlier rounds count once resolved, of all symbols."""
    outcome = np.array([[0, 0], [0, 2], [1, 255], [2, 2]], dtype=np.uint8)
    found = scores.past_frequencies(np.full((4, 2, 3), 1 / 3), outcome, np.array([0, 0, 1, 2]))
    seen = np.array([[0, 0, 0], [0, 0, 0], [2, 0, 0], [3, 0, 1]])
    expected = (10 / 3 + seen) / (10 + seen.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-15)
    assert np.array_equal(found[:, 0], found[:, 1])


def test_a_market_that_only_rises_is_known_to_its_frequencies() -> None:
    """The base rate is beaten and every side hit without a forecast; the horizon of each round is waited for."""
    made = track([[1.0] * 400], [[1.0] * 400], list(range(0, 400, 10)))
    rounds = made.at.size
    sure = np.tile([[[0.9, 0.05, 0.05]]], (rounds, 1, 1))
    up = np.zeros((rounds, 1), dtype=np.uint8)
    made = msgspec.structs.replace(made, p={"board": sure}, outcome=up, ret=np.ones((rounds, 1)))
    found = report.pools(made, {})["past frequencies"]
    assert found.log_gain.value > 0.5
    assert found.hit.rate == 1.0
    assert found.hit.n == rounds - 1  # the first knows of none and takes no side
    said = msgspec.structs.replace(made, p={"board": report.drift(made)})
    checks = report.report(said, {}, 0.05, [0.0, 0.01], {}).checks
    assert checks["log score above the base rate at the 5 % level"]
    assert not checks["log score above past frequencies at the 5 % level"]


def test_what_did_not_run_is_not_passed() -> None:
    """Without ablations nothing is above them; with one of a lower ratio the board is."""
    name, rising = "Sharpe ratio above that of every ablation", [[100.0, 100.0, 101.0, 103.0, 104.0]]
    made = track(rising, rising, [0])
    hold = np.full((1, 1, 3), 0.9)
    bought = Orders(np.ones((1, 1)), np.ones((1, 1), bool), np.full((1, 1), 0.5), hold, np.ones(1))
    other, made = made, msgspec.structs.replace(made, orders=bought)
    alone = report.report(made, {}, 0.05, [0.0, 0.01], {})
    assert not alone.checks[name]
    assert name in alone.verdict
    assert report.report(made, {"nothing": other}, 0.05, [0.0, 0.01], {}).checks[name]


def test_what_fails_in_an_ablation_is_told() -> None:
    """Under its name, beside what failed in the main run."""
    rising = [[100.0, 100.0, 101.0, 103.0, 104.0]]
    made, other = (msgspec.structs.replace(track(rising, rising, [0]), failures={"quasar": x}) for x in "ab")
    told = report.report(made, {"without qar": other}, 0.05, [0.0, 0.01], {})
    assert told.failures == {"quasar": "a", "quasar (without qar)": "b"}


def test_verdict_is_plain() -> None:
    """One check that fails is no edge, by name."""
    assert report.verdict({"a": True, "b": True}) == "edge: every check holds"
    assert report.verdict({"a": True, "b": False}) == "no edge: not shown: b"


def test_ablations_take_one_part_out_each() -> None:
    """Each seat once, its weight shared among the others; equal weights; the other reputation and states; no phases."""
    made = ablations.ablations(SYSTEM())
    seats = [f"without {seat}" for seat in base_weights(SYSTEM().board_members)]
    assert list(made) == [*seats, "equal weights", "reputation by hedge", "quasar by tiles", "phases off"]
    left = {"qstar": 0.25, "antifragility": 0.2, "consensus": 0.15, "adaptability": 0.1}
    shared = {seat: weight / 0.7 for seat, weight in left.items()}
    assert made["without qar"].board_members == pytest.approx(shared | {"qar": 0.0})
    small = SYSTEM(board_members={"qar": 0.5, "qstar": 0.5})
    assert list(ablations.ablations(small)) == list(made)[-4:]
    equal = made["equal weights"]
    assert equal.board_members == pytest.approx(dict.fromkeys(base_weights(SYSTEM().board_members), 0.2))
    assert equal.pads.reputation_rate == 0.0
    assert made["reputation by hedge"].pads.reputation == "hedge"
    hedged = SYSTEM(pads=msgspec.structs.replace(SYSTEM().pads, reputation="hedge"))
    assert ablations.ablations(hedged)["reputation by score"].pads.reputation == "score"
    tiled = made["quasar by tiles"]
    assert tiled.quasar.representation == "tiles"
    assert ablations.ablations(tiled)["quasar by table"].quasar == SYSTEM().quasar


def test_the_ledger_counts_each_trial_once(tmp_path: Path) -> None:
    """The same code on the same bars replaces its line; another commit or market adds one."""
    file = tmp_path / "trials.jsonl"
    assert trials.read(file) == []
    one = trials.Trial("m", 100, "a", "s", "board", 0.1)
    again, other = (
        trials.Trial("m", 100, "a", "s", "board", 0.2),
        trials.Trial("m", 100, "b", "s", "board", 0.3),
    )
    assert trials.add(file, [one]) == [one]
    assert trials.add(file, [again, other]) == [again, other]
    assert trials.read(file) == [again, other]


@pytest.mark.parametrize("how", ["no locks", "another's"])
def test_a_ledger_is_written_where_its_lock_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A share without locks, and a lock file that another user made: neither may lose an evaluation."""
    if how == "no locks":
        monkeypatch.setattr(
            fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available"))
        )
    (tmp_path / "l.jsonl.lock").touch(mode=0o444)
    made = [trials.Trial("m", 100, "a", "s", "board", 0.1)]
    assert trials.add(tmp_path / "l.jsonl", made) == trials.read(tmp_path / "l.jsonl") == made


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    """A line that is no trial is refused with its number."""
    file = tmp_path / "trials.jsonl"
    file.write_text('{"market": 1}\n')
    with pytest.raises(ConfigError, match=r"trials.jsonl:1: no trial"):
        trials.read(file)
