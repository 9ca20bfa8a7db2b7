"""What the operator's process is told by arguments, by its environment, and by the Deployment that we ship."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from qts_operator.__main__ import main, options_of, parser
from qts_operator.middleware import Pace
from qts_operator.packaging import deployment

SERVER = ["--server", "https://127.0.0.1:6443"]


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the Deployment."""
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    for entry in container["env"]:
        monkeypatch.setenv(entry["name"], entry.get("value", ""))


@pytest.mark.usefixtures("shipped")
def test_the_deployment_asks_for_the_usual_pace_and_an_argument_for_another() -> None:
    """What the chart says is what the session would take without it; each argument changes its own number."""
    assert options_of(parser().parse_args(SERVER)).access.pace == Pace()
    more = ["--requests-in-flight", "8", "--requests-per-second", "50", "--request-burst", "60"]
    assert options_of(parser().parse_args(SERVER + more)).access.pace == Pace(
        in_flight=8, a_second=50, burst=60
    )


def test_each_variable_is_read_as_its_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"QTS_REQUESTS_IN_FLIGHT": "8", "QTS_REQUESTS_PER_SECOND": "50", "QTS_REQUEST_BURST": "60"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert options_of(parser().parse_args(SERVER)).access.pace == Pace(in_flight=8, a_second=50, burst=60)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_a_pace_that_is_no_number_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Exit 2 with the argument and the remedy, also when the environment says it."""
    monkeypatch.setenv("QTS_REQUEST_BURST", text)
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(SERVER)
    told = capsys.readouterr().err
    assert (ended.value.code, "--request-burst" in told, "whole number above 0" in told) == (2, True, True)


@pytest.mark.parametrize("argument", ["--http-port", "--metrics-port"])
@pytest.mark.parametrize("text", ["http", "-1", "65536", ""])
def test_what_is_no_port_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argument: str, text: str
) -> None:
    monkeypatch.setenv(f"QTS_{argument[2:].replace('-', '_').upper()}", text)
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(SERVER)
    told = capsys.readouterr().err
    assert (ended.value.code, argument in told, "give a port" in told) == (2, True, True)


@pytest.mark.parametrize("argument", ["--http-port", "--metrics-port"])
def test_a_port_that_somebody_else_serves_ends_the_start(
    capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    """In one line with the remedy; nothing has begun by then."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"--http-port": "0", "--metrics-port": "0", argument: str(taken.getsockname()[1])}
        more = [part for pair in ports.items() for part in pair]
        assert main(["--server", "http://127.0.0.1:1", "--host", "127.0.0.1", *more]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"qts-operator: {argument}: 127.0.0.1:")
    assert "give another one" in told


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_that_is_none_ends_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    """A wrong path, or a file of something else: named, with exit code 2."""
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    assert main([*SERVER, "--ca-file", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"qts-operator: {path}: ")
    assert "PEM" in told


def test_labels_of_monitors_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the chart writes them; without any there are none."""
    assert options_of(parser().parse_args(SERVER)).defaults.monitor_labels == {}
    monkeypatch.setenv("QTS_MONITOR_LABELS", "release=prometheus,example.com/team=")
    given = options_of(parser().parse_args(SERVER)).defaults.monitor_labels
    assert given == {"release": "prometheus", "example.com/team": ""}


@pytest.mark.parametrize("text", ["release", "a=b=c", "=prometheus", "a=b c", "-a=b", f"a={'b' * 64}"])
def test_what_is_no_label_ends_the_start(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """The API server would refuse each PodMonitor for it."""
    assert main([*SERVER, "--monitor-labels", f"team=desk,{text}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"qts-operator: --monitor-labels: {text!r} is no label; give key=value")
