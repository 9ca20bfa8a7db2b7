"""The changes of single fields that the cluster's tests play reach every field, and differ in nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.transitions import TEXTS, transitions
from tests.twins import Schema

from qts_core.crd import spec_schema
from qts_core.errors import ConfigError
from qts_operator.resolve import spec_of
from qts_operator.testing import merged

BASE = {"suspend": True}
EVERY = list(transitions(spec_schema(), BASE))


def _fields(node: Schema, path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, inner in (node.get("properties") or {}).items():
        yield ".".join((*path, name))
        yield from _fields(inner, (*path, name))
    if node.get("type") == "array":
        yield from _fields(node["items"], path)


def test_every_field_is_changed() -> None:
    assert {each.path for each in EVERY} == set(_fields(spec_schema()))


def test_a_change_leaves_everything_else_as_it_was() -> None:
    """The section of the changed field aside, the specs are the same."""
    for each in EVERY:
        section = each.path.partition(".")[0]
        assert {k: v for k, v in each.before.items() if k != section} == {
            k: v for k, v in each.after.items() if k != section
        }
        assert each.before != each.after


def test_numbers_are_tried_at_their_edges_and_words_all() -> None:
    """A count from 1 to 5: the smallest, the next and the largest; an exclusive bound is not reached."""

    def tried(path: str) -> list[object]:
        found = []
        for each in EVERY:
            if each.path == path:
                tree: object = each.after
                for name in path.split("."):
                    assert isinstance(tree, dict)
                    tree = tree[name]
                found.append(tree)
        return found

    assert tried("agents.quasar.replicas") == [1, 2, 5]
    assert tried("observability.sampleRatio") == [0.0, 0.001, 1.0]
    assert tried("config.pads.liquidityB") == [0.001, 1.0]
    assert tried("images.pullPolicy") == ["Always", "IfNotPresent", "Never"]
    assert [len(each) for each in tried("market.symbols")] == [1, 2]  # type: ignore[arg-type]
    assert tried("suspend") == [False]


def test_what_the_definition_takes_the_operator_reads() -> None:
    """No bound of a setting is missing in the definition; what depends on two fields is the server's rules'."""
    assert [told for each in EVERY for told in (_unread(each.after),) if "Expected" in told] == []


def _unread(spec: dict[str, object]) -> str:
    try:
        spec_of(spec)
    except ConfigError as error:
        return str(error)
    return ""


def test_texts_fit_their_patterns() -> None:
    assert [p for p, texts in TEXTS.items() if not all(re.search(p, text) for text in texts)] == []


def test_a_field_is_taken_away_by_none() -> None:
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}) == {"a": {"c": 2, "d": 3}}
