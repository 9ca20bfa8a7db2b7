"""Settings in the resource's words: the field that each comes from, and texts that name settings. Pure.

An agent tells of the settings that it read; whoever runs it by a resource knows its fields alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from qts_core.roster import AGENTS
from qts_core.spec import SYSTEM

#: settings that another part of the resource than `config` decides, by path in the file; the field that does
DECIDED = {
    "redis_url": "redis.url",
    "zmq_ports": "agents.<name>.port",
    "gpu_acceleration": "agents.<name>.gpu.mode",
    "simulate_market_data": "market.source",
    "market": "market",
    "messaging": "messaging",
    "observability": "observability",
    **{f"enable_{w.wire}": f"agents.{w.name}.enabled" for w in AGENTS},
    **{f"zmq_ports.{w.wire}": f"agents.{w.name}.port" for w in AGENTS},
}
#: settings whose values the resource spells with a capital
CAPITALISED = {
    "market.source": ("simulated", "replay", "live", "external"),
    "market.replay.stamp": ("close", "open"),
    "market.replay.ts_unit": ("iso", "s", "ms", "us", "ns"),
    "messaging.encryption": ("curve", "none"),
}
_VALUE = rf"(?:{'|'.join(value for values in CAPITALISED.values() for value in values)})\b"
#: a word that may be a path, and values of it; `$.` stands before those that surely are
_WORD = re.compile(rf"(?<![\w./$])(\$\.)?([a-z]\w*(?:\.[a-z]\w*)*)(?:( is | to )({_VALUE}(?:, {_VALUE})*))?")


def camel(key: str) -> str:
    """Return a key of the file as the resource spells it."""
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)


def field_of(setting: str) -> str:
    """Return the field of the resource that a setting comes from, both by their dotted paths."""
    steps = setting.split(".")
    for length in range(len(steps), 0, -1):
        decided = DECIDED.get(".".join(steps[:length]))
        if decided is not None:
            return ".".join(["spec", decided, *map(camel, steps[length:])])
    return ".".join(["spec.config", *map(camel, steps)])


def in_fields(text: str) -> str:
    """Return what somebody says of settings as said of the resource.

    A setting is known by `$.` before its path, or by a dot or an underscore in it: a word may be just one,
    and an agent's name alone is the agent.
    """
    return _WORD.sub(_told, text)


def _told(found: re.Match[str]) -> str:
    sign, path, link, values = found.groups()
    if not (sign or path in _PATHS):
        return found[0]
    spelled = values and values.title() if path in CAPITALISED else values
    return field_of(path) + (f"{link}{spelled}" if link else "")


def _paths(struct: type[msgspec.Struct], above: str = "") -> Iterator[str]:
    """Yield the dotted path of every setting and section."""
    for field in msgspec.structs.fields(struct):
        yield above + field.name
        kinds = (field.type, *getattr(field.type, "__args__", ()))
        for kind in (k for k in kinds if isinstance(k, type) and issubclass(k, msgspec.Struct)):
            yield from _paths(kind, f"{above}{field.name}.")


_PATHS = frozenset(path for path in _paths(SYSTEM) if "." in path or "_" in path) - {w.wire for w in AGENTS}
