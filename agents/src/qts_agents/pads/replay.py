"""A journal read again: the same events through a fresh PADS must give the same bytes; rounds for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.columns import array
from qts_agents.kernels.backend import set_jit
from qts_agents.pads import kept
from qts_agents.pads.actions import Action, Publish
from qts_agents.pads.agent import CODE, Pads
from qts_agents.pads.journal import entries
from qts_agents.pads.members import SEAT_OF
from qts_agents.pads.records import VERSION, Answers, Entry, Header, Heard, OutcomeBody, RoundBody, body
from qts_agents.versions import kernels_and_libraries
from qts_core.errors import ConfigError
from qts_core.spec import SYSTEM
from qts_messaging.messages import DecisionResponse, MarketUpdate
from qts_messaging.records import Decision, Opinion


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay found."""

    rounds: int
    equal: int
    first_difference: str | None
    versions: dict[str, tuple[str, str]] = {}  # what was another one when it was written: that, and this one


class RoundRecord(msgspec.Struct, frozen=True):
    """One round as people and plots read it; arrays [S,…]."""

    number: int
    round_id: str
    decision_id: str
    asof_ns: int
    phase: str
    phases: dict[str, str]
    scores: dict[str, float]
    regime: str
    outcome: str
    psi: float
    equity: float
    symbols: tuple[str, ...]
    actions: tuple[str, ...]
    reasons: tuple[str, ...]
    p: NDArray[np.float64]  # [S,3] pooled
    signal: NDArray[np.float64]
    confidence: NDArray[np.float64]
    dissent: NDArray[np.float64]
    size: NDArray[np.float64]
    close: NDArray[np.float64]
    seats: tuple[str, ...]
    seat_p: dict[str, NDArray[np.float64]]  # seat → [S,3], NaN where silent
    votes: dict[str, tuple[str | None, ...]]  # agent seat → action name by symbol, None where silent
    share: NDArray[np.float64]  # [S,n]
    silent: dict[str, str]  # peer → why it has no vote
    threshold: float
    veto: NDArray[np.uint32]
    styles: tuple[str, ...]


def replay(path: Path, damaged: Callable[[str], None] = lambda _: None) -> ReplayReport:
    """Run the journal's inputs through a fresh PADS and compare every decision byte for byte.

    `damaged` is told where the journal ceases to be readable.
    """
    pads: Pads | None = None
    made: list[bytes] = []
    rounds = equal = 0
    first: str | None = None
    versions: dict[str, tuple[str, str]] = {}
    for entry in entries(path, damaged):
        if entry.kind == "header":
            header = body(entry, Header)
            versions |= _other_versions(header)
            if pads is None or not header.state:
                pads, made = fresh(header), []
            elif kept.save(pads) != header.state and first is None:
                first = f"the state after round {rounds} differs from the one in the journal"
        elif pads is None:
            raise ConfigError(f"{path}: the journal does not begin with a header; give the whole folder")
        elif entry.kind == "round":
            was = body(entry, RoundBody)
            again = made.pop(0) if made else b""
            rounds += 1
            equal += again == was.decision
            if again != was.decision and first is None:
                first = _difference(was, again)
        else:
            made += _decisions(apply(pads, entry))
    return ReplayReport(rounds, equal, first, versions)


def _other_versions(header: Header) -> dict[str, tuple[str, str]]:
    """Return name → version of then and of now, where a header names another one than what runs here."""
    here = {"code": CODE, **kernels_and_libraries()}
    return {
        name: (then, here[name])
        for name, then in header.versions.items()
        if name in here and then != here[name]
    }


def fresh(header: Header) -> Pads:
    """Return the PADS that a header describes: new, or as it was; ConfigError for one of another version."""
    if header.version != VERSION:
        raise ConfigError(f"journal version {header.version} is not {VERSION}; use the release that wrote it")
    system = msgspec.convert(header.config, SYSTEM)
    set_jit(system.numba_jit)
    if header.state:
        return kept.restore(header.state, system)
    pads = Pads(system)
    pads.begin(header.system)
    return pads


