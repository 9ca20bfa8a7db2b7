"""The text of the access list."""

from __future__ import annotations

import hashlib

from qts_core.acl import RELOADER, users_acl


def test_each_agent_may_use_its_systems_keys_and_channels_only() -> None:
    """One line a user, default off, hashes instead of passwords, the prefix of one system."""
    text = users_acl("ns.desk", {"pads": "canary-1", "quasar": ["canary-2", "canary-3"]})
    default, pads, quasar = text.splitlines()
    assert default.startswith("user default off")
    assert "~qts:{ns.desk}:* &qts:{ns.desk}:* -@all" in pads
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
