"""The journal on disk: frames, torn ends, rotation, a full disk; replay and reader."""

import json
import os
from pathlib import Path

import msgspec
import numba
import numpy as np
import pytest
from tests.unit.agents.pads_script import Script, system, walk

from qts_agents.pads import journal, records
from qts_agents.pads.agent import Pads
from qts_agents.pads.journal import JournalWriter
from qts_agents.pads.replay import outcomes, replay, rounds
from qts_agents.pads.resume import newest
from qts_cli import main
from qts_cli.replay import replay as qts_replay
from qts_core.errors import ConfigError, LocalError

UP = [0.45, 0.34, 0.21]


def written(folder: Path, payloads, max_file=journal.MAX_FILE):
    writer = JournalWriter(folder, max_file)
    for payload in payloads:
        writer.append(payload)
    writer.close()
    return folder


def read(path):
    """Return the times of what can be read, and what is said of the rest."""
    told = []
    return [entry.now_ns for entry in journal.entries(path, told.append)], told


@pytest.fixture(scope="module")
def run():
    """A short run with every kind of record but alerts."""
    says = lambda request, peer: None if peer == "quantum_amos" else [UP]  # noqa: E731
    return Script(system(), says).bars(walk(385), 330)


def test_records_come_back_in_order(tmp_path):
    """What was appended is read, in order and whole."""
    payloads = [records.encode("peers", i, [str(i)] * i) for i in range(50)]
    found = list(journal.entries(written(tmp_path / "j", payloads)))
    assert [(e.kind, e.now_ns) for e in found] == [("peers", i) for i in range(50)]


def test_a_torn_tail_is_passed_over_at_every_length(tmp_path):
    """Cut anywhere in the last record, the journal holds all before it."""
    payloads = [records.encode("peers", i, ["x"]) for i in range(3)]
    whole = b"".join(records.frame(p) for p in payloads)
    start = len(whole) - len(records.frame(payloads[-1]))
    file = tmp_path / "0001.qtsj"
    for cut in range(start, len(whole)):
        file.write_bytes(whole[:cut])
        assert read(file) == ([0, 1], [])


def test_zeros_of_a_power_cut_are_an_end(tmp_path):
    """A disk that lost power leaves zeros where records should be, even a file of them: nothing is read there."""
    record = records.frame(records.encode("peers", 1, ["x"]))
    (tmp_path / "0001.qtsj").write_bytes(record + bytes(4096))
    (tmp_path / "0002.qtsj").write_bytes(bytes(4096))
    assert read(tmp_path) == ([1], [])
    assert newest(tmp_path) == []


@pytest.mark.parametrize("hurt", ["flipped", "hole", "zeros", "power"])
def test_damage_before_the_end_is_named(tmp_path, hurt):
    """What is wrong in the middle is no torn end: the records after it would silently be missing."""
    frames = [records.frame(records.encode("peers", i, ["x" * 40])) for i in range(9)]
    start, data = len(frames[0]), b"".join(frames)
    made = {
        "flipped": data[: start + 20] + bytes([data[start + 20] ^ 1]) + data[start + 21 :],
        "hole": data[: start + 20] + data[start + 40 :],
        "zeros": data[:start] + bytes(start) + data[2 * start :],
        "power": data[: start + 20] + bytes(9) + data[start + 29 :] + bytes(4096),
    }
    file = tmp_path / "0001.qtsj"
    file.write_bytes(made[hurt])
    found, [words] = read(tmp_path)
    assert found == [0]
    assert words.startswith(f"{file}: byte {start} begins no whole record")


def test_sectors_of_zeros_at_the_end_are_one_too(tmp_path):
    """A record that lost its last sectors is torn; one whose zeros begin inside of a sector is damaged."""
    frames = [records.frame(records.encode("peers", i, ["x" * 2000])) for i in (1, 2)]
    data, file = b"".join(frames), tmp_path / "0001.qtsj"
    for zeros_from, told in ((3072, 0), (3584, 0), (3585, 1), (len(data) - 3, 1)):
        file.write_bytes(data[:zeros_from] + bytes(len(data) - zeros_from))
        found, words = read(file)
        assert (found, len(words)) == ([1], told), zeros_from


