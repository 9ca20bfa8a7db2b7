"""Plan and queue as laws: what is applied is at rest, and no order of requests loses a key."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qts_operator.fields import applied, canonical, digest
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.objects.quantities import canonical as quantity
from qts_operator.objects.quantities import value_of
from qts_operator.plan import Delete, plan
from qts_operator.resolve import resolve
from qts_operator.snapshot import Child, Snapshot
from qts_operator.workqueue import WorkQueue

GPU = st.sampled_from(["Required", "Preferred", "None"])


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw valid specs over the fields that change objects."""
    voters = {
        name: {
            "enabled": draw(st.booleans()),
            "replicas": draw(st.integers(1, 5)),
            "gpu": {"mode": draw(GPU), "count": draw(st.integers(1, 4))},
        }
        for name in ("qbmia", "quasar", "amos")
    }
    return {
        "suspend": draw(st.booleans()),
        "agents": voters,
        "market": {"source": draw(st.sampled_from(["Simulated", "External"]))},
        "messaging": {"encryption": draw(st.sampled_from(["Curve", "None"]))},
        "networkPolicy": {"enabled": draw(st.booleans())},
        "config": {"systemSeed": draw(st.integers(0, 99)), "numbaJit": draw(st.booleans())},
        "redis": draw(st.sampled_from([{}, {"storage": {"size": "1Gi"}}])),
    }


def _wanted(spec: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    snapshot = Snapshot(namespace="n", name="s", uid="u", generation=1, now=0.0, spec=spec)
    return desired(resolve(snapshot, Defaults())[0])


def _child(manifest: dict[str, Any]) -> Child:
    return Child(
        kind=manifest["kind"],
        namespace="n",
        name=manifest["metadata"]["name"],
        uid="x",
        version="1",
        owner_uid="u",
        digest=digest(applied(manifest)),
    )


def _observed(wanted) -> dict[tuple[str, str], Child]:
    return {(m["kind"], m["metadata"]["name"]): _child(m) for m in wanted}


@settings(max_examples=60, deadline=None)
@given(specs())
def test_what_is_applied_is_at_rest(spec: dict[str, Any]) -> None:
    """Plan after apply is empty, for every spec; rendering twice gives the same."""
    wanted = _wanted(spec)
    assert wanted == _wanted(spec)
    assert plan(wanted, _observed(wanted), "u") == []


@settings(max_examples=60, deadline=None)
@given(specs(), specs())
def test_any_change_is_made_by_one_plan(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Carrying out plan(A → B) gives B, Secrets excepted, which are never deleted."""
    observed = _observed(_wanted(first))
    wanted = _wanted(second)
    for action in plan(wanted, observed, "u"):
        if isinstance(action, Delete):
            del observed[(action.kind, action.name)]
        else:
            child = _child(action.manifest)
            observed[(child.kind, child.name)] = child
    assert plan(wanted, observed, "u") == []
    left = {k for k in observed if k[0] != "Secret"}
    assert left == {(m["kind"], m["metadata"]["name"]) for m in wanted if m["kind"] != "Secret"}


#: an API server keeps whole numbers of 64 bits
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_canonical_form_is_a_fixed_point(value: Any) -> None:
    """Normalising twice is normalising once; the order of objects in a list has no meaning."""
    assert canonical(canonical(value)) == canonical(value)
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        assert digest(value) == digest(value[::-1])


@given(
    st.integers(0, 10**9),
    st.sampled_from(["", "m", "k", "Ki", "M", "Mi", "G", "Gi"]),
)
def test_canonical_quantities_keep_their_value(number: int, suffix: str) -> None:
    """The text changes, the value does not, and once is enough."""
    text = f"{number}{suffix}"
    assert value_of(quantity(text)) == value_of(text)
    assert quantity(quantity(text)) == quantity(text)


@given(st.lists(st.tuples(st.sampled_from("atdfl"), st.sampled_from("xyz")), max_size=60))
def test_queue_neither_loses_nor_doubles_a_key(steps: list[tuple[str, str]]) -> None:
    """After any history every key that was asked for after its last pass began is given again."""
    queue, now, owed = WorkQueue(), 0.0, set[str]()
    active: set[str] = set()
    for step, key in steps:
        now += 1.0
        if step == "a":
            queue.add(key, now)
            owed.add(key)
        elif step == "l":
            queue.add_after(key, 2.0, now)
            owed.add(key)
        elif step == "f" and key in active:
            queue.fail(key, now)
            owed.add(key)
        elif step == "t":
            taken = queue.take(now)
            if taken is not None:
                assert taken not in active
                active.add(taken)
                owed.discard(taken)
        elif step == "d" and key in active:
            active.discard(key)
            queue.done(key, now)
    for key in list(active):
        queue.done(key, now)
    given_again = set()
    while (key := queue.take(now + 1000.0)) is not None:
        given_again.add(key)
        queue.done(key, now + 1000.0)
    assert owed <= given_again
