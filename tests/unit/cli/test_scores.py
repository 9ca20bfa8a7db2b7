"""`qts scores` asks PADS of the latest run, and says what is missing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.unit.cli.at_work import at_work

from qts_agents.health import Health, HealthServer, Workplace
from qts_agents.pads.outcomes import Waiting
from qts_agents.pads.scorecard import Scorecard, Scores, scores
from qts_cli import main
from qts_core.probes import KeptRounds, Status
from qts_messaging.accounts import Book


def some() -> Scores:
    """Return the scores of one seat and the board; the board was sure once, and wrong."""
    draw, card = np.random.default_rng(0), Scorecard(("qar",))
    p = draw.dirichlet((2.0, 2.0, 2.0), 200)
    board = np.array([[1.0, 0.0, 0.0]] * 200)
    fields = dict.fromkeys(Waiting.__struct_fields__, None)
    w = Waiting(**fields | {"pi": p[:, None], "p": board, "prior": np.full((200, 3), 1 / 3)})  # type: ignore[arg-type]
    card.learn(w, draw.integers(0, 3, 200).astype(np.uint8))
    return scores(card.rows())


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder of runs whose latest has a PADS that answers."""

    async def told() -> Scores:
        return some()

    book, kept = Book("pads", 7, 0), KeptRounds("pads", ())
    place = Workplace(Health("pads"), lambda: Status(agent="pads"), book.record, lambda: kept, told)
    http = HealthServer([place], lambda: b"", lambda: 0.0)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(http.start("127.0.0.1", [0]))
    port = http._servers[0].sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    folder = tmp_path / "run" / "latest"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"http": {"pads": port}}))
    with at_work(tmp_path):
        yield tmp_path
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(http.close())
    loop.close()


def test_scores_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each forecaster, the climatology below it; what is no number in JSON is said."""
    assert main(["scores", "--run-dir", str(run), "--bins"]) == 0
    text = capsys.readouterr().out
    assert "200 rows resolved" in text
    figures = [line.split() for line in text.splitlines()]
    assert ["qar", "200"] in [line[:2] for line in figures]
    assert f"{some().forecasters['qar'].own.brier.brier:.4f}" in text
    assert "−inf" in text
    assert len([line for line in figures if line[:2] == ["up", "20"]]) == 10
    assert main(["scores", "--run-dir", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forecasters"]["qar"]["rows"] == 200


def test_without_an_answer_it_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No PADS in the run, or a namespace without a name."""
    (tmp_path / "run" / "latest").mkdir(parents=True)
    (tmp_path / "run" / "latest" / "run.json").write_text('{"http": {}}')
    with at_work(tmp_path):
        assert main(["scores", "--run-dir", str(tmp_path)]) != 0
    assert "pads: no answer at /scorez; see qts status" in capsys.readouterr().err
    assert main(["scores", "-n", "trading"]) == 2
    assert "which system?" in capsys.readouterr().err


def test_of_a_run_that_has_ended_neither_scores_nor_status_asks(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its ports may be anyone's by now. Both say that and why it ended, and what to do instead."""
    latest = run / "run" / "latest"
    assert main(["status", "--run-dir", str(run)]) == 1  # its PADS is starting
    assert "has ended" not in capsys.readouterr().out
    (latest / "summary.json").write_text('{"kind": "summary", "ended": "time is up"}')
    assert main(["scores", "--run-dir", str(run)]) == 1
    said = capsys.readouterr().err
    assert "this run has ended (time is up)" in said
    assert "`qts run`" in said
    assert main(["status", "--run-dir", str(run)]) == 1
    assert capsys.readouterr().out == (
        "run latest has ended: time is up; qts decisions and qts messages read what it left\n"
    )
    assert main(["status", "--run-dir", str(run), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {"run": str(latest), "ended": "time is up", "processes": {}, "plights": {}}
    (latest / "summary.json").write_text("{")
    assert main(["status", "--run-dir", str(run)]) == 1
