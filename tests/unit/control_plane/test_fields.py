"""Owned fields, their digest, quantities in canonical form."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qts_operator.fields import applied, differences, digest, owned, project, rivals, summary
from qts_operator.fields import canonical as in_order
from qts_operator.memo import Recent
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


@pytest.mark.parametrize(
    "entry",
    [
        {"manager": "qts-operator", "operation": "Update", "fieldsV1": {"f:data": {}}},
        {
            "manager": "qts-operator",
            "operation": "Apply",
            "subresource": "status",
            "fieldsV1": {"f:data": {}},
        },
        {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:data": {}}},
    ],
)
def test_only_what_we_applied_ourselves_is_ours(entry: dict) -> None:
    """Neither an update under our name, nor a status, nor what others applied."""
    live = _live() | {"data": {"x": "1"}}
    live["metadata"]["managedFields"].insert(0, entry)
    assert owned(live) == owned(_live())
    live["metadata"]["managedFields"] = [entry]
    assert owned(live) == {}
    assert owned({}) == {}


@pytest.mark.parametrize(
    ("fields", "live", "expected"),
    [
        ({"f:a": {}, "f:gone": {}}, {"a": 1, "b": 2}, {"a": 1}),
        ({"f:a": {}, "f:gone": {"f:x": {}}}, {"a": 1}, {"a": 1}),
        ({".": {}, "f:a": {".": {}}}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"f:a": {"f:b": {}}}, {"a": None}, {"a": None}),
        ({'v:"x"': {}, 'v:"gone"': {}}, ["y", "x"], ["x"]),
        ({"i:1": {"f:a": {}}, "i:2": {}}, [0, {"a": 1, "b": 2}], [{"a": 1}]),
        ({"i:0": {}}, [], []),
        ({'k:{"name":"x"}': {".": {}, "f:name": {}}}, [{"name": "x"}, {"name": "y"}], [{"name": "x"}]),
        ({'k:{"name":"x"}': {"f:v": {}}}, [{"name": "x", "v": 1, "w": 2}, "x"], [{"v": 1}]),
    ],
)
def test_a_tree_of_fields_names_values_items_and_places(fields: dict, live: Any, expected: Any) -> None:
    """What it names and nobody has any more is left out."""
    assert project(fields, live) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.dictionaries(st.sampled_from("ab"), inner, max_size=2), max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=10,
)


def _said_otherwise(value: Any) -> Any:
    """Return a value of the same meaning: numbers as floats, keys and objects in lists the other way round."""
    if isinstance(value, dict):
        return {key: _said_otherwise(inner) for key, inner in reversed(value.items())}
    if isinstance(value, list):
        items = [_said_otherwise(item) for item in value]
        return items[::-1] if all(isinstance(item, dict) for item in items) else items
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(JSON, JSON)
@example(False, 0)
def test_the_same_meaning_has_the_same_digest_and_no_difference(one: Any, other: Any) -> None:
    """At any depth; whatever has another digest differs somewhere."""
    assert digest(_said_otherwise(one)) == digest(one)
    assert differences(_said_otherwise(one), one) == []
    assert (differences(one, other) == []) == (digest(one) == digest(other))
    assert (differences({"a": one}, {"a": other}) == []) == (digest(one) == digest(other))


def test_the_order_of_plain_values_and_of_mixed_ones_counts() -> None:
    """Arguments of a command, say; only a list of nothing but objects is a set."""
    for items in ([1, 2], ["a", "b"], [{"a": 1}, 2], [[1, 2]], [[1], [2]]):
        turned = [items[0][::-1]] if len(items) == 1 else items[::-1]
        assert digest(items) != digest(turned)
    assert digest(1.5) != digest(1)


@pytest.mark.parametrize(
    ("live", "wanted", "paths"),
    [
        ({"a": {"b": 1}}, {"a": 5}, ["a"]),
        ({"a": 5}, {"a": {"b": 1}}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({}, {"a": None}, ["a"]),
        ({"b": 1, "a": {"c": 1, "d": 2}}, {"b": 2, "a": {"c": 1, "d": 3}}, ["a.d", "b"]),
        ({"a": [{"name": "x"}, {"name": "y"}]}, {"a": [{"name": "y"}, {"name": "x"}]}, []),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "z"}, {"name": "x", "v": 2}]}, ["a[x].v", "a[z]"]),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "x"}, {"v": 2}]}, ["a"]),
        ({"a": [{"name": "x"}, "y"]}, {"a": [{"name": "x"}]}, ["a"]),
        ({"a": []}, {"a": [{"name": "x"}]}, ["a"]),
        (["name"], [{"name": "x"}], [""]),
    ],
)
def test_differences_are_as_near_as_they_can_be_named(live: Any, wanted: Any, paths: list[str]) -> None:
    """Keys and named items by path; where a list has items without a name, or is none, the list as a whole."""
    assert differences(live, wanted) == paths


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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e3", 1000), ("1E3", 1000), ("1e+2", 100), ("25e-1", Fraction(5, 2)), ("1Ei", 2**60)),
        *(("1E", 10**18), ("1e0", 1)),
        *(("5.", 5), ("+.5", Fraction(1, 2)), ("-1k", -1000), ("3u", Fraction(3, 10**6)), ("0e99999999", 0)),
        *(("1n", Fraction(1, 10**9)), ("0.1n", Fraction(1, 10**9)), ("1e-99999999", Fraction(1, 10**9))),
        *(("1e99999999999", 2**63 - 1), ("-9E30", -(2**63 - 1)), ("16Ei", 2**63 - 1)),
    ],
)
def test_quantities_of_others_are_read_as_the_server_reads_them(text: str, value: Fraction) -> None:
    """All of resource.Quantity's grammar; too large is the most there is, too fine is rounded up."""
    assert value_of(text) == value


