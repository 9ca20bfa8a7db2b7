"""Key material: CURVE pairs as libzmq makes them, passwords, and what a Secret holds."""

from __future__ import annotations

import base64
import os

import pytest
import zmq

from qts_core import names
from qts_core.roster import ROSTER
from qts_operator.credentials import _BEGIN, NEEDED, curve, filled, public_of, redis, z85
from qts_operator.objects import desired


def test_z85_vector_of_the_specification() -> None:
    """The vector of ZeroMQ RFC 32."""
    assert z85(bytes.fromhex("864FD26FB559F75B")) == "HelloWorld"


@pytest.mark.parametrize("seed", range(8))
def test_public_keys_are_those_of_libzmq(seed: int) -> None:
    """Random secrets give the public key that libzmq derives."""
    secret = os.urandom(32) if seed else bytes(range(32))
    assert z85(public_of(secret)).encode() == zmq.curve_public(z85(secret).encode())


def test_every_workload_has_a_pair_and_a_password_of_its_own() -> None:
    """Nothing is shared, all passwords are long."""
    entropy = os.urandom(NEEDED)
    keys, passwords = curve(entropy), redis(entropy, "ns.s")
    assert len({keys[f"{w.wire}.key"] for w in ROSTER}) == len(ROSTER)
    assert {len(keys[f"{w.wire}.pub"]) for w in ROSTER} == {40}
    assert len({passwords[f"{w.wire}.password"] for w in ROSTER}) == len(ROSTER)
    assert min(len(passwords[f"{w.wire}.password"]) for w in ROSTER) == 64


def test_the_acl_file_names_each_user_and_no_password() -> None:
    """Users are the wire names; only hashes are written."""
    made = redis(os.urandom(NEEDED), "trading.desk-1")
    for workload in ROSTER:
        assert f"user {workload.wire} on" in made["users.acl"]
        assert made[f"{workload.wire}.password"] not in made["users.acl"]


def test_secrets_are_filled_by_name(frame_of) -> None:
    """Both Secrets of a system get their content in base64; a stranger's raises."""
    entropy = os.urandom(NEEDED)
    secrets = [m for m in desired(frame_of()) if m["kind"] == "Secret"]
    data = {m["metadata"]["name"]: filled(m, entropy)["data"] for m in secrets}
    assert base64.b64decode(data["desk-1-curve"]["pads.key"]).decode() == curve(entropy)["pads.key"]
    assert "users.acl" in data["desk-1-redis-auth"]
    stranger = secrets[0] | {"metadata": secrets[0]["metadata"] | {"name": "other"}}
    with pytest.raises(LookupError):
        filled(stranger, entropy)
    with pytest.raises(ValueError, match="random bytes"):
        filled(secrets[0], b"short")


def test_an_agent_that_a_rotation_before_an_upgrade_did_not_know_stops_none_of_it() -> None:
    """Its files are not there: the last steps are done for those that are, and it gets its own afterwards."""
    keys, passwords = curve(os.urandom(NEEDED)), redis(os.urandom(NEEDED), "ns.s")
    known = {name: f"{text} 1" for name, text in keys.items() if not name.startswith("sentiment.")}
    told = _BEGIN[(names.CURVE_SECRET, "Settled")](known, b"", 1, "ns.s")
    assert told
    assert "sentiment.pub" not in told
    known = {name: text for name, text in passwords.items() if name != "sentiment.password"}
    told = _BEGIN[(names.REDIS_SECRET, "Dropping")](known, b"", 1, "ns.s")
    assert "user pads on" in str(told["users.acl"])
    assert "user sentiment on" not in str(told["users.acl"])
