"""One resource, resolved, for the tests of builders and plan."""

from __future__ import annotations

from typing import Any

import pytest

from qts_core import names
from qts_operator import memo
from qts_operator.conditions import broken
from qts_operator.objects.frame import Defaults, Frame
from qts_operator.resolve import resolve
from qts_operator.snapshot import Snapshot
from qts_operator.testing import FakeCluster


def make_snapshot(spec: dict[str, Any] | None = None, **more: Any) -> Snapshot:
    given = {"namespace": "trading", "name": "desk-1", "uid": "u-1", "generation": 1, "now": 1e9}
    return Snapshot(**(given | {"spec": spec or {}} | more))


def make_frame(spec: dict[str, Any] | None = None, **more: Any) -> Frame:
    return resolve(make_snapshot(spec, **more), Defaults())[0]


@pytest.fixture(autouse=True)
def _forgetting():
    """What a test made functions do is not remembered for the next."""
    memo.forget()
    yield
    memo.forget()


@pytest.fixture(autouse=True)
def _lawful(monkeypatch):
    """Every status that an engine of these tests writes is in the table of conditions and follows."""
    faults: list[str] = []
    put = FakeCluster.put_status

    async def watched(self, namespace, name, uid, status):
        before = (self.objects.get((names.KIND, namespace, name)) or {}).get("status") or {}
        answer = await put(self, namespace, name, uid, status)
        faults.extend(broken(before, status))
        return answer

    monkeypatch.setattr(FakeCluster, "put_status", watched)
    yield
    assert faults == []


@pytest.fixture
def snapshot_of():
    return make_snapshot


@pytest.fixture
def frame_of():
    return make_frame
