"""`qts evaluate` on a short file of real bars, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qts_agents.evaluation import sharpe, theories, track, trials
from qts_agents.market.datasets import load_dataset
from qts_cli import evaluate, main, svg
from qts_cli.rounds import stamp
from qts_core.errors import ConfigError
from qts_core.spec import SYSTEM


@pytest.fixture
def bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """1,200 hours of EUR/USD as a CSV file, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    found = load_dataset("eurusd_1h").part(0, 1200)
    rows = zip(
        found.close_ns,
        *(getattr(found, n)[0] for n in ("open", "high", "low", "close", "volume")),
        strict=True,
    )
    lines = ["timestamp,open,high,low,close,volume"]
    lines += [
        ",".join([stamp(int(at)).replace(" ", "T") + ":00Z", *(repr(float(x)) for x in row)])
        for at, *row in rows
    ]
    file = tmp_path / "bars.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.timeout(600)
def test_a_short_market_is_evaluated(
    bars: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page, JSON, ledger and summary agree; a second run adds no trial, and keeps one that came meanwhile."""
    words = ["evaluate", str(bars), "--bars", "320", "--no-ablations", "-o", "out.html"]
    assert main([*words, "--journal", "kept"]) == 0
    printed = capsys.readouterr().out
    _journal_is_read(capsys)
    told = json.loads(Path("out.json").read_text())
    page = Path("out.html").read_text()
    assert (told["rounds"], told["market"]["bars"]) == (33, 320)
    assert set(told["forecasters"]) == {"board", "qbmia", "quasar", "quantum_amos"}
    assert told["verdict"] in page
    assert f"verdict: {told['verdict']}" in printed
    assert "<script" not in page
    assert "http" not in page
    for one in told["forecasters"].values():
        brier = one["brier"]
        parts = brier["reliability"] - brier["resolution"] + brier["uncertainty"] + brier["within"]
        assert parts == pytest.approx(brier["brier"], abs=1e-6)
        assert one["verdict"].startswith("no edge")  # 33 rounds prove nothing, whatever they earned
    _brier_scores_add_up(page)
    assert "ledger trials.jsonl" in page
    assert "Sharpe ratio above that of every ablation: not shown" in page
    assert told["trials"]["count"] == len(Path("trials.jsonl").read_text().splitlines()) == 5
    ledger, play, compare = Path("trials.jsonl"), track.play, theories.compare
    look = trials.Trial(told["market"]["source"], 20, "a", "b", "board", 0.8)
    other = trials.Trial("another market", 9, "a", "b", "board", 0.1)

    def played(*arguments: Any, **more: Any) -> track.Track:
        trials.add(ledger, [look])
        return play(*arguments, **more)

    def compared(*arguments: Any) -> theories.Theories:
        trials.add(ledger, [other])
        return compare(*arguments)

    monkeypatch.setattr(track, "play", played)
    monkeypatch.setattr(theories, "compare", compared)
    assert main([*words, "--json"]) == 0
    assert trials.read(ledger)[-2:] == [look, other]
    again = json.loads(capsys.readouterr().out)
    assert again["trials"]["count"] == 6
    ratios = [trial.sharpe for trial in trials.read(ledger)[:5]] + [0.8 * (20 / 320) ** 0.5]
    luckiest = sharpe.expected_maximum(6, float(np.var(ratios, ddof=1)))
    assert again["trials"]["ratio_of_the_luckiest"] == pytest.approx(luckiest, rel=1e-6)
    assert again["curves"] == told["curves"]
    assert main(["evaluate", str(bars), "--bars", "2", "--no-ablations", "-o", "short.html"]) == 0
    assert "board         nothing to score: no opinion whose horizon has ended" in capsys.readouterr().out
    assert "nan" not in Path("short.html").read_text()
    assert main(["evaluate", str(bars), "--bars", "1", "--no-ablations", "-o", "shortest.html"]) == 0
    assert "<svg" in Path("shortest.html").read_text()


def _brier_scores_add_up(page: str) -> None:
    """Each row of the page's forecasts shows all parts of its Brier score."""
    table = page.split("<h2>Forecasts</h2>")[1].split("</table>")[0]
    head, *rows = (re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in table.split("<tr>")[1:])
    assert len(rows) == 4
    for row in rows:
        cells = dict(zip(head, row, strict=True))
        parts = [float(cells[name]) for name in ("reliability", "− resolution", "+ uncertainty", "+ within")]
        assert parts[0] - parts[1] + parts[2] + parts[3] == pytest.approx(float(cells["Brier"]), abs=2.6e-4)


def killed(tree: bytes, bars: int | None) -> None:
    """End as a process does that took too much memory, but for the ablation that loses a seat."""
    if not json.loads(tree)["board_members"].get("qar"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60.0)  # until the pool ends it


def test_a_killed_ablation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran beside it is named too, as nobody knows which was killed; what waited is not."""
    monkeypatch.setattr(evaluate, "_run", killed)
    one, other = SYSTEM(), SYSTEM(board_members={"qar": 0.0, "qstar": 0.5, "consensus": 0.5})
    with pytest.raises(ConfigError, match=r"--jobs: .* killed \(a or b\), .*; try --jobs 1") as raised:
        evaluate._runs({"a": one, "b": other, "c": one}, None, 2)
    assert raised.value.exit_code == 2


def test_many_may_add_to_the_ledger_at_once(tmp_path: Path) -> None:
    """Eight at a time, twenty times each: no trial is lost, and each sees its own in what it is told."""
    ledger = tmp_path / "new" / "trials.jsonl"

    def add(who: int) -> bool:
        mine = [trials.Trial("m", 1, "c", "s", f"{who} {k}", 0.0) for k in range(20)]
        return all(trial in trials.add(ledger, [trial]) for trial in mine)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(add, range(8)))
    assert len({trial.key for trial in trials.read(ledger)}) == 160


def test_a_try_that_was_not_committed_is_a_trial_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other source or another name of a file is other code, with git and without; the same is the same."""
    package = tmp_path / "qts_x"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(evaluate, "_packages", lambda: [package])
    told = [evaluate._code()]
    (package / "a.py").write_text("x = 2\n")
    told.append(evaluate._code())
    (package / "a.py").rename(package / "b.py")
    told.append(evaluate._code())
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    told.append(evaluate._code())
    assert len(set(told)) == 4
    assert evaluate._code() == told[-1]
    (package / "b.py").write_text("x = 3\n")
    assert evaluate._code() != told[-1]


def test_the_source_is_that_of_all_packages_that_run() -> None:
    """Agents, messages, settings and the command itself; each has files to be read."""
    found = evaluate._packages()
    assert [p.name for p in found] == ["qts_agents", "qts_cli", "qts_core", "qts_messaging"]
    assert all(list(p.rglob("*.py")) for p in found)


def _journal_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """The journal that an evaluation keeps replays, lists its decisions, and is counted."""
    assert main(["replay", "kept"]) == 0
    assert "33 rounds compared: identical" in capsys.readouterr().out
    assert main(["decisions", "kept", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first = told[0]["votes"]["qbmia"]["symbols"]["bars"]
    assert {"quantum_nash", "robin_hood", "nash_error"} <= set(first["parts"])  # the first round is explained
    assert "parts" not in told[1]["votes"]["qbmia"]["symbols"]["bars"]
    assert 0.0 <= told[-1]["panarchy"]["regime_confidence"] <= 1.0
    assert main(["decisions", "kept", "--count", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    rows = [event["symbols"]["bars"] for event in told]
    for kind, key in (("actions", "action"), ("reasons", "reason"), ("styles", "style"), ("spoke", "spoke")):
        assert counts[kind] == Counter(row[key] for row in rows)
    assert counts["cautions"] == Counter(name for row in rows for name in row["cautions"])
    assert {row["spoke"] for row in rows if row["override"]} <= {"override"}
    assert counts["overrides"] == Counter(row["override"] for row in rows if row["override"])
    assert sum(counts["outcomes"].values()) == 30
    assert main(["decisions", "kept", "--count"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*counts["styles"], *counts["cautions"], "HOLD"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eurusd_1h", "--journal", "folder"], ["--journal", "folder", "not empty"]),
        (["eurusd_1d"], ["MARKET", "eurusd_1h"]),
        (["missing.csv"], ["missing.csv"]),
        (["eurusd_1h", "--bars", "0"], ["--bars", "at least 1"]),
        (["eurusd_1h", "--jobs", "-1"], ["--jobs", "0 or more"]),
        (["eurusd_1h", "-o", "a.html", "--ledger", "folder/../a.json"], ["--ledger", "a.json", "report"]),
        (["eurusd_1h", "-o", "a.html", "--ledger", "a.html"], ["--ledger", "a.html", "report"]),
        (["eurusd_1h", "-o", "report.txt"], ["--output", ".html"]),
        (["eurusd_1h", "-o", "nowhere/report.html"], ["--output", "nowhere"]),
        (["eurusd_1h", "-o", "folder/taken.html"], ["--output", "taken.json", "folder"]),
        (["eurusd_1h", "--set", "enable_pads=false"], ["enable_pads", "true"]),
        (["eurusd_1h", "--set", "horizon_bars=0"], ["horizon_bars"]),
        (["--set", "market.source=simulated"], ["--bars", "does not end"]),
        (["eurusd_1h", "--ledger", "bad.jsonl"], ["bad.jsonl:1", "no trial"]),
    ],
)
def test_bad_input_is_refused(
    words: list[str],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, one line that names field and remedy, and no report."""
    monkeypatch.chdir(tmp_path)
    Path("bad.jsonl").write_text("{}\n")
    Path("folder/taken.json").mkdir(parents=True)
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert [word for word in said if word not in error] == []
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.html"))


def test_a_chart_leaves_out_what_is_not_finite() -> None:
    """A gap is no point, a name is escaped, and nothing at all is said in words."""
    drawn = svg.chart({"a<b": ([0.0, 1.0, 2.0], [1.0, float("nan"), 3.0])}, marks=True)
    assert drawn.count("<circle") == 2
    assert "a&lt;b" in drawn
    assert svg.chart({"a": ([0.0], [float("inf")])}) == "<p>nothing to draw</p>"
    assert svg.ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
