"""What kopf is told of resources: their metadata, listed and watched; the engine's own watch has the rest."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import orjson
import pytest

from qts_core import names
from qts_operator.session import from_kubeconfig
from qts_operator.shell import _session

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_lists_and_watches_bring_metadata_alone(kube: Any, namespace: str, until: Any) -> None:
    # a list, and not null, of which kopf dies; a definition that is new is not served at once
    until(lambda: asyncio.run(_listed(namespace)).get("items") == [], "served")
    kube.system(namespace, "desk", {"suspend": True})
    listed, watched = asyncio.run(_asked(namespace))
    assert [item["metadata"]["name"] for item in listed["items"]] == ["desk"]
    assert watched["type"] == "ADDED"
    for live in (*listed["items"], watched["object"]):
        assert {"namespace", "name", "uid", "resourceVersion"} <= live["metadata"].keys()
        assert not {"spec", "status"} & live.keys()


def _path(server: str, namespace: str) -> str:
    return f"{server}/apis/{names.GROUP}/{names.VERSION}/namespaces/{namespace}/{names.PLURAL}"


async def _listed(namespace: str) -> Any:
    """Return a list as kopf reads it."""
    given = _session(from_kubeconfig(os.environ.get("KUBECONFIG")))
    async with given.aiohttp_session as session, session.get(_path(str(given.server), namespace)) as answer:
        return await answer.json()


async def _asked(namespace: str) -> tuple[Any, Any]:
    """Return a list of the namespace's systems and the first event of a watch."""
    given = _session(from_kubeconfig(os.environ.get("KUBECONFIG")))
    path = _path(str(given.server), namespace)
    async with given.aiohttp_session as session:
        async with session.get(path, params={"limit": "100"}) as answer:
            listed = orjson.loads(await answer.read())
        async with session.get(path, params={"watch": "true", "timeoutSeconds": "60"}) as answer:
            return listed, orjson.loads(await answer.content.readline())
