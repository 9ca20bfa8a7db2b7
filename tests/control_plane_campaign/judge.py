"""The second client of the plans: plays user, kubelet and strangers, and reads what is there in the end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from qts_core import names
from qts_core.crd import crd
from qts_core.errors import ConfigError
from qts_operator.cluster import DEFINITIONS, PODS, SYSTEMS, Cluster, path_of, whole
from qts_operator.metrics import Metrics
from qts_operator.middleware import ApiError, Call
from qts_operator.objects import BY_KIND, Kind
from qts_operator.session import Access, Session

from .journal import MANAGED, OWNED
from .rest import Asked
from .workloads import Tree, Workload

NAME = "desk"
NAMESPACES = Kind("Namespace", "", "v1", "namespaces")
_MERGE = {"Content-Type": "application/merge-patch+json"}
_MASKED = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "ownerReferences")
#: hashes over text that holds the namespace's name or drawn credentials; the hashed text is compared itself
_HASHES = re.compile(r'(quantumtrading.io/(?:acl|(?:config|template|curve|redis)-hash)": ")[0-9a-f]+')
_NODES = re.compile(r"fake-\d+")
#: what a status holds of each agent that two runs share
_TOLD = ("name", "desired", "ready", "placement", "templateRevision")
SHORTEST_SECRET = 20  # characters
GONE_S = 60.0
PATIENT_S = 60.0  # a busy server has more to do, not less, when it is asked anew every three seconds


async def _persistent(call: Call, rest: Callable[[Call], Awaitable[Any]]) -> Any:
    """Ask again when a busy server did not answer: the judge is not what is tested."""
    for _ in range(30):
        try:
            return await rest(call)
        except ApiError as error:
            if error.code not in (0, 429, 500, 503, 504):
                raise
        await asyncio.sleep(0.5)
    return await rest(call)


class Judge:
    """One client for all plans."""

    def __init__(self, access: Access) -> None:
        self.session = Session(access, Metrics(), "judge", (_persistent,))
        self.session.write_s = PATIENT_S
        self.api = Cluster(self.session)
        self.asked: defaultdict[str, list[Asked]] = defaultdict(list)
        self._defined = False  # the kind was not served before

    async def prepare(self, namespaces: list[str]) -> None:
        """Make sure that the kind is served, and make the namespaces."""
        await asyncio.gather(*(self._gone(NAMESPACES, name) for name in namespaces))
        await self._gone(DEFINITIONS, names.CRD_NAME)
        if await self.api.get(DEFINITIONS, "", names.CRD_NAME) is None:
            await self.post(path_of(DEFINITIONS, None), crd())
            self._defined = True
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(ApiError):
                    await self.api.list(SYSTEMS, None, {}, whole)
                    break
                await asyncio.sleep(0.2)
        await asyncio.gather(*(self._namespace(name) for name in namespaces))

    async def _gone(self, kind: Kind, name: str) -> None:
        """Wait until what an earlier run has deleted is no longer on its way out; ConfigError after GONE_S."""
        for _ in range(int(GONE_S / 0.2)):
            live = await self.api.get(kind, "", name)
            if live is None or "deletionTimestamp" not in live["metadata"]:
                return
            await asyncio.sleep(0.2)
        raise ConfigError(
            f"{kind.name} {name} has been on its way out for {GONE_S:.0f} s; see that a controller-manager runs, "
            "which ends it"
        )

    async def _namespace(self, name: str) -> None:
        await self.post(path_of(NAMESPACES, None), {"metadata": {"name": name}})

    async def post(self, path: str, body: Tree) -> None:
        """Create an object; one that is there already, perhaps by a try whose answer was lost, is as good."""
        try:
            self._note(await self.session.call("POST", path, kind="Any", body=body))
        except ApiError as error:
            if error.code != 409:
                raise
            self._note(await self.session.call("GET", f"{path}/{body['metadata']['name']}", kind="Any"))

    async def remove(self, namespace: str) -> None:
        """Delete a namespace; nobody waits for the end of it."""
        with unless(404, 409):
            await self.session.call("DELETE", path_of(NAMESPACES, None, namespace), kind="Namespace")

    async def leave(self, namespaces: list[str]) -> None:
        """Delete the namespaces, and the definition if `prepare` made it: helm would not take it for its own."""
        for namespace in namespaces:
            await self.remove(namespace)
        if self._defined:
            with unless(404, 409):
                path = path_of(DEFINITIONS, None, names.CRD_NAME)
                await self.session.call("DELETE", path, kind=DEFINITIONS.name)

    async def act(self, workload: Workload, namespace: str, live: dict[str, Tree]) -> None:
        """Do what the workload says; `live` are the system's objects."""
        if workload.actor:
            await ACTORS[workload.actor](self, namespace, live)
        if workload.spec is not None:
            await self._ask(namespace, workload.spec, there=f"{names.KIND}/{NAME}" in live)
        elif not workload.actor:
            await self.delete(SYSTEMS, namespace, NAME, live)

    async def _ask(self, namespace: str, spec: Tree, *, there: bool) -> None:
        if there:
            await self.patch(path_of(SYSTEMS, namespace, NAME), {"spec": spec})
            return
        await self.make(namespace, NAME, spec)

    async def make(self, namespace: str, name: str, spec: Tree) -> None:
        """Create a system."""
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": spec}
        await self.post(path_of(SYSTEMS, namespace), body)

    async def patch(self, path: str, body: Tree) -> None:
        """Merge a patch; what is gone meanwhile stays so."""
        with unless(404):
            self._note(await self.session.call("PATCH", path, kind="Any", body=body, headers=_MERGE))

    async def delete(self, kind: Kind, namespace: str, name: str, live: dict[str, Tree]) -> None:
        """Delete an object; `live` are those of the system."""
        with unless(404):
            await self.session.call("DELETE", path_of(kind, namespace, name), kind=kind.name)
            item = f"{kind.name}/{name}"
            if item in live:
                self.asked[namespace].append(Asked(item, live[item]["metadata"]["uid"], None))

    def _note(self, answer: Tree) -> None:
        """Remember what the journal must show before a system can be at rest."""
        metadata = answer["metadata"]
        labels = metadata.get("labels") or {}
        if answer["kind"] == names.KIND or labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY:
            item = f"{answer['kind']}/{metadata['name']}"
            asked = Asked(item, metadata["uid"], int(metadata["resourceVersion"]))
            self.asked[metadata["namespace"]].append(asked)

    async def everything(self, prefix: str) -> dict[str, dict[str, Tree]]:
        """Return every object of ours, read anew, by namespace, then kind and name."""
        kinds = ((SYSTEMS, {}), *((kind, MANAGED) for kind in OWNED))
        lists = await asyncio.gather(*(self.api.list(kind, None, params, whole) for kind, params in kinds))
        found: defaultdict[str, dict[str, Tree]] = defaultdict(dict)
        for (kind, _), listing in zip(kinds, lists, strict=True):
            for live in listing.items:
                if live["metadata"]["namespace"].startswith(prefix):
                    found[live["metadata"]["namespace"]][f"{kind.name}/{live['metadata']['name']}"] = live
        return found


