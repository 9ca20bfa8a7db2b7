"""Keys, passwords, spool and books as files."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import zmq

from qts_core.errors import ConfigError
from qts_messaging import books, keys
from qts_messaging.accounts import Book
from qts_messaging.redis_connection import Login, _sentinel, login
from qts_messaging.spool import Spool


def test_keys_are_private_and_complete(tmp_path: Path) -> None:
    """Every agent gets a pair only its owner can read, and sees everybody's public key."""
    keys.create_curve(tmp_path, ["pads", "quasar"])
    own = keys.load_curve(tmp_path, "pads")
    other = keys.load_curve(tmp_path, "quasar")
    assert own.allowed()[other.public] == "quasar"
    assert own.peers["pads"] == (own.public,)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "curve").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "curve").stat().st_mode) == 0o700


def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """The error says which chmod mends it; a group may read (mounted secrets)."""
    keys.create_curve(tmp_path, ["pads"])
    path = tmp_path / "curve" / "pads.key"
    path.chmod(0o640)
    keys.load_curve(tmp_path, "pads")
    path.chmod(0o604)
    with pytest.raises(ConfigError, match=f"chmod o-rwx {path}"):
        keys.load_curve(tmp_path, "pads")


def test_new_keys_are_proposed_where_there_are_none(tmp_path: Path) -> None:
    """A folder in place of a key is no reason to make others, which `qts keys new` would refuse there."""
    keys.create_curve(tmp_path, ["pads"])
    path = tmp_path / "curve" / "pads.key"
    path.unlink()
    with pytest.raises(ConfigError, match="qts keys new"):
        keys.load_curve(tmp_path, "pads")
    path.mkdir()
    with pytest.raises(ConfigError, match=r"pads\.key: Is a directory$"):
        keys.load_curve(tmp_path, "pads")


@pytest.mark.parametrize("text", ["", "tooshort\n", "x" * 41])
def test_a_damaged_key_is_refused(tmp_path: Path, text: str) -> None:
    """A public key that is none names its file."""
    keys.create_curve(tmp_path, ["pads"])
    (tmp_path / "curve" / "quasar.pub").write_text(text)
    with pytest.raises(ConfigError, match=r"quasar\.pub"):
        keys.load_curve(tmp_path, "pads")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    """Without a key file the error names it."""
    with pytest.raises(ConfigError, match=r"pads\.key"):
        keys.load_curve(tmp_path, "pads")


def test_the_address_gets_the_agents_user_or_the_given_url(tmp_path: Path) -> None:
    """A password file logs in as the agent, at redis/url of an external server if that is there."""
    url = "redis://localhost:6379/0"
    assert login(url, None, "pads") == Login(url)
    password = keys.create_passwords(tmp_path, ["pads"])["pads"]
    assert login(url, tmp_path, "pads") == Login(f"redis://pads:{password}@localhost:6379/0", 1)
    assert login(url, tmp_path, "quasar") == Login(url)
    given = tmp_path / "redis" / "url"
    given.write_text("rediss://me:secret@far:6380\n")
    given.chmod(0o600)
    assert login(url, tmp_path, "quasar") == Login("rediss://me:secret@far:6380")
    assert login(url, tmp_path, "pads") == Login(f"rediss://pads:{password}@far:6380", 1)
    given.write_text("redis+sentinel://a:1,b:2/desk\n")
    assert login(url, tmp_path, "pads") == Login(f"redis+sentinel://pads:{password}@a:1,b:2/desk", 1)
    client = _sentinel("redis+sentinel://u%40x:p%2Fs@a:1,b:2/desk", {})
    held = client.connection_pool.connection_kwargs
    assert (held["username"], held["password"]) == ("u@x", "p/s")  # as redis:// takes them
    for wrong, words in (
        ("redis://a:99999", "expected HOST or HOST:PORT"),
        ("far:6380", "begins with redis://"),
    ):
        given.write_text(wrong)
        with pytest.raises(
            ConfigError, match=f"{given}: .*{words}.*; in a cluster .* spec.redis.urlSecretRef"
        ):
            login(url, tmp_path, "pads")


