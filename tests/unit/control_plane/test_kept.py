"""What the cache makes small is what it was, and takes the room of what is its own."""

from __future__ import annotations

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qts_operator import packing
from qts_operator.digests import requested, resource
from qts_operator.kept import keep, whole
from qts_operator.packing import Packer
from qts_operator.snapshot import Child
from qts_operator.view import View

TEXTS = st.text(max_size=3)
FIELDS = {"str": TEXTS, "int": st.integers(0, 3), "bool": st.booleans(), "float": st.floats(0.0, 3.0)}
KINDS = {name: FIELDS.get(str(kind), st.frozensets(TEXTS)) for name, kind in Child.__annotations__.items()}


@given(st.fixed_dictionaries(KINDS))
def test_a_kept_child_comes_back_whole(values: dict) -> None:
    """Every field, whatever is in it."""
    child = Child(**values)
    assert whole(keep(child)) == child


def test_children_share_what_is_not_their_own() -> None:
    """Those that differ by system, version and digest alone have one struct for the rest."""
    one = Child(kind="Service", namespace="a", name="x", uid="1", version="1", keys=frozenset({"k"}))
    two = msgspec.structs.replace(one, namespace="b", name="y", uid="2", version="7", digest="d", acl="f")
    assert keep(one).rest is keep(two).rest
    assert keep(one).rest is not keep(msgspec.structs.replace(one, ready=1)).rest


def test_the_stores_of_children_tell_them_whole() -> None:
    """By name, by system, all of them, and what a list finds gone."""
    child = Child(
        kind="Service", namespace="a", name="x", uid="1", version="1", system="s", digest="d", ready=2
    )
    store = View(lambda _: None).children["Service"]
    assert store.put(child)
    assert [store.get("a", "x"), *store.of("a", "s"), *store.all()] == [child] * 3
    assert store.get("a", "y") is None
    assert store.replace([]) == [child]


def test_pods_that_ask_for_the_same_share_it() -> None:
    spec = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
    assert requested(spec) is requested(orjson.loads(orjson.dumps(spec)))
    assert requested(spec) == {"nvidia.com/gpu": 1}
    assert requested({}) is requested({})


@given(st.lists(st.binary(max_size=40)))
def test_packed_texts_come_back(texts: list[bytes]) -> None:
    """Each by its own model, whatever has become the model since."""
    pack = Packer().pack
    assert [packed.text() for packed in [pack(text) for text in texts]] == texts


def test_a_text_like_one_before_takes_little_room() -> None:
    """What a longer one of before says is not said again; equal texts are packed equally from then on."""
    pack = Packer().pack
    first, *others = (pack(orjson.dumps({f"field-{i}": i for i in range(n, 200)})) for n in (0, 1, 1, 9))
    assert all(len(other.data) * 5 < len(first.data) for other in others)
    assert others[0] == others[1]


@pytest.mark.parametrize(
    ("lengths", "models"),
    [
        ((10, 12, 13, 9), (b"{}", 10, 10, 13)),  # only who is a quarter longer is the next model
        ((10, packing.LONGEST + 1, packing.LONGEST, 1), (b"{}", 10, 10, packing.LONGEST)),  # and not too long
    ],
)
def test_a_model_gives_way_to_a_longer_one_alone(lengths, models) -> None:
    """So there are few, though each stays with what it packed."""
    pack = Packer().pack
    assert [pack(b"x" * n).model for n in lengths] == [m if m == b"{}" else b"x" * m for m in models]


def test_a_resource_is_its_spec_and_status() -> None:
    live = {"metadata": {"name": "x", "uid": "u"}, "spec": {"a": [1]}, "status": {"b": "é"}}
    assert resource(live).decoded() == resource(live).decoded() == ({"a": [1]}, {"b": "é"})
