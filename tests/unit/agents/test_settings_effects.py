"""Every constant of the sections `pads`, `qbmia`, `quasar`, `quantum_amos`, … changes what its agent does.

One table a section, another value for every key; a section without a table and a key that its table lacks
fail the test, so none can be added without an effect. Equal settings give equal bytes (checked first), so a difference is the key's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.property import markets
from tests.unit.agents import pads_script

from qts_agents.agent import Voter
from qts_agents.amos.agent import Amos
from qts_agents.evaluation.stage import voter_of
from qts_agents.pads.hearing import hear
from qts_agents.qbmia.agent import Qbmia
from qts_agents.quasar.agent import Quasar
from qts_agents.sentiment.agent import Sentiment
from qts_core.roster import AGENTS
from qts_core.sections import AmosSettings, PadsSettings, QbmiaSettings, QuasarSettings
from qts_core.spec import SYSTEM
from qts_messaging import codec
from qts_messaging.messages import PHASES, RiskAlert

AMOS: dict[str, Any] = {
    "belief_gain": 2.0,
    "prospect_gain": 1.5,
    "desire_gain": 3.0,
    "habit_gain": 0.9,
    "learning_rate": 0.5,
    "desire_rate": 0.5,
    "desire_half_life": 5.0,
    "desire_limit": 0.001,
    "drawdown_limit": 0.01,
    "risk_coupling": 0.9,
    "shots": 64,
    "society": 4,
    "society_rate": 5.0,
    "society_floor": 0.01,
}
PREDICTION: dict[str, Any] = {
    "learning_rate": 0.5,
    "baseline_outcomes": 20,
    "signal_scale": 0.01,
}
QBMIA: dict[str, Any] = {
    "nash_mode": "ewl",
    "risk_aversion": 50.0,
    "entanglement": 0.2,
    "payoff_draws": 64,
    "memory_share": 0.9,
    "illiquidity_alert": 0.05,
    "false_alarms": 100.0,
}
SENTIMENT: dict[str, Any] = {
    "source": "https://news.example/h",
    "period_s": 5.0,
    "half_life_h": 0.5,
    "fresh_h": 0.3,
    "prior": 20.0,
    "signal_scale": 1.9,
}
QUASAR: dict[str, Any] = {
    "update": "expected_sarsa",
    "representation": "tiles",
    "discount": 0.5,
    "learning_floor": 0.9,
    "exploration_decay": 0.5,
    "exploration_floor": 0.9,
    "episode_bars": 32,
    "episodes_per_bar": 2,
    "replay_batch": 0,
    "replay_priority": 0.0,
    "replay_correction": 1.0,
    "convergence": 1e-9,
    "drawdown_penalty": 5.0,
    "temperature": 5.0,
    "threshold": 0.0,
    "hedge_rate": 5.0,
    "hedge_share": 0.9,
    "model_rate": 0.9,
    "circuit_qubits": 3,
    "circuit_rate": 0.9,
    "circuit_outcomes": 20,
    "anomaly_threshold": 0.9,
    "drift_delta": 0.9,
}
#: a record needs bars before the market's first, which these markets of 1970 have not: test_pretrain.py
ELSEWHERE = {"pretrain"}
PADS: dict[str, Any] = {
    "reputation": "hedge",
    "connectedness": "raw",
    "prospect_gate": "veto",
    "profile": "prospect",
    "liquidity_b": 1.0,
    "reputation_rate": 0.9,
    "signal_scale": 0.5,
    "base_size": 0.001,
    "symbol_cap": 0.0001,
    "net_cap": 0.0001,
    "calm_day": 0.0001,
    "stop_days": 0.5,
    "target_days": 0.5,
    "safe_share": 0.95,
    "hedge_symbol": "S1",
    "margin_leverage": 125.0,
    "margin_maintenance": 0.05,
    "alert_threshold": 0.95,
    "alert_factor": 0.6,
    "alert_floor": 0.75,
    "alert_half_life": 2.0,
    "appetite_half_life": 60.0,
    "phases": False,
    "phase_enter": 0.9,
    "phase_lead": 0.9,
    "phase_confirm": 40,
    "phase_dwell": 200,
    "phase_detour": 1,
    "circuit_timeouts": 1,
    "circuit_s": 500.0,
    "hmm_refit": 120,
    "change_hazard": 10.0,
    "surrogates": 19,
}
#: by the section's name in the file
TABLES: dict[str, dict[str, Any]] = {
    "pads": PADS,
    "prediction": PREDICTION,
    "qbmia": QBMIA,
    "quantum_amos": AMOS,
    "quasar": QUASAR,
    "sentiment": SENTIMENT,
}
SECTIONS = [w.wire for w in AGENTS if hasattr(SYSTEM(), w.wire)]


def life(agent: Voter, first: int, last: int, start: int = 800) -> bytes:
    """Return all that `agent` said between bars first … last of EUR/USD, and its state after them.

    It is asked every tenth bar, flat and long by turns, explained, under a drawdown of the account of 5 %.
    """
    tape, told = markets.eurusd(start, last + 40), b""
    for t in range(first, last + 1):
        out = list(agent.on_bars(markets.update(tape, t), markets.window(tape, t), markets.now(t)))
        if (t - markets.HORIZON) % markets.EVERY == 0 and t - markets.HORIZON >= first:
            out += agent.on_feedback(markets.feedback(tape, t - markets.HORIZON), markets.now(t))
        told += b"".join(codec.encode_body(o.message) for o in out)
        if t % markets.EVERY == 0:
            request = markets.request(tape.symbols, t, float(t // markets.EVERY % 2))
            position = msgspec.structs.replace(request.position, equity=0.95)
            request = msgspec.structs.replace(request, position=position)
            told += msgspec.msgpack.encode(agent.on_request(request, markets.window(tape, t), markets.now(t)))
    return told + agent.save()


def differs(live: Callable[..., bytes], key: str, value: Any, **always: Any) -> bool:
    """Tell whether `value` of `key` changes what `live` says, beside settings that hold for both."""
    return live(**always, **{key: value}) != base(live, tuple(always.items()))


@functools.cache
def base(live: Callable[..., bytes], always: tuple[tuple[str, Any], ...]) -> bytes:
    """Return what `live` says without the key; equal settings must give equal bytes."""
    told = live(**dict(always))
    assert told == live(**dict(always))
    return told


def amos(**changes: Any) -> bytes:
    return life(Amos(SYSTEM(quantum_amos=AmosSettings(**changes))), 360, 520)


def sentiment(**changes: Any) -> bytes:
    """Return a life among headlines of its hours, and what is said of a wrong line."""
    agent, lines = Sentiment(msgspec.convert({"sentiment": changes}, SYSTEM)), [b"not a headline"]
    for minute in range(300, 520, 7):
        time, score = f"1970-01-01T{minute // 60:02}:{minute % 60:02}:00Z", (minute % 5 - 1) / 4
        lines.append(msgspec.json.encode({"time": time, "score": score}))
    wrong = agent.on_document(b"\n".join(lines), 0)
    return life(agent, 360, 520) + wrong.encode()


def qbmia(**changes: Any) -> bytes:
    return life(Qbmia(SYSTEM(qbmia=QbmiaSettings(**({"nash_mode": "classical"} | changes)))), 360, 420)


def suspicious(**changes: Any) -> bytes:
    """Return what is said after three windows whose orders have a p-value of 0.02."""
    agent = Qbmia(SYSTEM(qbmia=QbmiaSettings(**changes)))
    tape, told = markets.eurusd(800, 480), life(agent, 360, 400)
    agent._state.findings[tape.symbols[0]] = ([0.02] * 3, 0.9)
    found = agent.on_bars(markets.update(tape, 401), markets.window(tape, 401), markets.now(401))
    return told + b"".join(codec.encode_body(o.message) for o in found)


def quasar(**changes: Any) -> bytes:
    """Return a life with a table that is called converged early, so that it votes within it."""
    eager = {"convergence": 10.0, "episodes_per_bar": 20}
    return life(Quasar(SYSTEM(quasar=QuasarSettings(**(eager | changes)))), 320, 800)


def votes(request: Any, peer: str) -> Any:
    """Return what a voter says: sides that change, one voter against the others, one silent for a while."""
    seq, size = request.window_seq, len(request.symbols)
    if peer == "quasar" and 260 <= seq < 300:
        return None
    lean = 0.35 if (seq // 25) % 2 == 0 else -0.35
    lean = -lean if peer == "quantum_amos" else lean
    row = [1 / 3 + lean * 0.9, 1 / 3 - abs(lean) * 0.4, 1 / 3 - lean * 0.9 + abs(lean) * 0.4]
    p = np.clip(np.array(row), 0.01, None)
    return np.tile(p / p.sum(), (size, 1))


def alert(seq: int, severity: float) -> RiskAlert:
    """Return an alert of a voter about everything."""
    return RiskAlert(
        alert_id=f"a-{seq}",
        alert_type="drawdown",
        severity=severity,
        scope=(),
        raised_ns=seq * pads_script.SECOND,
        expires_ns=(seq + 10_000) * pads_script.SECOND,
    )


def pads(**changes: Any) -> bytes:
    """Return everything that PADS wrote and said over 450 bars with alerts, silence and trends."""
    settings = pads_script.system(pads=PadsSettings(**changes), decision_interval=5.0)
    script = pads_script.Script(settings, votes)
    closes = pads_script.walk(450, S=2, seed=4)
    closes[250:300] *= np.linspace(1.0, 0.9, 50)[:, None]
    closes[300:] *= 0.9
    at = {210: 0.85, 215: 0.97, 218: 0.99, 221: 0.99, 260: 0.9}
    script.bars(closes[:200], 200)
    for seq in range(200, len(closes)):
        script.bars(closes[: seq + 1], 200, start=seq)
        if seq in at:
            script.take(script.pads.on_message(alert(seq, at[seq]), "qbmia", script.now))
    return b"\n".join(script.records[1:])


def nervous(**changes: Any) -> bytes:
    """Return what the desk of a PADS decides in conservation: a short in heavy tails, nothing without."""
    script = pads_script.Script(pads_script.system(pads=PadsSettings(**changes)), votes)
    script.bars(pads_script.walk(240, S=2, seed=4), 200)
    desk, asked = script.pads._desk, script.asked[-1]
    assert desk is not None
    now = desk.situation(script.now)
    ind = msgspec.structs.replace(now.ind, tail=np.array([0.6, 0.0]), sigma20=np.full(2, 0.001))
    short = np.array([-0.02, 0.0])
    now = msgspec.structs.replace(now, ind=ind, exposure=short, phase=PHASES.index("conservation"))
    ballot, _ = hear(asked.round_id, script.answers(asked), 2, np.sign(short))
    ballot.p[1] = 1.0 / 3.0
    verdict = desk.decide(ballot, now, ("decision", "round", 0))
    return b"".join(a.tobytes() for a in (verdict.action, verdict.size, verdict.stop))


def margined(**changes: Any) -> bytes:
    """Return the life of `pads` with positions that a small move liquidates."""
    return pads(margin_leverage=125.0, **changes)


@functools.cache
def alone(section: str) -> Callable[..., bytes]:
    """Return the life of a voter that no one else has to be told of."""

    def lived(**changes: Any) -> bytes:
        return life(voter_of(section, msgspec.convert({section: changes}, SYSTEM)), 360, 700)

    return lived


#: lives of agents to which something must happen, else `alone`
LIVES: dict[str, Callable[..., bytes]] = {
    "pads": pads,
    "qbmia": qbmia,
    "quantum_amos": amos,
    "quasar": quasar,
    "sentiment": sentiment,
}
#: settings that need a situation which the life of their agent does not come into
RARE = {
    "hedge_symbol": nervous,
    "profile": nervous,
    "margin_maintenance": margined,
    "false_alarms": suspicious,
}
#: settings that mean something beside another one only
BESIDE: dict[str, dict[str, Any]] = {
    "entanglement": {"nash_mode": "ewl"},
    "society_rate": {"society": 4},
    "society_floor": {"society": 4},
}
#: how often the source is read is the shell's affair: test_documents.py
OF_THE_SHELL = ("sentiment", "period_s")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_in_its_table(section: str) -> None:
    assert section in TABLES, f"the settings of {section} need a table in TABLES"
    default, table = getattr(SYSTEM(), section), TABLES[section]
    assert set(default.__struct_fields__) - ELSEWHERE == set(table)
    assert [k for k, v in table.items() if getattr(default, k) == v] == []


@pytest.mark.parametrize(
    ("section", "key"),
    [(section, key) for section, table in TABLES.items() for key in table if (section, key) != OF_THE_SHELL],
)
def test_a_key_changes_what_its_agent_does(section: str, key: str) -> None:
    live = RARE.get(key) or LIVES.get(section) or alone(section)
    assert differs(live, key, TABLES[section][key], **BESIDE.get(key, {}))
