"""Dashboards: their JSON, and no query of panel or alert with a name that nobody exposes."""

from __future__ import annotations

import json
import re

import pytest
from tests.metric_names import unknown

from qts_operator.alerts import ALERTS, Alert
from qts_operator.alerts import BOARDS as ADDRESS
from qts_operator.dashboards import BOARDS, board

QUERIES = {
    f"{name}/{panel.title}/{legend}": query
    for name, (_, panels) in BOARDS.items()
    for panel in panels
    for legend, query in panel.queries.items()
} | {f"alert/{a.name}/{a.severity}": a.expr for a in ALERTS}


@pytest.mark.parametrize("where", QUERIES)
def test_a_query_asks_for_what_is_exposed(where: str) -> None:
    """Metrics and labels are those of docs/metrics.md, which other tests compare with the processes."""
    assert unknown(QUERIES[where]) == set()


def test_a_misspelt_name_is_noticed() -> None:
    """The test above can fail."""
    assert unknown("sum by (kin) (rate(qts_write_total[5m]))") == {"kin", "qts_write_total"}
    assert unknown('qts_leader{pot="a"}') == {"pot"}


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_complete(name: str) -> None:
    """Ids and places are distinct, every legend's labels survive its query, variables that are used exist."""
    made = board(name)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in made["panels"]]
    assert len(set(places)) == len(places) == len({p["id"] for p in made["panels"]})
    text = json.dumps(made)
    variables = {v["name"] for v in made["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]+)", text)) == variables
    for panel in made["panels"]:
        for target in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            if kept:
                assert shown <= {w.strip() for group in kept for w in group.split(",")}


def _metrics(text: str) -> set[str]:
    return set(re.findall(r"\b(?:qts|process)_[a-z_]+", text))


#: a fact of the settings, not of what happens
_NOT_SHOWN = {"qts_bars_from_outside"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: f"{a.name}-{a.severity}")
def test_the_board_of_an_alert_shows_what_it_reads(alert: Alert) -> None:
    """Whoever follows the link sees the number that woke them, and how it came about."""
    shown = _metrics(" ".join(query for panel in BOARDS[alert.board][1] for query in panel.queries.values()))
    assert _metrics(alert.expr) - shown <= _NOT_SHOWN


def test_alerts_lead_to_a_board() -> None:
    """The link of an alert has the uid of a dashboard."""
    assert {f"{ADDRESS}-{a.board}" for a in ALERTS} <= {f"/d/{board(name)['uid']}" for name in BOARDS}
