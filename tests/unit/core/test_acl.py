"""The text of the access list."""

from __future__ import annotations

import hashlib

from qts_core.acl import RELOADER, users_acl
from qts_messaging.redis_names import RedisNames, writer


def test_each_agent_may_use_its_systems_keys_and_channels_only() -> None:
    """One line a user, default off, hashes instead of passwords, the prefix of one system."""
    text = users_acl("ns.desk", {"pads": "canary-1", "quasar": ["canary-2", "canary-3"]})
    default, pads, quasar = text.splitlines()
    assert default.startswith("user default off")
    assert "%R~qts:{ns.desk}:* ~qts:{ns.desk}:*@pads &qts:{ns.desk}:*@pads -@all" in pads
    assert "+xtrim" in pads.split("(")[1]
    assert "xtrim" not in quasar
    assert "canary" not in text
    hashes = ["#" + hashlib.sha256(p.encode()).hexdigest() for p in ("canary-2", "canary-3")]
    assert [word for word in quasar.split() if word.startswith("#")] == hashes


def test_the_reloader_may_reload_and_nothing_else() -> None:
    """The side container's user sees no key and no channel."""
    line = users_acl("s", {RELOADER: "x"}).splitlines()[1]
    assert "+acl|load" in line
    assert "~" not in line.replace("resetkeys", "")
    assert "+@" not in line


def test_the_text_is_the_same_for_the_same_passwords() -> None:
    """The order of the mapping does not matter, so nothing is rewritten without need."""
    assert users_acl("s", {"a": "1", "b": "2"}) == users_acl("s", {"b": "2", "a": "1"})


def test_what_is_subscribed_to_is_granted_letter_by_letter() -> None:
    """The server compares patterns as text: those of the wire must stand in the list, and no others."""
    line = users_acl("ns.desk", {"quasar": "x"}).splitlines()[1]
    granted = line.rpartition("(")[2].removesuffix(")").split()
    heard = RedisNames("ns.desk", "quasar").heard
    assert granted == [*(f"&{pattern}" for pattern in heard), "+psubscribe"]


def test_who_writes_is_read_from_the_name() -> None:
    """The last "@" counts: the access list fixes what is after it, not what is before."""
    names = RedisNames("ns.desk", "quasar")
    written = (names.channel("market"), names.stream("quasar"), names.dead, names.channel("to.x@pads"))
    assert [writer(name.encode()) for name in written] == ["quasar"] * 4
    assert (writer(names.market), writer("qts:{s}:market"), writer(b"\xff@a")) == ("market", "", "a")
