"""Shapley values of seats: what PADS publishes of real outcomes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.agents import pads_script

from qts_agents.columns import array
from qts_agents.kernels.pool import lmsr_pool
from qts_agents.pads import records
from qts_agents.pads.records import OutcomeBody


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
