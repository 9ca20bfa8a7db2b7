"""Specs that the definition refuses, what it says of them, and specs that it takes.

The API server is asked (`tests/cluster/test_invalid_resources.py`), and `qts plan` without one (`tests/unit/cli/test_rules.py`).
"""

from __future__ import annotations

from typing import Any

#: (spec, words that the refusal must contain: the field's name first)
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"markt": {}}, "spec.markt"),
    ({"config": {"decisionTimout": 1}}, "spec.config.decisionTimout"),
    ({"config": {"zmqPorts": {"pads": 1}}}, "spec.config.zmqPorts"),
    ({"config": {"redisUrl": "redis://x"}}, "spec.config.redisUrl"),
    ({"config": {"decisionTimeout": 0}}, "spec.config.decisionTimeout"),
    ({"config": {"decisionInterval": -1}}, "spec.config.decisionInterval"),
    ({"config": {"messageTtl": "10s"}}, "spec.config.messageTtl"),
    ({"config": {"numbaJit": "yes"}}, "spec.config.numbaJit"),
    ({"config": {"horizonBars": 0}}, "spec.config.horizonBars"),
    ({"config": {"pads": {"baseSize": 1.5}}}, "spec.config.pads.baseSize"),
    ({"config": {"boardMembers": {"qar": 0.5, "qstar": 0.4}}}, "spec.config.boardMembers"),
    ({"config": {"boardMembers": {"qar": 0.5, "oracle": 0.5}}}, "unknown seat"),
    ({"config": {"boardMembers": {"qar": 1.0}}}, "at least two seats"),
    ({"config": {"boardMembers": {"qar": 1.5, "qstar": -0.5}}}, "spec.config.boardMembers"),
    ({"market": {"source": "Live"}}, "market.source Live is not built yet"),
    ({"market": {"source": "Tape"}}, "spec.market.source"),
    ({"market": {"source": "Replay"}}, "market.replay"),
    ({"market": {"source": "Replay", "replay": {}}}, "spec.market.replay"),
    (
        {"market": {"source": "Replay", "replay": {"dataset": "a", "claimName": "b", "path": "c"}}},
        "exactly one of dataset and claimName",
    ),
    ({"market": {"source": "Replay", "replay": {"claimName": "b"}}}, "replay.path"),
    ({"market": {"source": "Replay", "replay": {"claimName": "b", "path": "../x"}}}, "replay.path"),
    ({"market": {"source": "Replay", "replay": {"dataset": "a", "speed": -1}}}, "spec.market.replay.speed"),
    ({"market": {"symbols": []}}, "spec.market.symbols"),
    ({"market": {"symbols": ["A", "A"]}}, "spec.market.symbols"),
    ({"market": {"fee": 0.2}}, "spec.market.fee"),
    ({"agents": {"pads": {"enabled": False}}}, "pads decides and cannot be disabled"),
    ({"agents": {"pads": {"replicas": 2}}}, "spec.agents.pads.replicas"),
    (
        {"agents": {"pads": {"replicasManagedBy": "External"}}},
        "replicasManagedBy External needs an agent that may have more than one replica",
    ),
    ({"agents": {"amos": {"replicasManagedBy": "HPA"}}}, "spec.agents.amos.replicasManagedBy"),
    ({"agents": {"pads": {"gpu": {"mode": "Required"}}}}, "spec.agents.pads.gpu"),
    ({"agents": {"oracle": {}}}, "spec.agents.oracle"),
    ({"agents": {"quasar": {"replicas": 6}}}, "spec.agents.quasar.replicas"),
    ({"agents": {"quasar": {"port": 80}}}, "spec.agents.quasar.port"),
    ({"agents": {"quasar": {"port": 8080}}}, "reserved"),
    ({"agents": {"quasar": {"port": 9091}}}, "ports of the agents must differ"),
    ({"agents": {"quasar": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}}, "use gpu"),
    ({"agents": {"quasar": {"resources": {"requests": {"cpu": "much"}}}}}, "spec.agents.quasar.resources"),
    ({"agents": {"quasar": {"gpu": {"mode": "Maybe"}}}}, "spec.agents.quasar.gpu.mode"),
    ({"agents": {"quasar": {"gpu": {"count": 0}}}}, "spec.agents.quasar.gpu.count"),
    ({"agents": {"quasar": {"gpu": {"resourceName": "gpu"}}}}, "spec.agents.quasar.gpu.resourceName"),
    ({"agents": {"quasar": {"gpu": {"fallbackAfter": "60s"}}}}, "fallbackAfter"),
    (
        {"agents": {"quasar": {"gpu": {"mode": "Preferred", "fallbackAfter": "1s"}}}},
        "fallbackAfter must be between",
    ),
    ({"agents": {"amos": {"env": [{"name": "QTS_SYSTEM", "value": "x"}]}}}, "env must not use QTS_*"),
    ({"agents": {"amos": {"env": [{"name": "POD_NAME", "value": "x"}]}}}, "env must not use QTS_*"),
    ({"agents": {"amos": {"env": [{"name": "lower"}]}}}, "spec.agents.amos.env"),
    ({"agents": {"amos": {"podLabels": {"quantumtrading.io/system": "x"}}}}, "podLabels"),
    ({"agents": {"amos": {"restartPolicy": {"window": "10s"}}}}, "window must be between"),
    ({"agents": {"amos": {"restartPolicy": {"maxRestarts": 21}}}}, "maxRestarts"),
    ({"agents": {"amos": {"terminationGracePeriodSeconds": 1}}}, "terminationGracePeriodSeconds"),
    ({"agents": {"amos": {"image": "UPPER CASE"}}}, "spec.agents.amos.image"),
    ({"redis": {"url": "redis://x"}}, "redis.url"),
    ({"redis": {"mode": "External"}}, "redis.url or redis.urlSecretRef"),
    ({"redis": {"mode": "External", "url": "redis://user:secret@x"}}, "spec.redis.url"),
    ({"redis": {"mode": "External", "url": "http://x"}}, "spec.redis.url"),
    ({"redis": {"storage": {}}}, "spec.redis.storage.size"),
    ({"messaging": {"encryption": "Rot13"}}, "spec.messaging.encryption"),
    ({"observability": {"otlpEndpoint": "collector"}}, "spec.observability.otlpEndpoint"),
    ({"observability": {"sampleRatio": 2}}, "spec.observability.sampleRatio"),
    ({"images": {"pullPolicy": "Sometimes"}}, "spec.images.pullPolicy"),
    ({"upgradePolicy": "Never"}, "spec.upgradePolicy"),
]
#: names of a system that cannot prefix a Service
NAMES = ("1desk", "a" * 41, "desk.one")
VALID: list[dict[str, Any]] = [
    {},
    {"market": {"source": "Replay", "replay": {"dataset": "eurusd_1h", "repeat": True}}},
    {"config": {"boardMembers": {"qar": 0.6, "qstar": 0.4, "market_maker": 0.1}}},
    {"agents": {"quasar": {"gpu": {"mode": "Preferred", "fallbackAfter": "60s"}, "replicas": 5}}},
    {"agents": {"amos": {"resources": {"requests": {"cpu": 1, "memory": "1Gi"}}}}},
    {"redis": {"mode": "External", "urlSecretRef": {"name": "desk-redis"}}},
    {"redis": {"storage": {"size": "1Gi"}}},
    {"redis": {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"pool": "data"}}},
    {"agents": {"qbmia": {}}},
]
