"""Both charts rendered by helm with every value set: as they were, and no image from anywhere else.

A golden file holds what a set changes against the defaults; long parts that come from a table of ours are
compared with it and stand as its name. `python -m tests.golden.test_charts` writes the files.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.image_names import images_of, listed

from qts_core.crd import crd
from qts_operator import alerts, packaging, rights

pytestmark = pytest.mark.cluster  # helm comes with the tools of the cluster
ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "charts"
OPERATOR, SYSTEM = "quantum-trading-operator", "quantum-trading-system"
MIRROR = "registry.example:5000/qts"
TELEMETRY = {
    "otlpEndpoint": "http://collector.monitoring:4318",
    "resourceAttributes": {"deployment.environment.name": "north, blue", "k8s.cluster.name": "a=b"},
}
#: one with a port, one whose port is that of its scheme, one without settings; a million must stay whole
EXPORTERS = {
    "otlp": {
        "endpoint": "tempo.monitoring:4317",
        "tls": {"insecure": True},
        "sending_queue": {"queue_size": 1000000},
    },
    "otlphttp/vendor": {
        "endpoint": "https://otlp.example/in",
        "headers": {"authorization": "Bearer ${env:TOKEN}"},
    },
    "debug": None,
}
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "operator": (OPERATOR, {}),
    "air-gap": (
        OPERATOR,
        {
            "registry": MIRROR,
            "image": {"digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
            "imagePullSecrets": [{"name": "mirror"}],
            "collector": {"enabled": True, "image": {"digest": f"sha256:{'1' * 64}"}},
        },
    ),
    "own-redis": (OPERATOR, {"registry": MIRROR, "images": {"redis": "localhost/team/valkey:9"}}),
    "namespaced": (
        OPERATOR,
        {"watch": {"namespaces": ["east", "west"]}, "admission": {"maxGPUsPerSystem": 3}},
    ),
    "monitoring": (
        OPERATOR,
        {
            "monitoring": {
                "podMonitor": True,
                "prometheusRule": True,
                "dashboards": True,
                "labels": {"release": "prometheus"},
                "feedStalledSeconds": 45,
                "gpuIdleSeconds": 1209600,
            }
        },
    ),
    "telemetry": (
        OPERATOR,
        {"telemetry": TELEMETRY, "networkPolicy": {"enabled": True, "egressPorts": [16443, 5353]}},
    ),
    "collector": (OPERATOR, {"collector": {"enabled": True}, "networkPolicy": {"enabled": True}}),
    "collector-exports": (
        OPERATOR,
        {
            "watch": {"namespaces": ["east", "west"]},
            "collector": {
                "enabled": True,
                "replicas": 2,
                "environmentSecret": "vendor",
                "exporters": EXPORTERS,
                "egressPorts": [9092, 9093],
            },
            "telemetry": {"otlpEndpoint": "https://elsewhere.example"},
            "networkPolicy": {"enabled": True},
        },
    ),
    "no-definition": (OPERATOR, {"crds": {"enabled": False}, "metrics": {"perObject": False}}),
    # numbers that Helm would write as 1e+06
    "requests": (OPERATOR, {"requests": {"inFlight": 8, "perSecond": 1000000, "burst": 2000000}}),
    "scheduling": (
        OPERATOR,
        {
            "replicas": 1,
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "control", "operator": "Exists"}],
            "resources": {"limits": {"memory": "1Gi"}},
            "logLevel": "debug",
            "admission": {"maxGPUsPerSystem": 3},
        },
    ),
    "system": (SYSTEM, {}),
    "system-named": (SYSTEM, {"name": "desk", "spec": packaging.SAMPLES["external-redis"]}),
    "system-gpu": (
        SYSTEM,
        {
            "spec": packaging.SAMPLES["gpu-preferred"] | {"images": {"pullSecrets": [{"name": "mirror"}]}},
            "test": {
                "nodeSelector": {"kubernetes.io/arch": "amd64"},
                "tolerations": [{"key": "control", "operator": "Exists"}],
            },
        },
    ),
    "system-simulated": (
        SYSTEM,
        {"spec": {"market": packaging.SAMPLES["simulated"]["market"] | {"replay": None}}},
    ),
}


def helm(*arguments: str, values: dict[str, Any] | None = None) -> str:
    """Return what helm prints."""
    if shutil.which("helm") is None:
        pytest.skip("helm is not on PATH")
    command = ["helm", *arguments, *(["-f", "-"] if values else [])]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@cache
def rendered(name: str) -> list[dict[str, Any]]:
    """Return the documents of a value set, in helm's order."""
    chart, values = SETS[name]
    text = helm("template", chart, str(ROOT / "charts" / chart), "-n", "qts-system", values=values)
    return [document for document in yaml.safe_load_all(text) if document]


@cache
def tables(feed_stalled_s: int, gpu_idle_s: int) -> list[tuple[str, Any]]:
    """Return the tables that long parts come from, as plain JSON by name."""
    seconds = alerts.THRESHOLDS | {"FEED_STALLED_SECONDS": feed_stalled_s, "GPU_IDLE_SECONDS": gpu_idle_s}
    named_tables: list[tuple[str, Any]] = [
        ("crd()", crd()["spec"]),
        ("rules", rights.rules()),
        ("rules + cluster rules", rights.rules() + rights.cluster_rules()),
        ("lease rules", rights.lease_rules()),
        ("alerts", alerts.groups(seconds, "qts-system")),
        *((f"board {n}", opened("data", board["data"])) for n, board in enumerate(packaging.boards())),
    ]
    return [(name, json.loads(json.dumps(table))) for name, table in named_tables]


