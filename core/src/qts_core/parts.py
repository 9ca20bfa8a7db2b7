"""The sections of the custom resource as structs: defaults, limits, enums; keys are in camelCase."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from qts_core.sections import Fraction
from qts_core.spec import Cost

IMAGE = r"^[a-z0-9]+([-._:/@a-zA-Z0-9])*$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
Text = Annotated[str, msgspec.Meta(max_length=256)]
Name = Annotated[str, msgspec.Meta(max_length=253, pattern=DNS_NAME)]
Key = Annotated[str, msgspec.Meta(max_length=316)]
Image = Annotated[str, msgspec.Meta(max_length=512, pattern=IMAGE)]
Duration = Annotated[str, msgspec.Meta(max_length=16, pattern=r"^([0-9]+(ms|s|m|h))+$")]
Anything = Annotated[
    dict[str, Any], msgspec.Meta(extra_json_schema={"x-kubernetes-preserve-unknown-fields": True})
]
Quantity = Annotated[
    str, msgspec.Meta(max_length=32, pattern=QUANTITY, extra_json_schema={"x-kubernetes-int-or-string": True})
]
Quantities = Annotated[dict[str, Quantity], msgspec.Meta(max_length=8)]
Labels = Annotated[
    dict[str, Annotated[str, msgspec.Meta(max_length=63)]],
    msgspec.Meta(max_length=16),
]
ATOMIC = {"x-kubernetes-list-type": "atomic"}


def _map_list(*keys: str) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """Parent of all sections of the resource."""


class SecretName(Part, frozen=True, kw_only=True):
    """A Secret of the same namespace."""

    name: Name


class Images(Part, frozen=True, kw_only=True):
    """Images of the workloads; what is omitted is the operator's default."""

    agent: Image | None = None
    agent_gpu: Image | None = msgspec.field(name="agentGPU", default=None)
    redis: Image | None = None
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: Annotated[
        tuple[SecretName, ...], msgspec.Meta(max_length=8, extra_json_schema=_map_list("name"))
    ] = ()


class Resources(Part, frozen=True, kw_only=True):
    """Requests and limits of a container."""

    requests: Quantities = {}
    limits: Quantities = {}


class EnvVar(Part, frozen=True, kw_only=True):
    """An environment variable by value."""

    name: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[A-Z][A-Z0-9_]*$")]
    value: Annotated[str, msgspec.Meta(max_length=4096)] = ""


