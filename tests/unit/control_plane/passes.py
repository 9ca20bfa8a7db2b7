"""Passes over a system, one request after the other: played to their end, and what they asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from tests.unit.control_plane.conftest import make_frame, make_snapshot
from tests.unit.control_plane.systems import HEARD, pods_of

from qts_operator import digests, steps
from qts_operator.fields import applied, digest
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.snapshot import Child, Pod, Snapshot
from qts_operator.steps import Look, Pass, Read, Request, Seen
from qts_operator.writes import Done

Answer = Callable[[Request], Any]


def settled(frame: Frame) -> dict[tuple[str, str], Child]:
    """Return what the server has once everything was written and every controller is done."""
    found = {}
    for manifest in desired(frame):
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        live = manifest | {"metadata": manifest["metadata"] | {"uid": f"uid-{name}", "resourceVersion": "1"}}
        count = manifest.get("spec", {}).get("replicas", 0)
        done = dict.fromkeys(("replicas", "current", "ready", "updated", "available"), count)
        known = digests.child(live, kind)
        own = {"digest": digest(applied(manifest)), "counts": count > 0, "observed": known.generation}
        found[kind, name] = msgspec.structs.replace(known, **own | done)
    return found


def at_rest(spec: Any = None, **more: Any) -> Snapshot:
    """Return a system as it is after everything was written, has settled, and was reported."""
    frame = make_frame(spec)
    given = {"children": settled(frame), "pods": pods_of(frame), "statusz": HEARD}
    snapshot = make_snapshot(spec, **(given | more))
    if "status" in more:
        return snapshot
    return msgspec.structs.replace(snapshot, status=played([snapshot])[0].status)


def played(looks: list[Snapshot], answer: Answer = lambda _: Done(), told_s: float = 1e9) -> Any:
    """Return the end of a pass and all of its requests; looks after the last are the last."""
    rest = list(looks)
    state, request = steps.begin(Defaults(), told_s)
    asked: list[Request] = []
    while request is not None:
        asked.append(request)
        if isinstance(request, Look):
            state, request = steps.step(state, Seen(rest.pop(0) if len(rest) > 1 else rest[0]))
        elif isinstance(request, Read):
            state, request = steps.step(state, steps.Live({}))
        else:
            state, request = steps.step(state, answer(request))
    return state, asked


def kinds(asked: list[Request]) -> list[str]:
    """Return what was asked for, each kind of request once in a row."""
    names = [type(r).__name__ for r in asked]
    return [n for n, before in zip(names, ["", *names], strict=False) if n != before]


def condition(state: Pass, kind: str) -> tuple[str, str]:
    """Return status and reason that the pass found."""
    found = next(c for c in state.status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


def pods(spec: Any = None, **changes: Any) -> tuple[Pod, ...]:
    """Return the pods of a system, that of amos changed."""
    frame = make_frame(spec)
    change = msgspec.structs.replace
    return tuple(change(p, **changes) if p.agent == "amos" else p for p in pods_of(frame))
