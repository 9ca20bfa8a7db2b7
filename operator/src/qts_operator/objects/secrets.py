# ruff: noqa: A005  - a module of this package, never a top-level one
"""Secrets: what exists and who owns it; `credentials.py` makes the content once, when one is created."""

from __future__ import annotations

from qts_core import names
from qts_operator.objects.frame import Frame, Manifest


def build(frame: Frame) -> list[Manifest]:
    """Return the Secrets without data; they are created, never applied."""
    wanted = []
    if frame.spec.messaging.encryption == "Curve":
        wanted.append((names.CURVE_SECRET, "messaging"))
    if frame.spec.redis.mode == "Managed":
        wanted.append((names.REDIS_SECRET, names.REDIS_PART))
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": frame.metadata(frame.part(name), component),
            "type": "Opaque",
        }
        for name, component in wanted
    ]
