"""`qts plan`: the operator's own plan for a file, and refusals that name the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from qts_cli import main
from qts_cli.plan_cluster import TRIES, admitted
from qts_core.errors import ConfigError
from qts_core.roster import ROSTER
from qts_operator.middleware import ApiError


def write(path: Path, spec: dict[str, Any], **extra: Any) -> Path:
    cr = {
        "apiVersion": "quantumtrading.io/v1alpha1",
        "kind": "QuantumTradingSystem",
        "metadata": {"name": "desk"},
        "spec": spec,
    }
    path.write_text(yaml.safe_dump(cr | extra))
    return path


def test_plan_prints_every_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A valid resource gives YAML with one Deployment per workload in the namespace asked for."""
    file = write(tmp_path / "cr.yaml", {})
    assert main(["plan", "-f", str(file), "-n", "trading"]) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    deployments = {each["metadata"]["name"] for each in objects if each["kind"] == "Deployment"}
    assert {f"desk-{w.name}" for w in ROSTER if w.enabled} == deployments
    assert {"trading"} == {each["metadata"]["namespace"] for each in objects}


def test_plan_follows_the_resource(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A disabled agent has no Deployment in the summary."""
    file = write(tmp_path / "cr.yaml", {"agents": {"quasar": {"enabled": False}}})
    assert main(["plan", "-f", str(file), "--summary"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "Create Deployment/desk-qbmia" in out
    assert "Create Deployment/desk-quasar" not in out


def test_plan_of_an_agent_that_is_off_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Switched on in the resource, it has its Deployment and Service."""
    file = write(tmp_path / "cr.yaml", {"agents": {"prediction": {"enabled": True}}})
    assert main(["plan", "-f", str(file), "--summary"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert {"Create Deployment/desk-prediction", "Create Service/desk-prediction"} <= set(out)


HEAD = "kind: QuantumTradingSystem\napiVersion: quantumtrading.io/v1alpha1\n"


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"agents": {"qbmai": {}}}, "spec.agents.qbmai"),
        ({"config": {"decisionTimeout": -1}}, "spec.config.decisionTimeout"),
        ({"market": {"source": "Telepathy"}}, "spec.market.source"),
        (
            {"config": {"boardMembers": {"qar": 0.9, "qstar": 0.9}}},
            "cr.yaml: spec.config.boardMembers: boardMembers: weights",
        ),
        (
            {"config": {"boardMembers": {"qar": 0.9, "qstar": "x"}}},
            "spec.config.boardMembers.qstar: expected",
        ),
        (
            {"agents": {"pads": {"resources": {"limits": {"cpu": "1", "memory": "x"}}}}},
            "resources.limits.memory",
        ),
        ({"agents": {"pads": {"replicas": 3}}}, "spec.agents.pads.replicas"),
    ],
)
def test_refused_field_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: dict[str, Any], path: str
) -> None:
    """A refused field gives exit code 2 and one line with its path."""
    assert main(["plan", "-f", str(write(tmp_path / "cr.yaml", spec))]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert path in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod\n", "no resource of kind QuantumTradingSystem"),
        ("a: [", "not valid YAML"),
        ("kind: QuantumTradingSystem\napiVersion: v0\n", "apiVersion"),
        (HEAD, "metadata.name: required"),
        (f"{HEAD}metadata: 5\n", "metadata.name: required, as text"),
        (f"{HEAD}metadata: {{name: a, namespace: 5}}\n", "metadata.namespace: expected text, found 5"),
        (
            f'{HEAD}metadata: {{name: a}}\nspec: {{market: {{symbols: ["\\ud83d"]}}}}\n',
            "symbols: expected text that",
        ),
        (f'{HEAD}metadata: {{name: a, labels: {{"\\ud83d": x}}}}\n', "$.metadata.labels: expected text that"),
        (
            f"{HEAD}metadata: {{name: a}}\nspec: {{market: {{symbols: [{{2020-01-01: x}}]}}}}\n",
            "spec.market.symbols",
        ),
        (f"{HEAD}metadata: {{name: a}}\nspec: &s {{config: *s}}\n", "an alias (*) stands within"),
        (
            f"{HEAD}metadata: {{name: a}}\nspec: {{market: {{symbols: &a [*a]}}}}\n",
            "an alias (*) stands within",
        ),
        (
            f"{HEAD}metadata: {{name: a}}\nspec: {{agents: {{pads: {{nodeSelector: {{1: x}}}}}}}}\n",
            "key in spec.agents.pads.nodeSelector: expected `str`",
        ),
    ],
)
def test_wrong_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    """A file that is no resource is refused in words."""
    file = tmp_path / "cr.yaml"
    file.write_text(text)
    assert main(["plan", "-f", str(file)]) == 2
    assert words in capsys.readouterr().err


