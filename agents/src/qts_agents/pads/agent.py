"""PADS: bars and messages in; questions, decisions, feedback, journal records out. Pure; see `actions`."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import msgspec
import numpy as np

from qts_agents.agent import F8, MarketWindow
from qts_agents.columns import array, column
from qts_agents.kernels import shapley, surrogates
from qts_agents.market.windows import to_wire
from qts_agents.pads import hmm, notices, records, report
from qts_agents.pads.actions import Action, Answer, Ask, Publish, Record, Send
from qts_agents.pads.authority import FRESH_BARS, OFF, Evidence, reply
from qts_agents.pads.board import Verdict
from qts_agents.pads.cycle import Candidate
from qts_agents.pads.desk import Desk, Turn
from qts_agents.pads.hearing import ended, hear, judged
from qts_agents.pads.members import QUORUM, Ballot
from qts_agents.pads.panarchy import Revolt
from qts_agents.pads.rehearsal import rehearse
from qts_agents.pads.rounds import Open, Rounds
from qts_agents.pads.scorecard import Rows
from qts_agents.pads.tables import UNKNOWN
from qts_agents.pads.warning import SPAN
from qts_agents.versions import kernels_and_libraries
from qts_core.spec import System
from qts_messaging.messages import (
    PHASES,
    DecisionRequest,
    DecisionResponse,
    MarketUpdate,
    Message,
    PhaseTransition,
    RiskAlert,
    SystemCommand,
)
from qts_messaging.records import Decision

CODE = "pads-13"
INLINE_BARS, INLINE_CELLS = 512, 16_384
EXPLAIN_EVERY = 100  # rounds, the first among them


def fits_inline(symbols: int) -> bool:
    """Tell whether a request has room for the newest bars of so many symbols."""
    return symbols * INLINE_BARS <= INLINE_CELLS


class Pads:
    """Orchestrator and board. Every event that changes state leaves a record that `replay` can repeat."""

    name = "pads"
    TRANSIENT: ClassVar[dict[str, Any]] = {
        "_window": None,
        "_untold": None,
        "refused": {},
        "outcome": "",
    }  # anew

    def __init__(self, system: System) -> None:
        self._system = system
        self._system_name = ""
        self._rounds = Rounds(system)
        self._desk: Desk | None = None
        self._epoch = 0
        self._ready: frozenset[str] = frozenset()
        self._met: set[str] = set()  # voters that answered since they were last away
        self._window: MarketWindow | None = None
        self._ended = self._draining = self._live = False
        self._outcomes: Counter[str] = Counter()
        self._untold: tuple[Verdict, Decision, F8] | None = None  # decided, not yet put in short
        self._newest: dict[str, Any] | None = None
        self._gauges: dict[str, float] = {}
        self._style = ""
        self.outcome = ""  # how the newest round ended
        self.refused: dict[str, str] = {}  # peer → why the newest round did not use what it said

    def warm_up(self) -> None:
        """Compile what serving calls by a rehearsal of one round on made-up bars."""
        rehearse(Pads(self._system), self._system)
        shapley.warm_up()  # no outcome is known within one round
        surrogates.warm_up(SPAN)  # no alarm begins either
        hmm.warm_up()  # nor is the history long enough for the first fit

    def begin(self, system_name: str = "", now_ns: int = 0, state: bytes = b"") -> list[Action]:
        """Return the header record of a journal; `state` is what `kept.save` said of this PADS."""
        self._system_name = system_name
        header = records.Header(
            version=records.VERSION,
            system=system_name,
            config=msgspec.to_builtins(self._system),
            seed=self._system.system_seed,
            versions={"code": CODE, **kernels_and_libraries()},
            state=state,
        )
        return [Record(records.encode("header", now_ns, header), opens=True)]

    @property
    def between_rounds(self) -> bool:
        """Tell whether nothing is under way: the state can be saved."""
        return self._rounds.current is None

    @property
    def system_name(self) -> str:
        """Return the name that the journal is written under."""
        return self._system_name

    @property
    def ended(self) -> bool:
        """Tell whether the newest bar is the last."""
        return self._ended

    # ---- events ----------------------------------------------------------------------------------

    def on_update(self, update: MarketUpdate, window: MarketWindow | None, now_ns: int) -> list[Action]:
        """Take closed bars; `window` (None in a replay) only feeds first contacts."""
        symbols = update.symbols
        known = self._desk is not None and self._desk.symbols == symbols and update.epoch == self._epoch
        if known and self._desk is not None and update.seq <= self._desk.seq:
            self._ended = self._ended or update.ended
            return []
        actions: list[Action] = [Record(records.encode("bars", now_ns, update))]
        if not known:
            actions += self._begin_epoch(update)
        desk = self._desk
        assert desk is not None  # noqa: S101
        self._window = window
        for k in range(array(update.close_ns).shape[0]):
            actions += self._turned(desk, desk.on_bar(update, k), update, now_ns)
        self._ended = update.ended
        if update.kind == "delta":
            actions += self._live_bar(desk, update, now_ns)
        return actions

    def on_peers(self, ready: frozenset[str], now_ns: int) -> list[Action]:
        """Learn which voters are ready; the first round need not wait for the next bar."""
        if ready == self._ready:
            return []
        self._met &= ready
        self._ready = ready
        actions: list[Action] = [Record(records.encode("peers", now_ns, sorted(ready)))]
        desk = self._desk
        if desk is None or self._rounds.lockstep or self._rounds.last_open_ns is not None:
            return actions
        if self._may_open() and self._rounds.due(desk.seq, ready, desk.warm, now_ns):
            actions += self._open(desk, now_ns)
        return actions

    def on_tick(self, now_ns: int) -> list[Action]:
        """Open a round that is overdue, give up one that nobody brought back."""
        desk = self._desk
        if desk is None:
            return []
        current = self._rounds.current
        if current is not None and self._rounds.overdue(now_ns):
            lost = tuple(Answer(peer, None, "timeout") for peer in current.asked)
            return self.on_answers(current.round_id, lost, now_ns)
        if self._may_open() and self._rounds.due_by_timer(desk.seq, desk.bar_s, now_ns):
            return [Record(records.encode("tick", now_ns, None)), *self._open(desk, now_ns)]
        return []

    def on_answers(self, round_id: str, answers: tuple[Answer, ...], now_ns: int) -> list[Action]:
        """Decide the open round with what came; answers to another round are only written down."""
        current, desk = self._rounds.current, self._desk
        if current is None or desk is None or current.round_id != round_id:
            self._outcomes["late"] += 1
            return [Record(records.encode("answers", now_ns, records.Answers(round_id, answers)))]
        self._rounds.close(answers, now_ns)
        self._met |= {a.peer for a in answers if a.opinion is not None}
        held = np.sign(desk.account.exposure())
        ballot, self.refused = hear(round_id, answers, len(desk.symbols), held)
        told = records.Answers(round_id, judged(answers, self.refused))
        self.outcome = ended(current.asked, answers, self.refused)
        return [Record(records.encode("answers", now_ns, told)), *self._decide(desk, current, ballot, now_ns)]

    def on_message(self, message: Message, sender: str, now_ns: int) -> list[Action]:
        """Take proposals, alerts and commands; everything else is no business of the board."""
        desk = self._desk
        noted: list[Action] = [Record(records.encode("message", now_ns, records.Heard(sender, message)))]
        if isinstance(message, SystemCommand):
            return noted + self._command(message)
        if desk is None:
            return []
        if isinstance(message, RiskAlert) and message.hop == 0:
            return noted + self._alert(desk, message, sender, now_ns)
        if isinstance(message, PhaseTransition) and message.kind == "proposal":
            return noted + self._judge(desk, message, sender, now_ns)
        return []

    # ---- steps -----------------------------------------------------------------------------------

    def _begin_epoch(self, update: MarketUpdate) -> list[Action]:
        """Start on new symbols, or on data that start again: nothing learned from the future is used."""
        first = self._desk is None
        self._epoch = update.epoch
        self._desk = Desk(update.symbols, self._system)
        self._rounds = Rounds(self._system)
        self._ended = self._live = False
        if first:
            return []
        return [Publish(SystemCommand("reset", {"epoch": str(update.epoch)}))]

    def _turned(self, desk: Desk, turn: Turn, update: MarketUpdate, now_ns: int) -> list[Action]:
        """Return what a bar leads to: phase change, revolt, feedback."""
        actions: list[Action] = []
        if turn.step.candidate is not None:
            actions += self._own_transition(desk, turn.step.candidate, now_ns, update.kind == "delta")
        if turn.step.revolt is not None and update.kind == "delta":
            actions += self._revolted(desk, turn.step.revolt, now_ns)
        for one in turn.resolved:
            seats = desk.reputation.seats
            message = report.feedback(one, seats, desk.symbols, self._system.pads.liquidity_b)
            kept = records.OutcomeBody(
                message,
                report.score_columns(one),
                desk.reputation.by_seat(),
                desk.account.equity,
                desk.credit.by_seat(),
            )
            actions += [Record(records.encode("outcome", now_ns, kept)), Publish(message)]
        return actions

    def _live_bar(self, desk: Desk, update: MarketUpdate, now_ns: int) -> list[Action]:
        actions: list[Action] = []
        self._rounds.on_live_bar(update.seq, now_ns)
        if not self._live:
            self._live = True
            actions += self._introduce(desk, now_ns)
        if self._may_open() and self._rounds.due(update.seq, self._ready, desk.warm, now_ns):
            actions += self._open(desk, now_ns)
        return actions

    def _may_open(self) -> bool:
        return not (self._draining or self._ended)

    def _introduce(self, desk: Desk, now_ns: int) -> list[Action]:
        """Announce the phase that the backfill led to."""
        if desk.panarchy.held == UNKNOWN:
            return []
        message = notices.introduction(desk, self._epoch)
        return [
            Record(records.encode("transition", now_ns, records.TransitionBody(message, 0))),
            Publish(message),
        ]

    def _own_transition(self, desk: Desk, candidate: Candidate, now_ns: int, live: bool) -> list[Action]:
        """Put our own detector's candidate to the rules that hold for everybody."""
        proposal = notices.proposal(desk, candidate, self._epoch)
        done = self._judge(desk, proposal, self.name, now_ns, candidate.leader)
        return done if live else [a for a in done if isinstance(a, Record)]

    def _judge(
        self, desk: Desk, proposal: PhaseTransition, sender: str, now_ns: int, leader: int | None = None
    ) -> list[Action]:
        panarchy = desk.panarchy
        known = Evidence(
            held=panarchy.held,
            scores=panarchy.scores["meso"],
            crisis=panarchy.crisis["meso"],
            dwell=panarchy.cycles["meso"].dwell,
            oldest_ns=panarchy.scales["micro"].closed_ns(FRESH_BARS),
            leader=leader,
        )
        rule = desk.authority.judge(proposal, known) if self._system.pads.phases else OFF
        message = reply(proposal, rule, known)
        if rule == 0:
            panarchy.cycles["meso"].commit(PHASES.index(proposal.new_phase))
        record = Record(records.encode("transition", now_ns, records.TransitionBody(message, rule)))
        if rule == 0:
            return [record, Publish(message)]
        return [record] if sender == self.name else [record, Send(message, sender)]

    def _revolted(self, desk: Desk, revolt: Revolt, now_ns: int) -> list[Action]:
        alert = notices.revolt_alert(desk, revolt, self._epoch, now_ns, self._system)
        return self._alert(desk, alert, self.name, now_ns, revolt.advice)

    def _alert(
        self, desk: Desk, alert: RiskAlert, sender: str, now_ns: int, advice: str = ""
    ) -> list[Action]:
        verdict = desk.risk.on_alert(alert, sender, desk.is_open(), now_ns)
        kept = records.AlertBody(alert, verdict.accepted, verdict.why, desk.risk.psi, advice)
        actions: list[Action] = [Record(records.encode("alert", now_ns, kept))]
        return [*actions, Publish(verdict.broadcast)] if verdict.broadcast is not None else actions

    def _command(self, command: SystemCommand) -> list[Action]:
        if command.command in ("drain", "resume"):
            self._draining = command.command == "drain"
        if command.command == "reset" and self._desk is not None:
            self._desk.forget()
        return []

    def _open(self, desk: Desk, now_ns: int) -> list[Action]:
        """Open a round; with fewer than two voters it is decided at once, as HOLD with the reason."""
        current = self._rounds.open(desk.window(), self._epoch, self._ready, now_ns)
        if not current.asked:
            self._rounds.close((), now_ns)
            return self._decide(desk, current, None, now_ns)
        desk.outlook()  # now, for by then votes will wait for it
        known = self._request(desk, current)
        inline = None if self._met.issuperset(current.asked) else self._inline(desk)
        with_bars = msgspec.structs.replace(known, window=inline)  # for a first contact
        requests = {peer: known if peer in self._met else with_bars for peer in current.asked}
        return [Ask(current.round_id, requests, self._system.decision_timeout)]

    def _request(self, desk: Desk, current: Open) -> DecisionRequest:
        panarchy = desk.panarchy
        return DecisionRequest(
            round_id=current.round_id,
            window_seq=current.seq,
            asof_ns=current.asof_ns,
            symbols=desk.symbols,
            position=desk.account.position(),
            phase=PHASES[panarchy.held],
            phase_scores=tuple(float(x) for x in panarchy.scores["meso"]),
            meso=(*(float(x) for x in panarchy.meso_pcr), panarchy.crisis["meso"]),
            psi=desk.risk.psi,
            flat_share=column(desk.frequencies.flat_share()),
            horizon_bars=self._system.horizon_bars,
            explain=current.number % EXPLAIN_EVERY == 1,
            deadline_ns=current.deadline_ns,
        )

    def _inline(self, desk: Desk) -> Any:
        """Return the newest bars for a first contact, None where they are too many for one frame."""
        window = self._window
        if window is None or not fits_inline(len(desk.symbols)):
            return None
        columns = {
            name: getattr(window, name)[..., -INLINE_BARS:]
            for name in ("close_ns", "open", "high", "low", "close", "volume", "valid", "market_ret")
        }
        return to_wire(msgspec.structs.replace(window, **columns))

    def _decide(self, desk: Desk, current: Open, ballot: Ballot | None, now_ns: int) -> list[Action]:
        now = desk.situation(current.opened_ns)  # alerts count that lived when the voters were asked
        position = desk.account.position()
        verdict = desk.decide(ballot, now, (current.decision_id, current.round_id, current.asof_ns))
        decision = report.to_decision(verdict, now.phase, desk.symbols, position, current)
        if int(verdict.quorum.max()) < QUORUM:
            self.outcome = "no_quorum"
        self._outcomes[self.outcome] += 1
        self._untold = verdict, decision, now.appetite
        seed, sent = self._system.system_seed, msgspec.msgpack.encode(decision)
        kept = report.round_body(desk, current, now, verdict, (seed, self.outcome, now_ns, sent))
        response = DecisionResponse(current.round_id, decision=decision)
        return [Record(records.encode("round", now_ns, kept)), Publish(response)]

    def settle(self) -> None:
        """Put the newest decision in short: nobody asks for that before it is published."""
        if self._untold is not None:
            (self._newest, self._gauges, self._style), self._untold = report.told(*self._untold), None

    def scored(self) -> Rows | None:
        """Return the resolved rows that scores are worked out from, None before the first bar."""
        return self._desk.scorecard.rows() if self._desk is not None else None

    def snapshot(self) -> dict[str, Any]:
        """Return the board in short for /statusz."""
        self.settle()
        desk = self._desk
        total = sum(n for name, n in self._outcomes.items() if name != "late")
        return {
            "phases": desk.panarchy.names() if desk else {},
            "held_phase": PHASES[desk.panarchy.held] if desk else PHASES[UNKNOWN],
            "decision": self._newest,
            "rounds": {"total": total, **self._outcomes},
            "round_open": self._rounds.current is not None,
            "psi": desk.risk.psi if desk else 1.0,
            "appetite": float(desk.risk.appetite.mean()) if desk else 0.0,
            "equity": desk.account.equity if desk else 1.0,
            "gauges": dict(self._gauges),
            "strategy": self._style,
            "reputation": desk.reputation.by_seat() if desk else {},
            "shapley": desk.credit.by_seat() if desk else {},
            "circuits": self._rounds.circuits(),
            "bars": desk.bars if desk else 0,
            "live_alerts": len(desk.risk.live) if desk else 0,
            "panarchy": desk.panarchy.describe() if desk else {},
        }
