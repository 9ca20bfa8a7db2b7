"""SENTIMENT, the agent: answers with the decayed mean score of fresh headlines, or not at all (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents import graph, rehearsal
from qts_agents.agent import NO_DATA, MarketWindow, Outgoing
from qts_agents.columns import array, column
from qts_agents.kernels.pool import belief_map
from qts_agents.opinions import HOLD, Pending, Reliability, abstaining, opinion, position_map, resolved
from qts_agents.sentiment.headlines import ALL, Rows, parse, weigh
from qts_agents.sources import named
from qts_core.spec import System
from qts_messaging.messages import DecisionRequest, MarketUpdate, Message, PerformanceFeedback, SystemCommand
from qts_messaging.records import Column, Opinion

F8 = NDArray[np.float64]
VERSION = "sentiment-1"


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What an answered request leaves behind until its outcome arrives."""

    symbols: tuple[str, ...]
    x: Column  # [S,3], NaN where the row abstained
    flat: Column  # [S]


class State:
    """Mutable memory of one SENTIMENT."""

    def __init__(self) -> None:
        self.reliability = Reliability()
        self.pending: Pending[Remembered] = Pending()
        self.last_bar_ns = 0


KNOWN: graph.Table = {kind.__name__: kind for kind in (State, Reliability, Pending, Remembered, Column)}


class Sentiment:
    """SENTIMENT as a `Voter` and a `Reader`."""

    name = "sentiment"
    backend = "classical"
    contrib_names: tuple[str, ...] = ("score", "evidence")

    def __init__(self, system: System) -> None:
        self._system = system
        self._settings: Any = cast(Any, system).sentiment
        self.source: str = self._settings.source or ""
        self.period_s: float = self._settings.period_s
        self._state = State()
        self._rows: dict[str, Rows] = {}  # not learned, so not kept: the source has them

    def warm_up(self) -> None:
        """Do once what serving does, with a second agent."""
        rehearsal.rehearse(Sentiment(self._system), learn_bars=1)

    def on_document(self, document: bytes, now_ns: int) -> str:  # noqa: ARG002
        """Take the headlines in place of those before; return the first wrong line and how many there are."""
        read = parse(document)
        self._rows = read.rows
        if not read.wrong:
            return ""
        rest = f"; {read.left_out} lines are left out" if read.left_out > 1 else "; it is left out"
        return f"{named(self.source)}: {read.wrong}{rest}"

    def on_bars(self, update: MarketUpdate, window: MarketWindow, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Note that a bar came; outcomes teach, bars do not."""
        self._state.last_bar_ns = now_ns
        return ()

    def on_request(self, request: DecisionRequest, window: MarketWindow | None, now_ns: int) -> Opinion:
        """Answer for each symbol that has fresh headlines, or that those about everything speak of."""
        abstain = abstaining(self._system, window, request, now_ns, self._state.last_bar_ns)
        told = self._told(request)
        score, evidence = told[:, 0], told[:, 1]
        abstain[evidence == 0.0] |= NO_DATA
        x = belief_map(np.sign(score), np.abs(score))
        x[abstain != 0] = np.nan
        self._state.pending.put(request.round_id, Remembered(request.symbols, column(x), request.flat_share))
        lean = np.clip((x[:, 0] - x[:, 2]) / self._settings.signal_scale, -1.0, 1.0)
        side = np.sign(array(request.position.qty))
        return opinion(
            request,
            agent=self.name,
            model_version=VERSION,
            x=x,
            p=self._state.reliability.p(x, array(request.flat_share)),
            action=np.where(abstain == 0, position_map(lean, side), HOLD),
            abstain=abstain,
            backend=self.backend,
            contrib=told,
            contrib_names=self.contrib_names,
        )

    def on_feedback(self, feedback: PerformanceFeedback, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Learn how far to be believed from a resolved decision, once."""
        kept = self._state.pending.take(feedback.round_id)
        if kept is None:
            return ()
        row, _, y = resolved(kept.symbols, feedback)
        self._state.reliability.learn(array(kept.x)[row], array(kept.flat)[row], y)  # silence teaches nothing
        return ()

    def on_message(self, message: Message, now_ns: int) -> Sequence[Outgoing]:  # noqa: ARG002
        """Take a reset; phase and alert factor come with each request."""
        if isinstance(message, SystemCommand) and message.command == "reset":
            self._state = State()
        return ()

    def save(self) -> bytes:
        """Return the state as versioned MessagePack."""
        return graph.dump(self._state, VERSION, KNOWN)

    def load(self, state: bytes) -> None:
        """Restore a saved state; ConfigError when its version is unknown."""
        self._state = graph.load(state, State, VERSION, KNOWN, ())

    def _told(self, request: DecisionRequest) -> F8:
        """Return [S,2]: Σ w·score / (prior + Σ w) in (−1,1), and the evidence Σ w; 0, 0 without headlines."""
        said, out = self._settings, np.zeros((len(request.symbols), 2))
        about = (request.asof_ns, said.half_life_h, said.fresh_h)
        every_sum, every_weight = weigh(self._rows.get(ALL), *about)
        for i, name in enumerate(request.symbols):
            own_sum, own_weight = weigh(self._rows.get(name), *about)
            evidence = own_weight + every_weight
            if evidence > 0.0:
                out[i] = (own_sum + every_sum) / (said.prior + evidence), evidence
        return out
