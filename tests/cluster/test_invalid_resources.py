"""What the API server refuses, by the schema and the rules of the definition, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from tests.invalid import INVALID, NAMES, VALID

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def _create(kube: Any, spec: dict[str, Any], name: str = "a") -> Any:
    body = {
        "apiVersion": "quantumtrading.io/v1alpha1",
        "kind": "QuantumTradingSystem",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }
    return kube.run("create", "--dry-run=server", "-f", "-", given=body, check=False)


@pytest.mark.parametrize(("spec", "words"), INVALID, ids=[f"{i}: {w}" for i, (_, w) in enumerate(INVALID)])
def test_an_invalid_resource_is_refused_with_the_fields_name(kube: Any, spec: Any, words: str) -> None:
    """The server refuses it, and the refusal names the field."""
    answer = _create(kube, spec)
    assert answer.returncode != 0
    assert words in answer.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_cannot_prefix_a_service_is_refused(kube: Any, name: str) -> None:
    """Names are short and begin with a letter."""
    answer = _create(kube, {}, name)
    assert answer.returncode != 0
    assert "metadata.name must be" in answer.stderr


@pytest.mark.parametrize("spec", VALID)
def test_a_valid_resource_is_accepted(kube: Any, spec: Any) -> None:
    """The rules do not refuse what the design allows."""
    answer = _create(kube, spec)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({}, {"redis": {"mode": "External", "url": "redis://x"}}, "redis.mode is immutable"),
        ({}, {"redis": {"storage": {"size": "1Gi"}}}, "cannot be added or removed"),
        (
            {"redis": {"storage": {"size": "1Gi"}}},
            {"redis": {"storage": {"size": "2Gi"}}},
            "redis.storage.size is immutable",
        ),
        # the whole section goes, and its default comes in its place
        ({"redis": {"mode": "External", "url": "redis://x"}}, {"redis": None}, "redis.mode is immutable"),
        (
            {"messaging": {"credentialsGeneration": 2}},
            {"messaging": None},
            "credentialsGeneration can only grow",
        ),
    ],
)
def test_what_is_fixed_cannot_be_changed(
    kube: Any, namespace: str, first: Any, second: Any, words: str
) -> None:
    """A change of a fixed field is refused with its name."""
    kube.system(namespace, "desk", first)
    answer = kube.run(
        *("-n", namespace, "patch", "qts", "desk", "--type=merge", "--patch-file", "/dev/stdin"),
        given={"spec": second},
        check=False,
    )
    assert answer.returncode != 0
    assert words in answer.stderr
