"""Short markets for the tests of truth, and what peeks into their future on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from qts_agents.columns import array, column
from qts_agents.evaluation.stage import Heard, Stage, voter_of
from qts_agents.market.bars import Bars
from qts_agents.market.datasets import load_dataset
from qts_agents.market.source import Recorded
from qts_core.spec import SYSTEM, System
from qts_messaging.messages import DecisionRequest
from qts_messaging.records import Opinion

BACKFILL = 420
FUTURE = 10  # bars ahead that a cheat looks


def settings(**changes: Any) -> System:
    """Return settings of a lockstep replay; `changes` by name."""
    market = {"source": "replay", "replay": {"dataset": "eurusd_1h", "speed": 0.0}}
    return msgspec.convert({"market": market, **changes}, SYSTEM)


def source(bars: Bars, backfill: int = BACKFILL) -> Recorded:
    """Return `bars` with as much history, however many follow."""
    made = Recorded(bars)
    made.backfill = backfill
    return made


def euro(count: int) -> Bars:
    """Return the first bars of the real EUR/USD year."""
    return load_dataset("eurusd_1h").part(0, count)


def shuffled(bars: Bars, seed: int) -> Bars:
    """Return the bars with their moves in another order: the same moves, nothing to know."""
    order = np.random.default_rng(seed).permutation(bars.close.shape[1] - 1) + 1
    shape = {
        name: np.log(getattr(bars, name)[:, 1:] / bars.close[:, :-1])
        for name in ("open", "high", "low", "close")
    }
    moves = {name: values[:, order - 1] for name, values in shape.items()}
    close = bars.close[:, :1] * np.exp(np.cumsum(moves["close"], axis=1))
    before = np.concatenate([bars.close[:, :1], close[:, :-1]], axis=1)
    made = {
        name: np.concatenate([getattr(bars, name)[:, :1], before * np.exp(moves[name])], axis=1)
        for name in moves
    }
    volume = np.concatenate([bars.volume[:, :1], bars.volume[:, order]], axis=1)
    ret = np.concatenate([[np.nan], moves["close"].mean(axis=0)])
    return msgspec.structs.replace(bars, volume=volume, market_ret=ret, **made)


class Cheat:
    """A voter that does as another does, but leans towards a close of the future."""

    def __init__(self, honest: Any, bars: Bars) -> None:
        self._honest, self._close = honest, bars.close
        self.name = honest.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def on_request(self, request: DecisionRequest, window: Any, now_ns: int) -> Opinion:
        opinion: Opinion = self._honest.on_request(request, window, now_ns)
        t = request.window_seq
        later = self._close[:, min(t + FUTURE, self._close.shape[1] - 1)]
        lean = 0.25 * np.tanh(1000.0 * (later / self._close[:, t] - 1.0))
        p = np.stack([1 / 3 + lean, np.full_like(lean, 1 / 3), 1 / 3 - lean], axis=1)
        silent = array(opinion.abstain) != 0
        return msgspec.structs.replace(opinion, p=column(np.where(silent[:, None], np.nan, p)))


Voters = Callable[[System, Bars], Sequence[Any]]


def honest(system: System, bars: Bars) -> Sequence[Any]:
    """Return the real voters."""
    return [voter_of(wire, system) for wire in system.voters()]


def one_cheat(system: System, bars: Bars) -> Sequence[Any]:
    """Return the real voters with a cheat among them."""
    first, *others = honest(system, bars)
    return [Cheat(first, bars), *others]


def lived(bars: Bars, voters: Voters = honest) -> list[Heard]:
    """Return everything one life over `bars` brought."""
    system = settings()
    return list(Stage(system, source(bars), voters(system, bars)).bars())


def said(heard: Heard) -> bytes:
    """Return all that was said on a bar as bytes: opinions, decision, journal records; not the feed's own end."""
    return msgspec.msgpack.encode([heard.answers, heard.decision, heard.outcomes, heard.records])


def prefix_holds(count: int, cut: int, voters: Voters = honest) -> bool:
    """Tell whether deleting all bars from `cut` on leaves every byte said before it as it was."""
    whole, part = lived(euro(count), voters), lived(euro(cut), voters)
    assert len(part) == cut - BACKFILL
    return [said(bar) for bar in part] == [said(bar) for bar in whole[: len(part)]]
