"""Values that a library below would round, take for another or end in a traceback with: refused by their flag."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from qts_cli import main
from qts_cli.events import JsonLines
from qts_cli.sockets import listens
from qts_core.errors import ConfigError
from qts_operator.session import from_kubeconfig

CONTEXT = """
apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
users: [{name: a, user: {}}]
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"%s}}]
"""


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["decisions", "--last", "1.5"], '--last: expected a whole number, found "1.5"'),
        (["orders", "--bars", "1.e400"], '--bars: expected a whole number, found "1.e400"'),
        (["orders", "--seed", "1.5"], '--seed: expected a whole number, found "1.5"'),
        (["orders", "--per-bar", "9" * 17], "--per-bar: expected 1 to 100000, found"),
        (["evaluate", "eurusd_1h", "--bars", "1.5"], '--bars: expected a whole number, found "1.5"'),
        (["decisions", "--count", "--symbol", "X"], "--count counts the whole journal"),
        (["decisions", "--count", "--last", "2"], "--count counts the whole journal"),
        (["keys", "redis", "a.b.c", "d"], 'expected NAMESPACE.NAME such as trading.desk, found "a.b.c"'),
        (["plan", "-f", "specs.yaml"], "specs.yaml: specs: unknown field"),
        (["config", "show", "--set", "redis_url=redis://h:1?password=s"], "a login stands before the host"),
        (["evaluate", 'a"b.csv'], 'MARKET: a"b.csv: no such file'),
        (["support", "-n", "x", "y", "-o", "nowhere/x.tgz"], "--output nowhere/x.tgz: there is no folder"),
    ],
)
def test_a_value_is_refused_by_its_flag(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tokens: list[str],
    words: str,
) -> None:
    """One line, exit code 2, and no secret in it."""
    monkeypatch.chdir(tmp_path)
    Path("specs.yaml").write_text(
        "apiVersion: quantumtrading.io/v1alpha1\nkind: QuantumTradingSystem\nmetadata: {name: a}\nspecs: {}\n"
    )
    assert main(tokens) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_host_that_no_dns_could_know_is_one_that_does_not_answer() -> None:
    """Its encoding fails with an error of its own."""
    assert not listens("a..b", 6379)
    assert not listens("a" * 64 + ".example", 6379)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{{", "cannot be read as one (ParserError"),
        ("clusters: 5\n", "kubeconfig: "),
        (CONTEXT.replace('"https://127.0.0.1:1"', "5") % "", "cannot be read as one (AttributeError"),
        (CONTEXT % ', proxy-url: "http://127.0.0.1:2"', "proxy-url and tls-server-name are not followed"),
        (CONTEXT % ", tls-server-name: api.example", "proxy-url and tls-server-name are not followed"),
    ],
)
def test_a_kubeconfig_that_cannot_be_followed_is_refused_in_words(
    tmp_path: Path, text: str, words: str
) -> None:
    """One that is no YAML was a traceback; a proxy in it was passed over, and the cluster asked without."""
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigError, match="kubeconfig") as found:
        from_kubeconfig(str(tmp_path / "config"))
    assert words in str(found.value)


def test_a_proxy_of_the_environment_is_no_word_of_the_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many machines have one for everything else."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:2")
    (tmp_path / "config").write_text(CONTEXT % "")
    assert from_kubeconfig(str(tmp_path / "config")).server == "https://127.0.0.1:1"


class Full(io.StringIO):
    """A stream on a disk without room."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_under_the_output_ends_the_printing_and_not_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said once, where there is room."""
    lines = JsonLines(Full())
    lines({"kind": "start"})
    lines({"kind": "decision"})
    assert capsys.readouterr().err == "no more is printed (No space left on device); the run goes on\n"
