"""Every way to change one field that a manager owns, from the managedFields of a live object. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

Tree = dict[str, Any]
How = Literal["changed", "removed", "replaced"]
#: words that fields of few values take, tried in order after the value itself with an x; the server judges
WORDS = (
    *("Always", "UDP", "RollingUpdate", "Recreate", "OnDelete", "Unconfined", "IfHealthyBudget", "Delete"),
    *("true", "1", "7Mi", "Equal", "metadata.namespace", "tmp", "data"),
)
#: of forms that exclude each other, another one in the place of ours
FORMS: dict[str, Tree] = {
    "emptyDir": {"hostPath": {"path": "/tmp"}},
    "projected": {"emptyDir": {}},
    "httpGet": {"tcpSocket": {"port": 1}},
    "tcpSocket": {"exec": {"command": ["true"]}},
    "value": {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    "valueFrom": {"value": "x"},
    "maxUnavailable": {"minAvailable": 1},  # of a disruption budget
}
#: what the API server and its controllers move by themselves
_MOVING = ("resourceVersion", "generation", "managedFields")
_REVISION = "deployment.kubernetes.io/revision"


class Drift(msgspec.Struct, frozen=True):
    """One field of one object, and what happens to it; `steps` are those of FieldsV1."""

    item: str  # kind/name
    steps: tuple[str, ...]
    how: How

    def text(self, system: str) -> str:
        """Return it for a person, the same for every system."""
        path = re.sub(
            r'\{"uid":"[^"]*"\}', "{owner}", ".".join(step.partition(":")[2] for step in self.steps)
        )
        return f"{self.item.replace(system, 'SYSTEM', 1)} {path} {self.how}"


def entry_of(live: Tree, manager: str) -> Tree:
    """Return the FieldsV1 tree of what a manager applied; {} when it applied nothing."""
    entries = live["metadata"].get("managedFields") or ()
    mine = (e for e in entries if e["manager"] == manager and e["operation"] == "Apply")
    return next((e["fieldsV1"] for e in mine if not e.get("subresource")), {})


def drifts(item: str, live: Tree, manager: str) -> Iterator[Drift]:
    """Yield a change and the removal of each field, the removal of each item of a list, and other forms."""
    formed: set[tuple[str, ...]] = set()
    for steps in _places(entry_of(live, manager), ()):
        formed |= {steps[: n + 1] for n, step in enumerate(steps) if step[2:] in FORMS}
        if not steps[-1].startswith("k:"):
            yield Drift(item, steps, "changed")
        yield Drift(item, steps, "removed")
    yield from (Drift(item, steps, "replaced") for steps in sorted(formed))


def _places(fields: Tree, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    below = {step: inner for step, inner in fields.items() if step != "."}
    if at and (not below or at[-1].startswith("k:")):
        yield at
    keys = msgspec.json.decode(at[-1][2:]) if at and at[-1].startswith("k:") else {}
    for step, inner in below.items():
        if step[2:] not in keys:  # another key is another item, and the removal of this one
            yield from _places(inner, (*at, step))


def altered(live: Tree, drift: Drift) -> list[Tree]:
    """Return the object with the field changed, or gone, in each way that may be tried."""
    value = _found(live, drift.steps)
    tries: list[Any] = list(others(value)) if drift.how == "changed" else [None]
    made = []
    for each in tries:
        new = copy.deepcopy(live)
        holder = _found(new, drift.steps[:-1])
        at = _position(holder, drift.steps[-1])
        if drift.how == "changed":
            holder[at] = each
        else:
            del holder[at]
            if drift.how == "replaced":
                holder.update(FORMS[at])
        made.append(new)
    return made


def _found(live: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        live = live[_position(live, step)]
    return live


def _position(holder: Any, step: str) -> Any:
    what, _, name = step.partition(":")
    if what == "f":
        return name
    wanted = msgspec.json.decode(name)
    if what == "v":
        return holder.index(wanted)
    return next(n for n, item in enumerate(holder) if wanted.items() <= item.items())


def others(value: Any) -> Iterator[Any]:
    """Yield other values of the same form, the likeliest first."""
    match value:
        case bool():
            yield not value
        case int() | float():
            yield from (value + 1, value - 1, value + 1000)
        case str():
            yield from (f"{value}x", f"1{value}", *(word for word in WORDS if word != value))
        case [*items]:
            yield from (items[:-1], [*items, "another"])
            yield from ([other, *items[1:]] for first in items[:1] for other in others(first))
        case {}:
            inner = [(key, other) for key, each in value.items() for other in others(each)]
            yield from (value | {key: other} for key, other in inner)
            yield from (value | {"another": "x"}, {**value, "medium": "Memory"})


def shown(live: Tree) -> Tree:
    """Return everything of an object that somebody asked for: no status, no versions, no bookkeeping."""
    rest = {key: value for key, value in live.items() if key not in ("status", "apiVersion", "kind")}
    metadata = {key: value for key, value in live["metadata"].items() if key not in _MOVING}
    notes = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _REVISION}
    return rest | {"metadata": metadata | {"annotations": notes}}
