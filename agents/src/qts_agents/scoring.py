"""How good the forecasts were, worked out when somebody asks: beside the rounds, on a thread of its own."""

from __future__ import annotations

import asyncio

import numpy as np

from qts_agents.context import Context
from qts_agents.pads.agent import Pads
from qts_agents.pads.scorecard import Rows, Scores, scores

PATIENCE_S = 0.25  # a compute thread that is stuck must not keep the metrics that tell of it


class Scoring:
    """Scores of the newest rows; rows that are scored already cost a copy."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: Rows | None = None
        self._scores = Scores()

    async def scores(self, pads: Pads) -> Scores:
        """Return the scores and set their gauges; those of the last time while the board is busy."""
        try:
            rows = await asyncio.wait_for(self._context.compute(pads.scored), PATIENCE_S)
        except TimeoutError:
            return self._scores
        if rows is not None and not _same(rows, self._rows):
            self._scores, self._rows = await asyncio.to_thread(scores, rows), rows
            self._context.metrics.forecasts(self._scores)
        return self._scores


def _same(rows: Rows, others: Rows | None) -> bool:
    """Tell whether these are the rows that were scored; a count alone may come again after a reset."""
    return others is not None and rows.resolved == others.resolved and np.array_equal(rows.flat, others.flat)
