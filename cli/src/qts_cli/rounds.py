"""A journal's round as an event for people and programs (pure)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec

from qts_agents.agent import abstention
from qts_agents.columns import array
from qts_agents.pads import veto
from qts_agents.pads.records import Answers, RoundBody
from qts_cli.events import Event
from qts_core.roster import BY_WIRE
from qts_messaging.records import Decision, Opinion

SHOWN = 4  # symbols spelled out in one line


def decision_event(kept: RoundBody, answers: Answers | None, shown: int | None = SHOWN) -> Event:
    """Return one round as an event: counts over all symbols, details and votes of the first `shown`."""
    decision = msgspec.msgpack.decode(kept.decision, type=Decision)
    picked = [decision.actions[int(index)] for index in array(decision.action)]
    symbols = decision.symbols if shown is None else decision.symbols[:shown]
    return {
        "kind": "decision",
        "number": kept.number,
        "decision_id": kept.decision_id,
        "round_id": kept.round_id,
        "asof": stamp(kept.asof_ns),
        "outcome": kept.outcome,
        "phase": decision.phase,
        "phases": kept.panarchy.get("phases", {}),
        "count": len(decision.symbols),
        "actions": dict(Counter(picked).most_common()),
        "symbols": {
            symbol: _row(decision, row, picked[row]) | _why(kept, decision, row)
            for row, symbol in enumerate(symbols)
        },
        "votes": votes(answers, symbols),
        "equity": decision.position.equity,
        "elapsed_ms": round((kept.decided_ns - kept.opened_ns) / 1e6, 3),
    } | ({} if shown is not None else _board(kept))


def votes(answers: Answers | None, symbols: tuple[str, ...]) -> dict[str, Any]:
    """Return each asked agent's vote on the first symbols, or why it has none."""
    found: dict[str, Any] = {}
    for answer in answers.answers if answers is not None else ():
        workload = BY_WIRE.get(answer.peer)
        name, seat = (workload.name, workload.seat) if workload else (answer.peer, None)
        if answer.vote is None:
            found[name] = {"seat": seat, "missing": answer.reason or "late"}
        else:
            took_ms = round(answer.vote.elapsed_ns / 1e6, 3)
            found[name] = {"seat": seat, "elapsed_ms": took_ms, "symbols": _opinion(answer.vote, symbols)}
    return found


def stamp(at_ns: int) -> str:
    """Return a UTC time as `2017-03-01 14:00` (seconds, and parts of one, only when there are any)."""
    seconds, rest_ns = divmod(at_ns, 1_000_000_000)
    at = datetime.fromtimestamp(seconds, UTC)
    if rest_ns:
        return f"{at:%Y-%m-%d %H:%M:%S}.{rest_ns:09d}".rstrip("0")
    return at.strftime("%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M")


def _board(kept: RoundBody) -> Event:
    """Return what the board as a whole knew: for those who read a journal, not for a line in passing."""
    return {
        "regime": kept.regime,
        "alert_factor": kept.psi,
        "safe": kept.safe,
        "weights": kept.weights,
        "reputation": kept.reputation,
        "panarchy": kept.panarchy,
    }


def _row(decision: Decision, row: int, action: str) -> dict[str, Any]:
    return {
        "action": action,
        "reason": decision.reasons[int(array(decision.reason)[row])],
        "confidence": _rounded(array(decision.confidence)[row]),
        "signal": _rounded(array(decision.signal)[row]),
        "p": [_rounded(x) for x in array(decision.p)[row]],
        "size": _rounded(array(decision.size)[row]),
        "shares": {
            seat: _rounded(share)
            for seat, share in zip(decision.seats, array(decision.share)[row], strict=True)
        },
    }


def _why(kept: RoundBody, decision: Decision, row: int) -> Event:
    """Return what led to a row's action: who spoke, what overrode it, what speaks against an entry."""
    names = ("fired", "override", "prospect", "expected", "appetite", "exposure")
    told = {name: array(kept.columns[name])[row] for name in names}
    style = decision.styles[int(array(decision.style)[row])]
    return {
        "style": style,
        "spoke": "override" if told["override"] else style if told["fired"] else "pool",
        "override": kept.overrides[int(told["override"])],
        "cautions": list(veto.named(int(array(decision.veto)[row]))),
        "prospect": _rounded(told["prospect"]),
        "expected": _rounded(told["expected"]),
        "appetite": _rounded(told["appetite"]),
        "exposure": _rounded(told["exposure"]),
        "liquidation_risk": _rounded(array(decision.position.liquidation_risk)[row]),
    }


def _opinion(opinion: Opinion, symbols: tuple[str, ...]) -> dict[str, Any]:
    actions, bits = array(opinion.action), array(opinion.abstain)
    confidence, p = array(opinion.confidence), array(opinion.p)
    parts = array(opinion.contrib) if opinion.contrib is not None else None
    found: dict[str, Any] = {}
    for row, symbol in enumerate(symbols):
        why = abstention(int(bits[row]))
        found[symbol] = (
            {"abstains": why}
            if why
            else {
                "action": opinion.actions[int(actions[row])],
                "confidence": _rounded(confidence[row]),
                "p": [_rounded(x) for x in p[row]],
            }
        )
        if parts is not None and not why:
            made_of = zip(opinion.contrib_names, parts[row], strict=True)
            found[symbol]["parts"] = {name: _rounded(part) for name, part in made_of}
    return found


def _rounded(value: Any) -> float:
    return round(float(value), 6)