def short(document: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the document with parts that equal one of our tables replaced by the table's name."""
    on = values.get("monitoring", {})
    known = tables(on.get("feedStalledSeconds", 30), on.get("gpuIdleSeconds", 1800))
    parts = {key: opened(key, part) for key, part in document.items()}
    return {
        key: next((f"as {name}" for name, table in known if part == table), part)
        for key, part in parts.items()
    }


def opened(key: str, part: Any) -> Any:
    """Return what a ConfigMap's files, JSON or YAML, hold: how it is indented does not matter."""
    if key != "data":
        return part
    read = {".json": json.loads, ".yaml": yaml.safe_load}
    return {name: read[Path(name).suffix](text) for name, text in part.items()}


def named(name: str) -> dict[str, dict[str, Any]]:
    """Return the shortened documents of a value set by kind, namespace and name."""
    found = {}
    for document in rendered(name):
        metadata = document["metadata"]
        key = f"{document['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        found[key] = short(document, SETS[name][1])
    assert len(found) == len(rendered(name))
    return found


def told(name: str) -> dict[str, Any]:
    """Return what a set changes: all documents of the defaults, else the changed ones and those gone."""
    plain = "operator" if SETS[name][0] == OPERATOR else "system"
    ours, defaults = named(name), {} if name == plain else named(plain)
    changed = {key: part for key, part in ours.items() if defaults.get(key) != part}
    return {"gone": sorted(defaults.keys() - ours.keys()), "documents": changed}


@pytest.mark.parametrize("name", SETS)
def test_a_value_set_renders_as_it_did(name: str) -> None:
    """The golden file, document by document."""
    assert told(name) == yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def test_every_golden_file_has_a_set() -> None:
    """Sets and files are the same, and none went unseen."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SETS)
    assert len(SETS) == 15


@pytest.mark.parametrize("name", [name for name in SETS if name not in ("air-gap", "own-redis")])
def test_no_chart_asks_for_an_image_outside_the_list(name: str) -> None:
    """Whatever else is set."""
    assert set(images_of(rendered(name))) <= listed()


def test_one_registry_value_moves_every_image() -> None:
    """All images of the list, from the mirror; one with a registry of its own stays there."""
    moved = {image.replace("localhost/", f"{MIRROR}/") for image in listed()}
    pinned = {image for image in moved if "qts-operator" in image or "collector" in image}
    assert len(pinned) == 2
    digests = {
        f"{MIRROR}/qts-operator@sha256:{'0' * 64}",
        f"{MIRROR}/opentelemetry-collector@sha256:{'1' * 64}",
    }
    assert set(images_of(rendered("air-gap"))) == (moved - pinned) | digests
    asked = {image for image in moved if "collector" not in image}
    own = {image for image in asked if "valkey" not in image} | {"localhost/team/valkey:9"}
    assert set(images_of(rendered("own-redis"))) == own


@pytest.mark.parametrize("missing", ["image", "collector.image"])
def test_an_image_without_tag_and_digest_is_refused_by_name(missing: str) -> None:
    """It was written as `qts-operator:`, which helm called YAML that is none."""
    if shutil.which("helm") is None:
        pytest.skip("helm is not on PATH")
    command = [
        "helm",
        "template",
        OPERATOR,
        str(ROOT / "charts" / OPERATOR),
        "--set",
        "collector.enabled=true",
    ]
    done = subprocess.run([*command, "--set", f"{missing}.tag="], capture_output=True, text=True, check=False)
    image = {"image": "qts-operator", "collector.image": "opentelemetry-collector"}[missing]
    assert done.returncode != 0
    assert f"image {image}: give a tag or a digest" in done.stderr


def test_the_operator_reads_the_attributes_that_the_chart_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commas, blanks and equal signs of a value arrive in the resource of the traces."""
    from opentelemetry.sdk.resources import OTELResourceDetector

    deployment = next(d for d in rendered("telemetry") if d["kind"] == "Deployment")
    env = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == TELEMETRY["otlpEndpoint"]
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", env["OTEL_RESOURCE_ATTRIBUTES"])
    assert dict(OTELResourceDetector().detect().attributes) == TELEMETRY["resourceAttributes"]


@pytest.mark.parametrize("name", SETS)
def test_lint(name: str) -> None:
    """`helm lint --strict` has nothing to say."""
    chart, values = SETS[name]
    helm("lint", "--strict", str(ROOT / "charts" / chart), values=values)


if __name__ == "__main__":
    for set_name in SETS:
        text = yaml.safe_dump(told(set_name), sort_keys=False, width=110)
        (FOLDER / f"{set_name}.yaml").write_text(text)


@pytest.mark.parametrize(("watched", "told"), [([], "trading"), (["team-a", "team-b"], "team-a")])
def test_the_first_commands_make_a_system_where_the_operator_looks(watched: list[str], told: str) -> None:
    """With Roles alone they named a namespace that it does not watch, where a resource stays without a status."""
    chart = str(ROOT / "charts" / "quantum-trading-operator")
    values = {"watch": {"namespaces": watched}}
    text = helm("install", "x", chart, "--dry-run=client", values=values).partition("NOTES:")[2]
    assert set(re.findall(r"--namespace (\S+)", text)) == {told}
    assert ("create namespace" in text) is not bool(watched)
    assert ("team-a, team-b alone" in text) is bool(watched)
