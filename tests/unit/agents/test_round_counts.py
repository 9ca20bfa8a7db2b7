"""What PADS counts of its rounds."""

from __future__ import annotations

from qts_agents.metrics import Metrics


def test_rounds_that_lack_something_are_counted_in_a_row() -> None:
    """Where rounds are an hour apart no rate tells that each of them fails; a good one ends the row."""
    metrics = Metrics()

    def rows() -> list[float | None]:
        told = metrics.registry.get_sample_value
        return [told("qts_rounds_lacking_in_a_row", {"what": what}) for what in ("votes", "quorum")]

    seen = [rows()]
    for outcome in ("expired", "no_quorum", "no_quorum", "error", "complete", "expired"):
        metrics.round_ended(outcome)
        seen.append(rows())
    assert seen == [[0, 0], [1, 0], [2, 1], [3, 2], [4, 0], [0, 0], [1, 0]]
