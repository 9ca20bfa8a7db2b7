"""Helm brings the definition from an older one to ours, and leaves it and the systems when the release goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import ACCOUNT, access_of

from qts_core import names
from qts_core.crd import ANNOTATION_SCHEMA
from qts_operator.packaging import NAME

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CHART = Path(__file__).parents[2] / "charts" / NAME
FIELD = "upgradePolicy"


def _properties(definition: dict[str, Any]) -> dict[str, Any]:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return dict(schema["properties"]["spec"]["properties"])


def aged(folder: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Return the chart as an earlier release would have it: its definition lacks what `edit` takes, and says so."""
    chart = folder / NAME
    shutil.copytree(CHART, chart)
    file = chart / "files" / "crd.json"
    definition = json.loads(file.read_text())
    edit(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"])
    definition["metadata"]["annotations"][ANNOTATION_SCHEMA] = "older"
    file.write_text(json.dumps(definition))
    return chart


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A chart of before a field of the spec."""

    def edit(schema: dict[str, Any]) -> None:
        del schema["spec"]["properties"][FIELD]

    return aged(tmp_path, edit)


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


def status_of_old(
    kube: Any, namespace: str, folder: Path, start: Callable[[], Any], until: Callable[..., Any]
) -> None:
    """A status leaves out what an older definition lacks, as the server would refuse all of it; then it is whole."""

    def edit(schema: dict[str, Any]) -> None:
        status = schema["status"]["properties"]
        del status["gpus"], status["agentStatuses"]["items"]["properties"]["desired"]

    try:
        kube.install(aged(folder, edit))
        running = start()
        kube.system(namespace, "desk")
        until(lambda: kube.condition(namespace, "desk", "Degraded")[1] == "CRDOutdated", "CRDOutdated")
        told = kube.condition(namespace, "desk", "Degraded")[2]
        assert told.endswith("it does not keep status.gpus, status.agentStatuses[].desired")
        until(
            lambda: len(kube.status(namespace, "desk").get("agentStatuses", ())) == 5,
            "the rest of the status",
        )
        assert "qts_crd_outdated 1.0" in running.told()
        assert {"Deployment/desk-pads", "StatefulSet/desk-redis"} <= kube.owned(namespace).keys()
        kube.install(CHART)
        until(lambda: kube.applied(namespace), "applied")
        until(lambda: "gpus" in kube.status(namespace, "desk"), "all of the status")
        assert kube.condition(namespace, "desk", "Degraded")[:2] == ("False", "Healthy")
        assert "qts_reflector_denied_total{" not in running.told()
    finally:
        kube.install(CHART)


def test_a_status_leaves_out_what_an_older_definition_lacks(
    kube: Any, namespace: str, operator: Callable[..., Any], until: Callable[..., Any], tmp_path: Path
) -> None:
    """As the definition tells that is read."""
    access = access_of(
        kube, tmp_path, ACCOUNT
    )  # who uninstalls takes the account away that others began with
    status_of_old(kube, namespace, tmp_path, lambda: operator(*access), until)
