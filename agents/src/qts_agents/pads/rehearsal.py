"""A rehearsal of one round on made-up bars: every kernel is compiled before the first real one (pure)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from qts_agents.columns import column
from qts_agents.pads.actions import Answer, Ask
from qts_core.spec import System
from qts_messaging.messages import ACTIONS, MarketUpdate
from qts_messaging.records import Opinion

if TYPE_CHECKING:
    from qts_agents.pads.agent import Pads

BARS = 340
BAR_NS = 60_000_000_000


def made_up(seq: int, kind: str) -> MarketUpdate:
    """Return bar `seq` of one symbol on a smooth wave."""
    price = 100.0 + math.sin(0.37 * seq) + 0.01 * seq
    cell = column(np.array([[price]]))
    return MarketUpdate(
        seq=seq,
        kind=kind,
        source="rehearsal",
        asof_ns=(seq + 1) * BAR_NS,
        bar_s=60.0,
        symbols=("REHEARSAL",),
        close_ns=column(np.array([(seq + 1) * BAR_NS]), "i8"),
        open=column(np.array([[price - 0.01]])),
        high=column(np.array([[price + 0.1]])),
        low=column(np.array([[price - 0.1]])),
        close=cell,
        volume=column(np.array([[1000.0 + seq % 7]])),
        valid=column(np.array([[1]]), "u1"),
        spread=column(np.array([0.0001])),
        imbalance=column(np.array([0.1])),
        depth=column(np.array([10.0])),
        fee=0.0001,
        spread_assumed=0.0001,
        market_ret=column(np.array([0.0])),
    )


def _opinion(round_id: str, agent: str) -> Opinion:
    return Opinion(
        round_id=round_id,
        agent=agent,
        model_version="rehearsal",
        asof_ns=0,
        horizon_bars=1,
        p=column(np.array([[0.4, 0.35, 0.25]])),
        actions=ACTIONS,
        action=column(np.array([0]), "u1"),
        confidence=column(np.array([0.1])),
        abstain=column(np.array([0]), "u2"),
        contrib=None,
        backend="classical",
        device="cpu",
        qubits=0,
        shots=0,
        elapsed_ns=0,
    )


def rehearse(pads: Pads, system: System) -> None:
    """Run a throwaway `pads` through backfill, a round and its answers."""
    now = 0
    pads.on_peers(frozenset(system.voters()), now)
    for seq in range(BARS):
        now += 1_000_000_000
        last = seq == BARS - 1
        for action in pads.on_update(made_up(seq, "delta" if last else "snapshot"), None, now):
            if isinstance(action, Ask):
                said = tuple(Answer(peer, _opinion(action.round_id, peer)) for peer in action.requests)
                pads.on_answers(action.round_id, said, now)
