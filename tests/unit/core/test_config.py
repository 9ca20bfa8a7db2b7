"""Configuration: precedence, origins, and what wrong input is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qts_core import config
from qts_core.errors import ConfigError
from qts_core.roster import AGENTS
from qts_core.spec import SYSTEM

ROOT = Path(__file__).parents[3]
WRONG = {
    "unknown key near a known one": ('{"zmq_ports": {"pad": 1}}', '$.zmq_ports.pad: unknown key; did you mean "pads"?'),
    "unknown key near nothing": ('{"zzz": 1}', "$.zzz: unknown key; allowed are "),
    "wrong type": ('{"use_real_messaging": "yes"}', "$.use_real_messaging: expected `bool`, got `str`, found \"yes\""),
    "negative interval": ('{"decision_interval": -1}', "$.decision_interval: expected `float` > 0.0, found -1"),
    "wrong duration": ('{"message_ttl": "3x"}', '$.message_ttl: expected seconds or a text such as "3s"'),
    "weights": ('{"board_members": {"qar": 0.5, "qstar": 0.6}}', "$.board_members: weights must sum to 1 ± 0.001, found 1.1"),
    "unknown seat": ('{"board_members": {"qax": 0.5, "qar": 0.5}}', "$.board_members.qax: unknown seat; allowed are qar"),
    "weight of no number": ('{"board_members": {"qstar": 0.2, "qar": "x"}}', '$.board_members.qar: expected `float`, got `str`, found "x"'),
    "weight above 1": ('{"board_members": {"qar": 2, "qstar": -1}}', "$.board_members.qar: expected `float` <= 1.0, found 2"),
    "weight below 0": ('{"board_members": {"qar": 1, "qstar": -1}}', "$.board_members.qstar: expected `float` >= 0.0, found -1"),
    "weight that is none": ('{"board_members": {"qar": NaN, "qstar": 1}}', "$.board_members.qar: expected `float` >= 0.0, found NaN"),
    "seat without a name": ('{"board_members": {"": 0.5, "qar": 0.5}}', "$.board_members.'': unknown seat; allowed are qar"),
    "half of a character": ('{"redis_url": "redis://\\ud83d"}', '$.redis_url: expected text that UTF-8 can hold, found "redis://\\ud83d"'),
    "half of one in a list": ('{"market": {"symbols": ["A", "\\ud83d"]}}', '$.market.symbols: expected text that UTF-8 can hold, found "\\ud83d"'),
    "port clash": ('{"zmq_ports": {"pads": 9091}}', "$.zmq_ports.qbmia: 9091 is already the port of pads"),
    "reserved port": ('{"zmq_ports": {"pads": 8080}}', "$.zmq_ports.pads: 8080 is reserved"),
    "malformed": ('{"a"', "1:5: not valid JSON"),
    "not an object": ("[]", "expected a JSON object with settings, found list"),
    "doubled key": ('{"enable_pads": true, "enable_pads": false}', 'key "enable_pads" stands twice'),
    "unbuilt source": ('{"market": {"source": "live"}}', "$.market.source: \"live\" is not built yet"),
    "unknown source": ('{"market": {"source": "foo"}}', "allowed are simulated, replay, live, external, found \"foo\""),
    "two data sets": ('{"market": {"source": "replay", "replay": {"dataset": "a", "path": "b"}}}', "$.market.replay.dataset: path is given too; keep one of them"),
    "data of no name": ('{"market": {"replay": {"repeat": true}}}', "$.market.replay.dataset: neither it nor path is given; name a"),
    "a path of nothing": ('{"market": {"source": "replay", "replay": {"path": ""}}}', "$.market.replay.path: expected `str` of length >= 1"),
    "replay of nothing": ('{"market": {"source": "replay"}}', "replay: required when source is replay"),
    "redis scheme": ('{"redis_url": "http://x"}', "$.redis_url: expected `str` matching regex"),
    "speed without end": ('{"market": {"replay": {"dataset": "eurusd_1h", "speed": Infinity}}}', "$.market.replay.speed: expected a finite number, found Infinity"),
    "setting of no number": ('{"quantum_amos": {"belief_gain": NaN}}', "$.quantum_amos.belief_gain: expected a finite number, found NaN"),
    "infinite number": ('{"decision_timeout": 1e999}', "$.decision_timeout: expected `float` <= 86400.0"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_with_path_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    """The message names where, what was found and what is allowed."""
    path = tmp_path / "system.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path, {})
    assert expected in str(caught.value)
    assert str(path) in str(caught.value) or "$." in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that does not exist is an error of the caller."""
    with pytest.raises(ConfigError, match="no such file"):
        config.load(tmp_path / "none.json", {})


