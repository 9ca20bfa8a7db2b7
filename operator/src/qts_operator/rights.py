"""What the operator may do, derived from the objects table: each rule has a use, none has a wildcard."""

from __future__ import annotations

from typing import Any

from qts_core import names
from qts_operator.objects import KINDS

Rule = dict[str, Any]
_OWNED = ["get", "list", "watch", "create", "patch", "delete"]
_LOOK = ["get", "list", "watch"]


def rules() -> list[Rule]:
    """Return the rules for the watched namespaces."""
    groups: dict[str, list[str]] = {}
    for kind in KINDS:
        if kind.watched:
            groups.setdefault(kind.group, []).append(kind.plural)
    owned = [_rule(group, plurals, _OWNED) for group, plurals in sorted(groups.items())]
    return [
        _rule(names.GROUP, [names.PLURAL], _LOOK),
        _rule(names.GROUP, [f"{names.PLURAL}/status"], ["patch"]),
        *owned,
        # by name only: the operator never lists, watches or deletes a Secret; it changes one to rotate it
        _rule("", ["secrets"], ["get", "create", "patch"]),
        _rule("", ["pods"], [*_LOOK, "delete"]),
        _rule("events.k8s.io", ["events"], ["create", "patch"]),
    ]


def cluster_rules() -> list[Rule]:
    """Return what only a cluster-wide operator gets besides: nodes, and its own definition."""
    definition = _rule("apiextensions.k8s.io", ["customresourcedefinitions"], ["get"])
    return [_rule("", ["nodes"], _LOOK), definition | {"resourceNames": [names.CRD_NAME]}]


def lease_rules() -> list[Rule]:
    """Return the rules for the operator's own namespace."""
    group = "coordination.k8s.io"
    named = _rule(group, ["leases"], ["get", "update"]) | {"resourceNames": [names.FIELD_MANAGER]}
    return [_rule(group, ["leases"], ["create"]), named]


def people_rules() -> dict[str, list[Rule]]:
    """Return what is added to Kubernetes' own roles; what `view` has `edit` has too, and `admin` all."""
    return {
        "view": [_rule(names.GROUP, [names.PLURAL], _LOOK)],
        "edit": [
            _rule(names.GROUP, [names.PLURAL], ["create", "update", "patch", "delete", "deletecollection"])
        ],
    }


def _rule(group: str, resources: list[str], verbs: list[str]) -> Rule:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}
