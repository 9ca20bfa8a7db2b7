"""Templates of claims that users name: asked for while a pod waits, and only then."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.control_plane.conftest import make_snapshot

from qts_operator.look import Templates
from qts_operator.middleware import ApiError
from qts_operator.snapshot import Pod, Snapshot

NAMED = {"quasar": {"gpu": {"mode": "Required", "claimTemplateName": "mine"}}}


class Api:
    """An API server that knows some templates, or refuses to tell."""

    def __init__(self, *there: str, code: int = 0) -> None:
        self.there, self.code, self.asked = there, code, list[str]()

    async def get(self, _: Any, __: str, name: str, *, metadata: bool) -> dict[str, Any] | None:
        assert metadata
        self.asked.append(name)
        if self.code:
            raise ApiError(self.code, "Forbidden", "no")
        return {"metadata": {"name": name}} if name in self.there else None


def _waits(spec: dict[str, Any], agent: str = "quasar", node: str = "") -> Snapshot:
    pod = Pod(namespace="trading", name="p", uid="u", version="1", agent=agent, node=node)
    return make_snapshot({"agents": spec}, pods=(pod,))


@pytest.mark.parametrize(
    ("api", "snapshot", "absent", "asked"),
    [
        (Api(), _waits(NAMED), {"mine"}, ["mine"]),
        (Api("mine"), _waits(NAMED), set(), ["mine"]),
        (Api(code=403), _waits(NAMED), set(), ["mine"]),  # nobody knows
        (Api(), _waits(NAMED, node="gpu-1"), set(), []),
        (Api(), _waits(NAMED, agent="amos"), set(), []),
        (Api(), _waits({"quasar": {"gpu": {"mode": "Required"}}}), set(), []),
        (Api(), _waits({"quasar": {"gpu": {"mode": "Perhaps"}}}), set(), []),
    ],
)
async def test_a_template_is_missed_while_a_pod_waits_for_it(
    api: Api, snapshot: Snapshot, absent: set[str], asked: list[str]
) -> None:
    """One that has a node needs nobody to ask."""
    assert await Templates(api).absent(snapshot) == absent  # type: ignore[arg-type]
    assert api.asked == asked


async def test_a_server_that_fails_is_no_answer() -> None:
    """The pass is tried again."""
    with pytest.raises(ApiError):
        await Templates(Api(code=500)).absent(_waits(NAMED))  # type: ignore[arg-type]