async def pod_fails(judge: Judge, namespace: str, live: dict[str, Tree]) -> None:
    """The kubelet gives up one pod of amos."""
    pods = [item for item, pod in live.items() if item.startswith(f"Pod/{NAME}-amos-")]
    path = path_of(PODS, namespace, sorted(pods)[0].partition("/")[2]) + "/status"
    await judge.patch(path, {"status": {"phase": "Failed", "reason": "Evicted"}})


async def drift(judge: Judge, namespace: str, live: dict[str, Tree]) -> None:
    """Somebody edits a Deployment and deletes a Service and a NetworkPolicy."""
    deployment = path_of(BY_KIND["Deployment"], namespace, f"{NAME}-quasar")
    await judge.patch(deployment, {"metadata": {"labels": {"app.kubernetes.io/part-of": "another"}}})
    for kind, name in (("Service", f"{NAME}-amos"), ("NetworkPolicy", f"{NAME}-redis")):
        await judge.delete(BY_KIND[kind], namespace, name, live)


async def name_taken(judge: Judge, namespace: str, _: dict[str, Tree]) -> None:
    """A stranger takes the name of an object that is to come."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"{NAME}-amos"},
        "spec": {"minAvailable": 0, "selector": {"matchLabels": {"of": "nobody"}}},
    }
    path = path_of(BY_KIND["PodDisruptionBudget"], namespace)
    await judge.post(path, body)


async def name_free(judge: Judge, namespace: str, live: dict[str, Tree]) -> None:
    """The stranger's object goes."""
    await judge.delete(BY_KIND["PodDisruptionBudget"], namespace, f"{NAME}-amos", live)


