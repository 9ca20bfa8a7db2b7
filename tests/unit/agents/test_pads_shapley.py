"""Shapley values of seats: the axioms, a game solved by hand, and what PADS publishes of real outcomes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tests.unit.agents import pads_script

from qts_agents.columns import array
from qts_agents.kernels.pool import lmsr_pool
from qts_agents.pads import records
from qts_agents.pads.records import OutcomeBody
from qts_agents.pads.shapley import shapley


def test_the_glove_game_and_the_average_over_orders() -> None:
    """One right and two left gloves: 2/3, 1/6, 1/6; any game equals the mean marginal over all orders."""
    worth = np.array([float(bool(c & 1) and bool(c & 6)) for c in range(8)])
    np.testing.assert_allclose(shapley(worth), [2 / 3, 1 / 6, 1 / 6])
    value = np.random.default_rng(1).normal(size=32)
    value[0] = 0.0
    mean = np.zeros(5)
    for order in itertools.permutations(range(5)):
        held = 0
        for i in order:
            mean[i] += (value[held | 1 << i] - value[held]) / math.factorial(5)
            held |= 1 << i
    np.testing.assert_allclose(shapley(value), mean, atol=1e-12)
    assert shapley(value).sum() == pytest.approx(value[-1])


def test_pads_says_what_each_seat_was_worth() -> None:
    """The values of the seats add up to the pool's mean log score less the climatology's; the best leads."""
    good, bad = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7])

    def say(request, peer):
        return np.tile(good if peer == "qbmia" else bad if peer == "quasar" else (good + bad) / 2, (2, 1))

    script = pads_script.Script(pads_script.system(decision_interval=5.0), say)
    closes = np.repeat(100.0 * np.exp(0.002 * np.arange(420))[:, None], 2, axis=1)
    script.bars(closes, 330)
    told = [records.body(e, OutcomeBody) for e in map(records.decode, script.records) if e.kind == "outcome"]
    assert len(told) > 8
    assert all((array(t.feedback.outcome) == 0).all() for t in told)
    worth = told[-1].shapley
    assert worth["qar"] > 0.0 > worth["qstar"]
    desk = script.pads._desk
    gains = []
    for entry in map(records.decode, script.records):
        if entry.kind == "round" and len(gains) < len(told):
            kept = records.body(entry, records.RoundBody)
            columns = {name: array(c) for name, c in kept.columns.items()}
            pool = lmsr_pool(columns["pi"], columns["omega"], columns["prior"], 50.0).p
            gains.append(np.log(pool[:, 0] / columns["prior"][:, 0]).mean())
    assert sum(worth.values()) == pytest.approx(np.mean(gains), abs=1e-12)
    assert script.pads.snapshot()["shapley"] == desk.credit.by_seat() == worth
