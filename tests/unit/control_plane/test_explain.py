"""What a plan says of fields: path, both values, settings one by one, and which pods roll."""

from __future__ import annotations

from typing import Any

from qts_operator.explain import details, lines
from qts_operator.plan import Apply

METADATA = {"name": "d", "labels": {"l": "1"}}


def test_details_name_fields_with_both_values_and_the_pods_that_roll() -> None:
    """A container's image by its name; a value that is long is cut; nothing is said of what stays."""
    now = _deployment({"a": "1", "image": "old"}, replicas=1)
    then = _deployment({"image": "x" * 200}, replicas=1)
    apply, live = _change(now, then)
    long = '"' + "x" * 119 + "…"
    assert details(apply, live) == [
        'spec.template.spec.containers[c].a: "1" → nothing',
        f'spec.template.spec.containers[c].image: "old" → {long}',
        "rolls the pods of d: spec.template.spec.containers[c].a, spec.template.spec.containers[c].image",
    ]
    assert lines([apply], live) == [
        "Apply Deployment/d: spec.template.spec.containers[c].a, spec.template.spec.containers[c].image"
    ]


def test_a_change_outside_the_template_rolls_nothing() -> None:
    """Replicas come and go without a roll."""
    apply, live = _change(_deployment({}, replicas=1), _deployment({}, replicas=2))
    assert details(apply, live) == ["spec.replicas: 1 → 2"]


def test_settings_in_one_text_are_told_one_by_one() -> None:
    """The settings file is a text of the ConfigMap."""
    now = {"kind": "ConfigMap", "metadata": dict(METADATA), "data": {"system.json": '{"a":1,"b":{"c":2}}'}}
    then = {"kind": "ConfigMap", "metadata": dict(METADATA), "data": {"system.json": '{"a":1,"b":{"c":3}}'}}
    apply, live = _change(now, then)
    assert details(apply, live) == ["data.system.json.b.c: 2 → 3"]


def test_what_is_made_anew_has_no_fields_to_compare() -> None:
    """A new object is shown whole by whoever prints it."""
    manifest = _deployment({}, replicas=1)
    assert details(Apply(manifest=manifest), {("Deployment", "d"): manifest}) == []


def test_what_somebody_else_wrote_last_is_told_as_what_stands_there() -> None:
    """The server takes a field from our manager when another one changes it; its value is no nothing for that."""
    apply, live = _change(
        _deployment({"image": "ours"}, replicas=1), _deployment({"image": "ours"}, replicas=1)
    )
    found = live["Deployment", "d"]
    container = {"k:" + '{"name":"c"}': {".": {}, "f:name": {}}}
    body = {"f:spec": {"f:template": {"f:spec": {"f:containers": container}}}}
    found["metadata"]["managedFields"][0]["fieldsV1"] = body
    found["spec"] = {"replicas": 7, "template": {"spec": {"containers": [{"name": "c", "image": "theirs"}]}}}
    assert details(apply, live)[:2] == [
        "spec.replicas: 7 → 1",
        'spec.template.spec.containers[c].image: "theirs" → "ours"',
    ]


def test_a_number_that_is_left_to_somebody_else_is_no_change() -> None:
    """It was handed over before, in a line of its own, and stays."""
    left = _deployment({"image": "x"}, replicas=1)
    del left["spec"]["replicas"]
    apply, live = _change(_deployment({"image": "x"}, replicas=3), left)
    assert details(apply, live) == []


def _deployment(container: dict[str, str], *, replicas: int) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "c", **container}]}}
    spec = {"replicas": replicas, "template": template}
    return {"kind": "Deployment", "metadata": dict(METADATA), "spec": spec}


def _change(now: dict[str, Any], then: dict[str, Any]) -> tuple[Apply, dict[tuple[str, str], dict[str, Any]]]:
    """Return the action, and the live object all of whose content our manager applied."""
    body = {"f:metadata": {"f:labels": {"f:l": {}}}} | {
        f"f:{key}": {} for key in ("spec", "data") if key in now
    }
    entry = {"manager": "qts-operator", "operation": "Apply", "fieldsV1": body}
    live = now | {"metadata": METADATA | {"managedFields": [entry]}}
    return Apply(manifest=then, uid="u"), {(now["kind"], "d"): live}
