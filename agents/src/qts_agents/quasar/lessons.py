"""What QUASAR's table learns before the market's first bar: the bars of a longer record (agents.md §5).

Only bars that closed before the market's oldest one count, so a record that overlaps with the market, or is
the same, teaches nothing that a decision is later judged by.
"""

from __future__ import annotations

import numpy as np

from qts_agents.kernels.indicators import indicators
from qts_agents.market import record
from qts_agents.market.bars import Bars, Ring, update_of
from qts_agents.opinions import NEEDED_BARS
from qts_agents.quasar import bars as seen
from qts_agents.quasar.learner import Learner
from qts_agents.quasar.tape import BARS, History

KEY = "quasar.pretrain"


def load(name: str | None) -> Bars | None:
    """Return the bars of a packaged set, or of a file where `name` is one; ConfigError names the setting."""
    return None if name is None else record.load(name, KEY)


def teach(learner: Learner, record: Bars, before_ns: int) -> int:
    """Let `learner` live through the bars that closed before `before_ns`; return how many it learned from.

    Its record of bars is empty afterwards: nothing leads from the last lesson to the market's first bar.
    """
    ring, taught = Ring(BARS), 0
    for t in range(int(np.searchsorted(record.close_ns, before_ns))):
        ring.push(update_of(record.part(t, t + 1), t, "snapshot"))
        window = ring.window()
        if window is None or len(ring) < NEEDED_BARS:
            continue
        ind = indicators(window, 0)  # states need none of the extras
        learner.on_bar(
            window.symbols, seen.record(window, ind, learner.form.code(ind)), seen.half_cost(window)
        )
        taught += 1
    learner.history = History()
    return taught
