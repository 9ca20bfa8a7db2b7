"""The simulated market's truth is about its bars, goes to a file of its own, and scores phases."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bench.regimes import Lived, main, simulated, truth_rows

from qts_agents.market import regimes
from qts_agents.market.source import open_source
from qts_core.spec import SYSTEM
from qts_messaging.messages import PHASES


def held(states: np.ndarray) -> Lived:
    """Return a life in which phase and hidden state were `states`."""
    nothing = np.zeros(states.size)
    flags = nothing.astype(bool)
    return Lived(nothing, states, states, states, nothing, flags, flags, [], 60.0)


def test_the_truth_beside_the_bars(tmp_path: Path) -> None:
    """A line a bar: when it closes, the regime by a phase's name, every jump; wild regimes are wild."""
    data, truth = simulated(6_000)
    truth.write(tmp_path / "truth.csv")
    with (tmp_path / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["close_ns"]) for row in rows] == data.close_ns.tolist()
    assert tuple(PHASES[:4]) == regimes.NAMES
    assert [row["regime"] for row in rows] == [PHASES[z] for z in truth.regime]
    assert [float(row["jump B"]) for row in rows] == truth.jump[1].tolist()
    moved = np.abs(np.diff(np.log(data.close), axis=1)).mean(axis=0)
    calm, wild = (moved[truth.regime[1:] == regimes.NAMES.index(n)] for n in ("conservation", "release"))
    assert wild.mean() > 3.0 * calm.mean()


def test_the_truth_of_a_run_is_known_again_from_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed and symbols of its folder lead to the bars that its feed published, and the truth about them."""
    market = {"source": "simulated", "symbols": ["X", "Y"]}
    settings = {"system_seed": 9, "market": market}
    (tmp_path / "system.json").write_text(json.dumps(settings))
    file = tmp_path / "truth.csv"
    arguments = ["--smoke", "--json", "--set", "simulated", "--run", str(tmp_path), "--truth", str(file)]
    monkeypatch.setattr(sys, "argv", ["regimes", *arguments])
    assert main() == 0
    system = msgspec.convert(settings, SYSTEM)
    data, truth = simulated(700, system)
    assert np.array_equal(data.close, open_source(system).read(0, 700).close)
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [float(row["jump Y"]) for row in rows] == truth.jump[1].tolist()
    assert [row["regime"] for row in rows] == [regimes.NAMES[z] for z in truth.regime]
    replayed = {"market": {"source": "replay", "replay": {"dataset": "eurusd_1h"}}}
    (tmp_path / "system.json").write_text(json.dumps(replayed))
    with pytest.raises(SystemExit):
        main()
    assert "is no simulation" in capsys.readouterr().err


def test_phases_are_scored_by_the_truth() -> None:
    """The truth itself scores 1; the same regimes in another order score what chance does."""
    _, truth = simulated(6_000)
    perfect = truth_rows(held(truth.regime), truth.regime, "x")
    assert [row.value for row in perfect] == [1.0] * 4
    assert [row.peer_value for row in perfect[:2]] == [1.0] * 2
    mixed = np.random.default_rng(1).permutation(truth.regime)
    index, _, right, _ = (row.value for row in truth_rows(held(mixed), truth.regime, "x"))
    assert index == pytest.approx(0.0, abs=0.02)
    assert right < 0.9
