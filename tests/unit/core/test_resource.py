"""The custom resource as structs: defaults, rendering to the settings, unknown fields."""

from __future__ import annotations

import json

import msgspec
import pytest

from qts_core.crd import crd
from qts_core.errors import ConfigError
from qts_core.resource import read, settings_of, unknown_fields
from qts_core.spec import SYSTEM, System
from qts_core.whence import DECIDED
from qts_core.wording import WORDS


def _made(**spec: object) -> System:
    """Return the settings of trading/desk-1 with such a spec."""
    return settings_of(read(spec), "trading", "desk-1")


def test_empty_spec_gives_the_defaults_of_the_file() -> None:
    """Every key that the resource does not decide elsewhere has the file's default."""
    made, expected = _made(), SYSTEM()
    for field in msgspec.structs.fields(SYSTEM):
        if field.name not in DECIDED:
            assert getattr(expected, field.name) == getattr(made, field.name)


def test_decided_keys_come_from_their_sections() -> None:
    """Ports, switches, Redis, market and GPU come from the sections that decide them."""
    made = _made(
        agents={"quasar": {"enabled": False, "port": 9999}, "amos": {"gpu": {"mode": "Preferred"}}},
        market={"source": "Replay", "replay": {"dataset": "eurusd_1h", "repeat": True, "stamp": "Open"}},
        messaging={"encryption": "None"},
        observability={"sampleRatio": 0.5, "otlpEndpoint": "http://collector:4318"},
    )
    assert not made.enabled("quasar")
    assert made.enabled("quantum_amos")
    assert made.port("quasar") == 9999
    assert made.gpu_acceleration
    assert made.redis_url == "redis://desk-1-redis.trading.svc:6379"
    assert made.market.source == "replay"
    assert made.market.replay is not None
    assert (made.market.replay.repeat, made.market.replay.stamp) == (True, "open")
    assert made.messaging.encryption == "none"
    assert made.observability.sample_ratio == 0.5
    assert made.observability.otlp_endpoint == "http://collector:4318"


def test_a_claim_becomes_a_path_of_the_pod() -> None:
    """A file on a claim is read below the mount point."""
    made = _made(
        market={"source": "Replay", "replay": {"claimName": "bars", "path": "2026/btc.csv", "speed": 0}}
    )
    assert made.market.replay is not None
    assert made.market.replay.path == "/data/2026/btc.csv"
    assert made.market.replay.speed == 0


def test_external_redis_and_external_market() -> None:
    """An external Redis brings its own URL; an external market runs no feed."""
    made = _made(redis={"mode": "External", "url": "rediss://cache:6380"}, market={"source": "External"})
    assert made.redis_url == "rediss://cache:6380"
    assert not made.feed_runs()


def test_config_is_camel_case_of_the_file() -> None:
    """A key of the file is set by its camelCase name, sections too."""
    made = _made(config={"decisionTimeout": 1.5, "numbaJit": False, "quantumAmos": {"beliefGain": 2.0}})
    assert made.decision_timeout == 1.5
    assert made.numba_jit is False
    assert made.quantum_amos.belief_gain == 2.0


def test_whole_numbers_are_quantities() -> None:
    """A quantity may be written as a number, as Kubernetes allows."""
    spec = read({"agents": {"pads": {"resources": {"requests": {"cpu": 1}}}}})
    assert spec.agent("pads").resources.requests == {"cpu": "1"}


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"markt": {}}, "spec.markt"),
        ({"config": {"zmqPorts": {}}}, "spec.config.zmqPorts"),
        ({"agents": {"pads": {"gpu": {}}}}, "spec.agents.pads.gpu"),
        (
            {"agents": {"amos": {"env": [{"name": "A", "valueFrom": {}}]}}},
            "spec.agents.amos.env[0].valueFrom",
        ),
    ],
)
def test_unknown_fields_are_named(spec: dict[str, object], path: str) -> None:
    """An unknown field is found with its whole path."""
    assert unknown_fields(spec) == [path]


def test_a_wrong_type_is_named() -> None:
    """A wrong type is refused with the path of its field."""
    with pytest.raises(ConfigError, match=r"^spec\.agents\.amos\.replicas: expected `int`, got `str`$"):
        read({"agents": {"amos": {"replicas": "two"}}})


def _walk(schema: dict, path: str = "spec"):
    yield path, schema
    for key, inner in schema.get("properties", {}).items():
        yield from _walk(inner, f"{path}.{key}")
    if isinstance(schema.get("items"), dict):
        yield from _walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _walk(schema["additionalProperties"], f"{path}{{}}")


def test_everything_in_the_definition_is_bounded() -> None:
    """Strings, lists and maps have a bound, else the server refuses CEL rules for their cost."""
    root = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    nodes = list(_walk(root))
    assert len(nodes) > 150
    for path, node in nodes:
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, path
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_struct_defaults_are_spelled_out() -> None:
    """A default of a struct holds the defaults of every field below it that has one."""

    def filled(schema: dict, path: str) -> None:
        for key, inner in schema.get("properties", {}).items():
            filled(inner, f"{path}.{key}")
            if "default" in schema and "default" in inner:
                assert key in schema["default"], f"{path}.{key}"

    filled(crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec")


def test_only_a_section_with_a_rule_about_changes_is_filled_in() -> None:
    """What else is left out stays out of the stored resource: each write of it costs what it weighs."""
    spec = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    sections = {path: node for path, node in _walk(spec) if "properties" in node and path != "spec"}
    assert {path for path, node in sections.items() if "default" in node} == {"spec.redis", "spec.messaging"}
    changing = {path for path, node in sections.items() if "oldSelf" in json.dumps(node)}
    assert changing == {"spec.redis", "spec.redis.storage", "spec.messaging"}


def test_pads_cannot_ask_for_a_device() -> None:
    """The roster gives PADS no GPU, so the definition has no such field there, and has it elsewhere."""
    spec = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    agents = spec["properties"]["agents"]["properties"]
    assert "gpu" not in agents["pads"]["properties"]
    assert {"qbmia", "quasar", "amos"} == {n for n, a in agents.items() if "gpu" in a["properties"]}
    assert agents["pads"]["properties"]["replicas"]["maximum"] == 1


def _said(schema: dict, path: str):
    for key, inner in schema.get("properties", {}).items():
        yield f"{path}.{key}", inner.get("description")
        yield from _said(inner, f"{path}.{key}")
    if isinstance(schema.get("items"), dict):
        yield from _said(schema["items"], f"{path}[]")


def test_kubectl_explain_has_a_sentence_for_every_field() -> None:
    """A field without one is an agent's constant, or a leaf of the status below its own entry."""
    root = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    said = dict(_said({"properties": {"spec": root["spec"], "status": root["status"]}}, ""))
    silent = {path for path, words in said.items() if not words}
    constants = {path for path in said if path.startswith(".spec.config.") and path.count(".") > 3}
    records = {path for path in said if path.startswith(".status.") and path.count(".") > 2}
    assert silent <= constants | records, silent - constants - records
    assert constants <= silent, "a sentence for a field of the same name elsewhere"
    assert [w for w in said.values() if w and not w.endswith(".")] == []


def test_a_better_sentence_makes_no_served_definition_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash that operators compare is of what the server does, not of what it explains: else all systems of an
    upgrade that brings a sentence would be Degraded until the definition is applied."""
    before = crd()
    monkeypatch.setitem(WORDS, "suspend", "Another sentence.")
    after = crd()
    assert before["spec"] != after["spec"]
    assert before["metadata"] == after["metadata"]