LONG = "d" * 41
DEEP = ".".join(["d" * 63] * 4)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"name": "Desk"}, "metadata.name must be at most 40 characters, begin with a letter and hold only"),
        ({"name": LONG}, "metadata.name must be at most 40 characters"),
        ({"name": "9desk"}, "metadata.name"),
        ({"name": "desk-"}, "metadata.name"),
        ({"name": ""}, "metadata.name"),
        ({"name": "desk\n"}, "metadata.name"),
        ({"name": "desk", "namespace": "Trading"}, "metadata.namespace: expected at most 63 of a-z"),
        ({"name": "desk", "namespace": "n" * 64}, "metadata.namespace"),
        ({"name": "desk", "labels": ["a"]}, "metadata.labels: expected a map"),
        ({"name": "desk", "labels": {"a b": "c"}}, "metadata.labels: expected keys of PREFIX/NAME or NAME"),
        ({"name": "desk", "labels": {"/a": "c"}}, "metadata.labels: expected keys"),
        ({"name": "desk", "labels": {"x.y/": "c"}}, "metadata.labels: expected keys"),
        ({"name": "desk", "labels": {f"{DEEP}/a": "c"}}, "metadata.labels: expected keys"),
        ({"name": "desk", "labels": {"team": "x" * 64}}, "metadata.labels.team: expected text of up to 63"),
        ({"name": "desk", "labels": {"team": "a b"}}, "metadata.labels.team"),
        ({"name": "desk", "labels": {"team": 5}}, "metadata.labels.team"),
    ],
)
def test_names_that_kubernetes_refuses_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metadata: dict[str, Any], words: str
) -> None:
    """By the definition's rule the system's own, in one line; nothing is planned."""
    assert main(["plan", "-f", str(write(tmp_path / "cr.yaml", {}, metadata=metadata))]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert f"cr.yaml: {words}" in told.err or words in told.err


def test_the_namespace_of_the_command_line_is_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is named as what it is; the longest names and labels are planned."""
    assert main(["plan", "-f", str(write(tmp_path / "cr.yaml", {})), "-n", "Trading"]) == 2
    assert capsys.readouterr().err.startswith("qts: --namespace: expected at most 63 of")
    metadata = {
        "name": "d" * 40,
        "namespace": "n" * 63,
        "labels": {f"{'x' * 63}.y/{'a' * 63}": "v" * 63, "e": ""},
    }
    assert main(["plan", "-f", str(write(tmp_path / "cr.yaml", {}, metadata=metadata))]) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    labels = [value for each in objects for value in each["metadata"]["labels"].values()]
    assert max(map(len, [*labels, *(each["metadata"]["name"] for each in objects)])) <= 63


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is named."""
    assert main(["plan", "-f", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


class Contended:
    """An API server on which somebody writes a status after each of the first `writes` looks at it."""

    def __init__(self, writes: int) -> None:
        self.session, self.writes, self.version = self, writes, 0

    async def get(self, *_: Any) -> dict[str, Any]:
        return {"metadata": {"name": "desk", "resourceVersion": str(self.version)}, "spec": {}}

    async def call(self, *_: Any, body: dict[str, Any], **__: Any) -> dict[str, Any]:
        if self.writes:
            self.writes, self.version = self.writes - 1, self.version + 1
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict", "the object has been modified")
        return body


async def test_a_status_that_is_written_meanwhile_refuses_no_plan() -> None:
    """The dry run is tried again over what is there then, not for ever."""
    wanted: dict[str, Any] = {"metadata": {"name": "desk"}, "spec": {"paused": True}}
    api: Any = Contended(TRIES - 1)
    assert (await admitted(api, wanted, "trading"))["spec"] == {"paused": True}
    api = Contended(TRIES)
    with pytest.raises(ConfigError, match="trading/desk changes all the time: the object has been modified"):
        await admitted(api, wanted, "trading")
