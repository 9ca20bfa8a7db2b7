"""An API server in memory that asks RBAC rules before it answers, with the sentences of the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qts_core import names
from qts_operator.cluster import SYSTEMS
from qts_operator.middleware import ApiError
from qts_operator.objects import BY_KIND, Kind
from qts_operator.testing import FakeCluster

Rule = dict[str, Any]
EVERYWHERE = ""


class Guarded(FakeCluster):
    """`granted` holds the rules by namespace; those of EVERYWHERE hold in all and for what has no namespace."""

    def __init__(self, granted: Mapping[str, Sequence[Rule]]) -> None:
        super().__init__()
        self.granted = granted
        self.unserved = set()
        self.refused: set[str] = set()

    def ask(self, verb: str, kind: Kind, namespace: str | None, name: str = "", part: str = "") -> None:
        """Raise what the server answers to who may not."""
        resource = kind.plural + part
        rules = [*self.granted.get(EVERYWHERE, ()), *(self.granted.get(namespace, ()) if namespace else ())]
        if any(
            kind.group in rule["apiGroups"]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and name in rule.get("resourceNames", [name])
            for rule in rules
        ):
            return
        self.refused.add(resource)
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        group = f'in API group "{kind.group}"'
        text = (
            f'{kind.plural} is forbidden: User "operator" cannot {verb} resource "{resource}" {group} {where}'
        )
        raise ApiError(403, "Forbidden", text)

    async def list(
        self, kind: Kind, namespace: str | None, params: dict[str, str], keep: Any, *read: Any
    ) -> Any:
        """Ask, then answer."""
        self.ask("list", kind, namespace)
        return await super().list(kind, namespace, params, keep, *read)

    def watch(self, kind: Kind, namespace: str | None, params: dict[str, str], *read: Any) -> Any:
        """Ask, then answer."""
        self.ask("watch", kind, namespace)
        return super().watch(kind, namespace, params, *read)

    async def get(self, kind: Kind, namespace: str, name: str, *, metadata: bool = False) -> Any:
        """Ask, then answer."""
        self.ask("get", kind, namespace, name)
        return await super().get(kind, namespace, name, metadata=metadata)

    async def apply(self, manifest: Any, *, uid: str | None, manager: str = names.FIELD_MANAGER) -> Any:
        """Ask, then answer; what is not there is created, which is another right."""
        kind, metadata = BY_KIND[manifest["kind"]], manifest["metadata"]
        self.ask("patch", kind, metadata["namespace"], metadata["name"])
        if (kind.name, metadata["namespace"], metadata["name"]) not in self.objects:
            self.ask("create", kind, metadata["namespace"])
        return await super().apply(manifest, uid=uid, manager=manager)

    async def create(self, kind: Kind, manifest: Any) -> Any:
        """Ask, then answer."""
        self.ask("create", kind, manifest["metadata"].get("namespace"))
        return await super().create(kind, manifest)

    async def rehearse(self, kind: Kind, manifest: Any) -> None:
        """Ask, then answer."""
        self.ask("create", kind, manifest["metadata"].get("namespace"))
        await super().rehearse(kind, manifest)

    async def update(self, kind: Kind, manifest: Any) -> Any:
        """Ask, then answer."""
        self.ask("update", kind, manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
        return await super().update(kind, manifest)

    async def amend(self, kind: Kind, namespace: str, name: str, version: str, change: Any) -> Any:
        """Ask, then answer."""
        self.ask("patch", kind, namespace, name)
        return await super().amend(kind, namespace, name, version, change)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Ask, then answer."""
        self.ask("delete", kind, namespace, name)
        await super().delete(kind, namespace, name, uid)

    async def put_status(self, namespace: str, name: str, uid: str, status: Any) -> Any:
        """Ask, then answer."""
        self.ask("patch", SYSTEMS, namespace, name, "/status")
        return await super().put_status(namespace, name, uid, status)

    async def glance(self, namespace: str, name: str) -> Any:
        """Ask, then answer."""
        self.ask("patch", SYSTEMS, namespace, name, "/status")
        return await super().glance(namespace, name)

    def degraded(self, namespace: str, name: str) -> tuple[str, str]:
        """Return reason and message of Degraded."""
        return self.condition(namespace, name, "Degraded")

    def condition(self, namespace: str, name: str, kind: str) -> tuple[str, str]:
        """Return reason and message of a condition, of one that is not there nothing."""
        status = self.objects[(names.KIND, namespace, name)].get("status") or {}
        found = next((c for c in status.get("conditions", ()) if c["type"] == kind), {})
        return found.get("reason", ""), found.get("message", "")
