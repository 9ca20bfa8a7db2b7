"""What every builder is given: one resource, read and resolved, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import msgspec

from qts_core import names
from qts_core.parts import NetworkPolicy
from qts_core.resource import Spec
from qts_core.roster import ROSTER, Workload
from qts_core.spec import System
from qts_operator.gang import Gang
from qts_operator.memo import remembered
from qts_operator.objects.revisions import Made
from qts_operator.snapshot import Finding
from qts_operator.stages import Stage

Manifest = dict[str, Any]


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's own settings that reach objects: default images, where it runs, labels of monitors."""

    agent: str = "localhost/qts-agent:dev"
    agent_gpu: str = "localhost/qts-agent-gpu:dev"
    redis: str = "localhost/valkey:9"
    namespace: str = "qts-system"
    monitor_labels: dict[str, str] = {}

    def named(self) -> dict[str, str]:
        """Return the images by the names that `status.images` has."""
        return {"agent": self.agent, "agentGPU": self.agent_gpu, "redis": self.redis}


class Turn(msgspec.Struct, frozen=True):
    """The stage that a Secret should be in, and who has not taken up the last one."""

    stage: Stage
    waits: str = ""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One resource resolved: settings, images, where each agent runs, and who is held at zero."""

    namespace: str
    name: str
    uid: str
    spec: Spec
    system: System
    images: Defaults
    config: str  # text of system.json: what differs from the defaults
    placements: dict[str, str] = {}  # agent → GPU | CPU, for agents that asked for a device
    offered: frozenset[str] = frozenset()  # optional kinds that the cluster has
    stopped: frozenset[str] = frozenset()  # agents held at 0 after an exit, by auto_restart_failed
    made: dict[str, Made] = {}  # part → what its template is rendered with; absent: the latest
    external: dict[str, int] = {}  # agent → replicas that somebody else gives its Deployment
    caps: dict[str, int] = {}  # agent → most replicas for now: its start waits, or its device is lost
    gang: Gang | None = None  # where an all-or-nothing start stands
    faults: tuple[Finding, ...] = ()  # what resolving found that needs a person
    unsupported: dict[str, int] = {}  # part → a revision that this operator cannot render
    turns: dict[str, Turn] = {}  # Secret → where a change of its content stands
    withheld: frozenset[str] = frozenset()  # Secrets that must not be made: pods use what was in them

    def workloads(self) -> tuple[Workload, ...]:
        """Return the workloads that exist, in roster order."""
        return tuple(w for w in ROSTER if self.runs(w))

    @property
    def held_secrets(self) -> frozenset[str]:
        """Return the Secrets that the system has."""
        wanted = {names.CURVE_SECRET} if self.spec.messaging.encryption == "Curve" else set()
        return frozenset(wanted | ({names.REDIS_SECRET} if self.spec.redis.mode == "Managed" else set()))

    def of_pods(self) -> Frame:
        """Return the frame without what no pod reads: templates are remembered whatever that is."""
        spec = msgspec.structs.replace(self.spec, network_policy=NetworkPolicy())
        return msgspec.structs.replace(self, spec=spec)

    def members(self) -> tuple[Workload, ...]:
        """Return the workloads that every pod of the system is told of, in roster order.

        Those that are on by default always, so that switching one rolls nobody but the decider. One that is
        off by default only while it is on: a new line of the roster changes no pod of a system without it.
        """
        return tuple(w for w in ROSTER if w.enabled or self.runs(w))

    def runs(self, workload: Workload) -> bool:
        """Tell whether the workload exists: an enabled agent, or a feed of ours."""
        if workload.agent:
            return self.spec.agent(workload.name).enabled
        return self.spec.market.source != "External"

    def wanted(self, workload: Workload) -> int:
        """Return the replicas of the Deployment: fewer while suspended, stopped or held back."""
        if self.spec.suspend or workload.name in self.stopped:
            return 0
        asked = self.asked(workload)
        return min(asked, self.caps.get(workload.name, asked))

    def asked(self, workload: Workload) -> int:
        """Return the replicas that the resource or its autoscaler names, whatever holds them back."""
        own = self.spec.agent(workload.name).replicas if workload.agent else 1
        return self.external.get(workload.name, own)

    def left(self, workload: Workload) -> bool:
        """Tell whether an autoscaler says now how many replicas there are: it may, and nothing holds them."""
        held = self.spec.suspend or workload.name in self.stopped or workload.name in self.caps
        return workload.name in self.external and not held

    def on_gpu(self, workload: Workload) -> bool:
        """Tell whether the workload's pods ask for a device."""
        return self.placements.get(workload.name) == "GPU"

    def image(self, workload: Workload) -> str:
        """Return the image of the workload's pods."""
        own = self.spec.pods(workload.name).image
        return own or self.image_for(workload.name, self._family(workload))

    def image_field(self, workload: Workload) -> str:
        """Return the field of the spec that names the image of the workload's pods, or would."""
        if self.spec.pods(workload.name).image:
            return f"spec.{workload.section}.image"
        return f"spec.images.{self._family(workload)}"

    def _family(self, workload: Workload) -> str:
        """Return which of `spec.images` the workload's pods have."""
        return "agentGPU" if self.on_gpu(workload) else "agent"

    def made_of(self, part: str) -> Made:
        """Return the revision and default images that the templates of `part` are rendered with."""
        return self.made.get(part) or Made(images=self.images.named())

    def image_for(self, part: str, family: str) -> str:
        """Return an image of `part`: the one that the resource names, else the default it was made with."""
        images = self.spec.images
        said = {"agent": images.agent, "agentGPU": images.agent_gpu, "redis": images.redis}[family]
        return said or self.made_of(part).images.get(family) or self.images.named()[family]

    def part(self, name: str) -> str:
        """Return the name of the object `name` of this system."""
        return names.part(self.name, name)

    def peers(self) -> dict[str, str]:
        """Return the address of every agent among the members by wire name."""
        return {
            w.wire: f"tcp://{self.part(w.name)}.{self.namespace}.svc:{self.spec.agent(w.name).port}"
            for w in self.members()
            if w.agent
        }

    def metadata(self, name: str, component: str, **labels: str) -> dict[str, Any]:
        """Return an owned object's metadata: name, labels, owner."""
        own = {
            names.LABEL_NAME: names.APP_NAME,
            names.LABEL_INSTANCE: self.name,
            names.LABEL_COMPONENT: component,
            names.LABEL_PART_OF: names.APP_NAME,
            names.LABEL_MANAGED_BY: names.MANAGED_BY,
            names.LABEL_SYSTEM: self.name,
        }
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": own | labels,
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND,
                    "name": self.name,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        }

    def selector(self, component: str | None = None) -> dict[str, str]:
        """Return the labels that select this system's pods, or those of one component."""
        labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_SYSTEM: self.name}
        return labels | ({names.LABEL_COMPONENT: component} if component else {})


def version_of(image: str) -> str:
    """Return an image's tag as a label value, whatever it is: a wrong image is the kubelet's to refuse."""
    tag = image.rsplit("@", 1)[0].rsplit("/", 1)[-1].partition(":")[2]
    return re.sub(r"[^-._A-Za-z0-9]", "-", tag)[:63].strip("-._") or "latest"


@remembered
def template_hash(pod: dict[str, Any]) -> str:
    """Return the hash of a rendered pod template."""
    return short_hash(json.dumps(pod, sort_keys=True))


def short_hash(text: str) -> str:
    """Return 16 hex digits of a text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
