"""Templates of 50 resources at every revision that this operator renders: byte for byte as they were.

`python tests/golden/test_templates.py` writes the file of the latest revision; never rewrite one of a release.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from qts_core import names
from qts_core.roster import AGENTS, BY_NAME
from qts_operator import adopt
from qts_operator.objects import redis
from qts_operator.objects.frame import Defaults
from qts_operator.objects.pods import template
from qts_operator.objects.revisions import LATEST_REVISION, OLDEST_REVISION, Made
from qts_operator.resolve import resolve
from qts_operator.snapshot import Snapshot

FOLDER = Path(__file__).parent / "templates"
REVISIONS = range(OLDEST_REVISION, LATEST_REVISION + 1)
COUNT = 50
#: for each choice a resource draws one of these; the file of drawn resources is what counts, not this table
CHOICES: dict[str, list[dict[str, Any]]] = {
    "images": [{}, {"agent": "registry.example/qts-agent:0.3.0"}, {"pullSecrets": [{"name": "registry"}]}],
    "config": [{}, {"decisionTimeout": 5.0}, {"healthCheckInterval": 10.0}, {"systemSeed": 7}],
    "market": [
        {},
        {"source": "External"},
        {"source": "Replay", "replay": {"dataset": "eurusd_1h", "repeat": True}},
        {"source": "Replay", "replay": {"claimName": "bars", "path": "2026/btc.csv"}},
        {"symbols": ["BTC/USDT", "ETH/USDT"], "env": [{"name": "TZ", "value": "UTC"}]},
    ],
    "redis": [
        {},
        {"storage": {"size": "1Gi"}},
        {"mode": "External", "url": "redis://cache:6379"},
        {"mode": "External", "urlSecretRef": {"name": "desk-redis"}},
    ],
    "messaging": [{}, {"encryption": "None"}],
    "observability": [{}, {"otlpEndpoint": "http://collector.monitoring:4318", "sampleRatio": 0.5}],
}
AGENT_CHOICES: list[dict[str, Any]] = [
    {},
    {"env": [{"name": "EMPTY"}, {"name": "A", "value": "1"}], "podLabels": {"team": "desk"}},
    {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
    {"affinity": {"podAntiAffinity": {}}, "priorityClassName": "high", "runtimeClassName": "nvidia"},
    {"resources": {"requests": {"cpu": "1500m", "memory": "1024Mi"}, "limits": {}}},
    {
        "terminationGracePeriodSeconds": 60,
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    },
    {"image": "registry.example/own:1"},
    {"enabled": False},
]
GPU_CHOICES: list[dict[str, Any]] = [
    {},
    {"gpu": {"mode": "Required"}},
    {"gpu": {"mode": "Required", "resourceName": "nvidia.com/mig-1g.10gb", "count": 2}},
]


def drawn(number: int) -> dict[str, Any]:
    """Return the resource's `spec` number `number`."""
    random = Random(number)
    spec: dict[str, Any] = {key: random.choice(options) for key, options in CHOICES.items()}
    agents = {}
    for workload in AGENTS:
        choices = AGENT_CHOICES if workload.gpu else AGENT_CHOICES[:-1]
        agents[workload.name] = random.choice(choices) | (random.choice(GPU_CHOICES) if workload.gpu else {})
    return spec | {"agents": agents}


def rendered(spec: dict[str, Any], revision: int) -> dict[str, Any]:
    """Return every pod template of a resource at a revision."""
    snapshot = Snapshot(namespace="trading", name="desk-1", uid="u-1", generation=1, now=0.0, spec=spec)
    defaults = Defaults(agent="localhost/a:1", agent_gpu="localhost/g:1", redis="localhost/r:1")
    frame = resolve(snapshot, defaults)[0]
    made = Made(revision=revision, images=defaults.named())
    frame = msgspec.structs.replace(frame, made=dict.fromkeys(adopt.parts(frame), made))
    return {
        part: redis.template(frame) if part == names.REDIS_PART else template(frame, BY_NAME[part])
        for part in adopt.parts(frame)
    }


def _hash(pod: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(pod, sort_keys=True).encode()).hexdigest()[:32]


def golden(revision: int) -> dict[str, Any]:
    """Return what the file of a revision holds: hashes of all templates, and those of one resource in full."""
    systems = json.loads((FOLDER / "systems.json").read_text())
    every = [rendered(spec, revision) for spec in systems]
    hashes = [{part: _hash(pod) for part, pod in pods.items()} for pods in every]
    return {"hashes": hashes, "first": every[0]}


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("revision", REVISIONS)
def test_templates_of_every_revision_are_byte_equal(revision: int) -> None:
    """What an earlier operator rendered, this one renders the same: an upgrade replaces no pod."""
    kept = json.loads((FOLDER / f"revision-{revision}.json").read_text())
    assert len(kept["hashes"]) == COUNT
    now = golden(revision)
    assert _text(now["first"]) == _text(kept["first"])
    differing = [
        f"resource {number}: {part}"
        for number, (old, new) in enumerate(zip(kept["hashes"], now["hashes"], strict=True))
        for part in old.keys() | new.keys()
        if old.get(part) != new.get(part)
    ]
    assert differing == [], "the output changed: make it a new revision (objects/revisions.py)"


def test_the_resources_cover_every_choice() -> None:
    """Fifty different resources, and none of the options above is left out."""
    systems = json.loads((FOLDER / "systems.json").read_text())
    assert len({_text(s) for s in systems}) == COUNT
    for key, options in CHOICES.items():
        assert all(any(s[key] == option for s in systems) for option in options), key


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    if not (FOLDER / "systems.json").exists():
        (FOLDER / "systems.json").write_text(_text([drawn(n) for n in range(COUNT)]))
    (FOLDER / f"revision-{LATEST_REVISION}.json").write_text(_text(golden(LATEST_REVISION)))
