"""Which field of the resource a setting comes from, and texts of agents told of the resource."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from qts_core.config import flatten
from qts_core.errors import ConfigError
from qts_core.parts import Market, Messaging, Replay
from qts_core.resource import read, settings_of, unknown_fields
from qts_core.spec import SYSTEM
from qts_core.whence import CAPITALISED, field_of, in_fields


def _tree(path: str) -> Any:
    """Return a resource's spec with something at the dotted path."""
    tree: Any = {}
    for key in reversed(path.split(".")[1:]):
        tree = {key: tree}
    return tree


@pytest.mark.parametrize("setting", sorted(flatten(msgspec.to_builtins(SYSTEM()))))
def test_every_setting_comes_from_a_field_that_the_resource_has(setting: str) -> None:
    """As strict decoding knows it; of what several agents decide together, from that of any."""
    assert unknown_fields(_tree(field_of(setting).replace("<name>", "quasar"))) == []


@pytest.mark.parametrize("key", [f.name for f in msgspec.structs.fields(Replay)])
def test_a_replay_is_told_by_the_fields_of_the_resource(key: str) -> None:
    """It is no setting by default, so the test above does not see it."""
    name = field_of(f"market.replay.{key}")
    assert unknown_fields(_tree(name)) == []


def test_values_with_a_capital_are_those_that_the_resource_spells_so() -> None:
    """What is rendered in lower case, and nothing else."""
    structs = {"market.": Market, "market.replay.": Replay, "messaging.": Messaging}
    found = {
        above + field.name: tuple(value.lower() for value in get_args(field.type))
        for above, struct in structs.items()
        for field in msgspec.structs.fields(struct)
        if get_origin(field.type) is Literal and all(isinstance(v, str) for v in get_args(field.type))
    }
    assert {name: set(values) for name, values in found.items()} == {
        name: set(values) for name, values in CAPITALISED.items()
    }


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("$.redis_url: the port", "spec.redis.url: the port"),
        ("$.zmq_ports.quantum_amos: 1 is taken", "spec.agents.amos.port: 1 is taken"),
        ("choose another in zmq_ports", "choose another in spec.agents.<name>.port"),
        ("$.market.symbols[2]: twice", "spec.market.symbols[2]: twice"),
        ("$.board_members.qar: more", "spec.config.boardMembers.qar: more"),
        ("needed when enable_quantum_amos is true", "needed when spec.agents.amos.enabled is true"),
        (
            "or set market.replay.ts_unit to s, ms, us, ns",
            "or set spec.market.replay.tsUnit to S, Ms, Us, Ns",
        ),
        ("messaging.encryption is curve, but", "spec.messaging.encryption is Curve, but"),
        (
            "/data/x.csv: no such file; check market.replay.path.",
            "/data/x.csv: no such file; check spec.market.replay.path.",
        ),
        ("the market of the pads", "the market of the pads"),
        ("the peer quantum_amos does not answer", "the peer quantum_amos does not answer"),
        ("$.quantum_amos: no object", "spec.config.quantumAmos: no object"),
        ("spec.market.replay.path, market", "spec.market.replay.path, market"),
        ("/var/market.source tcp://x.market.source", "/var/market.source tcp://x.market.source"),
    ],
)
def test_a_text_names_fields_where_it_named_settings(said: str, told: str) -> None:
    """Words, files and addresses stay what they are."""
    assert in_fields(said) == told


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"redis": {"mode": "External", "url": "redis://a:99999"}}, "spec.redis.url: expected HOST"),
        (
            {"redis": {"mode": "External", "url": "redis+sentinel://a:1,b:x/n"}},
            "spec.redis.url: expected HOST",
        ),
        ({"observability": {"otlpEndpoint": "http://c:0"}}, "spec.observability.otlpEndpoint: expected HOST"),
        (
            {"agents": {"sentiment": {"enabled": True}}, "config": {"sentiment": {"source": "http://[::1"}}},
            "spec.config.sentiment.source: expected HOST or HOST:PORT with a port from 1 to 65535",
        ),
        ({"agents": {"qbmia": {"port": 9090}}}, "spec.agents.qbmia.port: 9090 is already the port of pads"),
        ({"config": {"boardMembers": {"qar": 1.0}}}, "spec.config.boardMembers: at least two seats"),
        (
            {"agents": {"sentiment": {"enabled": True}}},
            "spec.config.sentiment.source: required when spec.agents.sentiment.enabled is true; set it",
        ),
    ],
)
def test_what_is_refused_is_told_by_its_field(spec: dict[str, Any], words: str) -> None:
    """Though it is the settings that refuse it."""
    with pytest.raises(ConfigError) as refused:
        settings_of(read(spec), "trading", "desk-1")
    assert str(refused.value).startswith(words)