def test_generations_are_read_and_the_newest_key_comes_first(tmp_path: Path) -> None:
    """While keys change two are listed; what all peers are known by is the least of their newest."""
    keys.create_curve(tmp_path, ["pads", "quasar"])
    old = keys.load_curve(tmp_path, "pads")
    assert (old.generation, old.accepted) == (1, 1)
    public, secret = (key.decode() for key in zmq.curve_keypair())
    curve = tmp_path / "curve"
    (curve / "pads.pub").write_text(f"{old.public.decode()} 1\n{public} 2\n")
    assert keys.load_curve(tmp_path, "pads").accepted == 1
    (curve / "quasar.pub").write_text(f"{public} 2\n{old.peers['quasar'][0].decode()}\n")
    (curve / "pads.key").write_text(f"{secret} 2\n")
    new = keys.load_curve(tmp_path, "pads")
    assert (new.generation, new.accepted) == (2, 2)
    assert new.peers["pads"] == (public.encode(), old.public)
    keys.create_passwords(tmp_path, ["pads"])
    (tmp_path / "redis" / "pads.password").write_text("next 2\n")
    assert keys.load_password(tmp_path, "pads") == ("next", 2)


@pytest.mark.parametrize("line", ["x 0", "x two", "x 1 2", "x -1"])
def test_a_generation_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    """The error names the file."""
    with pytest.raises(ConfigError, match=r"pads\.password: .* generation"):
        keys.generation_of(line, tmp_path / "pads.password")


def test_the_spool_gives_back_in_order_and_frees_its_space(tmp_path: Path) -> None:
    """What is replayed leaves; an empty spool is an empty file, removed at the end."""
    path = tmp_path / "a.spool"
    spool = Spool(path)
    for n in range(5):
        spool.append("decisions", b"%d" % n)
    head = spool.head(3)
    assert head == [("decisions", b"%d" % n) for n in range(3)]
    spool.advance()
    spool.append("risks", b"5")
    rest = spool.head(10)
    assert [frame for _, frame in rest] == [b"3", b"4", b"5"]
    spool.advance()
    assert (len(spool), path.stat().st_size) == (0, 0)
    spool.close()
    assert not path.exists()


def test_the_spool_survives_a_kill(tmp_path: Path) -> None:
    """A next process finds what was written whole, and drops the record that was cut off."""
    path = tmp_path / "a.spool"
    spool = Spool(path)
    spool.append("decisions", b"first")
    spool.append("decisions", b"second")
    path.write_bytes(path.read_bytes()[:-3])
    again = Spool(path)
    assert again.head(10) == [("decisions", b"first")]
    again.append("decisions", b"third")
    assert [frame for _, frame in again.head(10)] == [b"first", b"third"]


def _two(path: Path) -> bytes:
    """Fill a spool with two messages and return its bytes."""
    spool = Spool(path)
    spool.append("decisions", b"first")
    spool.append("decisions", b"second")
    return path.read_bytes()


