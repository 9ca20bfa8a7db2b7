"""The optional collector of the operator's chart, as its golden files have it: its pod, and what it is told to do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.control_plane.test_pod_security import violations

from qts_core import names

GOLDEN = Path(__file__).parents[2] / "golden/charts"
SETS = ("collector", "collector-exports")
Tree = dict[str, Any]
#: what the core distribution has: distributions/otelcol/manifest.yaml of opentelemetry-collector-releases, 0.159.0
CORE = {
    "receivers": {"nop", "otlp", "hostmetrics", "jaeger", "kafka", "prometheus", "zipkin"},
    "processors": {
        "batch",
        "memory_limiter",
        "attributes",
        "resource",
        "span",
        "probabilistic_sampler",
        "filter",
    },
    "exporters": {"debug", "nop", "otlp", "otlphttp", "file", "kafka", "prometheus", "prometheusremotewrite"}
    | {"zipkin"},
    "extensions": {"health_check", "pprof", "zpages"},
}


def documents(name: str) -> dict[str, Tree]:
    """Return the collector's documents of a value set by kind."""
    every = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())["documents"].values()
    return {d["kind"]: d for d in every if d["metadata"]["name"].endswith("-collector")}


def configuration(name: str) -> Tree:
    """Return what the collector reads at its start."""
    config: Tree = documents(name)["ConfigMap"]["data"]["config.yaml"]
    return config


def faults(config: Tree) -> list[str]:
    """Return what a collector of the core distribution would refuse, or leave without use."""
    service = config["service"]
    found, pipelines = [], list(service["pipelines"].values())
    for section, known in CORE.items():
        defined = config[section]
        used = (
            service["extensions"] if section == "extensions" else [u for p in pipelines for u in p[section]]
        )
        found += [
            f"{each} is not in the core distribution" for each in defined if each.split("/")[0] not in known
        ]
        found += [f"{each} is not defined" for each in used if each not in defined]
        found += [f"{each} is not used" for each in defined if each not in used]
    return found


@pytest.mark.parametrize("name", SETS)
def test_every_part_of_a_pipeline_is_defined_and_every_definition_used(name: str) -> None:
    """And is one of the core distribution; the limiter of memory comes first, the batch last."""
    config = configuration(name)
    assert faults(config) == []
    (pipeline,) = config["service"]["pipelines"].values()
    assert pipeline["processors"] == ["memory_limiter", "batch"]


def test_what_is_not_defined_or_only_in_contrib_is_seen() -> None:
    """Tail sampling, for one."""
    config = copy.deepcopy(configuration("collector"))
    config["processors"]["tail_sampling"] = {}
    config["service"]["pipelines"]["traces"]["exporters"] = ["otlp"]
    assert faults(config) == [
        "tail_sampling is not in the core distribution",
        "tail_sampling is not used",
        "otlp is not defined",
        "debug is not used",
    ]


@pytest.mark.parametrize("name", SETS)
def test_its_pod_is_restricted_and_has_no_token(name: str) -> None:
    """Neither its own nor its account's; what it listens on is what probes and Service reach."""
    made = documents(name)
    pod = made["Deployment"]["spec"]["template"]["spec"]
    assert violations(pod) == []
    assert made["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    config = configuration(name)
    told = {
        f"otlp-{way}": settings["endpoint"]
        for way, settings in config["receivers"]["otlp"]["protocols"].items()
    } | {"health": config["extensions"]["health_check"]["endpoint"]}
    assert told == {port: f":{number}" for port, number in ports.items()}
    assert {p["targetPort"]: p["port"] for p in made["Service"]["spec"]["ports"]} == {
        port: number for port, number in ports.items() if port != "health"
    }
    assert container["readinessProbe"]["httpGet"]["port"] == "health"


def test_nobody_takes_it_for_the_operator() -> None:
    """The operator's Deployment, budget and policy select by a name that it has not."""
    labels = documents("collector")["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels[names.LABEL_NAME] == "quantum-trading-collector"


def test_the_operator_sends_there_unless_told_otherwise() -> None:
    """The Service's name and port; an address that is given wins."""
    service = documents("collector")["Service"]["metadata"]
    ours = f"http://{service['name']}.{service['namespace']}:4318"
    for name, expected in (("collector", ours), ("collector-exports", "https://elsewhere.example")):
        every = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())["documents"]
        operator = every["Deployment qts-system/quantum-trading-operator"]["spec"]["template"]["spec"]
        env = {e["name"]: e.get("value") for e in operator["containers"][0]["env"]}
        assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == expected
