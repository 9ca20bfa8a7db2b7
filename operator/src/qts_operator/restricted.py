"""Restricted: rights that are missing and hinder no system, told beside what says how it is. Pure."""

from __future__ import annotations

from qts_operator.conditions import RESTRICTED, Condition
from qts_operator.objects import pod_monitors
from qts_operator.objects.frame import Frame
from qts_operator.snapshot import Snapshot

#: Helm 4 refuses what kubectl changed, unless told; of a release that Helm 3 made it must be told both
GRANT = (
    "helm upgrade of the operator with the same values (Helm 4: --server-side=true --force-conflicts), "
    "or its install.yaml, restores the right"
)


def condition(snapshot: Snapshot, frame: Frame | None) -> list[Condition]:
    """Return the condition while a right is missing, nothing while all are there: most never see it."""
    told = list(snapshot.restricted)
    monitors = snapshot.barred.get(pod_monitors.KIND, "")
    if monitors and frame is not None and frame.spec.observability.pod_monitor != "Never":
        told.append(f"no PodMonitor is made: {monitors}")
    if not told:
        return []
    text = "; ".join(told)[: 1000 - len(GRANT) - 2]
    return [Condition(RESTRICTED, "True", "AccessDenied", f"{text}; {GRANT}")]
