"""`qts plan` without a cluster keeps the definition's rules: the table is the one that the API server answers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.invalid import INVALID, NAMES, VALID

from qts_cli import plan, rules
from qts_core.cel import ROOT_RULES, RULES
from qts_core.errors import ConfigError

EVERY = [*ROOT_RULES, *(rule for of in RULES.values() for rule in of)]
SAID = [message for _, message in EVERY]


def _refusal(spec: dict[str, Any], name: str = "desk") -> str:
    """Return why a plan is refused, "" when there is one."""
    cr = {"metadata": {"name": name}, "spec": spec}
    try:
        plan.check(cr)
        plan.actions_for(cr, "default")
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("spec", "words"), INVALID, ids=[f"{i}: {w}" for i, (_, w) in enumerate(INVALID)])
def test_what_the_api_server_refuses_has_no_plan(spec: dict[str, Any], words: str) -> None:
    """What a rule refuses is told in the rule's words; what the schema refuses in those of the reader."""
    told = _refusal(spec)
    assert told
    if any(words in message for message in SAID):
        assert words in told


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_the_api_server_refuses_has_no_plan(name: str) -> None:
    """The rule of the whole resource is about its name."""
    assert "metadata.name must be" in _refusal({}, name)


@pytest.mark.parametrize("spec", VALID)
def test_what_the_api_server_takes_has_a_plan(spec: dict[str, Any]) -> None:
    """Defaults are there when a rule looks: most rules are about fields that are left out here."""
    assert _refusal(spec) == ""


def test_each_rule_can_be_evaluated() -> None:
    """A rule with a word that the evaluator does not know would refuse every resource."""
    for rule, _ in EVERY:
        if "oldSelf" not in rule:
            rules._compiled(rule)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"market": {"source": "Replay"}}, "spec.market"),
        ({"market": {"env": [{"name": "A"}, {"name": "QTS_X"}]}}, "spec.market.env[1]"),
        ({"agents": {"quasar": {"gpu": {"fallbackAfter": "60s"}}}}, "spec.agents.quasar.gpu"),
        ({"config": {"boardMembers": {"qar": 0.5, "qstar": 0.4}}}, "spec.config.boardMembers"),
        ({"agents": {"qbmia": {"port": 9092}}}, "spec.agents"),
    ],
)
def test_the_path_leads_to_the_value(spec: dict[str, Any], path: str) -> None:
    """Of a list with its index."""
    assert _refusal(spec).startswith(f"{path}: ")


@pytest.mark.parametrize("spec", [{"redis": None}, {"agents": {"quasar": {"gpu": None}}}, {"market": None}])
def test_null_is_as_good_as_left_out(spec: dict[str, Any]) -> None:
    """The API server drops it before its defaults and rules."""
    assert rules.broken({"metadata": {"name": "desk"}, "spec": spec}) == ""