Actor = Callable[[Judge, str, dict[str, Tree]], Awaitable[None]]
ACTORS: dict[str, Actor] = {
    "pod-fails": pod_fails,
    "drift": drift,
    "name-taken": name_taken,
    "name-free": name_free,
}


def restarts(live: dict[str, Tree]) -> dict[str, int]:
    """Return how often each agent was restarted, by the status."""
    told = (live.get(f"{names.KIND}/{NAME}") or {}).get("status") or {}
    return {each["name"]: each["restarts"] for each in told.get("agentStatuses") or ()}


def end_of(namespace: str, live: dict[str, Tree], before: dict[str, int]) -> str:
    """Return everything of a system as text, with what no two runs share masked; `before`: earlier restarts."""
    shown: Tree = {
        item: _masked(each) for item, each in live.items() if not item.startswith(f"{names.KIND}/")
    }
    system = live.get(f"{names.KIND}/{NAME}")
    if system is not None:
        told = system.get("status") or {}
        conditions = told.get("conditions") or ()
        shown["status"] = {
            "current": told.get("observedGeneration") == system["metadata"]["generation"],
            "conditions": {c["type"]: [c["status"], c["reason"], c["message"]] for c in conditions},
            "agentStatuses": [
                {k: each.get(k) for k in _TOLD} | {"again": each["restarts"] - before.get(each["name"], 0)}
                for each in told.get("agentStatuses") or ()
            ],
        } | {key: told.get(key) for key in ("agents", "gpus", "images", "templateRevision", "plan")}
    text = orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    return _NODES.sub("NODE", _HASHES.sub(r"\1…", text)).replace(namespace, "NAMESPACE")


def orphans_of(live: dict[str, Tree]) -> list[str]:
    """Return the objects whose owner is not the living system."""
    system = live.get(f"{names.KIND}/{NAME}")
    owners = [system["metadata"]["uid"]] if system else []
    return [
        item
        for item, each in live.items()
        if each is not system and [o["uid"] for o in each["metadata"].get("ownerReferences") or ()] != owners
    ]


def secrets_of(live: dict[str, Tree]) -> list[str]:
    """Return every secret value; public keys are none."""
    found = []
    for item, each in live.items():
        data = (each.get("data") or {}).items() if item.startswith("Secret/") else ()
        found += [base64.b64decode(value).decode() for key, value in data if not key.endswith(".pub")]
    return [value for value in found if len(value) >= SHORTEST_SECRET]


@contextlib.asynccontextmanager
async def opened(access: Access) -> AsyncIterator[Judge]:
    """Yield a judge whose connections are closed in the end."""
    judge = Judge(access)
    await judge.session.open()
    try:
        yield judge
    finally:
        await judge.session.close()


@contextlib.contextmanager
def unless(*codes: int) -> Any:
    """Take these refusals for done."""
    try:
        yield
    except ApiError as error:
        if error.code not in codes:
            raise


def _masked(live: Tree) -> Tree:
    metadata = {k: v for k, v in live["metadata"].items() if k not in _MASKED}
    notes = {k: v for k, v in metadata.get("annotations", {}).items() if "quantumtrading" in k}
    spec = {k: v for k, v in (live.get("spec") or {}).items() if k not in ("clusterIP", "clusterIPs")}
    # items of a list carry no kind; of ours only a Secret has a type
    data = sorted(live.get("data") or {}) if "type" in live else live.get("data")
    return {"metadata": metadata | {"annotations": notes}, "spec": spec, "data": data}
