"""What a round descends from, and when each of its stages ended."""

from __future__ import annotations

import msgspec

from qts_agents.round_spans import Place


class Cause(msgspec.Struct, frozen=True):
    """What a round descends from: context of its spans, arrival of its bar (ns), the span above, and the
    ends of stages since (ns)."""

    trace: bytes | None
    start_ns: int
    above: Place | None = None  # None: what follows is the first span of its trace
    ends: tuple[tuple[str, int], ...] = ()

    def then(self, stage: str, end_ns: int) -> Cause:
        """Return this with one more stage, which began where the one before ended."""
        return msgspec.structs.replace(self, ends=(*self.ends, (stage, end_ns)))

    def stages(self) -> dict[str, int]:
        """Return stage → ns; a clock that was set back meanwhile makes no stage shorter than nothing."""
        begins = (self.start_ns, *(end for _, end in self.ends))
        return {stage: max(0, end - begin) for begin, (stage, end) in zip(begins, self.ends, strict=False)}