def test_a_wrong_weight_is_told_of_who_gave_it() -> None:
    """The path was that of the whole board, which several had given."""
    with pytest.raises(ConfigError, match=r"^--set board_members.qar: \$\.board_members\.qar: expected"):
        config.load(ROOT / "quantum_system_config.json", {}, ["board_members.qar=x"])


def test_later_sources_win_and_are_named(tmp_path: Path) -> None:
    """Default < file < environment < flag, and each value tells where it came from."""
    path = tmp_path / "system.json"
    path.write_text('{"decision_timeout": 1, "decision_interval": 2, "message_ttl": "3s"}')
    loaded = config.load(
        path, {"QTS_DECISION_INTERVAL": "4", "QTS_ZMQ_PORTS__PADS": "9190"}, ["message_ttl=500ms"]
    )
    system = loaded.system
    assert (system.decision_timeout, system.decision_interval, system.message_ttl) == (1.0, 4.0, 0.5)
    assert system.port("pads") == 9190
    assert loaded.origin["decision_timeout"] == str(path)
    assert loaded.origin["decision_interval"] == "environment QTS_DECISION_INTERVAL"
    assert loaded.origin["message_ttl"] == "--set message_ttl"
    assert loaded.origin["numba_jit"] == "default"


@pytest.mark.parametrize("shipped", [None, ROOT / "quantum_system_config.json"])
def test_a_seat_is_set_beside_the_others_and_a_board_is_one_value(shipped: Path | None) -> None:
    """Without a settings file one seat was taken for the whole board; with one a whole board for a part of it."""
    for env, sets in (
        ({}, ["board_members.qar=0.4", "board_members.qstar=0.15"]),
        ({"QTS_BOARD_MEMBERS__QAR": "0.4", "QTS_BOARD_MEMBERS__QSTAR": "0.15"}, []),
    ):
        loaded = config.load(shipped, env, sets)
        assert loaded.system.board_members == SYSTEM().board_members | {"qar": 0.4, "qstar": 0.15}
        assert "qar" in loaded.origin["board_members.qar"].lower()
        assert loaded.origin["board_members.consensus"] == str(shipped or "default")
    whole = ['board_members={"qar": 0.5, "qstar": 0.5}']
    assert config.load(shipped, {}, whole).system.board_members == {"qar": 0.5, "qstar": 0.5}


def test_the_shipped_file_is_the_default_but_for_the_market() -> None:
    """The documented defaults are the built-in ones."""
    shipped = config.load(ROOT / "quantum_system_config.json", {}).system
    built_in = json.loads(config.dump(SYSTEM()))
    differing = {k for k, v in json.loads(config.dump(shipped)).items() if built_in[k] != v}
    assert differing == {"market"}


def test_dump_and_load_agree(tmp_path: Path) -> None:
    """The effective settings written for the processes are read back equal."""
    system = config.load(None, {}, ["horizon_bars=7", "pads.reputation=hedge"]).system
    path = tmp_path / "system.json"
    path.write_bytes(config.dump(system))
    assert config.load(path, {}).system == system


def test_the_roster_brings_switch_and_port() -> None:
    """An agent type added to the roster has its key at once."""
    system = SYSTEM()
    for agent in AGENTS:
        assert system.enabled(agent.wire) is agent.enabled
        assert system.port(agent.wire) == agent.port
    assert [w.wire for w in AGENTS if w.enabled] == ["pads", "qbmia", "quasar", "quantum_amos"], "4 of 4"
    assert system.voters() == ("qbmia", "quasar", "quantum_amos")


