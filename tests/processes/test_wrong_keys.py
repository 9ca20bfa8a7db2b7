"""Keys that do not match, over real wires: status says who refuses whom, and what is mended connects again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import zmq
from tests.loops import until
from tests.processes.stand import Stand

from qts_agents.bus_watch import BusWatch
from qts_agents.health import Health
from qts_messaging import keys
from qts_messaging.bus import Bus

pytestmark = pytest.mark.processes


def another(stand: Stand, *names: str) -> Path:
    """Return a copy of the secrets in which some names have other pairs."""
    folder, made = stand.folder / "other", stand.folder / "made"
    shutil.copytree(stand.secrets, folder)
    keys.create_curve(made, names)
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder


def reached(stand: Stand) -> bool:
    """Tell whether board and voter reach each other."""
    pads, qbmia = (stand.buses[name].wires.direct for name in ("pads", "qbmia"))
    return pads.reachable("qbmia") and qbmia.reachable("pads")


async def begin(stand: Stand, secrets: Path) -> None:
    """Start the server, a board, and a voter with secrets of its own."""
    stand.serve()
    stand.buses = {"pads": stand.bus("pads"), "qbmia": stand.bus("qbmia", secrets=secrets)}
    for bus in stand.buses.values():
        await bus.start()


async def at_odds(stand: Stand, whose: str) -> tuple[Bus, Bus, Path]:
    """Begin with another key of `whose` in the voter's secrets; return both sides once each says so."""
    secrets = another(stand, whose)
    await begin(stand, secrets)
    pads, qbmia = stand.buses["pads"], stand.buses["qbmia"]
    await until(
        lambda: bool(pads.refusals.keys.peers and pads.refusals.keys.strangers and qbmia.refusals.keys.peers),
        10.0,
    )
    return pads, qbmia, secrets


async def test_a_key_that_the_peers_do_not_know_is_told_by_both_sides(idle_stand: Stand) -> None:
    """Board and voter name each other; once the board has the voter's key they connect without a restart."""
    stand = idle_stand
    pads, qbmia, secrets = await at_odds(stand, "qbmia")
    health = Health("qbmia")
    BusWatch().look(qbmia, health, 0.0)
    assert health.troubles["keys"].startswith(
        "pads refuses the key of this process: its curve/*.pub must list"
    )
    assert pads.refusals.keys.peers[0].startswith(
        "qbmia is dialled with a key that it does not have: curve/qbmia.pub"
    )
    assert health.troubles["keys"].removesuffix("; Redis carries what goes there").endswith(keys.OF_FILES)
    assert pads.refusals.keys.peers[0].endswith(keys.OF_FILES)
    assert "somebody at 127.0.0.1 knocks" in pads.refusals.keys.strangers
    shutil.copy(secrets / "curve" / "qbmia.pub", stand.secrets / "curve" / "qbmia.pub")
    await until(lambda: reached(stand), 20.0)
    assert (pads.refusals.keys.peers, qbmia.refusals.keys.peers) == ((), ())
    BusWatch().look(qbmia, health, 0.0)
    assert "keys" not in health.troubles


async def test_a_wrong_key_of_a_peer_is_told_where_it_lies(idle_stand: Stand) -> None:
    """The voter dials the board with another key: its own row names the file, the board says that somebody does."""
    stand = idle_stand
    (stand.secrets / keys.MOUNTED).mkdir()  # a kubelet mounts them, both sides' as the voter's are a copy
    pads, qbmia, secrets = await at_odds(stand, "pads")
    assert qbmia.refusals.keys.peers[0].startswith(
        "pads is dialled with a key that it does not have: curve/pads.pub"
    )
    assert qbmia.refusals.keys.peers[0].endswith(keys.OF_OPERATOR)
    assert "another server key than its own" in pads.refusals.keys.strangers
    shutil.copy(stand.secrets / "curve" / "pads.pub", secrets / "curve" / "pads.pub")
    await until(lambda: reached(stand), 20.0)
    assert (pads.refusals.keys.peers, qbmia.refusals.keys.peers) == ((), ())


async def test_a_peer_that_ends_and_a_key_on_its_way_are_no_refusal(idle_stand: Stand) -> None:
    """Who is reached with one of two keys is reached; who leaves, and comes back, refuses nobody."""
    stand = idle_stand
    await begin(stand, stand.secrets)
    qbmia = stand.buses["qbmia"]
    await until(lambda: reached(stand), 10.0)
    listed = stand.secrets / "curve" / "pads.pub"
    listed.write_text(f"{listed.read_text().strip()} 1\n{zmq.curve_keypair()[0].decode()} 2\n")
    await until(lambda: len(qbmia.wires.direct._lines["pads"]) == 2, 10.0)  # type: ignore[attr-defined]
    await until(lambda: stand.buses["pads"].numbers().refused >= 6, 20.0)
    assert "while keys change it ends by itself" in stand.buses["pads"].refusals.keys.strangers
    assert qbmia.refusals.keys.peers == ()
    await stand.buses["pads"].close(0.0)
    await until(lambda: not qbmia.wires.direct.reachable("pads"), 10.0)
    assert qbmia.refusals.keys.peers == ()
