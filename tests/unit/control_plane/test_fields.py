"""Owned fields, their digest, quantities in canonical form."""

from __future__ import annotations

import pytest

from qts_operator.fields import applied, differences, digest, owned, summary
from qts_operator.objects.quantities import canonical, value_of

MANIFEST = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "a", "namespace": "b", "labels": {"x": "1"}},
    "spec": {
        "clusterIP": "None",
        "ports": [
            {"name": "b", "port": 2, "protocol": "TCP"},
            {"name": "a", "port": 1, "protocol": "TCP"},
        ],
        "selector": {"app": "q"},
    },
}
FIELDS = {
    "f:metadata": {"f:labels": {"f:x": {}}},
    "f:spec": {
        "f:clusterIP": {},
        "f:ports": {
            'k:{"port":1,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}},
            'k:{"port":2,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}},
        },
        "f:selector": {},
    },
}


def _live(**spec):
    return {
        "metadata": {
            "name": "a",
            "labels": {"x": "1", "foreign": "y"},
            "managedFields": [
                {"manager": "qts-operator", "operation": "Update", "fieldsV1": {"f:data": {}}},
                {"manager": "qts-operator", "operation": "Apply", "fieldsV1": FIELDS},
            ],
        },
        "spec": {
            "clusterIP": "None",
            "ports": [
                {"name": "a", "port": 1, "protocol": "TCP", "targetPort": 1},
                {"name": "b", "port": 2, "protocol": "TCP", "targetPort": 2},
            ],
            "selector": {"app": "q"},
            "sessionAffinity": "None",
        }
        | spec,
    }


def test_defaults_and_foreign_fields_do_not_count() -> None:
    """What the server or somebody else added leaves the digest as it was."""
    assert digest(owned(_live())) == digest(applied(MANIFEST))


@pytest.mark.parametrize(
    "change",
    [
        {"clusterIP": "10.0.0.1"},
        {"selector": {"app": "other"}},
        {"ports": [{"name": "a", "port": 1, "protocol": "TCP"}]},
        {"ports": [{"name": "z", "port": 1, "protocol": "TCP"}, {"name": "b", "port": 2, "protocol": "TCP"}]},
    ],
)
def test_every_change_of_an_owned_value_counts(change) -> None:
    """A changed or removed value, and a removed list item, move the digest."""
    assert digest(owned(_live(**change))) != digest(applied(MANIFEST))


def test_a_field_taken_over_by_somebody_else_counts() -> None:
    """A user's edit takes the field out of our set, which shows as a difference."""
    live = _live()
    live["metadata"]["managedFields"][1]["fieldsV1"] = {
        "f:metadata": FIELDS["f:metadata"],
        "f:spec": {"f:clusterIP": {}},
    }
    assert digest(owned(live)) != digest(applied(MANIFEST))


def test_a_field_no_longer_rendered_counts() -> None:
    """What we still own but do not render differs, so it will be removed."""
    less = MANIFEST | {"spec": {k: v for k, v in MANIFEST["spec"].items() if k != "clusterIP"}}
    assert digest(owned(_live())) != digest(applied(less))


def test_differences_name_the_path() -> None:
    """A person reads which field differs, list items by name."""
    live = owned(_live(clusterIP="10.0.0.1"))
    live["spec"]["ports"][0]["port"] = 7
    assert differences(live, applied(MANIFEST)) == ["spec.clusterIP", "spec.ports[a].port"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1500m", "1500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000Mi", "1000Mi"),
        ("2000", "2k"),
        ("0", "0"),
        ("250m", "250m"),
    ],
)
def test_quantities_are_written_as_the_server_stores_them(text: str, expected: str) -> None:
    """The canonical form keeps the value and the family of the suffix."""
    assert canonical(text) == expected
    assert value_of(canonical(text)) == value_of(text)


def test_a_wrong_quantity_is_refused() -> None:
    """Text that is no quantity raises."""
    with pytest.raises(ValueError, match="no quantity"):
        canonical("many")


def test_a_summary_is_remembered_until_what_it_speaks_of_changes() -> None:
    """A change of status alone is not looked at again; one of an owned value, or of who owns it, is."""
    live = _live() | {"status": {"ready": 0}}
    first = summary(live)
    assert first == (digest(owned(live)), False)
    moved = _live() | {"status": {"ready": 1}}
    moved["metadata"] |= {"resourceVersion": "2", "generation": 2}
    assert summary(moved) is first
    edited = _live(selector={"app": "r"})
    assert summary(edited).digest == digest(owned(edited)) != first.digest
    lost = _live()
    lost["metadata"]["managedFields"][1]["fieldsV1"] = {"f:spec": {"f:selector": {}}}
    assert summary(lost).digest == digest(owned(lost)) != first.digest
    lost["metadata"]["managedFields"].pop()
    assert summary(lost).digest == digest({})
    counted = _live(replicas=3)
    counted["metadata"]["managedFields"][1]["fieldsV1"] = {"f:spec": {"f:replicas": {}}}
    assert summary(counted).counts
