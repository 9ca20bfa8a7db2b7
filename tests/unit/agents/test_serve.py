"""A process that cannot start ends with its reason, when what it had opened is closed."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from qts_agents.__main__ import main
from qts_agents.context import Place
from qts_agents.runtime import serve
from qts_cli.sockets import free_ports
from qts_core import config
from qts_core.errors import ConfigError
from qts_core.roster import BY_NAME


async def test_a_refused_start_leaves_no_task_behind(tmp_path: Path) -> None:
    """The refusal comes when every wire is closed; one left open may swallow its cancellation and hang."""
    file = tmp_path / "rows.csv"
    file.write_text("time,open,high,low\n2020-01-01T00:00:00Z,1,1,1\n")
    sets = ("use_real_messaging=false", "market.source=replay", f'market.replay={{"path":"{file}"}}')
    (port,) = free_ports(1)
    place = Place(
        system_name="refused",
        state=tmp_path,
        secrets=None,
        bind="127.0.0.1",
        peers={},
        http_port=port,
        metrics_port=port,
    )
    before = asyncio.all_tasks()
    with pytest.raises(ConfigError, match=r"rows\.csv.*close"):
        await serve([BY_NAME["market"]], config.load(env={}, sets=sets), place)
    assert before == asyncio.all_tasks()


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        ([], {}, "no workload named"),
        (["padz"], {}, "unknown workload 'padz'"),
        (["pads", "pads"], {}, "named twice"),
        (["pads"], {"QTS_PEERS": "[1]"}, "QTS_PEERS: expected"),
        (["pads"], {"QTS_PEERS": '{"qbmia": 5}'}, "QTS_PEERS: expected"),
        (["pads"], {"QTS_PEERS": '{"qbmia": "qbmia:9091"}'}, "tcp://HOST:PORT"),
        (["pads"], {"QTS_PEERS": "[" * 9999}, "QTS_PEERS: expected"),
        (
            ["pads"],
            {"QTS_STATE": "/dev/null/state"},
            "QTS_STATE: /dev/null/state: Not a directory; name a folder",
        ),
        (["pads"], {"QTS_HTTP_PORT": "70000"}, "QTS_HTTP_PORT: expected a port"),
        (["market"], {"QTS_BIND": "192.0.2.1"}, "cannot listen on 192.0.2.1:8080: Cannot assign"),
        (["market"], {"QTS_HTTP_PORT": "HELD"}, "in use; choose another QTS_BIND, QTS_HTTP_PORT"),
    ],
)
def test_a_wrong_environment_is_refused_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    env: dict[str, str],
    words: str,
) -> None:
    """Exit code 2, the variable and what would be right."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)
    monkeypatch.setenv("QTS_USE_REAL_MESSAGING", "false")
    monkeypatch.setenv("QTS_MARKET__SOURCE", "replay")
    monkeypatch.setenv("QTS_MARKET__REPLAY", '{"dataset": "eurusd_1h"}')
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = str(held.getsockname()[1])
        places = {"QTS_STATE": str(tmp_path), **env}
        assert 2 == main(
            arguments, {key: port if value == "HELD" else value for key, value in places.items()}
        )
    error = capsys.readouterr().err
    assert words in error
    assert 1 == error.count("\n")


def test_the_last_words_of_a_pod_are_left_where_its_kubelet_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator tells them; outside a pod there is no such file, and none is made."""
    last = tmp_path / "termination-log"
    monkeypatch.setattr("qts_agents.__main__.LAST_WORDS", str(last))
    assert main(["padz"], {}) == 2
    assert not last.exists()
    last.touch()
    assert main(["padz"], {}) == 2
    assert last.read_text().startswith("unknown workload 'padz'; give one or more of ")
