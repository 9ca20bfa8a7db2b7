"""A PADS with scripted voters on made-up bars: what the tests drive instead of processes."""

import msgspec
import numpy as np

from qts_agents.columns import column
from qts_agents.pads.actions import Answer, Ask, Publish, Record
from qts_agents.pads.agent import Pads
from qts_core.spec import SYSTEM, Market, Replay
from qts_messaging.messages import ACTIONS, DecisionResponse, MarketUpdate
from qts_messaging.records import Opinion

SECOND = 10**9
BAR_S = 60.0
UP, EVEN = [0.45, 0.34, 0.21], [0.33, 0.34, 0.33]
TIMED = Market(source="simulated")


def system(**changes):
    """Settings of a lockstep replay; the file is never opened."""
    lockstep = Market(source="replay", replay=Replay(dataset="eurusd_1h", speed=0.0))
    return SYSTEM(**({"market": lockstep} | changes))


def walk(T, S=1, seed=0):
    """Return closes [T,S] of a random walk."""
    return 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.001, (T, S)), axis=0))


def update(closes, seq, kind="delta", **changes):
    """Return bar `seq` of closes [T,S], opens at the close before."""
    close = closes[seq]
    opened = closes[max(seq - 1, 0)]
    S = len(close)
    nan = column(np.full(S, np.nan))
    cell = lambda x: column(np.asarray(x, dtype=float).reshape(S, 1))  # noqa: E731
    made = MarketUpdate(
        seq=seq,
        kind=kind,
        source="script",
        asof_ns=(seq + 1) * int(BAR_S) * SECOND,
        bar_s=BAR_S,
        symbols=tuple(f"S{s}" for s in range(S)),
        close_ns=column(np.array([(seq + 1) * int(BAR_S) * SECOND]), "i8"),
        open=cell(opened),
        high=cell(np.maximum(opened, close) * 1.0002),
        low=cell(np.minimum(opened, close) * 0.9998),
        close=cell(close),
        volume=cell(np.full(S, 1000.0)),
        valid=column(np.isfinite(close).astype(np.uint8).reshape(S, 1), "u1"),
        spread=nan,
        imbalance=nan,
        depth=nan,
        fee=0.0001,
        spread_assumed=0.0001,
        market_ret=column(np.array([0.0])),
    )
    return msgspec.structs.replace(made, **changes)


def opinion(round_id, peer, p, action=2, abstain=0, **changes):
    """Return an opinion with rows `p` [S,3]."""
    p = np.asarray(p, dtype=float).reshape(-1, 3)
    S = len(p)
    made = Opinion(
        round_id=round_id,
        agent=peer,
        model_version="script",
        asof_ns=0,
        horizon_bars=30,
        p=column(p),
        actions=ACTIONS,
        action=column(np.full(S, action), "u1"),
        confidence=column(np.full(S, 0.1)),
        abstain=column(np.full(S, abstain), "u2"),
        contrib=None,
        backend="classical",
        device="cpu",
        qubits=0,
        shots=0,
        elapsed_ns=0,
    )
    return msgspec.structs.replace(made, **changes)


def always(p):
    """Return voters that say row `p` [3] of every symbol."""
    return lambda request, peer: [p] * len(request.symbols)


class Script:
    """Drives a PADS and keeps what it says; `say(request, peer)` gives p [S,3] or None for silence."""

    def __init__(self, settings, say, ready=True):
        self.pads = Pads(settings)
        self.say = say
        self.now = 0
        self.records = []
        self.messages = []
        self.asked = []
        self.take(self.pads.begin("script"))
        if ready:
            self.take(self.pads.on_peers(frozenset(settings.voters()), self.now))

    def take(self, actions):
        """Carry out actions as the runtime would, in order."""
        for action in actions:
            if isinstance(action, Record):
                self.records.append(action.data)
            elif isinstance(action, Ask):
                self.asked.append(action)
                self.now += 1_000_000
                self.take(self.pads.on_answers(action.round_id, self.answers(action), self.now))
            else:
                self.messages.append(action.message if isinstance(action, Publish) else action)

    def answers(self, ask):
        """Return what the scripted voters say."""
        said = []
        for peer, request in ask.requests.items():
            p = self.say(request, peer)
            spoken = None if p is None else opinion(ask.round_id, peer, p)
            said.append(Answer(peer, spoken, "" if spoken else "timeout"))
        return tuple(said)

    def bars(self, closes, backfill, step_ns=SECOND, start=0):
        """Feed bars; the first `backfill` of them as history."""
        for seq in range(start, len(closes)):
            self.now += step_ns
            kind = "snapshot" if seq < backfill else "delta"
            self.take(self.pads.on_update(update(closes, seq, kind), None, self.now))
        return self

    @property
    def decisions(self):
        """Return all decisions so far."""
        return [m.decision for m in self.messages if isinstance(m, DecisionResponse)]

    def of(self, kind):
        """Return the published messages of a type."""
        return [m for m in self.messages if isinstance(m, kind)]
