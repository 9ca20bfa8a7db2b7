"""The laws of agents.md §1.7 for PADS as a whole: bars in, decision out, by scripted voters.

"No look-ahead" is no check of its own here: the desk is handed one bar at a time and holds nothing later.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from tests.property.markets import Tape, constant, mirrored, update

from qts_agents.pads.board import Situation, Verdict
from qts_agents.pads.desk import Desk
from qts_agents.pads.members import Ballot
from qts_agents.pads.tables import BUY, HOLD, SELL
from qts_core.spec import SYSTEM, System

SIX = {"qar": 0.25, "qstar": 0.25, "antifragility": 0.20, "consensus": 0.15, "adaptability": 0.10}
BOARD = {"board_members": SIX | {"market_maker": 0.05}}
WARM, EVERY = 330, 10
SWAP = {BUY: SELL, SELL: BUY}


def system() -> System:
    """Return a system with all six seats."""
    return msgspec.convert(BOARD, SYSTEM)


def lived(tape: Tape, bars: int) -> Desk:
    """Return a desk that has seen so many bars."""
    desk = Desk(tape.symbols, system())
    for t in range(bars):
        desk.on_bar(update(tape, t), 0)
    return desk


@lru_cache(maxsize=32)
def seen(make: Any, seed: int, turned: bool) -> Situation:
    """Return what the board looks at after a market, or after its inverse."""
    tape = make(seed, bars=WARM)
    return lived(mirrored(tape) if turned else tape, WARM).situation(0)


@lru_cache(maxsize=1)
def unmoved() -> Situation:
    """Return what the board looks at in a market that never moves."""
    return lived(constant(WARM), WARM).situation(0)


def ballot(p: np.ndarray, action: np.ndarray) -> Ballot:
    """Return the votes of three agents, p [S,3,3]; NaN rows abstain."""
    voted = np.isfinite(p).all(axis=2)
    action = np.where(voted, action, HOLD).astype(np.uint8)
    return Ballot(p=p, action=action, confidence=np.zeros(action.shape), voted=voted)


def drawn(seed: int, symbols: int, keen: float) -> Ballot:
    """Return random votes; the larger `keen`, the surer."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([2.0, 2.0, 2.0], size=(symbols, 3))
    p = (1.0 - keen) / 3.0 + keen * p
    return ballot(p, rng.choice([BUY, SELL, HOLD], size=(symbols, 3)))


def inverted(votes: Ballot) -> Ballot:
    """Return the votes of the inverted market."""
    action = np.vectorize(lambda a: SWAP.get(a, a))(votes.action)
    return ballot(np.ascontiguousarray(votes.p[:, :, ::-1]), action)


def told(now: Situation, side: np.ndarray, **changes: Any) -> Situation:
    """Return the situation with the phase and the position that a check holds fixed."""
    held = {"exposure": 0.02 * side, "regime": "normal", "appetite": np.full(len(side), 0.5)}
    return msgspec.structs.replace(now, **(held | changes))


def stirred(now: Situation, seed: int) -> Situation:
    """Return the situation with other strengths of what has no side, so that every style and override comes."""
    rng, S = np.random.default_rng(seed), len(now.exposure)
    names = ("whale", "flash", "anomaly", "tail", "volatility", "ews", "af")
    even = {name: rng.choice([0.2, 0.6, 0.75, 0.95], S) for name in names}
    af, momentum = even.pop("af"), np.clip(3.0 * now.ind.momentum, -1.0, 1.0)
    ind = msgspec.structs.replace(now.ind, **even, momentum=momentum, adx=rng.uniform(0.0, 60.0, S))
    return msgspec.structs.replace(now, ind=ind, af=af, cautions=0 * now.cautions)


def check_mirror(a: Verdict, b: Verdict) -> None:
    """1: the inverted market gives the inverted decision."""
    near = {"rtol": 0.0, "atol": 1e-9}
    np.testing.assert_allclose(a.pool.p, b.pool.p[:, ::-1], **near)
    assert a.action.tolist() == [SWAP.get(x, x) for x in b.action.tolist()]
    np.testing.assert_allclose(a.size, -b.size, **near)
    for name in ("confidence", "stop", "targets", "prospect", "agreement"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), **near, err_msg=name)
    for name in ("veto", "style", "override", "reason"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist(), name


def life(tape: Tape, votes_seed: int, bars: int) -> list[Any]:
    """Let a desk decide every tenth bar by random votes; return what it decided and what came of it."""
    desk, out = Desk(tape.symbols, system()), []
    for t in range(bars):
        desk.on_bar(update(tape, t), 0)
        if desk.warm and t % EVERY == 0:
            made = desk.decide(
                drawn(votes_seed + t, len(tape.symbols), 0.6), desk.situation(0), (f"d{t}", f"r{t}", t)
            )
            out.append((made, desk.account.equity, desk.account.exposure(), desk.panarchy.held))
    return out
