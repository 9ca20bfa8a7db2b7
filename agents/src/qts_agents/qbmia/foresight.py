"""Thinking about a bar before it is asked about: requests come at known distances, positions stay (pure).

What was foreseen is what `think` says when asked, bit for bit: symbols do not depend on each other, and those
whose position or score is another than expected, or that are to be explained, are thought about anew.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import MarketWindow
from qts_agents.kernels.indicators import Indicators, indicators
from qts_agents.newest import Rhythm
from qts_agents.opinions import align
from qts_agents.qbmia.quotes import Quotes
from qts_agents.qbmia.thought import EXTRA, Scene, Thought, think
from qts_core.sections import QbmiaSettings

I8 = NDArray[np.int64]
MOST_ANEW = 4  # a foreseen thought of which more than a quarter is wrong saves nothing


class Foresight:
    """The thought about the newest bar, where a request about it was expected."""

    def __init__(self) -> None:
        self._asked: Scene | None = None  # about which the newest request was
        self._rhythm = Rhythm()
        self._known: tuple[Scene, Thought] | None = None

    def on_bar(self, window: MarketWindow, quotes: Quotes, settings: QbmiaSettings) -> bool:
        """Think about `window` if the next request is likely to be about it; tell whether it is."""
        asked = self._asked
        if asked is None or window.symbols != asked.window.symbols:
            return False
        if window.close.flags.writeable or not self._rhythm.due(window):
            return False  # it may be another one when it is asked about, or is not asked about at all
        scene = msgspec.structs.replace(
            asked, window=window, indicators=indicators(window, EXTRA), explain=False
        )
        self._known = scene, think(scene, quotes, settings)
        return True

    def think(self, scene: Scene, quotes: Quotes, settings: QbmiaSettings) -> Thought:
        """Return the thought about `scene`; what was foreseen of it is not thought again."""
        known, self._known = self._known, None
        self._rhythm.asked(scene.window)
        entangle = scene.entangle[:0] if scene.explain else scene.entangle  # the next need not be explained
        self._asked = msgspec.structs.replace(scene, entangle=entangle)
        if known is None or known[0].window is not scene.window or known[0].horizon != scene.horizon:
            return think(scene, quotes, settings)
        anew = _differing(known[0], scene)
        few = MOST_ANEW * len(anew) <= len(scene.side) and known[1].device == "cpu"
        if not len(anew):
            return known[1]
        return (
            _mended(known[1], anew, think(_of(scene, anew), quotes, settings))
            if few
            else think(scene, quotes, settings)
        )


def _differing(foreseen: Scene, scene: Scene) -> I8:
    """Return the rows about which `scene` asks something else."""
    same = foreseen.side == scene.side
    same &= (foreseen.manipulation == scene.manipulation) | (
        np.isnan(foreseen.manipulation) & np.isnan(scene.manipulation)
    )
    played = np.zeros((2, len(same)), dtype=bool)
    played[0, foreseen.entangle] = played[1, scene.entangle] = True
    same &= played[0] == played[1]
    if scene.explain:
        same &= ~played[1]
    return np.flatnonzero(~same)


def _of(scene: Scene, rows: I8) -> Scene:
    """Return the scene of some of its rows."""
    window = align(scene.window, tuple(scene.window.symbols[row] for row in rows))
    found = {name: getattr(scene.indicators, name)[rows] for name in Indicators.__struct_fields__}
    return msgspec.structs.replace(
        scene,
        window=window,
        indicators=Indicators(**found),
        side=scene.side[rows],
        manipulation=scene.manipulation[rows],
        keys=[scene.keys[row] for row in rows],
        entangle=np.flatnonzero(np.isin(rows, scene.entangle)),
    )


def _mended(thought: Thought, rows: I8, fresh: Thought) -> Thought:
    """Return `thought` with `fresh` in its `rows`."""
    x, strategy, report = thought.x.copy(), thought.strategy.copy(), {}
    x[rows], strategy[rows] = fresh.x, fresh.strategy
    for name in thought.report | fresh.report:
        column = thought.report.get(name, np.full(len(x), np.nan)).copy()
        column[rows] = fresh.report.get(name, np.nan)
        report[name] = column
    return Thought(x, strategy, report, thought.device)
