"""Whatever happens to PADS, its journal gives the same decisions again, byte for byte."""

import copy

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.agents.pads_script import SECOND, opinion, system, update, walk

from qts_agents import graph
from qts_agents.columns import array
from qts_agents.pads import kept
from qts_agents.pads.actions import Answer, Ask, Publish, Record
from qts_agents.pads.agent import CODE, Pads
from qts_agents.pads.journal import JournalWriter
from qts_agents.pads.records import decode
from qts_agents.pads.replay import replay
from qts_agents.pads.resume import INPUTS, resume
from qts_core.errors import ConfigError
from qts_core.spec import Market
from qts_messaging.messages import PHASES, DecisionResponse, PhaseTransition, RiskAlert, SystemCommand
from qts_messaging.records import Decision

BACKFILL = 325
TIMED = system(market=Market(source="simulated"), board_members={"qar": 0.5, "consensus": 0.3, "qstar": 0.2})
KINDS = (
    "bar",
    "bar",
    "bar",
    "bar",
    "tick",
    "peers",
    "alert",
    "transition",
    "reset",
    "answer",
    "epoch",
    "state",
)
events = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2**16)), min_size=5, max_size=60)


class World:
    """Turns drawn events into calls and keeps what PADS says."""

    def __init__(self, config, S):
        self.pads, self.S, self.now, self.seq, self.epoch = Pads(config), S, 0, 0, 0
        self.closes = walk(BACKFILL + 80, S, seed=S)
        self.records, self.decisions, self.open = [], [], []
        self.keep(self.pads.begin("x"))
        while self.seq < BACKFILL:
            self.bar("snapshot")

    def keep(self, actions):
        for action in actions:
            if isinstance(action, Record):
                self.records.append(action.data)
            elif isinstance(action, Ask):
                self.open.append(action)
            elif isinstance(action, Publish) and isinstance(action.message, DecisionResponse):
                self.decisions.append(msgspec.msgpack.encode(action.message.decision))

    def bar(self, kind="delta"):
        made = update(self.closes, self.seq % len(self.closes), kind)
        made = msgspec.structs.replace(made, seq=self.seq, epoch=self.epoch)
        self.keep(self.pads.on_update(made, None, self.now))
        self.seq += 1

    def answer(self, number):
        if not self.open:
            return
        ask = self.open.pop(0)
        rng = np.random.default_rng(number)
        said = []
        for peer in ask.requests:
            p = rng.dirichlet([1.0, 1.0, 1.0], self.S)
            silent = rng.random() < 0.2
            made = opinion(ask.round_id, peer, p, int(rng.integers(0, 7)))
            said.append(Answer(peer, None if silent else made, "timeout" if silent else ""))
        self.keep(self.pads.on_answers(ask.round_id, tuple(said), self.now))

    def happen(self, kind, number):
        self.now += (number % 7) * SECOND
        if kind == "bar":
            self.bar()
            if number % 3:
                self.answer(number)
        elif kind == "tick":
            self.keep(self.pads.on_tick(self.now))
        elif kind == "peers":
            voters = ("qbmia", "quasar", "quantum_amos")
            ready = frozenset(v for i, v in enumerate(voters) if number >> i & 1)
            self.keep(self.pads.on_peers(ready, self.now))
        elif kind == "answer":
            self.answer(number)
        elif kind == "epoch":
            if number % 4 == 0:
                self.epoch += 1
                self.seq = 0
                self.bar("snapshot")
        elif kind == "state":
            self.keep(kept.checkpoint(self.pads, self.now))
        else:
            self.keep(self.pads.on_message(self.message(kind, number), "quasar", self.now))

    def message(self, kind, number):
        if kind == "alert":
            severity = (number % 100) / 100
            return RiskAlert(f"a{number % 50}", "manipulation_suspected", severity, (), 0, self.now + SECOND)
        if kind == "transition":
            old, new = PHASES[number % 5], PHASES[number // 5 % 4]
            return PhaseTransition(f"t{number}", "proposal", old, new, (), {}, 10**18, "quasar")
        return SystemCommand(("reset", "drain", "resume")[number % 3])


def written(folder, *parts):
    """Write each part of records as one process would, a file each and one for each state."""
    for records in parts:
        writer = JournalWriter(folder)
        for payload in records:
            writer.append(payload, decode(payload).kind == "header")
        writer.close()
    return folder


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events, st.booleans(), st.integers(1, 2))
def test_any_event_log_replays_byte_for_byte(tmp_path_factory, log, lockstep, S):
    """Bars, answers, silence, alerts, proposals, commands, timers and new epochs in any order."""
    world = World(system() if lockstep else TIMED, S)
    world.happen("peers", 7)
    for kind, number in log:
        world.happen(kind, number)
    found = replay(written(tmp_path_factory.mktemp("journal"), world.records))
    assert found.first_difference is None
    assert (found.rounds, found.equal) == (len(world.decisions), len(world.decisions))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events, st.integers(0, 30))
def test_decisions_are_sane_whatever_happens(log, extra):
    """Probabilities sum to 1, shares to at most 1, changes of exposure stay in the symbol's cap."""
    world = World(TIMED, 2)
    world.happen("peers", 7)
    for kind, number in log + [("bar", n) for n in range(extra)]:
        world.happen(kind, number)
    for data in world.decisions:
        decision = msgspec.msgpack.decode(data, type=Decision)
        p, share = array(decision.p), array(decision.share)
        assert np.allclose(p.sum(axis=1), 1.0, rtol=0, atol=1e-12)
        assert (share >= 0).all()
        assert (share.sum(axis=1) <= 1 + 1e-12).all()
        assert (np.abs(array(decision.size)) <= 0.051).all()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events, events, st.integers(0, 8), st.booleans())
