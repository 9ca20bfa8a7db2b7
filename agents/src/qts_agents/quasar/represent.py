"""How QUASAR sees a state: bins of a table, or grids laid over each other (one visible table; pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import qtable, tiles
from qts_agents.kernels.indicators import Indicators
from qts_agents.kernels.qtable import Frame, Plan, Rule, Tape
from qts_agents.quasar import states
from qts_agents.quasar.features import market_code

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
I1 = NDArray[np.int8]
FRAME = Frame(states.ROW, states.KIND)


class Representation(NamedTuple):
    """A learner's values Q and visits N are [2,rows,7]; a state is code·3 + d + 1 in each of them."""

    rows: int
    used: I8  # rows that some state uses
    code: Callable[[Indicators], I8]  # of the market [S], −1 for a broken row
    train: Callable[[F8, F8, Tape, Plan, Rule], tuple[float, int, F8]]
    serve: Callable[[F8, F8, I8], tuple[F8, I1]]


def _lattice(ind: Indicators) -> I8:
    return tiles.lattice((ind.trend, ind.momentum, ind.rsi / 50.0 - 1.0), ind.volatility)


def _train(Q: F8, N: F8, tape: Tape, plan: Plan, rule: Rule) -> tuple[float, int, F8]:
    return qtable.train(Q, N, FRAME, tape, plan, rule)


def _serve(Q: F8, N: F8, at: I8) -> tuple[F8, I1]:
    return qtable.serve(Q, N, FRAME, at)


#: setting `quasar.representation`
BY_NAME: dict[str, Representation] = {
    "table": Representation(states.STATES, np.unique(states.ROW), market_code, _train, _serve),
    "tiles": Representation(tiles.ROWS, np.arange(tiles.ROWS), _lattice, tiles.train, tiles.serve),
}