@pytest.mark.parametrize("left", [1, 9, 12, -5, -1])
def test_what_a_kill_leaves_is_no_damage(tmp_path: Path, left: int) -> None:
    """Wherever the last record is cut, and where a loss of power put zeros: nobody is told of a loss."""
    path = tmp_path / "a.spool"
    raw = _two(path)
    torn = raw[: len(raw) // 2 + left] if left > 0 else raw[:left]
    for rest in (torn, raw + bytes(64)):
        path.write_bytes(rest)
        spool = Spool(path)
        assert [frame for _, frame in spool.head(10)][:1] == [b"first"]
        assert (spool.lost, [p.name for p in tmp_path.iterdir()]) == ("", ["a.spool"])


def _flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes((raw[at] ^ 0x40,)) + raw[at + 1 :]


@pytest.mark.parametrize("at", range(29))
def test_a_damaged_spool_is_told_and_its_bytes_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int
) -> None:
    """Garbage was cut off without a word, and a changed byte of a message was sent: each byte is one of these."""
    path = tmp_path / "a.spool"
    raw = _two(path)
    first = raw.index(b"second") - len("decisions") - 10
    assert len(raw) - first == 29
    path.write_bytes(_flipped(raw, first + at))
    spool = Spool(path)
    assert spool.head(10) == [("decisions", b"first")]
    aside = tmp_path / "a.spool.bad"
    cut = f"29 bytes from byte {first} on in which no message can be found"
    one = f"damaged messages: 1, the first at byte {first}"
    told = f"are lost: {path}: {cut if at < 10 else one}; all others are sent; what is damaged is kept as {aside}"
    assert spool.lost.endswith(told)
    assert aside.read_bytes() == _flipped(raw, first + at)[first:]
    assert [r.levelname for r in caplog.records if told in r.message] == ["ERROR"]
    spool.append("decisions", b"third")
    assert [frame for _, frame in Spool(path).head(10)] == [b"first", b"third"]


def test_what_stands_behind_a_damaged_message_is_sent_once_and_in_order(tmp_path: Path) -> None:
    """A bit of the second of a thousand messages cost 999 of them: the lengths have their own checksum."""
    path = tmp_path / "a.spool"
    spool = Spool(path)
    for n in range(1000):
        spool.append("decisions", b"%04d" % n)
    raw = path.read_bytes()
    at = raw.index(b"0001")
    path.write_bytes(_flipped(raw, at))
    spool, sent = Spool(path), []
    while frames := spool.head(64):
        assert spool.head(64) == frames  # the store was away: asked again
        sent += [int(frame) for _, frame in frames]
        spool.advance()
        if len(sent) == 64:  # the process ends here, and its successor goes on
            spool.close()
            spool = Spool(path)
    assert sent == [0, *range(2, 1000)]
    assert path.stat().st_size == 0
    assert (tmp_path / "a.spool.bad").read_bytes() == _flipped(raw, at)[at - 19 : at + 8]


def test_who_is_killed_between_keeping_and_sending_loses_nothing_and_keeps_it_once(tmp_path: Path) -> None:
    """The damaged message stays in the file until those behind it are sent; each start finds it again."""
    path = tmp_path / "a.spool"
    spool = Spool(path)
    for n in (b"first", b"second", b"third", b"fourth"):
        spool.append("decisions", n)
    raw = path.read_bytes()
    raw = _flipped(_flipped(raw, raw.index(b"second")), raw.index(b"fourth") - 19)
    path.write_bytes(raw)
    for _ in range(3):  # killed before it has sent anything
        spool = Spool(path)
        assert [frame for _, frame in spool.head(10)] == [b"first", b"third"]
        kept = (tmp_path / "a.spool.bad").read_bytes()
        assert kept == raw[28:57] + raw[85:]
        assert "damaged messages: 1, the first at byte 28; " in spool.lost
    spool.advance()
    assert (len(spool), path.stat().st_size) == (0, 0)


def test_only_damaged_messages_hold_nobody_up(tmp_path: Path) -> None:
    """A spool in which nothing is left to send is empty, or all that comes later would wait behind it."""
    path = tmp_path / "a.spool"
    raw = _two(path)
    path.write_bytes(_flipped(_flipped(raw, raw.index(b"first")), raw.index(b"second")))
    spool = Spool(path)
    assert (spool.head(10), len(spool)) == ([], 0)
    assert "damaged messages: 2, the first at byte 0;" in spool.lost
    spool.append("decisions", b"third")  # where the first one stood
    path.write_bytes(_flipped(path.read_bytes(), 20))
    assert (spool.head(10), len(spool)) == ([], 0)
    assert "damaged messages: 3, the first at byte 0;" in spool.lost
    assert len((tmp_path / "a.spool.bad").read_bytes()) == len(raw) + 28


