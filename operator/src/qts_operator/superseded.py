"""Pods of a StatefulSet that nobody waits for: unready, and of a template that is no longer asked for. Pure.

A Deployment takes such pods away first; a StatefulSet waits until they are ready, which they may never be
(Kubernetes: "forced rollback").
"""

from __future__ import annotations

from collections.abc import Iterable

from qts_operator.snapshot import Child, Pod


def superseded(child: Child | None, pods: Iterable[Pod]) -> list[Pod]:
    """Return the pods to delete so that the roll-out goes on; none before its controller knows."""
    if child is None or not child.newest or child.observed < child.generation:
        return []
    old = [p for p in pods if p.template and p.template != child.newest]
    return [p for p in old if not p.ready and not p.deleting]