@pytest.mark.parametrize(
    "text", ["", ".", "e3", "1e", "1ee3", "1e3k", "1Ki3", "1K", "1e1.5", "1_0", "1 ", "1\n", "²", "٣", "0x1"]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """Digits of other scripts are none."""
    with pytest.raises(ValueError, match="no quantity"):
        value_of(text)


def test_a_wrong_quantity_is_refused() -> None:
    """Text that is no quantity raises."""
    with pytest.raises(ValueError, match="no quantity"):
        canonical("many")


def test_the_memory_of_summaries_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not asked for again goes first, and only when there is no room."""
    monkeypatch.setattr("qts_operator.fields._seen", Recent(2))
    one, two = summary(_live(replicas=1)), summary(_live(replicas=1, selector={"app": "2"}))
    assert summary(_live(replicas=1)) is one
    summary(_live(replicas=1, selector={"app": "3"}))
    assert summary(_live(replicas=1)) is one
    assert summary(_live(replicas=1, selector={"app": "2"})) is not two


def test_a_summary_is_remembered_until_what_it_speaks_of_changes() -> None:
    """A change of status alone is not looked at again; one of an owned value, or of who owns it, is.

    What has no replicas has no status that moves, and takes no room.
    """
    live = _live(replicas=1) | {"status": {"ready": 0}}
    first = summary(live)
    assert first == (digest(owned(live)), False)
    assert summary(_live() | {"status": {"ready": 0}}) is not summary(_live() | {"status": {"ready": 0}})
    moved = _live(replicas=1) | {"status": {"ready": 1}}
    moved["metadata"] |= {"resourceVersion": "2", "generation": 2}
    assert summary(moved) is first
    noted = _live(replicas=1)
    noted["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "1"}  # its controller's
    assert summary(noted) is first
    labelled = _live(replicas=1)
    labelled["metadata"]["labels"]["x"] = "2"
    assert summary(labelled).digest == digest(owned(labelled)) != first.digest
    edited = _live(replicas=1, selector={"app": "r"})
    assert summary(edited).digest == digest(owned(edited)) != first.digest
    lost = _live(replicas=1)
    lost["metadata"]["managedFields"][1]["fieldsV1"] = {"f:spec": {"f:selector": {}}}
    assert summary(lost).digest == digest(owned(lost)) != first.digest
    lost["metadata"]["managedFields"].pop()
    assert summary(lost).digest == digest({})
    counted = _live(replicas=3)
    counted["metadata"]["managedFields"][1]["fieldsV1"] = {"f:spec": {"f:replicas": {}}}
    assert summary(counted).counts


MADE = {
    "spec": {
        "strategy": {"type": "Recreate"},
        "max": 1,
        "pod": {"volumes": [{"name": "tmp", "emptyDir": {}}]},
    }
}
LIVE = {
    "spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "min": 1,
        "pod": {"volumes": [{"name": "tmp", "hostPath": {}}], "dns": "Default"},
    }
}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("spec.strategy.rollingUpdate", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}),
        ("spec.pod.volumes[0].hostPath", {"spec": {"pod": {"volumes": [{"name": "tmp", "emptyDir": {}}]}}}),
        ("spec", {"spec": MADE["spec"] | {"min": None}}),
        ("spec.max", {}),
        ("spec.strategy.type", {}),
        ("spec.unknown", {}),
        ("metadata.name", {}),
        ("", {}),
    ],
)
def test_what_ours_cannot_stand_beside_goes_and_nothing_else(field: str, change: dict[str, Any]) -> None:
    """Another form, with what is ours there; a value of ours that was refused is nobody else's fault."""
    assert rivals(MADE, LIVE, field) == change


@given(st.data())
def test_one_walk_gives_what_two_give(data: st.DataObject) -> None:
    """What we own in canonical form: lists by one key, by two, by value and by place, in any order, floats."""
    item = st.fixed_dictionaries(
        {"name": st.sampled_from("abc"), "port": st.integers(1, 3), "value": st.sampled_from([1, 2.0, "x"])}
    )
    live = data.draw(st.fixed_dictionaries({"by": st.lists(item), "set": st.lists(st.sampled_from("xyz"))}))
    keys = ['k:{"name":"a"}', 'k:{"name":"c"}', 'k:{"name":"b","port":2}', 'k:{"port":1}', "i:0", "."]
    inner = st.sampled_from([{}, {".": {}}, {"f:name": {}, "f:value": {}}])
    fields = {
        "f:by": data.draw(st.dictionaries(st.sampled_from(keys), inner)),
        "f:set": data.draw(st.dictionaries(st.sampled_from(['v:"x"', 'v:"z"']), st.just({}))),
    }
    assert project(fields, live, ordered=True) == in_order(project(fields, live))


def test_items_are_found_by_what_names_them() -> None:
    """Each in the order of the tree; what has no such field, or is no object, is passed over."""
    live = [{"name": "b", "x": 1}, {"name": "a"}, {"y": 1}, "a", {"name": ["a"]}]
    fields = {
        'k:{"name":"a"}': {},
        'k:{"name":"b"}': {"f:x": {}},
        'k:{"name":"c"}': {},
        'k:{"name":null}': {},
    }
    assert project(fields, live) == [{"name": "a"}, {"x": 1}]
