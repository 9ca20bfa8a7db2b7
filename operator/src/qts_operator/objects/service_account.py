"""ServiceAccount of the agents: no token, no rights."""

from __future__ import annotations

from qts_core import names
from qts_operator.objects.frame import Frame, Manifest


def build(frame: Frame) -> list[Manifest]:
    """Return the account that all pods of a system run under."""
    metadata = frame.metadata(frame.part(names.AGENTS_SERVICE_ACCOUNT), "agents")
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        }
    ]
