"""Template revisions: which output of the pod renderers a workload was made with, and keeps.

Every change of what a renderer gives for the same resource is a new revision; the renderers of the older ones
stay, so that an upgrade of the operator replaces no pod. `tests/golden/templates` holds their output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec

from qts_core import names

OLDEST_REVISION = 1
#: 2: beside Redis a container that reloads the access list; 3: Redis refuses giants; 4: an external Redis may
#: know each agent by a password of its own; 5: Redis refuses writes before its kernel kills it
LATEST_REVISION = 5


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload's template was rendered with: the revision, and the default images of that day."""

    revision: int = LATEST_REVISION
    images: Mapping[str, str] = {}  # agent, agentGPU, redis → image, where the resource names none


def known(revision: int) -> bool:
    """Tell whether this operator can render the revision."""
    return OLDEST_REVISION <= revision <= LATEST_REVISION


def noted(made: Made, template_hash: str, used: tuple[str, ...]) -> dict[str, str]:
    """Return what is written on a workload; `used` names the default images that its template may need."""
    images = {name: made.images[name] for name in used if name in made.images}
    return {
        names.ANNOTATION_TEMPLATE_REVISION: str(made.revision),
        names.ANNOTATION_TEMPLATE_HASH: template_hash,
        names.ANNOTATION_DEFAULT_IMAGES: json.dumps(images, sort_keys=True),
    }


@lru_cache(1024)
def images_of(annotation: str) -> Mapping[str, str]:
    """Return the images of an annotation; what somebody broke counts as not written.

    Remembered: all workloads of an operator have the same few.
    """
    try:
        found: Any = json.loads(annotation or "{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return MappingProxyType({k: v for k, v in found.items() if isinstance(v, str) and v})
