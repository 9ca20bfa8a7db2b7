# ruff: noqa: A005  - a module of this package, never a top-level one
"""The custom resource's `spec`, and its rendering to the settings of the agents.

`spec.config` is derived from `qts_core.spec` by camelCase, the agents' sections from ROSTER; the other
sections are in `parts.py`, the rules that one field alone cannot tell in `cel.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, Literal, cast, get_args, get_origin

import msgspec

from qts_core import names
from qts_core.config import convert, read_naming
from qts_core.errors import ConfigError
from qts_core.parts import (
    Agent,
    Duration,
    Images,
    Market,
    Messaging,
    NetworkPolicy,
    Observability,
    Part,
    Pods,
    Redis,
    Resources,
)
from qts_core.roster import AGENTS, BY_NAME, Workload
from qts_core.sections import Section
from qts_core.spec import SYSTEM, Port, System
from qts_core.whence import DECIDED, in_fields

_agents_of: Callable[[Any], Any] = attrgetter("agents")  # SPEC adds them


class Spec(Part, frozen=True, kw_only=True):
    """Everything but `config` and `agents`, which SPEC adds."""

    paused: bool = False
    suspend: bool = False
    upgrade_policy: Literal["OnChange", "Immediate"] = "OnChange"
    startup: Literal["Independent", "AllOrNothing"] = "Independent"
    gang_timeout: Duration = "5m"
    images: Images = Images()
    market: Market = Market()
    redis: Redis = Redis()
    messaging: Messaging = Messaging()
    network_policy: NetworkPolicy = NetworkPolicy()
    observability: Observability = Observability()

    def agent(self, name: str) -> Agent:
        """Return the section of the agent `name`."""
        section: Agent = getattr(_agents_of(self), name)
        return section

    def pods(self, name: str) -> Pods:
        """Return what the resource says of the pods of the workload `name`."""
        return self.agent(name) if BY_NAME[name].agent else self.market


def _camel(annotation: Any) -> Any:
    """Return a file section's struct with the same fields in camelCase; other types unchanged."""
    if not (isinstance(annotation, type) and issubclass(annotation, Section)):
        return annotation
    fields = [(f.name, _camel(f.type), _default(f)) for f in msgspec.structs.fields(annotation)]
    return msgspec.defstruct(
        annotation.__name__, fields, bases=(Part,), frozen=True, kw_only=True, rename="camel", module=__name__
    )


def _default(field: Any) -> Any:
    made = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(made, Section):
        return _camel(type(made))()
    return msgspec.field(default_factory=lambda: dict(made)) if isinstance(made, dict) else made


def _config() -> type[Part]:
    fields = [
        (f.name, _camel(f.type), _default(f)) for f in msgspec.structs.fields(SYSTEM) if f.name not in DECIDED
    ]
    built = msgspec.defstruct(
        "Config", fields, bases=(Part,), frozen=True, kw_only=True, rename="camel", module=__name__
    )
    return cast("type[Part]", built)


def _section(workload: Workload) -> type[Agent]:
    """Return the struct of one agent's section; `gpu` only where the roster allows a device."""
    resources = Resources(requests={"cpu": workload.cpu, "memory": workload.memory}, limits={"memory": "1Gi"})
    replicas = Annotated[int, msgspec.Meta(ge=1, le=workload.max_replicas)]
    fields: list[Any] = [
        ("port", Port, workload.port),
        ("replicas", replicas, 1),
        ("enabled", bool, workload.enabled),
        ("resources", Resources, resources),
    ]
    name = f"{workload.name.capitalize()}Agent"
    built = msgspec.defstruct(
        name, fields, bases=(Agent,), frozen=True, kw_only=True, rename="camel", module=__name__
    )
    return cast("type[Agent]", built)


CONFIG: type[Part] = _config()
SECTIONS: dict[str, type[Agent]] = {w.name: _section(w) for w in AGENTS}
AGENT_SECTIONS: type[Part] = cast(
    "type[Part]",
    msgspec.defstruct(
        "Agents",
        [(name, section, section()) for name, section in SECTIONS.items()],
        bases=(Part,),
        frozen=True,
        kw_only=True,
        rename="camel",
        module=__name__,
    ),
)
SPEC: type[Spec] = cast(
    "type[Spec]",
    msgspec.defstruct(
        "SystemSpec",
        [("config", CONFIG, CONFIG()), ("agents", AGENT_SECTIONS, AGENT_SECTIONS())],
        bases=(Spec,),
        frozen=True,
        kw_only=True,
        rename="camel",
        module=__name__,
    ),
)
#: (struct, field) that the CRD leaves out: the roster forbids it
ABSENT = frozenset((SECTIONS[w.name].__name__, "gpu") for w in AGENTS if not w.gpu)


def read(spec: dict[str, Any]) -> Spec:
    """Return the struct of a resource's `spec`; ConfigError begins with the wrong field's path."""
    try:
        return read_naming(_quantities(spec), lambda tree: msgspec.convert(tree, SPEC))
    except msgspec.ValidationError as error:
        raise ConfigError(_refusal(str(error))) from None


