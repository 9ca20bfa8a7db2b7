"""`qts keys redis`: a password for each agent, and the list by which a server proves who speaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from qts_cli.keys import redis
from qts_core.acl import users_acl
from qts_core.errors import ConfigError
from qts_core.roster import ROSTER
from qts_messaging.redis_connection import Login, login


def test_the_files_are_what_agents_and_server_read(tmp_path: Path) -> None:
    """Each agent logs in by its file; the list holds the hashes of these passwords; nobody else may read them."""
    folder = tmp_path / "made"
    assert redis("trading.desk", folder) == 0
    files = {path.name for path in (folder / "redis").iterdir()}
    assert files == {f"{w.wire}.password" for w in ROSTER} | {"users.acl"}
    words = {w.wire: (folder / "redis" / f"{w.wire}.password").read_text().strip() for w in ROSTER}
    assert (folder / "redis" / "users.acl").read_text() == users_acl("trading.desk", words)
    assert not [path for path in (folder / "redis").iterdir() if path.stat().st_mode & 0o077]
    for name, word in words.items():
        assert login("redis://far", folder, name) == Login(f"redis://{name}:{word}@far", 1)


@pytest.mark.parametrize("name", ["desk", ".desk", "trading.", "Trading.desk", "trading.desk ~* +@all"])
def test_a_name_that_no_system_has_is_refused(tmp_path: Path, name: str) -> None:
    """The list would lock every agent of the real system out, or let one do more than it may."""
    with pytest.raises(ConfigError, match=r"expected NAMESPACE\.NAME"):
        redis(name, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A second time is refused."""
    redis("trading.desk", tmp_path)
    before = {path: path.read_text() for path in (tmp_path / "redis").iterdir()}
    with pytest.raises(ConfigError, match="exists already"):
        redis("trading.desk", tmp_path)
    assert before == {path: path.read_text() for path in (tmp_path / "redis").iterdir()}
