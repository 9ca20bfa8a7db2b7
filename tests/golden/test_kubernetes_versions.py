"""All that charts install and the operator writes, against the published schema of every Kubernetes they promise.

The versions are those from the charts' `kubeVersion` to the newest that `kubernetes-validate` holds. Strictly: a
field that a version does not know is refused.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from tests.golden.test_charts import OPERATOR, SETS, SYSTEM, rendered

from qts_core import names
from qts_core.crd import chart_schema, crd
from qts_operator.objects import KINDS, claim_templates, desired
from qts_operator.objects.frame import Defaults
from qts_operator.packaging import SAMPLES, install
from qts_operator.resolve import resolve
from qts_operator.snapshot import Snapshot

ROOT = Path(__file__).parents[2]
Manifest = dict[str, Any]
#: kinds that Kubernetes publishes no schema of, and who reads them instead
ELSEWHERE = {
    names.KIND: "held to our own definition's schema, closed; its rules run on a server (test_manifests.py)",
    "PodMonitor": "the Prometheus operator's; rendered as the golden file and test_objects.py have it",
    "PrometheusRule": "the Prometheus operator's; promtool reads and fires its groups (test_alerts.py)",
}
#: kinds of later versions, which the operator writes only where the cluster serves them
SINCE = {claim_templates.KIND: (1, 34)}
#: what makes the operator write every kind it has
EVERY_KIND: Manifest = {
    "agents": {
        "amos": {"replicas": 2},
        "quasar": {"gpu": {"mode": "Required", "deviceClassName": "gpu.nvidia.com"}},
    }
}


def _number(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def promised() -> list[str]:
    """Return the versions, as 1.31, that both charts ask for and whose schemas are here."""
    asked = {
        yaml.safe_load((ROOT / f"charts/{c}/Chart.yaml").read_text())["kubeVersion"]
        for c in (OPERATOR, SYSTEM)
    }
    (least,) = asked
    first = _number(least.removeprefix(">="))
    known = sorted({_number(version) for version in utils.all_versions()})
    return [f"{major}.{minor}" for major, minor in known if (major, minor) >= first]


VERSIONS = promised()


@pytest.fixture(autouse=True, scope="module")
def _schemas_are_read_once() -> Iterator[None]:
    """The library reads a megabyte for each object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


def faults(manifest: Manifest, version: str) -> str:
    """Return what a version has against an object; "" when it takes it."""
    if manifest["kind"] in ELSEWHERE:
        return _ours(manifest) if manifest["kind"] == names.KIND else ""
    try:
        read = kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{manifest['kind']}: {'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    assert read == version  # the library takes an older schema for a version that it lacks
    return ""


def _ours(manifest: Manifest) -> str:
    schema = chart_schema(crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    found = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    return "; ".join(error.message for error in found)


def refused(objects: list[Manifest], version: str) -> list[str]:
    """Return what a version has against any of some objects; equal ones are looked at once."""
    different = {json.dumps(m, sort_keys=True): m for m in objects}
    assert different
    return [told for manifest in different.values() if (told := faults(manifest, version))]


@cache
def manifests() -> list[Manifest]:
    """Return the objects of every file that `kubectl apply` is given; alerts.yaml is Prometheus' own."""
    paths = [path for path in (ROOT / "manifests").rglob("*.yaml") if path.name != "alerts.yaml"]
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def written(offered: frozenset[str], spec: Manifest) -> list[Manifest]:
    """Return what the operator writes for a system."""
    given = Snapshot(
        namespace="trading", name="desk", uid="u", generation=1, now=0.0, spec=spec, offered=offered
    )
    return list(desired(resolve(given, Defaults())[0]))


def test_at_least_five_versions_are_promised() -> None:
    """From the oldest that the charts take, without a gap."""
    first, last = (_number(VERSIONS[n]) for n in (0, -1))
    assert [f"1.{minor}" for minor in range(first[1], last[1] + 1)] == VERSIONS
    assert len(VERSIONS) >= 5


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_and_samples_are_taken(version: str) -> None:
    """Every file of manifests/ that holds objects."""
    held = manifests()
    assert {"Deployment", "CustomResourceDefinition", names.KIND} <= {document["kind"] for document in held}
    assert refused(held, version) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_operator_writes_is_taken(version: str) -> None:
    """Systems of every sample, and one that has every kind; a kind of later versions is not asked of earlier ones."""
    optional = {kind.name for kind in KINDS if kind.optional}
    offered = frozenset(kind for kind in optional if SINCE.get(kind, (1, 0)) <= _number(version))
    objects = [m for spec in (EVERY_KIND, *SAMPLES.values()) for m in written(offered, spec)]
    assert {m["kind"] for m in objects} == {kind.name for kind in KINDS} - (optional - offered)
    assert refused(objects, version) == []


def test_a_kind_of_later_versions_is_in_none_before() -> None:
    """The table of them is true."""
    for version in VERSIONS:
        told = [faults(m, version) for m in written(frozenset(SINCE), EVERY_KIND) if m["kind"] in SINCE]
        assert told, version
        assert (_number(version) >= SINCE[claim_templates.KIND]) is (told == [""] * len(told)), version


@pytest.mark.cluster  # helm comes with the tools of the cluster
@pytest.mark.parametrize("version", VERSIONS)
def test_all_renders_of_both_charts_are_taken(version: str) -> None:
    """Every value set of the golden files."""
    assert refused([document for name in SETS for document in rendered(name)], version) == []


@pytest.mark.cluster
def test_no_kind_stays_unread_unseen() -> None:
    """The table names kinds that charts or operator make, and none that a version knows."""
    made = {d["kind"] for name in SETS for d in rendered(name)} | {kind.name for kind in KINDS}
    assert made >= ELSEWHERE.keys()
    for kind in ELSEWHERE:
        with pytest.raises(kubernetes_validate.SchemaNotFoundError):
            kubernetes_validate.validate({"apiVersion": "v1", "kind": kind}, VERSIONS[-1], strict=True)


PLACES = (
    (),
    ("metadata",),
    ("spec",),
    ("spec", "template", "spec", "containers", 0),
    ("spec", "template", "spec", "containers", 0, "env", 0, "valueFrom", "fieldRef"),
)


def _with(field: str, value: Any, *place: str | int) -> Manifest:
    """Return the operator's Deployment with a field more."""
    changed = copy.deepcopy(next(m for m in install() if m["kind"] == "Deployment"))
    node: Any = changed
    for step in place:
        node = node[step]
    node[field] = value
    return changed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)) or "root")
def test_a_field_that_no_version_has_is_refused(version: str, place: tuple[str | int, ...]) -> None:
    """However deep it stands."""
    assert "'surplus' was unexpected" in faults(_with("surplus", 1, *place), version)


def test_a_field_is_refused_by_the_versions_that_lack_it_and_by_no_other() -> None:
    """A pod's own host name came with 1.34: each version is read with its own schema."""
    changed = _with("hostnameOverride", "desk.example", "spec", "template", "spec")
    taken = [version for version in VERSIONS if not faults(changed, version)]
    assert taken == [version for version in VERSIONS if _number(version) >= (1, 34)]


def test_a_field_that_our_definition_lacks_is_refused() -> None:
    """Where no server would."""
    resource = {"apiVersion": names.API_VERSION, "kind": names.KIND, "spec": {"market": {"surplus": 1}}}
    assert "'surplus' was unexpected" in faults(resource, VERSIONS[0])