def test_every_changed_byte_is_told(tmp_path):
    """Whichever bit of a journal is another one, its length included, the reader says where it ends."""
    frames = [records.frame(records.encode("peers", i, ["x" * 40])) for i in range(1, 5)]
    data, file = b"".join(frames), tmp_path / "0001.qtsj"
    for at in range(len(data)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128):
            file.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
            found, words = read(file)
            assert found == list(range(1, 1 + at // len(frames[0])))
            assert len(words) == 1, (at, mask)


def test_a_new_run_writes_a_new_file_and_all_are_read(tmp_path):
    """Nothing of an older run is overwritten."""
    for i in range(3):
        written(tmp_path, [records.encode("peers", i, [])])
    assert [f.name for f in journal.files(tmp_path)] == ["0001.qtsj", "0002.qtsj", "0003.qtsj"]
    assert [e.now_ns for e in journal.entries(tmp_path)] == [0, 1, 2]


def test_a_full_file_is_followed_by_the_next(tmp_path):
    """No file grows above its limit."""
    payloads = [records.encode("peers", i, ["y" * 50]) for i in range(20)]
    written(tmp_path, payloads, max_file=200)
    sizes = [f.stat().st_size for f in journal.files(tmp_path)]
    assert len(sizes) > 5
    assert max(sizes) <= 200
    assert len(list(journal.entries(tmp_path))) == 20


class Full:
    """A stream on a disk that is full after `room` bytes."""

    def __init__(self, stream, room):
        self._stream, self.room, self.name = stream, room, stream.name

    def write(self, data):
        part = bytes(data[: self.room])
        self.room -= len(part)
        if not part:
            raise OSError(28, os.strerror(28))
        return self._stream.write(part)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def test_of_what_no_restart_needs_the_newest_stays(tmp_path):
    """A pod whose volume is full is evicted, and its account with it; what came after a header is never deleted."""
    payload = records.encode("peers", 0, ["x" * 1000])
    size = len(records.frame(payload))
    writer = JournalWriter(tmp_path, keep=2 * size)
    for opens in (True, True, True, True, False, False):
        writer.append(payload, opens)
    writer.close()
    assert {f.stem: f.stat().st_size for f in tmp_path.iterdir()} == {
        "0002": size,
        "0003": size,
        "0004": 3 * size,
    }
    later = JournalWriter(tmp_path, keep=size)
    later.append(payload)  # a file without a header: all since the newest one is needed
    assert len(list(tmp_path.iterdir())) == 4
    later.append(payload, opens=True)
    later.close()
    assert [f.stem for f in journal.in_order(tmp_path)] == ["0005", "0006"]


def test_a_run_folder_keeps_all_and_a_pod_half_of_its_volume(tmp_path):
    """Who runs on a laptop tidies up as they like."""
    assert journal.kept_in(tmp_path) is None
    assert journal.kept_in(Path("/var/lib/qts")) == 512 * 2**20


def test_file_10000_comes_after_file_9999(tmp_path):
    """By its number: a restart took up the state of the wrong one."""
    for name in ("9998", "9999", "10000"):
        (tmp_path / f"{name}.qtsj").touch()
    assert [f.stem for f in journal.files(tmp_path)] == ["9998", "9999", "10000"]
    written(tmp_path, [records.encode("peers", 0, [])])
    assert (tmp_path / "10001.qtsj").exists()


def test_a_full_disk_is_told_and_leaves_no_torn_record_inside(tmp_path):
    """The record is refused whole; when there is room again the journal goes on behind the last good one."""
    writer = JournalWriter(tmp_path)
    first, second = (records.encode("peers", i, ["z" * 40]) for i in (1, 2))
    writer.append(first)
    writer._stream = Full(writer._stream, 20)
    with pytest.raises(LocalError, match="No space left on device"):
        writer.append(second)
    writer._stream.room = 10_000
    writer.append(second)
    writer.close()
    assert [e.now_ns for e in journal.entries(tmp_path)] == [1, 2]


def test_a_device_without_space_is_a_local_error(tmp_path):
    """The same against the kernel's own full device."""
    writer = JournalWriter(tmp_path)
    writer.append(records.encode("peers", 1, []))
    good = writer._stream
    writer._stream = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(LocalError, match="No space left on device"):
        writer.append(records.encode("peers", 2, []))
    good.close()
    writer.append(records.encode("peers", 3, []))
    writer.close()
    assert [e.now_ns for e in journal.entries(tmp_path)] == [1, 3]


def test_a_folder_that_cannot_be_made_is_a_local_error(tmp_path):
    """A file where the folder should be is reported, not raised as it is."""
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(LocalError):
        JournalWriter(tmp_path / "journal").append(b"x")


def test_no_journal_is_a_config_error(tmp_path):
    """The text names the place and what was expected."""
    with pytest.raises(ConfigError, match="no journal"):
        list(journal.entries(tmp_path))


def test_replay_gives_the_same_bytes(tmp_path, run):
    """A fresh PADS over the journal's inputs makes every decision again."""
    found = replay(written(tmp_path / "journal", run.records).parent)
    assert (found.rounds, found.equal, found.first_difference) == (6, 6, None)


def test_replay_names_what_differs(tmp_path, run):
    """One changed close in the journal is found, with round and fields."""
    changed = list(run.records)
    for i, payload in enumerate(changed):
        entry = records.decode(payload)
        if entry.kind == "answers":
            heard = records.body(entry, records.Answers)
            fewer = msgspec.structs.replace(heard, answers=heard.answers[1:])
            changed[i] = records.encode("answers", entry.now_ns, fewer)
            break
    found = replay(written(tmp_path, changed))
    assert found.equal < found.rounds == 6
    assert found.first_difference.startswith("round 1 ")
    assert "share" in found.first_difference


def test_a_head_names_what_computed_the_run_and_replay_says_what_is_another(tmp_path, run):
    """Interpreter, libraries and kernels stand in the head; one that changed since is told, with both versions."""
    entry = records.decode(run.records[0])
    head = records.body(entry, records.Header)
    assert set(head.versions) == {"code", "kernels", "python", "numpy", "numba"}
    assert (head.versions["numpy"], head.versions["numba"]) == (np.__version__, numba.__version__)
    assert replay(written(tmp_path / "same", run.records)).versions == {}
    older = msgspec.structs.replace(head, versions=head.versions | {"numba": "0.1", "gone": "1"})
    changed = [records.encode("header", entry.now_ns, older), *run.records[1:]]
    folder = written(tmp_path / "older", changed)
    found = replay(folder)
    assert (found.first_difference, found.versions) == (None, {"numba": ("0.1", numba.__version__)})


def test_replay_says_in_words_which_versions_differ(tmp_path, run, capsys):
    """The command names them whether or not a byte differs."""
    entry = records.decode(run.records[0])
    head = records.body(entry, records.Header)
    older = msgspec.structs.replace(head, versions=head.versions | {"numpy": "1.0"})
    folder = written(tmp_path, [records.encode("header", entry.now_ns, older), *run.records[1:]])
    assert qts_replay(folder) == 0
    assert f"written with numpy 1.0 (here {np.__version__})" in capsys.readouterr().out
    assert qts_replay(folder, json_=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["versions"] == {"numpy": {"journal": "1.0", "here": np.__version__}}


def test_no_command_takes_a_damaged_journal_for_a_whole_one(tmp_path, run, capsys, monkeypatch):
    """Every command says on stderr where it ended, and fails; what can be read is still told, in one pass."""
    passes, find = [], journal.files
    monkeypatch.setattr(journal, "files", lambda path: passes.append(path) or find(path))
    [file] = journal.files(written(tmp_path / "journal", run.records))
    data, at = file.read_bytes(), 0
    for payload in run.records[:-20]:
        at += len(records.frame(payload))
    file.write_bytes(data[: at + 9] + bytes([data[at + 9] ^ 1]) + data[at + 10 :])
    for tokens in (
        ["replay"],
        ["decisions"],
        ["decisions", "--count"],
        ["plot", "-o", str(tmp_path / "p.html")],
    ):
        passes.clear()
        assert main([*tokens, str(file)]) == 1
        assert len(passes) == 1
        told = capsys.readouterr()
        assert f"{file}: byte {at} begins no whole record" in told.err
        assert told.out
    assert main(["replay", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["identical"] is False


def test_a_journal_without_its_head_is_refused(tmp_path, run):
    """A file from the middle cannot be replayed."""
    with pytest.raises(ConfigError, match="header"):
        replay(written(tmp_path, run.records[1:]))


def test_rounds_are_readable(tmp_path, run):
    """Names, votes by seat, silence, prices and phases come out of the journal alone."""
    folder = written(tmp_path, run.records)
    found = list(rounds(folder))
    assert [r.decision_id for r in found] == [d.decision_id for d in run.decisions]
    first = found[0]
    assert first.votes == {"qar": ("HOLD",), "qstar": ("HOLD",)}
    assert first.silent == {"quantum_amos": "timeout"}
    assert np.allclose(first.seat_p["qar"], [UP])
    assert np.isnan(first.seat_p["antifragility"]).all()
    assert first.close[0] == pytest.approx(walk(385)[330, 0])
    assert first.outcome == "expired"
    assert sum(entry.kind == "bars" for entry in journal.entries(folder)) == 385
    assert len(list(outcomes(folder))) == 3


def test_a_record_stands_before_what_it_explains():
    """The round is in the journal before its decision is published."""
    order = []
    script = Script(system(), lambda request, peer: [UP])
    take, script.take = script.take, lambda actions: (order.extend(actions), take(actions))
    script.bars(walk(331), 330)
    kinds = [type(a).__name__ for a in order[-3:]]
    assert kinds == ["Record", "Record", "Publish"]
    assert isinstance(script.pads, Pads)
