"""One system on a cluster in memory: what the operator plans for it while it is paused, and what a pass then does."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from random import Random
from typing import Any, cast

import msgspec
from opentelemetry.sdk.resources import Resource as Origin

from qts_cli.plan_cluster import Planned, planned
from qts_core import names
from qts_core.clock import SystemClock
from qts_core.telemetry import Tracing
from qts_operator.apply import Hand
from qts_operator.cluster import MINE, NODES, Cluster
from qts_operator.context import Context
from qts_operator.metrics import Metrics
from qts_operator.objects import KINDS
from qts_operator.objects.frame import Defaults
from qts_operator.reconcile import Reconciler
from qts_operator.recorder import Recorder
from qts_operator.statusz import Answers
from qts_operator.testing import FakeCluster
from qts_operator.tracing import PassTraces
from qts_operator.view import View
from qts_operator.workqueue import WorkQueue

NS, NAME, OPERATOR = "trading", "desk-1", "qts-system"
KEY = (names.KIND, NS, NAME)
LONGEST = 8  # passes until nothing is written any more
Tree = dict[str, Any]
Call = tuple[str, str, str]
Objects = Mapping[tuple[str, str], Tree]
#: every engine has such an object; one is enough for all worlds
_METRICS = Metrics()
_TRACING = Tracing("operator", 0.0, None, Origin.create({}))


class World:
    """A cluster with one system, and the operator's own passes over it, one at a time."""

    def __init__(self) -> None:
        self.api = FakeCluster()
        self.api.unserved.discard("PodMonitor")
        self.images(Defaults())

    def images(self, defaults: Defaults) -> None:
        """Let an operator with these defaults look from now on; its Deployment tells them."""
        env = [
            {"name": "QTS_AGENT_IMAGE", "value": defaults.agent},
            {"name": "QTS_AGENT_GPU_IMAGE", "value": defaults.agent_gpu},
            {"name": "QTS_REDIS_IMAGE", "value": defaults.redis},
        ]
        if defaults.monitor_labels:
            told = ",".join(f"{key}={value}" for key, value in defaults.monitor_labels.items())
            env.append({"name": "QTS_MONITOR_LABELS", "value": told})
        labels = {names.LABEL_NAME: "quantum-trading-operator"}
        self.api.objects["Deployment", OPERATOR, "operator"] = {
            "metadata": {"name": "operator", "namespace": OPERATOR, "labels": labels, "uid": "u-operator"},
            "spec": {"template": {"spec": {"containers": [{"env": env}]}}},
        }
        self.view = View(lambda _: None)
        self._reconciler = Reconciler(self._context(msgspec.structs.replace(defaults, namespace=OPERATOR)))

    def _context(self, defaults: Defaults) -> Context:
        return Context(
            api=self.api,
            view=self.view,
            hand=Hand(self.api, self.view.children, _METRICS),
            queue=WorkQueue(),
            answers=Answers(),
            metrics=_METRICS,
            clock=SystemClock(),
            random=Random(0),
            defaults=defaults,
            nodes_visible=True,
            leads=lambda: True,
            blocked=lambda _: (),
            pruned=dict,
            offered=lambda _: frozenset(k.name for k in KINDS if k.optional) - self.api.unserved,
            barred=lambda _: {},
            recorder=Recorder(self.api, SystemClock(), _METRICS),
            unseen=lambda: "",
            traces=PassTraces(_TRACING),
        )

    def node(self, name: str, offers: Tree) -> None:
        """Add a node that offers these devices."""
        status = {"allocatable": offers, "conditions": [{"type": "Ready", "status": "True"}]}
        metadata = {"name": name, "uid": f"u-{name}", "resourceVersion": "1"}
        self.api.objects["Node", "", name] = {"metadata": metadata, "spec": {}, "status": status}

    def ask(self, spec: Tree) -> Tree:
        """Ask for a spec; return the resource."""
        return self.api.system(NS, NAME, spec)

    def status(self) -> Tree:
        """Return what was told last."""
        return dict(self.api.objects[KEY].get("status") or {})

    def objects(self) -> Objects:
        """Return everything that is in the system's namespace, but the system and its Events, as it is now."""
        left = (names.KIND, "Event")
        every = self.api.objects.items()
        return {(k, n): copy.deepcopy(o) for (k, ns, n), o in every if ns == NS and k not in left}

    def one_pass(self) -> list[Call]:
        """Make one pass over all that the watches show; return its writes but those of status and Events."""
        return asyncio.run(self._one_pass())

    async def _one_pass(self) -> list[Call]:
        self.view.sink_systems().put(copy.deepcopy(self.api.objects[KEY]))
        for kind in (k for k in KINDS if k.watched and k.name not in self.api.unserved):
            sink = self.view.sink_children(kind.name)
            sink.replace((await self.api.list(kind, None, MINE, sink.digest)).items)
        nodes = self.view.sink_nodes()
        nodes.replace((await self.api.list(NODES, None, {}, nodes.digest)).items)
        written = len(self.api.calls)
        await self._reconciler.run(f"{NS}/{NAME}")
        return [call for call in self.api.calls[written:] if call[1] not in (names.KIND, "Event")]

    def settled(self) -> None:
        """Let the operator and the controllers go on until nothing is written any more."""
        for _ in range(LONGEST):
            self.api.settle(NS)
            if not self.one_pass():
                return
        raise AssertionError(f"{LONGEST} passes, and still something is written: {self.status()}")

    def planned(self, cr: Tree) -> Planned:
        """Return what `qts plan --cluster` finds for a resource."""
        return asyncio.run(planned(cast(Cluster, self.api), cr, OPERATOR))
