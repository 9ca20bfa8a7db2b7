"""Which field of the resource stands behind what the API server refuses: of an object, or of a pod. Pure.

The server names a field of what we sent; whoever wrote the resource knows its fields alone.
"""

from __future__ import annotations

import re
from typing import Any

from qts_core import names
from qts_core.roster import BY_NAME

_TEMPLATE = r"spec\.template\."
_PLACED = "affinity|nodeSelector|tolerations|topologySpreadConstraints|priorityClassName|runtimeClassName"
#: of a workload's object: how a path begins, and the field below the workload's section of the resource
_WORKLOAD = (
    (rf"{_TEMPLATE}(?:metadata\.)?annotations", "podAnnotations"),
    (rf"{_TEMPLATE}(?:metadata\.)?labels", "podLabels"),
    (rf"{_TEMPLATE}spec\.({_PLACED})", r"\1"),
    (rf"{_TEMPLATE}spec\.containers\[0\]\.(resources|env)", r"\1"),
)
#: of other objects, by component: how a path begins, and the field
_OTHERS = {
    "agents": ((r"spec\.ingress.*namespaceSelector", "spec.networkPolicy.metricsFrom"),),
    names.REDIS_PART: (
        (rf"{_TEMPLATE}spec\.containers\[0\]\.resources", "spec.redis.resources"),
        (rf"{_TEMPLATE}spec\.containers\[1\]\.resources", "spec.redis.acl.resources"),
        (r"spec\.volumeClaimTemplates", "spec.redis.storage"),
    ),
}
_PATH = re.compile(r"spec\.[\w.\[\]/-]+")
#: what the server says of a pod that it refuses, and the field below the workload's section
_PODS = (
    ("PriorityClass", "priorityClassName"),
    ("RuntimeClass", "runtimeClassName"),
    (" per Container is ", "resources"),
    (" per Pod is ", "resources"),
)


def fields_of(manifest: dict[str, Any], told: str) -> str:
    """Return the fields of the resource that lead to the paths which the server names, "" for none known."""
    component = manifest["metadata"].get("labels", {}).get(names.LABEL_COMPONENT, "")
    table = _OTHERS.get(component, ())
    if component in BY_NAME:
        section = BY_NAME[component].section
        table = tuple((path, f"spec.{section}.{field}") for path, field in _WORKLOAD)
    found = [
        match.expand(field)
        for path in _PATH.findall(told)
        for begin, field in table
        if (match := re.match(begin, path))
    ]
    return " and ".join(dict.fromkeys(found))


def field_of_pod(workload: str, told: str) -> str:
    """Return the field of the resource for which a pod is refused; "the spec" where that is not known."""
    section = BY_NAME[workload].section
    return next((f"spec.{section}.{field}" for words, field in _PODS if words in told), "the spec")
