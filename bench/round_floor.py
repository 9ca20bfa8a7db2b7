"""The floor of a decision round: four bare pyzmq processes with CURVE ask, echo a vote and store a decision.

Nobody computes anything and nothing is packed: what is left is sockets, CURVE, one XADD to a real server, and
waiting for a core, at the pace and with about the bytes of a real round.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import redis
import zmq
from bench import server
from zmq.auth import CURVE_ALLOW_ANY
from zmq.auth.thread import ThreadAuthenticator

VOTERS = 3
PATIENCE_MS = 10_000
SKIPPED = 10  # rounds in which connections are made


def sizes(symbols: int) -> tuple[int, int, int]:
    """Return the bytes of a request, a vote and a decision on so many symbols, as they are on our wires."""
    return 500 + 60 * symbols, 300 + 40 * symbols, 1_000 + 190 * symbols


def echo(vote: int) -> None:
    """Answer every request with `vote` bytes, whoever asks, for ever; print address and public key first."""
    context = zmq.Context()
    gate = ThreadAuthenticator(context)
    gate.start()
    gate.configure_curve(domain="*", location=CURVE_ALLOW_ANY)
    socket = context.socket(zmq.ROUTER)
    public, socket.curve_secretkey = zmq.curve_keypair()
    socket.curve_server = True
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    print(json.dumps({"port": port, "key": public.decode()}), flush=True)
    while True:
        caller, _ = socket.recv_multipart()
        socket.send_multipart([caller, b"v" * vote])


def ask(places: list[tuple[int, str]], store: int, load: tuple[int, float, int]) -> list[float]:
    """Return the ms of each of `rounds` rounds on `symbols`, begun at set times `interval_s` apart."""
    symbols, interval_s, rounds = load
    request, _, decision = sizes(symbols)
    context = zmq.Context()
    public, secret = zmq.curve_keypair()
    sockets = []
    for port, key in places:
        socket = context.socket(zmq.DEALER)
        socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = public, secret, key.encode()
        socket.rcvtimeo = PATIENCE_MS
        socket.connect(f"tcp://127.0.0.1:{port}")
        sockets.append(socket)
    taken, due = [], time.monotonic()
    with redis.Redis(port=store) as client:
        for _ in range(rounds + SKIPPED):
            due += interval_s
            time.sleep(max(0.0, due - time.monotonic()))
            begun = time.perf_counter()
            for socket in sockets:
                socket.send(b"q" * request)
            for socket in sockets:
                socket.recv()
            client.xadd("decisions", {"m": b"d" * decision}, maxlen=64)
            taken.append(1e3 * (time.perf_counter() - begun))
    return taken[SKIPPED:]


@contextlib.contextmanager
def echoes(symbols: int) -> Iterator[list[tuple[int, str]]]:
    """Run three processes that answer until the block ends; yield their ports and keys."""
    command = [sys.executable, "-m", "bench.round_floor", "echo", str(sizes(symbols)[1])]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(VOTERS)]
    try:
        told = [json.loads(each.stdout.readline()) for each in running if each.stdout is not None]
        yield [(place["port"], place["key"]) for place in told]
    finally:
        for each in running:
            each.kill()
            each.wait()


def floor(symbols: int, interval_s: float, rounds: int) -> list[float]:
    """Return the ms of each bare round, the asker in a process of its own like the echoes."""
    load = json.dumps((symbols, interval_s, rounds))
    with server.running() as store, echoes(symbols) as places:
        command = [sys.executable, "-m", "bench.round_floor", "ask", json.dumps(places), str(store), load]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: list[float] = json.loads(told.stdout)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        echo(int(sys.argv[2]))
    else:
        print(json.dumps(ask(json.loads(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))))