def test_a_pads_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path_factory, before, after, lost, lockstep):
    """Cut after any record: what was not written is made up for, and later decisions are the same bytes."""
    config = system() if lockstep else TIMED
    world = World(config, 1)
    world.happen("peers", 7)
    for kind, number in before:
        world.happen(kind, number)
    full = len(world.records)
    whole = [i for i in range(1, full) if decode(world.records[i]).kind in INPUTS]
    # outputs of the newest input may be missing; the input itself is written first
    cut = max(full - lost, whole[-1] + 1)
    folder = written(tmp_path_factory.mktemp("journal"), world.records[:cut])
    found = resume(folder, config)
    assert found.why == ""
    missing = [a.data for a in found.actions if isinstance(a, Record)]
    assert missing == [r for r in world.records[cut:] if decode(r).kind != "header"]
    again = copy.copy(world)
    again.pads, again.open, again.records, again.decisions = found.pads, list(world.open), [], []
    world.decisions = []
    for kind, number in after:
        world.happen(kind, number)
        again.happen(kind, number)
    assert again.decisions == world.decisions
    written(folder, [*missing, *again.records])
    told = replay(folder)
    assert told.first_difference is None


def test_why_a_board_begins_anew(tmp_path):
    """No journal, other settings, a journal that lies: each is said."""
    world = World(TIMED, 1)
    for _ in range(30):
        world.happen("bar", 1)
    assert resume(tmp_path / "none", TIMED).why == "there is no journal yet"
    folder = written(tmp_path, world.records)
    assert resume(folder, TIMED).pads is not None
    chosen = system(market=Market(source="simulated", symbols=("S0",)))
    assert resume(written(tmp_path / "chosen", World(chosen, 1).records), chosen).why == ""
    found = resume(folder, system())
    assert (found.why, found.lost) == ("the settings have changed", "")  # somebody's wish, no damage
    lie = [p for p in world.records if decode(p).kind != "bars"][-1]
    written(folder, [lie])
    found = resume(folder, TIMED)
    assert found.why == "the journal does not give its own records again"
    assert found.lost.startswith("account, reputations and phase begin anew: the journal does not give")


@pytest.mark.parametrize("content", [b"", bytes(range(200))])
def test_a_journal_that_is_damaged_is_told(tmp_path, content):
    """What can be read is taken up, and where that ends is said; it passed for an end, or for no journal."""
    world = World(TIMED, 1)
    for _ in range(30):
        world.happen("bar", 1)
    folder = written(tmp_path, world.records)
    (file,) = folder.glob("*.qtsj")
    whole = file.read_bytes()
    assert resume(folder, TIMED).lost == ""
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    found = resume(folder, TIMED)
    assert found.pads is not None
    assert found.lost.startswith(f"what PADS decided behind it is not known: {file}: byte ")
    file.write_bytes(content)
    found = resume(folder, TIMED)
    assert found.pads is None
    assert f"begin anew: no file of {folder} begins with a header that can be read; the files" in found.lost


def test_a_state_in_the_journal_makes_the_rest_of_it_unneeded(tmp_path):
    """What is read at a start is what came after the newest state, and a wrong state is found by a replay."""
    world = World(TIMED, 2)
    for _ in range(40):
        world.happen("bar", 1)
    world.happen("state", 0)
    heads = [i for i, r in enumerate(world.records) if decode(r).kind == "header"]
    assert len(heads) == 2
    for _ in range(40):
        world.happen("bar", 1)
    folder = written(tmp_path / "whole", world.records)
    found, alone = resume(folder, TIMED), resume(written(tmp_path / "rest", world.records[heads[1] :]), TIMED)
    assert found.read == alone.read < sum(f.stat().st_size for f in folder.iterdir()) / 2
    assert kept.save(found.pads) == kept.save(alone.pads) == kept.save(world.pads)
    other = World(TIMED, 2)
    lie = [*world.records[: heads[1]], kept.checkpoint(other.pads, world.now)[0].data]
    assert "the state after round" in replay(written(tmp_path / "lie", lie)).first_difference


def test_a_state_that_does_not_fit_is_said(tmp_path):
    """Cut short, of another class or of another version: PADS begins anew and names it."""
    world = World(TIMED, 1)
    raw = kept.save(world.pads)
    for bad in (raw[:-40], graph.dump({"a": 1}, CODE, {}), graph.dump({}, "pads-0", {}), b""):
        with pytest.raises(ConfigError, match="the state"):
            kept.restore(bad, TIMED)
    head = world.pads.begin("x", 5, raw[:-40])[0].data
    found = resume(written(tmp_path, [head]), TIMED)
    assert found.pads is None
    assert "the state is damaged" in found.why


def test_a_long_journal_wants_a_state(tmp_path, monkeypatch):
    """After so many bytes, or as many as a state has; what a restart has read counts."""
    monkeypatch.setattr("qts_agents.pads.journal.UNREAD", 100)
    writer = JournalWriter(tmp_path)
    writer.append(b"h" * 300, opens=True)
    writer.append(b"r" * 200)
    assert not writer.wants_state  # less than the state itself
    writer.append(b"r" * 200)
    assert writer.wants_state
    writer.append(b"h" * 10, opens=True)
    assert not writer.wants_state
    writer.unread = 101
    assert writer.wants_state
    writer.close()
    assert len(list(tmp_path.iterdir())) == 2