class Toleration(Part, frozen=True, kw_only=True):
    """A taint that pods accept."""

    key: Annotated[str, msgspec.Meta(max_length=316)] | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Annotated[str, msgspec.Meta(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class TopologySpread(Part, frozen=True, kw_only=True):
    """How pods of one agent are spread; the selector is the agent's own."""

    max_skew: Annotated[int, msgspec.Meta(ge=1, le=100)]
    topology_key: Annotated[str, msgspec.Meta(max_length=316)]
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]


class RestartPolicy(Part, frozen=True, kw_only=True):
    """How often the operator restarts what the kubelet cannot see is broken."""

    max_restarts: Annotated[int, msgspec.Meta(ge=0, le=20)] = 5
    window: Duration = "10m"
    backoff: Duration = "10s"


class Gpu(Part, frozen=True, kw_only=True):
    """Whether an agent wants a device, and what happens when there is none."""

    mode: Literal["Required", "Preferred", "None"] = "None"
    count: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    resource_name: (
        Annotated[str, msgspec.Meta(max_length=253, pattern=r"^[a-z0-9.-]+/[a-zA-Z0-9._-]+$")] | None
    ) = None  # None: nvidia.com/gpu
    device_class_name: Name | None = None  # DRA: a claim of this class
    claim_template_name: Name | None = None  # DRA: claims by the user's own template
    fallback_after: Duration = "120s"

    @property
    def dra(self) -> bool:
        """Tell whether devices are claimed instead of counted."""
        return bool(self.device_class_name or self.claim_template_name)

    @property
    def device(self) -> str:
        """Return what is asked for, as sentences name it."""
        return self.device_class_name or self.claim_template_name or self.resource_name or "nvidia.com/gpu"


Env = Annotated[tuple[EnvVar, ...], msgspec.Meta(max_length=32, extra_json_schema=_map_list("name"))]
Tolerations = Annotated[tuple[Toleration, ...], msgspec.Meta(max_length=16, extra_json_schema=ATOMIC)]


class Placed(Part, frozen=True, kw_only=True):
    """Which nodes pods may run on."""

    node_selector: Labels = {}
    tolerations: Tolerations = ()
    affinity: Anything | None = None


class Pods(Placed, frozen=True, kw_only=True):
    """What every workload's pods may be told; the feed has just these."""

    image: Image | None = None
    resources: Resources = Resources()
    env: Env = ()
    restart_policy: RestartPolicy = RestartPolicy()


class Agent(Pods, frozen=True, kw_only=True):
    """One agent; `port` and, where the roster allows it, `gpu` are added from the roster."""

    enabled: bool = True
    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    replicas_managed_by: Literal["Operator", "External"] = "Operator"  # External: an autoscaler's from now on
    topology_spread_constraints: Annotated[
        tuple[TopologySpread, ...], msgspec.Meta(max_length=8, extra_json_schema=ATOMIC)
    ] = ()
    priority_class_name: Name | None = None
    runtime_class_name: Name | None = None
    pod_labels: Labels = {}
    pod_annotations: Annotated[
        dict[str, Annotated[str, msgspec.Meta(max_length=4096)]], msgspec.Meta(max_length=16)
    ] = {}
    claim_name: Name | None = None  # a claim with files that the agent reads, at /data
    termination_grace_period_seconds: Annotated[int, msgspec.Meta(ge=5, le=300)] = 30
    port: int = 0
    gpu: Gpu = Gpu()


class Replay(Part, frozen=True, kw_only=True):
    """Replay of a packaged data set, or of a file on a claim."""

    dataset: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    claim_name: Name | None = None
    path: Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^[^/].*$")] | None = None
    orders: Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^[^/].*$")] | None = None
    speed: Annotated[float, msgspec.Meta(ge=0.0)] | None = None
    repeat: bool = False
    stamp: Literal["Close", "Open"] = "Close"
    ts_unit: Literal["Iso", "S", "Ms", "Us", "Ns"] = "Iso"


class Market(Pods, frozen=True, kw_only=True):
    """The feed: what it publishes and how its pod runs."""

    source: Literal["Simulated", "Replay", "Live", "External"] = "Simulated"
    symbols: (
        Annotated[
            tuple[Annotated[str, msgspec.Meta(max_length=32, min_length=1)], ...],
            msgspec.Meta(min_length=1, max_length=1000, extra_json_schema={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    fee: Cost | None = None
    spread: Cost | None = None
    replay: Replay | None = None
    predictability: Literal[0, 1] = 0


RedisUrl = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^(redis|rediss|redis\+sentinel)://[^@]+$")]


class SecretKey(Part, frozen=True, kw_only=True):
    """One key of a Secret of the same namespace."""

    name: Name
    key: Annotated[str, msgspec.Meta(max_length=253)] = "url"


class Storage(Part, frozen=True, kw_only=True):
    """A claim for Redis; without it the data lives as long as the pod."""

    size: Quantity
    storage_class_name: Name | None = None
    when_deleted: Literal["Retain", "Delete"] = "Retain"


class AccessList(Part, frozen=True, kw_only=True):
    """The container beside our Redis that has it load its access list when passwords change."""

    resources: Resources = Resources(requests={"cpu": "10m", "memory": "48Mi"}, limits={"memory": "128Mi"})


class Redis(Placed, frozen=True, kw_only=True):
    """A Redis of ours, or one that is there already."""

    mode: Literal["Managed", "External"] = "Managed"
    url: RedisUrl | None = None
    url_secret_ref: SecretKey | None = None
    storage: Storage | None = None
    resources: Resources = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "256Mi"})
    acl: AccessList = AccessList()
    priority_class_name: Name | None = None
    credentials_generation: Annotated[int, msgspec.Meta(ge=1)] = 1


class Messaging(Part, frozen=True, kw_only=True):
    """Security of the ZeroMQ wire."""

    encryption: Literal["Curve", "None"] = "Curve"
    credentials_generation: Annotated[int, msgspec.Meta(ge=1)] = 1


class NetworkPolicy(Part, frozen=True, kw_only=True):
    """Who may talk to the pods."""

    enabled: bool = True
    metrics_from: Labels = {}


class Observability(Part, frozen=True, kw_only=True):
    """Traces, logs and the monitor object."""

    otlp_endpoint: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+$", max_length=512)] | None = None
    sample_ratio: Fraction = 0.01
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    pod_monitor: Literal["Auto", "Never"] = "Auto"
