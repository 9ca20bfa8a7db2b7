"""Helm brings the definition from an older one to ours, and leaves it and the systems when the release goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qts_core import names
from qts_core.crd import ANNOTATION_SCHEMA
from qts_operator.packaging import NAME

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CHART = Path(__file__).parents[2] / "charts" / NAME
FIELD = "upgradePolicy"


def _properties(definition: dict[str, Any]) -> dict[str, Any]:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return dict(schema["properties"]["spec"]["properties"])


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The chart as an earlier release would have it: its definition lacks a field, and says so."""
    chart = tmp_path / NAME
    shutil.copytree(CHART, chart)
    file = chart / "files" / "crd.json"
    definition = json.loads(file.read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"][FIELD]
    definition["metadata"]["annotations"][ANNOTATION_SCHEMA] = "older"
    file.write_text(json.dumps(definition))
    return chart


def test_helm_upgrades_the_definition_and_an_uninstall_keeps_it(
    kube: Any, namespace: str, older: Path, operator: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """An operator on the older one says what to do; after the upgrade it goes on with the same objects."""

    def served() -> dict[str, Any]:
        return dict(kube.get("crd", names.CRD_NAME))

    try:
        kube.install(older)
        until(lambda: FIELD not in _properties(served()), "the older definition")
        early = operator()
        kube.system(namespace, "desk")
        until(lambda: kube.condition(namespace, "desk", "Degraded")[1] == "CRDOutdated", "CRDOutdated")
        early.stop()
        uid = kube.get("-n", namespace, "qts", "desk")["metadata"]["uid"]
        kube.install(CHART)
        until(lambda: FIELD in _properties(served()), "our definition")
        late = operator()

        def kept() -> bool:
            # a server that does not serve the new definition yet drops the field without a word
            kube.patch(namespace, "desk", {FIELD: "Immediate"})
            return FIELD in kube.get("-n", namespace, "qts", "desk")["spec"]

        until(kept, "a server that knows the field")
        until(lambda: kube.applied(namespace), "applied")
        system = kube.get("-n", namespace, "qts", "desk")
        assert (system["metadata"]["uid"], system["spec"][FIELD]) == (uid, "Immediate")
        assert kube.condition(namespace, "desk", "Degraded")[:2] == ("False", "Healthy")
        late.stop()
        kube.helm("uninstall", "operator", "--wait")
        assert "deletionTimestamp" not in served()["metadata"]
        assert kube.get("-n", namespace, "qts", "desk")["metadata"]["uid"] == uid
    finally:
        kube.install(CHART)
