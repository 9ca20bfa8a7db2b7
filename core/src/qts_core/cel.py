"""CEL rules of the custom resource: what one field alone cannot tell, checked by the API server."""

from __future__ import annotations

from qts_core.resource import SECTIONS
from qts_core.roster import ADDED_SEATS, AGENTS, BY_NAME, SEATS
from qts_core.spec import MOST_ADDED
from qts_core.whence import camel


def _durations(*paths: tuple[str, str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            f"duration(self.{name}) >= duration('{low}') && duration(self.{name}) <= duration('{high}')",
            f"{name} must be between {low} and {high}",
        )
        for name, low, high in paths
    )


_SEATS = ", ".join(f"'{seat}'" for seat in SEATS)
_ADDED = ", ".join(f"'{seat}'" for seat in ADDED_SEATS)
_ON_GPUS = ", ".join(w.name for w in AGENTS if w.gpu)
_PORTS = [f"self.?{w.name}.?port.orValue({w.port})" for w in AGENTS]
_NEEDS = tuple(
    (
        (
            f"!self.?agents.?{w.name}.?enabled.orValue({str(w.enabled).lower()})"
            f" || self.?config.?{camel(w.wire)}.?{camel(key)}.hasValue()"
        ),
        f"config.{camel(w.wire)}.{camel(key)} is required when agents.{w.name} is enabled",
    )
    for w in AGENTS
    for key in w.needs
)
_RESERVED_ENV = (
    "!self.name.startsWith('QTS_') && !self.name.startsWith('OTEL_RESOURCE') && "
    "self.name != 'POD_NAME' && self.name != 'POD_UID' && self.name != 'NODE_NAME'"
)
_OWN_KEYS = "!k.startsWith('quantumtrading.io/') && !k.startsWith('app.kubernetes.io/')"
_POD_RULES: tuple[tuple[str, str], ...] = (
    (
        f"!has(self.podLabels) || self.podLabels.all(k, {_OWN_KEYS})",
        "podLabels must not use quantumtrading.io/ or app.kubernetes.io/",
    ),
    (
        f"!has(self.podAnnotations) || self.podAnnotations.all(k, {_OWN_KEYS})",
        "podAnnotations must not use quantumtrading.io/ or app.kubernetes.io/",
    ),
    (
        "!has(self.port) || (self.port != 8080 && self.port != 9464)",
        "port 8080 and 9464 are reserved for probes and metrics",
    ),
)
_ALONE = (
    (
        "!has(self.replicasManagedBy) || self.replicasManagedBy == 'Operator'",
        "replicasManagedBy External needs an agent that may have more than one replica",
    ),
)
#: CEL rules by struct name, or by `struct.field` where the value itself is meant: (rule, message)
RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "RestartPolicy": _durations(("window", "1m", "24h"), ("backoff", "1s", "1h")),
    "Gpu": (
        *_durations(("fallbackAfter", "10s", "1h")),
        (
            "self.mode == 'Preferred' || duration(self.fallbackAfter) == duration('120s')",
            "fallbackAfter may be set only with mode Preferred",
        ),
        (
            (
                "[has(self.resourceName), has(self.deviceClassName), has(self.claimTemplateName)]"
                ".filter(x, x).size() <= 1"
            ),
            "gpu: at most one of resourceName, deviceClassName and claimTemplateName",
        ),
        (
            "!has(self.claimTemplateName) || self.count == 1",
            "gpu.count must be 1 with claimTemplateName: the template says how many",
        ),
    ),
    "EnvVar": ((_RESERVED_ENV, "env must not use QTS_*, OTEL_RESOURCE*, POD_NAME, POD_UID or NODE_NAME"),),
    "Resources": (
        (
            (
                "(!has(self.requests) || "
                "self.requests.all(k, !k.contains('gpu') && !k.contains('/mig-'))) && "
                "(!has(self.limits) || self.limits.all(k, !k.contains('gpu') && !k.contains('/mig-')))"
            ),
            f"resources must not name a GPU; use gpu, which {_ON_GPUS} have",
        ),
    ),
    "Replay": (
        (
            "has(self.dataset) != has(self.claimName)",
            "replay needs exactly one of dataset and claimName with path",
        ),
        ("has(self.claimName) == has(self.path)", "replay.path is required with claimName, and only there"),
        ("!has(self.path) || !self.path.contains('..')", "replay.path must not contain .."),
        (
            "!has(self.orders) || (has(self.claimName) && !self.orders.contains('..'))",
            "replay.orders is a file on the claim of claimName, without ..",
        ),
    ),
    "Market": (
        ("self.source != 'Live'", "market.source Live is not built yet; use Replay, Simulated or External"),
        (
            "(self.source == 'Replay') == has(self.replay)",
            "market.replay is required exactly when market.source is Replay",
        ),
    ),
    "Redis": (
        ("self.mode == oldSelf.mode", "redis.mode is immutable"),
        (
            (
                "self.mode == 'External' ? has(self.url) != has(self.urlSecretRef) : "
                "!has(self.url) && !has(self.urlSecretRef)"
            ),
            "redis.url or redis.urlSecretRef: exactly one in mode External, none in mode Managed",
        ),
        ("has(self.storage) == has(oldSelf.storage)", "redis.storage cannot be added or removed"),
        (
            "self.credentialsGeneration >= oldSelf.credentialsGeneration",
            "redis.credentialsGeneration can only grow: an old secret does not come back",
        ),
    ),
    "Storage": (
        ("self.size == oldSelf.size", "redis.storage.size is immutable"),
        (
            (
                "has(self.storageClassName) == has(oldSelf.storageClassName) && "
                "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
            ),
            "redis.storage.storageClassName is immutable",
        ),
    ),
    "SystemSpec": (*_durations(("gangTimeout", "10s", "1h")), *_NEEDS),
    "Messaging": (
        (
            "self.credentialsGeneration >= oldSelf.credentialsGeneration",
            "messaging.credentialsGeneration can only grow: an old secret does not come back",
        ),
    ),
    "Agents": (
        (
            " && ".join(
                f"{first} != {second}" for i, first in enumerate(_PORTS) for second in _PORTS[i + 1 :]
            ),
            "the ports of the agents must differ",
        ),
    ),
    "Config.board_members": (
        (f"self.all(k, k in [{_SEATS}])", f"boardMembers: unknown seat; allowed are {', '.join(SEATS)}"),
        (
            "self.exists(k, self[k] > 0.0) && self.filter(k, self[k] > 0.0).size() >= 2",
            "boardMembers: at least two seats need a weight above 0",
        ),
        (
            (
                "(self.map(k, self[k]).sum() >= 0.999 && self.map(k, self[k]).sum() <= 1.001) || "
                f"(self.exists(k, k in [{_ADDED}] && self[k] > 0.0) && "
                f"self.all(k, !(k in [{_ADDED}]) || self[k] <= {MOST_ADDED}) && "
                f"self.map(k, k in [{_ADDED}] ? 0.0 : self[k]).sum() >= 0.999 && "
                f"self.map(k, k in [{_ADDED}] ? 0.0 : self[k]).sum() <= 1.001)"
            ),
            "boardMembers: weights must sum to 1 ± 0.001",
        ),
    ),
    **{
        section.__name__: (
            *_POD_RULES,
            *((("self.enabled", "pads decides and cannot be disabled"),) if name == "pads" else ()),
            *(_ALONE if BY_NAME[name].max_replicas == 1 else ()),
        )
        for name, section in SECTIONS.items()
    },
}
ROOT_RULES: tuple[tuple[str, str], ...] = (
    (
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be at most 40 characters, begin with a letter and hold only a-z, 0-9 and -",
    ),
)
