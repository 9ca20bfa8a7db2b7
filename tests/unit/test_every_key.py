"""Every key of the settings has an effect that a test shows: here is which test, and the small ones themselves.

The constants of the four agents have their own tables in `agents/test_settings_effects.py`.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import msgspec
import numba
import pytest
from tests.unit.agents import pads_script

from qts_agents.kernels import backend
from qts_cli import launch
from qts_core.roster import AGENTS
from qts_core.sections import Section
from qts_core.spec import SYSTEM
from qts_core.telemetry import open_logs
from qts_messaging.messages import PerformanceFeedback

TESTS = Path(__file__).parents[1]
HERE = "unit/test_every_key.py"
RUN, FAULTS, FEED = "processes/test_run.py", "processes/test_run_faults.py", "unit/agents/test_market_feed.py"
QBMIA, TELEMETRY = "unit/agents/test_qbmia.py", "unit/core/test_telemetry.py"
SOURCE, TABLES = "unit/agents/test_market_source.py", "unit/agents/test_market_tables.py"

#: key → the test that fails when the key loses its effect
SHOWN: dict[str, tuple[str, str]] = {
    "redis_url": ("processes/test_local_redis.py", "test_answering_server_is_used_and_named"),
    "use_real_messaging": (RUN, "test_simulated_messaging_is_declared"),
    "simulate_market_data": (HERE, "test_simulate_market_data"),
    "market.source": (SOURCE, "test_no_feed_runs_for_an_external_publisher"),
    "market.symbols": (SOURCE, "test_symbols_are_chosen_in_order_and_the_market_is_theirs"),
    "market.fee": (SOURCE, "test_costs_are_the_sets_unless_given"),
    "market.spread": (SOURCE, "test_costs_are_the_sets_unless_given"),
    "market.predictability": ("unit/agents/test_market_simulate.py", "test_drift_and_momentum_exist_only_when_planted"),
    "market.replay.dataset": (SOURCE, "test_a_replay_backfills_a_third_of_its_bars"),
    "market.replay.path": (SOURCE, "test_a_file_is_replayed_by_path_with_its_stamp"),
    "market.replay.orders": (
        "unit/agents/test_order_flow.py", "test_events_unmask_the_strategy_raise_an_alert_and_replay_byte_for_byte"
    ),
    "market.replay.stamp": (TABLES, "test_open_stamps_close_a_bar_later"),
    "market.replay.ts_unit": (TABLES, "test_times_may_be_numbers"),
    "market.replay.speed": (FEED, "test_bars_come_at_the_stated_pace"),
    "market.replay.repeat": (FEED, "test_a_repeated_replay_begins_a_new_epoch"),
    "horizon_bars": (HERE, "test_horizon_bars"),
    "system_seed": ("property/test_amos_agent.py", "test_shots_follow_the_seed"),
    "messaging.encryption": ("processes/test_messaging.py", "test_curve_without_keys_is_refused"),
    "observability.otlp_endpoint": (TELEMETRY, "test_without_an_endpoint_nothing_is_built"),
    "observability.sample_ratio": (TELEMETRY, "test_the_ratio_decides_once_for_all"),
    "observability.log_level": (HERE, "test_log_level"),
    "hardware_optimization": (HERE, "test_hardware_optimization"),
    "quantum_circuits": (QBMIA, "test_the_answer_says_what_computed_it"),
    "gpu_acceleration": ("gpu/test_nash_gpu.py", "test_gpu_acceleration_moves_the_agents_games"),
    "numba_jit": (QBMIA, "test_both_implementations_give_the_same_answer"),
    "decision_timeout": (FEED, "test_lockstep_goes_on_without_a_decision_after_a_bounded_wait"),
    "decision_interval": (FEED, "test_lockstep_follows_rounds_that_fall_on_other_bars"),
    "message_ttl": ("unit/messaging/test_machines.py", "test_ttl_follows_the_type_and_the_settings"),
    "health_check_interval": ("unit/core/test_probes.py", "test_the_liveness_period_is_the_setting"),
    "market_update_interval": (FEED, "test_bars_come_at_the_stated_pace"),
    "auto_restart_failed": (FAULTS, "test_auto_restart_off_leaves_it_down"),
    "board_members": ("unit/agents/test_pads_board.py", "test_the_worked_pool_through_the_board"),
    **{f"enable_{w.wire}": (HERE, "test_enable") for w in AGENTS},
    **{f"zmq_ports.{w.wire}": ("unit/cli/test_bad_input.py", "test_zmq_port_in_use_is_named_with_its_key")
       for w in AGENTS},
}  # fmt: skip
#: sections with a table of their own
CONSTANTS = {"pads", "qbmia", "quasar", "quantum_amos", *(w.wire for w in AGENTS if w.settings)}


def keys(section: type[msgspec.Struct], prefix: str = "") -> set[str]:
    """Return the path of every key that is no section itself."""
    found: set[str] = set()
    for field in msgspec.structs.fields(section):
        kinds = getattr(field.type, "__args__", (field.type,))
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, Section)]
        if not prefix and field.name in CONSTANTS:
            continue
        path = f"{prefix}{field.name}"
        found |= keys(inner[0], f"{path}.") if inner else {path}
    return found


@functools.cache
def functions(file: str) -> frozenset[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_key_is_shown_by_a_test_that_exists() -> None:
    """A key without a line, a line without a key, and a test that is gone all fail."""
    assert set(SHOWN) == keys(SYSTEM)
    assert {key: test for key, test in SHOWN.items() if test[1] not in functions(test[0])} == {}


def test_simulate_market_data() -> None:
    """Without it no feed is started, whatever the source."""
    assert "market" in {w.name for w in launch.workloads(SYSTEM())}
    assert "market" not in {w.name for w in launch.workloads(SYSTEM(simulate_market_data=False))}


@pytest.mark.parametrize("agent", [w.wire for w in AGENTS])
def test_enable(agent: str) -> None:
    """An agent that is switched off is no process and, if it votes, is not asked."""
    system = SYSTEM(**{f"enable_{agent}": False})
    assert agent not in {w.wire for w in launch.workloads(system)} | set(system.voters())


def test_horizon_bars() -> None:
    """Voters are asked for it, and a decision is judged that many bars after its fill."""
    seen = {}
    for horizon in (5, 30):
        script = pads_script.Script(pads_script.system(horizon_bars=horizon), lambda *_: [[0.5, 0.3, 0.2]])
        script.bars(pads_script.walk(240), 200)
        asked = script.asked[0].requests["quasar"]
        first = next(m for m in script.messages if isinstance(m, PerformanceFeedback))
        assert asked.horizon_bars == horizon
        seen[horizon] = len([m for m in script.messages if isinstance(m, PerformanceFeedback)])
        assert first.round_id == asked.round_id
    assert seen[5] > seen[30] > 0


@pytest.mark.parametrize(("level", "lines"), [("debug", 3), ("info", 2), ("error", 1)])
def test_log_level(level: str, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not written."""
    log = open_logs("pads", "s", level)
    log.debug("one")
    log.info("two")
    log.error("three")
    assert len(capsys.readouterr().out.splitlines()) == lines


def test_hardware_optimization(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels may use all cores with it, one without."""
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    try:
        several = any(backend._available(module) for _, module in backend.LAYERS)
        assert backend.threads(hardware_optimization=True) == (3 if several else 1)
        assert backend.threads(hardware_optimization=False) == 1
    finally:
        backend.threads(hardware_optimization=False)
