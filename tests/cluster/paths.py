"""Systems side by side that are brought from spec to spec on a real API server, and what is wrong with where they end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import pytest
from tests.control_plane_campaign.judge import Judge, opened
from tests.control_plane_campaign.oracles import Evidence
from tests.control_plane_campaign.side_by_side import columns
from tests.control_plane_campaign.stage import Stage
from tests.control_plane_campaign.workloads import WORKLOADS, Plan, Workload
from tests.kwok import every_pod

from qts_operator.session import Access

SIDE = 96  # systems at once
SHOWN = 12  # of what is wrong
Tree = dict[str, Any]
T = TypeVar("T")


class Players:
    """One system in each namespace; `wrong` is what was found so far."""

    def __init__(self, stage: Stage, judge: Judge, patch: pytest.MonkeyPatch) -> None:
        self._stage, self._patch = stage, patch
        self.judge, self.spaces = judge, stage.namespaces
        self.wrong: list[str] = []

    def turns(self, what: Sequence[T]) -> Iterator[dict[str, T]]:
        """Yield what is to be played by namespace, as many at once as there are systems."""
        for start in range(0, len(what), len(self.spaces)):
            yield dict(zip(self.spaces, what[start:], strict=False))

    async def play(self, asked: Mapping[str, Tree | None], *, applied: bool = True) -> dict[str, Evidence]:
        """Ask for one spec, or one patch, in each namespace; return what was seen at rest. None: it is deleted.

        A second pass and all the time at rest write nothing (O5), but for what is refused (not `applied`), which is
        tried again; and no error goes by unseen.
        """
        for namespace, each in asked.items():
            self._patch.setitem(WORKLOADS, namespace, Workload(spec=each, applied=applied))
        told = await self._stage.play({namespace: Plan(workload=namespace) for namespace in asked})
        for namespace, seen in told.items():
            found = [f"O5 {text}" for text in (*seen.by_second_pass, *seen.after_rest) if applied]
            found += [f"O9 {text}" for text in seen.faults]
            found += [] if seen.rested else ["no rest"]
            self.wrong += [f"{text}: asked for {asked[namespace]}" for text in found]
        return told

    def like(self, seen: Evidence, fresh: Evidence, what: str) -> None:
        """Judge the end of a system by that of one which was never anything else."""
        mine, other = end_of(seen, fresh), end_of(fresh, fresh)
        self.wrong += [f"{what}\n{columns(other, mine)}"] if mine != other else []


def end_of(seen: Evidence, other: Evidence) -> str:
    """Return the end of a system, without Secrets that the other lacks: they are never deleted."""
    mine, theirs = (msgspec.json.decode(each.end) for each in (seen, other))
    kept = {k: v for k, v in mine.items() if not k.startswith("Secret/") or k in theirs}
    return msgspec.json.format(msgspec.json.encode(kept, order="deterministic"), indent=1).decode()


def towards(before: Any, after: Any) -> Any:
    """Return the merge patch that makes `after` of `before`."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    gone = dict.fromkeys(before.keys() - after.keys())
    changed = {
        k: towards(before.get(k), v) for k, v in after.items() if before.get(k) != v or k not in before
    }
    return gone | changed


@asynccontextmanager
async def players(
    access: Access, prefix: str, count: int, patch: pytest.MonkeyPatch
) -> AsyncIterator[Players]:
    """Yield players of `count` namespaces, all gone in the end."""
    async with opened(access) as judge, every_pod(judge.api):
        spaces = [f"{prefix}-{n}" for n in range(count)]
        stage = Stage(access, judge, spaces, prefix)
        try:
            await judge.prepare(spaces)
            await stage.open()
            yield Players(stage, judge, patch)
        finally:
            await stage.close()
            await judge.leave(spaces)
