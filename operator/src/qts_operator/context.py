"""What all passes of one engine share."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from qts_core.clock import Clock
from qts_operator.apply import Hand
from qts_operator.cluster import Api
from qts_operator.metrics import Metrics
from qts_operator.objects.frame import Defaults
from qts_operator.recorder import Recorder
from qts_operator.snapshot import Finding
from qts_operator.statusz import Answers
from qts_operator.tracing import PassTraces
from qts_operator.view import View
from qts_operator.workqueue import WorkQueue


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's parts as a pass uses them."""

    api: Api
    view: View
    hand: Hand
    queue: WorkQueue
    answers: Answers
    metrics: Metrics
    clock: Clock
    random: Random
    defaults: Defaults
    nodes_visible: bool
    leads: Callable[[], bool]
    blocked: Callable[[str], tuple[Finding, ...]]  # of a namespace
    pruned: Callable[[], dict[str, Any]]  # what the served definition lacks
    offered: Callable[[str], frozenset[str]]
    barred: Callable[[str], dict[str, str]]  # optional kinds that may not be seen in a namespace, and why
    recorder: Recorder
    unseen: Callable[[], str]  # why the definition may not be read
    traces: PassTraces

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return self.clock.monotonic_ns() / 1e9