def _refusal(text: str) -> str:
    """Put the field's path before msgspec's sentence."""
    message, sign, path = text.rpartition(" - at ")
    if not sign:
        return f"spec: {text}"
    where = path.replace("`", "").replace("$", "spec", 1)  # "`$.a`", or "`key` in `$.a`"
    return f"{where}: {message[0].lower()}{message[1:]}"


def settings_of(spec: Spec, namespace: str, name: str) -> System:
    """Return the settings of the agents for a `spec` that was read; ConfigError names the wrong field."""
    try:
        return convert(tree_of(spec, namespace, name), source="")
    except ConfigError as error:
        raise ConfigError(in_fields(str(error))) from None


def tree_of(spec: Spec, namespace: str, name: str) -> dict[str, Any]:
    """Return the plain values of `quantum_system_config.json` for a resource."""
    tree: dict[str, Any] = _snake(cast(Any, spec).config)
    for workload in AGENTS:
        tree[f"enable_{workload.wire}"] = spec.agent(workload.name).enabled
        if not (workload.enabled or spec.agent(workload.name).enabled):
            tree.pop(workload.wire, None)  # an image older than this agent would refuse its section
    tree["zmq_ports"] = {w.wire: spec.agent(w.name).port for w in AGENTS}
    tree["gpu_acceleration"] = any(spec.agent(w.name).gpu.mode != "None" for w in AGENTS if w.gpu)
    tree["simulate_market_data"] = spec.market.source != "External"
    tree["market"] = _market(spec.market)
    tree["messaging"] = {"encryption": spec.messaging.encryption.lower()}
    seen = spec.observability
    tree["observability"] = {"sample_ratio": seen.sample_ratio, "log_level": seen.log_level}
    if seen.otlp_endpoint is not None:
        tree["observability"]["otlp_endpoint"] = seen.otlp_endpoint
    if spec.redis.mode == "Managed":
        tree["redis_url"] = f"redis://{names.part(name, names.REDIS_PART)}.{namespace}.svc:{names.PORT_REDIS}"
    elif spec.redis.url is not None:
        tree["redis_url"] = spec.redis.url
    return tree


def _market(market: Market) -> dict[str, Any]:
    tree: dict[str, Any] = {"source": market.source.lower(), "predictability": market.predictability}
    for key in ("fee", "spread"):
        if getattr(market, key) is not None:
            tree[key] = getattr(market, key)
    if market.symbols is not None:
        tree["symbols"] = list(market.symbols)
    replay = market.replay
    if replay is not None:
        inner: dict[str, Any] = {"repeat": replay.repeat, "stamp": replay.stamp.lower()}
        inner["ts_unit"] = replay.ts_unit.lower()
        if replay.speed is not None:
            inner["speed"] = replay.speed
        if replay.dataset is not None:
            inner["dataset"] = replay.dataset
        else:
            inner["path"] = f"{names.DIR_DATA}/{replay.path}"
        if replay.orders is not None:
            inner["orders"] = f"{names.DIR_DATA}/{replay.orders}"
        tree["replay"] = inner
    return tree


def _snake(value: Any) -> Any:
    """Return a struct's fields by attribute name, deep; unset ones are left out."""
    if isinstance(value, Part):
        inner = {name: _snake(getattr(value, name)) for name in value.__struct_fields__}
        return {name: item for name, item in inner.items() if item is not None}
    return msgspec.to_builtins(value)


def _quantities(tree: Any) -> Any:
    """Turn whole numbers of requests and limits into text: both are quantities to Kubernetes."""
    if isinstance(tree, list):
        return [_quantities(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        key: {k: str(v) for k, v in value.items()}
        if key in {"requests", "limits"} and isinstance(value, dict)
        else str(value)
        if key == "size" and isinstance(value, int)
        else _quantities(value)
        for key, value in tree.items()
    }


def unknown_fields(spec: dict[str, Any]) -> list[str]:
    """Return the paths of `spec` that no struct knows, as kubectl's strict validation would."""
    return _unknown(spec, SPEC, "spec")


def _unknown(tree: Any, annotation: Any, path: str) -> list[str]:
    struct = _struct_in(annotation)
    if struct is None or tree is None:
        return []
    if isinstance(tree, list):
        return [p for i, item in enumerate(tree) for p in _unknown(item, struct, f"{path}[{i}]")]
    if not isinstance(tree, dict):
        return []
    known = {
        f.encode_name: f.type
        for f in msgspec.structs.fields(struct)
        if (struct.__name__, f.name) not in ABSENT
    }
    found = [f"{path}.{key}" for key in tree if key not in known]
    for key, value in tree.items():
        if key in known:
            found += _unknown(value, known[key], f"{path}.{key}")
    return found


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """Return the struct inside Annotated, Optional or tuple, if any."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    if get_origin(annotation) is dict:
        return None
    for inner in get_args(annotation):
        found = _struct_in(inner)
        if found is not None:
            return found
    return None