def test_bytes_of_several_damages_are_kept_as_far_as_there_is_room(tmp_path: Path) -> None:
    """The second took the place of the first; at the bound what is there stays, and the remedy is told."""
    path, aside = tmp_path / "a.spool", tmp_path / "a.spool.bad"
    for n in (b"one", b"two", b"six"):
        spool = Spool(path, limit=60)
        spool.append("decisions", n)
        raw = path.read_bytes()
        path.write_bytes(_flipped(raw, raw.index(n)))
        spool = Spool(path, limit=60)
        assert spool.head(1) == []
    assert (len(raw), len(aside.read_bytes())) == (26, 52)
    assert aside.read_bytes()[19:22] == _flipped(b"one", 0)
    assert aside.read_bytes()[45:48] == _flipped(b"two", 0)
    assert spool.lost.endswith(
        f"is kept as {aside}, but for the last 26 bytes of it: "
        "no room beside what is kept there already; move that file away"
    )


def test_what_somebody_else_wrote_behind_the_last_message_is_told(tmp_path: Path) -> None:
    """All messages are sent; what the other bytes were is not known."""
    path = tmp_path / "a.spool"
    path.write_bytes(_two(path) + b"no message at all")
    spool = Spool(path)
    assert [frame for _, frame in spool.head(10)] == [b"first", b"second"]
    assert "17 bytes from byte 57 on in which no message can be found" in spool.lost
    assert (tmp_path / "a.spool.bad").read_bytes() == b"no message at all"


def test_a_spool_that_is_damaged_while_it_is_used_holds_nobody_up(tmp_path: Path) -> None:
    """What cannot be read would have stood before all later messages for ever."""
    path = tmp_path / "a.spool"
    raw = _two(path)
    spool = Spool(path)
    path.write_bytes(_flipped(raw, len(raw) - 6))
    assert [frame for _, frame in spool.head(10)] == [b"first"]
    spool.advance()
    assert (spool.head(10), len(spool)) == ([], 0)
    assert "damaged messages: 1," in spool.lost
    spool.append("decisions", b"third")
    assert [frame for _, frame in spool.head(10)] == [b"third"]


def test_the_spool_keeps_its_rest_when_closed(tmp_path: Path) -> None:
    """An orderly end forgets only what was replayed."""
    path = tmp_path / "a.spool"
    spool = Spool(path)
    spool.append("decisions", b"1")
    spool.append("decisions", b"2")
    spool.head(1)
    spool.advance()
    spool.close()
    assert Spool(path).head(10) == [("decisions", b"2")]


def test_a_full_spool_says_so(tmp_path: Path) -> None:
    """The limit is kept before writing."""
    spool = Spool(tmp_path / "a.spool", limit=1000)
    assert spool.room(900)
    assert not spool.room(1000)


def test_what_finds_no_space_leaves_nothing_in_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record is there as a whole or not at all, and the next one has its place."""
    spool = Spool(tmp_path / "a.spool")
    spool.append("decisions", b"first")
    whole = spool._file

    class Full:
        """A file of which the disk takes three bytes more."""

        def __getattr__(self, name: str) -> Any:
            return getattr(whole, name)

        def write(self, record: bytes) -> int:
            return whole.write(record[:3])

    monkeypatch.setattr(spool, "_file", Full())
    with pytest.raises(OSError, match="No space left on device"):
        spool.append("decisions", b"second")
    monkeypatch.undo()
    spool.append("decisions", b"third")
    assert [frame for _, frame in spool.head(10)] == [b"first", b"third"]
    assert [frame for _, frame in Spool(tmp_path / "a.spool").head(10)] == [b"first", b"third"]


def test_books_are_read_back_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    """Each process and start has a file of its own below any of the folders."""
    record = Book("pads", 5, 1).record()
    books.write(tmp_path / "state", record)
    (tmp_path / "state" / "accounts-quasar-6.json").write_bytes(b'{"name": "qua')
    assert books.load([tmp_path, tmp_path / "state"]) == [record]