def test_an_agent_that_is_off_by_default_brings_its_seat() -> None:
    """Switched on, it has a seat beside a whole board; a weight that is said holds, 0 too."""
    assert SYSTEM().board() == SYSTEM().board_members
    on = SYSTEM(enable_prediction=True)
    assert on.board() == on.board_members | {"prediction": 0.1}
    assert "prediction" in on.voters()
    for weight in (0.0, 0.05):
        said = SYSTEM(enable_prediction=True, board_members=on.board_members | {"prediction": weight})
        assert said.board()["prediction"] == weight
    with pytest.raises(ValueError, match="board_members: weights must sum to 1"):
        SYSTEM(board_members=on.board_members | {"prediction": 0.3})


def test_an_agent_is_not_switched_on_without_what_it_needs() -> None:
    """The key is named with the switch; a URL with a password in it is no source."""
    with pytest.raises(
        ConfigError, match=r"sentiment\.source: required when enable_sentiment is true; set it"
    ):
        config.load(None, {}, ["enable_sentiment=true"])
    for fine in ("headlines.jsonl", "/data/a b.jsonl", "https://news.example:8443/h?since=1"):
        system = config.load(None, {}, ["enable_sentiment=true", f'sentiment.source="{fine}"']).system
        assert system.urls("sentiment") == ({"source": fine} if fine.startswith("https") else {})
    for wrong in ("ftp://news.example/h", "https://me:secret@news.example/h", ""):
        with pytest.raises(ConfigError, match=r"sentiment\.source"):
            config.load(None, {}, [f'sentiment.source="{wrong}"'])


def test_the_market_maker_may_be_added_to_full_weights() -> None:
    """One convenience: an added market maker scales the others."""
    board = {"qar": 0.3, "qstar": 0.25, "antifragility": 0.2, "consensus": 0.15, "adaptability": 0.1}
    assert SYSTEM(board_members={**board, "market_maker": 0.05}).board_members["market_maker"] == 0.05


def test_a_later_path_displaces_the_shipped_data_set() -> None:
    """One flag is enough to replay another file; both in one place are still refused."""
    shipped = ROOT / "quantum_system_config.json"
    replay = config.load(shipped, {}, ["market.replay.path=bars.csv"]).system.market.replay
    assert replay is not None
    assert (replay.path, replay.dataset) == ("bars.csv", None)


@pytest.mark.parametrize(
    ("env", "sets", "source"),
    [
        ({}, ["market.replay.path=bars.csv"], "replay"),
        ({"QTS_MARKET__REPLAY__DATASET": "eurusd_1h"}, [], "replay"),
        ({}, ["market.replay.path=bars.csv", "market.source=simulated"], "simulated"),
        ({}, ['market={"source": "external", "replay": {"path": "bars.csv"}}'], "external"),
    ],
)
def test_who_names_data_means_them(env: dict[str, str], sets: list[str], source: str) -> None:
    """Where no settings file lies the source is the simulation: a file that was named was passed over."""
    loaded = config.load(None, env, sets)
    assert loaded.system.market.source == source
    assert source != "replay" or loaded.origin["market.source"] != "default"


@pytest.mark.parametrize("replay", [{"dataset": "eurusd_1h"}, {"path": "bars.csv", "dataset": None}])
def test_a_file_that_names_data_means_them_too(tmp_path: Path, replay: dict[str, str | None]) -> None:
    """Without `source` they were passed over in silence, though a flag that named them was not."""
    path = tmp_path / "system.json"
    path.write_text(json.dumps({"market": {"replay": replay}}))
    loaded = config.load(path, {})
    assert (loaded.system.market.source, loaded.origin["market.source"]) == ("replay", str(path))
    assert config.load(path, {"QTS_MARKET__SOURCE": "simulated"}).system.market.source == "simulated"
    path.write_text(json.dumps({"market": {"source": "simulated", "replay": replay}}))
    assert config.load(path, {}).system.market.source == "simulated", "said, so it holds"


@pytest.mark.parametrize("source", ["simulated", "replay", "external"])
def test_what_differs_from_the_defaults_reads_back_equal(tmp_path: Path, source: str) -> None:
    """Also a simulation beside data, whose source is the default one."""
    market = {"source": source, "replay": {"dataset": "eurusd_1h"}}
    system = config.convert({"market": market, "horizon_bars": 7})
    path = tmp_path / "system.json"
    path.write_bytes(config.dump_changed(system))
    assert json.loads(path.read_text()) == {"market": market, "horizon_bars": 7}
    assert config.load(path, {}).system == system