def apply(pads: Pads, entry: Entry) -> list[Action]:
    """Repeat one input; records of what PADS made of inputs lead to nothing."""
    now = entry.now_ns
    if entry.kind == "bars":
        return pads.on_update(body(entry, MarketUpdate), None, now)
    if entry.kind == "peers":
        return pads.on_peers(frozenset(body(entry, list[str])), now)
    if entry.kind == "message":
        heard = body(entry, Heard)
        return pads.on_message(heard.message, heard.sender, now)
    if entry.kind == "tick":
        return pads.on_tick(now)
    if entry.kind == "answers":
        answers = body(entry, Answers)
        return pads.on_answers(answers.round_id, answers.answers, now)
    return []


def _decisions(actions: list[Action]) -> list[bytes]:
    return [
        msgspec.msgpack.encode(action.message.decision)
        for action in actions
        if isinstance(action, Publish) and isinstance(action.message, DecisionResponse)
    ]


def _difference(held: RoundBody, again: bytes) -> str:
    """Return which field of which round differs first."""
    if not again:
        return f"round {held.number} ({held.round_id}): the replay made no decision"
    was = msgspec.msgpack.decode(held.decision, type=Decision)
    now = msgspec.msgpack.decode(again, type=Decision)
    names = [name for name in Decision.__struct_fields__ if getattr(was, name) != getattr(now, name)]
    return f"round {held.number} ({held.round_id}): {', '.join(names) or 'bytes'} differ"


def rounds(path: Path) -> Iterator[RoundRecord]:
    """Yield every round of a journal with names, votes and prices resolved."""
    heard: dict[str, Answers] = {}
    for entry in entries(path):
        if entry.kind == "answers":
            answers = body(entry, Answers)
            heard[answers.round_id] = answers
        elif entry.kind == "round":
            held = body(entry, RoundBody)
            yield _record(held, heard.pop(held.round_id, Answers(held.round_id, ())))


def outcomes(path: Path) -> Iterator[OutcomeBody]:
    """Yield every resolved decision: the feedback, its scores and the reputations after it."""
    for entry in entries(path):
        if entry.kind == "outcome":
            yield body(entry, OutcomeBody)


def _record(held: RoundBody, heard: Answers) -> RoundRecord:
    decision = msgspec.msgpack.decode(held.decision, type=Decision)
    pi = array(held.columns["pi"])
    actions = tuple(decision.actions[int(a)] for a in array(decision.action))
    panarchy: dict[str, Any] = held.panarchy
    votes = {
        SEAT_OF[a.peer]: _voted(a.vote) for a in heard.answers if a.vote is not None and a.peer in SEAT_OF
    }
    return RoundRecord(
        number=held.number,
        round_id=held.round_id,
        decision_id=held.decision_id,
        asof_ns=held.asof_ns,
        phase=decision.phase,
        phases=panarchy["phases"],
        scores=panarchy["scores"],
        regime=held.regime,
        outcome=held.outcome,
        psi=held.psi,
        equity=decision.position.equity,
        symbols=decision.symbols,
        actions=actions,
        reasons=tuple(decision.reasons[int(r)] for r in array(decision.reason)),
        p=array(decision.p),
        signal=array(decision.signal),
        confidence=array(decision.confidence),
        dissent=array(decision.dissent),
        size=array(decision.size),
        close=array(held.columns["close"]),
        seats=decision.seats,
        seat_p={seat: pi[:, i] for i, seat in enumerate(decision.seats)},
        votes=votes,
        share=array(decision.share),
        silent={a.peer: a.reason or "late" for a in heard.answers if a.vote is None},
        threshold=held.threshold,
        veto=array(decision.veto),
        styles=tuple(decision.styles[int(s)] for s in array(decision.style)),
    )


def _voted(opinion: Opinion) -> tuple[str | None, ...]:
    """Return the action name of each symbol, None where the row abstains."""
    silent = (array(opinion.abstain).astype(np.int64) & ~1024) != 0
    names = (opinion.actions[int(a)] for a in array(opinion.action))
    return tuple(None if quiet else name for quiet, name in zip(silent, names, strict=True))
