"""The shell's reader: files and HTTP, what goes wrong there is said in plain words, and nothing ever ends by it."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.agents.evaluation import stages

from qts_agents import sources
from qts_agents.columns import array
from qts_agents.documents import TROUBLE, Documents
from qts_agents.evaluation.stage import Stage, voter_of
from qts_core.errors import ConfigError, RemoteError
from qts_core.roster import BY_NAME


class Echo:
    """An agent that keeps what it was told."""

    def __init__(self, source: str, period_s: float = 7.0) -> None:
        self.source, self.period_s = source, period_s
        self.told: list[bytes] = []

    def on_document(self, document: bytes, now_ns: int) -> str:
        if document == b"poison":
            raise ValueError("cannot be understood")
        self.told.append(document)
        return "line 1: wrong" if document == b"wrong" else ""


class Board:
    """What the shell is given, with a clock that counts and ends the test after some sleeps."""

    def __init__(self, sleeps: int = 0) -> None:
        self.slept: list[float] = []
        self.logged: list[str] = []
        self.health = SimpleNamespace(troubles={})
        self.clock = SimpleNamespace(sleep=self._sleep)
        self.workload = BY_NAME["sentiment"]
        self.log = SimpleNamespace(
            warning=lambda _, trouble: self.logged.append(trouble), exception=lambda *_, **__: None
        )
        self._left = sleeps

    def now_ns(self) -> int:
        return 0

    async def compute(self, work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) > self._left:
            raise asyncio.CancelledError


class Server:
    """A real HTTP server on loopback that answers with what it is given."""

    def __init__(self) -> None:
        self.body, self.code = b"one", 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(outer.code)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/headlines.jsonl"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def test_a_document_comes_whole_from_file_and_server(tmp_path: Path, server: Server) -> None:
    """More than a chunk of it; nothing there is the empty document."""
    server.body = bytes(range(256)) * 2000
    (tmp_path / "h").write_bytes(server.body)
    assert sources.read(server.url) == sources.read(str(tmp_path / "h")) == server.body
    (tmp_path / "h").write_bytes(b"")
    assert sources.read(str(tmp_path / "h")) == b""


def test_what_cannot_be_read_is_named_with_a_remedy(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, a folder, refused, said no, too large, too slow."""
    for source, words in (
        (str(tmp_path / "none"), "no such file; write it"),
        (str(tmp_path), "cannot be read"),
        ("http://127.0.0.1:1/h", "not reached"),
    ):
        with pytest.raises(RemoteError, match=words) as found:
            sources.read(source)
        assert str(found.value).startswith(source)
    server.code = 404
    with pytest.raises(RemoteError, match="the server says 404"):
        sources.read(server.url)
    server.code = 200
    monkeypatch.setattr(sources, "LIMIT", 2)
    with pytest.raises(RemoteError, match="leave out what is old"):
        sources.read(server.url)
    monkeypatch.setattr(sources, "LIMIT", 100)
    monkeypatch.setattr(sources.time, "monotonic", iter((0.0, 99.0)).__next__)
    with pytest.raises(RemoteError, match="not whole after"):
        sources.read(server.url)


async def test_an_agent_is_told_what_changed_and_the_trouble_passes(server: Server) -> None:
    """Once for equal documents; a wrong one and a server that is away are troubles until they are mended."""
    board: Any = Board()
    agent = Echo(server.url)
    documents = Documents(board, lambda: agent)
    await documents.once()
    await documents.once()
    assert agent.told == [b"one"]
    server.body = b"wrong"
    await documents.once()
    await documents.once()
    assert board.health.troubles == {TROUBLE: "line 1: wrong"}
    server.body = b"poison"
    await documents.once()
    assert "ValueError: cannot be understood" in board.health.troubles[TROUBLE]
    server.code = 500
    await documents.once()
    assert "the server says 500" in board.health.troubles[TROUBLE]
    server.code, server.body = 200, b"two"
    await documents.once()
    assert board.health.troubles == {}
    assert agent.told == [b"one", b"wrong", b"two"]
    assert len(board.logged) == 3, "each trouble is logged once"
    documents.close()


async def test_a_fresh_agent_is_told_again(tmp_path: Path) -> None:
    """One that takes the place of another, whose state did not fit, knows nothing yet."""
    (tmp_path / "h").write_bytes(b"one")
    agents = [Echo(str(tmp_path / "h")), Echo(str(tmp_path / "h"))]
    documents = Documents(Board(), lambda: agents[0])  # type: ignore[arg-type]
    await documents.once()
    agents.reverse()
    await documents.once()
    assert [a.told for a in agents] == [[b"one"], [b"one"]]
    documents.close()


async def test_the_source_is_read_at_the_agents_pace(tmp_path: Path) -> None:
    """`period_s` lies between two readings; an agent without the hook costs nothing."""
    (tmp_path / "h").write_bytes(b"one")
    board: Any = Board(sleeps=3)
    agent = Echo(str(tmp_path / "h"), period_s=5.0)
    documents = Documents(board, lambda: agent)
    with pytest.raises(asyncio.CancelledError):
        await documents.run()
    assert board.slept == [5.0] * 4
    idle = Documents(Board(), lambda: object())  # type: ignore[arg-type]
    await idle.once()
    await idle.run()
    documents.close()
    idle.close()


def test_an_evaluation_reads_the_document_once_before_it_begins(tmp_path: Path) -> None:
    """Its headlines count from the first round; a wrong line is among the failures, a missing file is refused."""
    path = tmp_path / "headlines.jsonl"
    path.write_text('{"time": "2017-01-20T00:00:00Z", "score": 0.9}\noops\n')
    system = stages.settings(
        enable_sentiment=True, enable_prediction=True, sentiment={"source": str(path), "fresh_h": 2000.0}
    )
    source = stages.source(stages.euro(stages.BACKFILL + 25))
    stage = Stage(system, source, [voter_of(wire, system) for wire in ("sentiment", "prediction")])
    answers = [a.opinion for bar in stage.bars() for a in bar.answers if a.peer == "sentiment"]
    assert len(answers) > 1
    assert all(o is not None and array(o.abstain).tolist() == [0] for o in answers)
    assert "headlines.jsonl: line 2: JSON is malformed" in stage.failures["sentiment"]
    path.unlink()
    with pytest.raises(ConfigError, match=r"sentiment\.source: .*headlines\.jsonl: no such file; write it"):
        next(Stage(system, source, [voter_of("sentiment", system)]).bars())
