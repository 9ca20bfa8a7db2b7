"""ConfigMap with the settings file of the system."""

from __future__ import annotations

from qts_core import names
from qts_operator.objects.frame import Frame, Manifest


def build(frame: Frame) -> list[Manifest]:
    """Return the ConfigMap that holds `system.json`."""
    metadata = frame.metadata(frame.part(names.CONFIG_PART), names.CONFIG_PART)
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {names.CONFIG_FILE: frame.config},
        }
    ]
