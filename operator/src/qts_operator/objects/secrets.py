# ruff: noqa: A005  - a module of this package, never a top-level one
"""Secrets: what exists and who owns it; `credentials.py` makes the content."""

from __future__ import annotations

from collections.abc import Mapping

from qts_core import names
from qts_core.acl import RELOADER
from qts_core.resource import Spec
from qts_core.roster import AGENTS, ROSTER
from qts_operator.objects.frame import Frame, Manifest
from qts_operator.snapshot import Child
from qts_operator.stages import Stage


def build(frame: Frame) -> list[Manifest]:
    """Return the Secrets without data; they are created, never applied, and changed stage by stage."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": frame.metadata(frame.part(name), component) | {"annotations": _notes(frame, name)},
            "type": "Opaque",
        }
        for name, component in used(frame.spec)
        if frame.part(name) not in frame.withheld
    ]


def _notes(frame: Frame, name: str) -> dict[str, str]:
    holders = [w.wire for w in ROSTER] + ([RELOADER] if name == names.REDIS_SECRET else [])
    stage = frame.turns[name].stage if name in frame.turns else Stage()
    return {names.ANNOTATION_HOLDERS: ",".join(holders), names.ANNOTATION_CREDENTIALS: stage.text()}


def used(spec: Spec) -> list[tuple[str, str]]:
    """Return the part and the component of each Secret that a system has."""
    wanted = []
    if spec.messaging.encryption == "Curve":
        wanted.append((names.CURVE_SECRET, "messaging"))
    if spec.redis.mode == "Managed":
        wanted.append((names.REDIS_SECRET, names.REDIS_PART))
    return wanted


def lacking(spec: Spec, system: str, children: Mapping[tuple[str, str], Child]) -> dict[str, list[str]]:
    """Return, by agent that is on, the Secrets that were made before the roster had it. Pure.

    A Secret is created once, for the whole roster of that day, and says for whom. One that does not say
    is older than the first agent that is off by default.
    """
    found: dict[str, list[str]] = {}
    for workload in AGENTS:
        if workload.enabled or not spec.agent(workload.name).enabled:
            continue
        for part, _ in used(spec):
            child = children.get(("Secret", names.part(system, part)))
            if child is not None and workload.wire not in child.holders.split(","):
                found.setdefault(workload.name, []).append(child.name)
    return found
