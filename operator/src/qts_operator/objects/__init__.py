"""BUILDERS: every object that a system owns, in the order of writing. Watches and rights derive from it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from qts_operator.objects import (
    claim_templates,
    config_map,
    deployments,
    disruption_budgets,
    network_policies,
    pod_monitors,
    redis,
    secrets,
    service_account,
    services,
)
from qts_operator.objects.frame import Frame, Manifest

BUILDERS: tuple[Callable[[Frame], list[Manifest]], ...] = (
    service_account.build,
    secrets.build,
    config_map.build,
    services.build,
    network_policies.build,
    redis.build,
    claim_templates.build,
    deployments.build,
    disruption_budgets.build,
    pod_monitors.build,
)


class Kind(msgspec.Struct, frozen=True):
    """One kind of owned object: where it lives in the API, and whether it is watched."""

    name: str
    group: str
    version: str
    plural: str
    watched: bool = True
    optional: bool = False  # not every cluster has the kind

    @property
    def api_version(self) -> str:
        """Return group and version as manifests write them."""
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS: tuple[Kind, ...] = (
    Kind("ServiceAccount", "", "v1", "serviceaccounts"),
    Kind("Secret", "", "v1", "secrets", watched=False),
    Kind("ConfigMap", "", "v1", "configmaps"),
    Kind("Service", "", "v1", "services"),
    Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"),
    Kind("StatefulSet", "apps", "v1", "statefulsets"),
    Kind(claim_templates.KIND, "resource.k8s.io", "v1", "resourceclaimtemplates", optional=True),
    Kind("Deployment", "apps", "v1", "deployments"),
    Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
    Kind(pod_monitors.KIND, "monitoring.coreos.com", "v1", "podmonitors", optional=True),
)
BY_KIND: dict[str, Kind] = {kind.name: kind for kind in KINDS}


def desired(frame: Frame) -> tuple[Manifest, ...]:
    """Return every object that the resource asks for, in the order of writing."""
    return tuple(manifest for build in BUILDERS for manifest in build(frame))
