"""Every alert against promtool: series that fire it, series that leave it quiet, and the threshold itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.control_plane.alert_cases import CASES, Case

from qts_operator.alerts import ALERTS, THRESHOLDS, groups
from qts_operator.alerts import SYSTEM as SYSTEM_ALERTS

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "docs" / "runbooks"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on PATH (Debian's package prometheus)"
)


def _test(name: str, case: Case, series: dict[str, str], fires: bool) -> dict[str, Any]:
    """Ask for the alert itself: promtool keeps ALERTS as a series like any other."""
    severity = f', severity="{case.severity}"' if case.severity else ""
    chosen = f'ALERTS{{alertname="{name.partition(" ")[0]}", alertstate="firing"{severity}}}'
    looked = f"last_over_time({chosen}[{case.at}])" if case.always and not fires else chosen
    asked = {
        "expr": f"count({looked})",
        "eval_time": case.at,
        "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
    }
    made = [{"series": key, "values": values} for key, values in series.items()]
    return {"interval": case.step, "input_series": made, "promql_expr_test": [asked], "name": name}


def promtool(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with the rules as a Prometheus would read them."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups(THRESHOLDS)))
    return tmp_path


def test_every_alert_has_its_series() -> None:
    """A new row of the table needs series, a removed one takes them along."""
    assert {case.partition(" ")[0] for case in CASES} == {a.name for a in ALERTS}


@needs_promtool
def test_promtool_reads_the_rules(rules: Path) -> None:
    """Expressions, times and templates are valid."""
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", "rules.yaml", cwd=rules)


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_stays_quiet_and_keeps_to_its_threshold(name: str, tmp_path: Path) -> None:
    """Three cases each; what waits (`for`) is looked at after its time."""
    case = CASES[name]
    rules = [
        r for g in groups(THRESHOLDS)["groups"] for r in g["rules"] if r["alert"] == name.partition(" ")[0]
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": rules}]}))
    three = ((case.firing, True), (case.quiet, False), (case.edge, False))
    given = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": case.step,
        "tests": [_test(name, case, series, fires) for series, fires in three],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    promtool("test", "rules", "tests.yaml", cwd=tmp_path)


_EAST, _WEST = (
    {f'up{{job="qts-operator", namespace="{n}", pod="{pod}"}}': "1x20" for pod in "ab"}
    for n in ("east", "west")
)
_EAST_DOWN = dict.fromkeys(_EAST, "0x20")


@needs_promtool
@pytest.mark.parametrize(
    ("asked_for", "series", "missed"),
    [
        ("east", _WEST, "east"),
        ("east", _EAST_DOWN | _WEST, "east"),
        ("east", _EAST | dict([*_EAST_DOWN.items()][:1]), None),
        ("east", _EAST | dict.fromkeys(_WEST, "0x20"), None),
        # a scrape of somebody's own: what is there tells its namespace, and of what is gone nothing is known
        ("", _EAST_DOWN | _WEST, "east"),
        ("", {}, ""),
        ("", _WEST, None),
    ],
)
def test_an_installation_that_is_gone_is_missed_by_its_namespace(
    asked_for: str, series: dict[str, str], missed: str | None, tmp_path: Path
) -> None:
    """The chart names the namespace of its release; `up` of another one says nothing of it."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups(THRESHOLDS, asked_for)))
    test = _test("QtsOperatorDown", Case({}, {}, {}, "15m"), series, fires=False)
    (asked,) = test["promql_expr_test"]
    asked["expr"] = asked["expr"].replace("count(", "count by (namespace) (")
    labels = f'{{namespace="{missed}"}}' if missed else "{}"
    asked["exp_samples"] = [] if missed is None else [{"labels": labels, "value": 1}]
    given = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    promtool("test", "rules", "tests.yaml", cwd=tmp_path)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: f"{a.name}-{a.severity}")
def test_an_alert_says_what_where_and_how_much(alert: Any) -> None:
    """A person at three o'clock reads a value, and the system's name where the series has one."""
    assert "$value" in alert.description
    one_system = alert in SYSTEM_ALERTS and "by (agent)" not in alert.expr
    assert ("$labels.system" in alert.description) == one_system
    assert alert.severity in ("page", "ticket")
    assert alert.summary
    assert not alert.summary.endswith(".")
