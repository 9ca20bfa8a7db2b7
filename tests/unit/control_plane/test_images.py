"""Nothing that is shipped asks for an image outside manifests/images.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.image_names import images_of, listed

from qts_operator.__main__ import parser
from qts_operator.explain import manifests
from qts_operator.objects.frame import Defaults
from qts_operator.packaging import deployment

ROOT = Path(__file__).parents[3] / "manifests"
SAMPLES = sorted((ROOT / "samples").glob("*.yaml"))


def defaults(monkeypatch: pytest.MonkeyPatch) -> Defaults:
    """Return the images that an operator takes from the environment of its Deployment."""
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    for entry in container["env"]:
        monkeypatch.setenv(entry["name"], entry.get("value", ""))
    given = parser().parse_args([])
    return Defaults(agent=given.agent_image, agent_gpu=given.agent_gpu_image, redis=given.redis_image)


def collector() -> dict[str, Any]:
    """Return the collector's Deployment as the chart renders it where it is asked for."""
    made = yaml.safe_load((ROOT.parent / "tests/golden/charts/collector.yaml").read_text())["documents"]
    deployment: dict[str, Any] = made["Deployment qts-system/quantum-trading-operator-collector"]
    return deployment


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.yaml")), ids=lambda p: p.name)
def test_a_manifest_names_listed_images_only(path: Path) -> None:
    """Every document of every file."""
    assert set(images_of(list(yaml.safe_load_all(path.read_text())))) <= listed()


def test_the_list_is_what_an_installation_can_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images of operator and collector and those of all objects that the samples lead to: no more, no fewer."""
    asked = set(images_of([deployment(), collector()]))
    given = defaults(monkeypatch)
    for path in SAMPLES:
        rendered = set(images_of(list(manifests(yaml.safe_load(path.read_text()), given))))
        assert rendered
        assert rendered <= listed(), path.name
        asked |= rendered
    assert asked == listed()


def test_images_are_found_where_they_hide() -> None:
    """In init containers, in variables that hand them on, in a resource's own field."""
    pod = {"initContainers": [{"image": "a"}], "containers": [{"image": "b", "env": []}]}
    pod["containers"][0]["env"] = [{"name": "QTS_X_IMAGE", "value": "c"}, {"name": "TZ", "value": "UTC"}]
    system = {"kind": "QuantumTradingSystem", "spec": {"images": {"agent": "d", "pullSecrets": []}}}
    assert sorted(images_of([{"spec": {"template": {"spec": pod}}}, system])) == ["a", "b", "c", "d"]
