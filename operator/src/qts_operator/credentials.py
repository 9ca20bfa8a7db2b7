"""Key material from given random bytes: CURVE pairs (X25519, Z85) and Redis passwords, by generation. Pure.

The curve is RFC 7748 with the point 9, as libzmq has it; the alphabet is ZeroMQ RFC 32.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from qts_core import names
from qts_core.acl import RELOADER, users_acl
from qts_core.roster import ROSTER
from qts_operator.stages import Stage, read

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
#: who has a password: every workload, and the side container of Redis
USERS = (*(w.wire for w in ROSTER), RELOADER)
#: random bytes that one Secret of each part needs
NEEDED = 32 * len(USERS)
#: the end of a file that no pod mounts: what is used from the next stage on
NEXT = ".next"
Files = dict[str, str]
Changes = dict[str, str | None]  # None: the file goes


def z85(data: bytes) -> str:
    """Return 5 characters for each 4 bytes."""
    if len(data) % 4:
        raise ValueError(f"Z85 needs a multiple of 4 bytes, found {len(data)}")
    text = []
    for start in range(0, len(data), 4):
        number = int.from_bytes(data[start : start + 4], "big")
        text += [_Z85[number // 85**power % 85] for power in (4, 3, 2, 1, 0)]
    return "".join(text)


def public_of(secret: bytes) -> bytes:
    """Return the X25519 public key of 32 secret bytes (RFC 7748, section 5)."""
    if len(secret) != 32:
        raise ValueError(f"a secret key has 32 bytes, found {len(secret)}")
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def curve(entropy: bytes, generation: int = 1) -> Files:
    """Return `<wire>.key` and `<wire>.pub` of every workload; 32 bytes of `entropy` each."""
    files = {}
    for workload, (secret, public) in _pairs(entropy).items():
        files[f"{workload}.key"] = _line(secret, generation)
        files[f"{workload}.pub"] = _line(public, generation)
    return files


def redis(entropy: bytes, system: str, generation: int = 1) -> Files:
    """Return `<user>.password` of every user and `users.acl`; 32 bytes of `entropy` each."""
    passwords = _passwords(entropy)
    files = {f"{user}.password": _line(password, generation) for user, password in passwords.items()}
    return files | {"users.acl": users_acl(system, passwords)}


def _pairs(entropy: bytes) -> dict[str, tuple[str, str]]:
    secrets = {w.wire: entropy[32 * i : 32 * i + 32] for i, w in enumerate(ROSTER)}
    return {wire: (z85(secret), z85(public_of(secret))) for wire, secret in secrets.items()}


def _passwords(entropy: bytes) -> dict[str, str]:
    return {user: entropy[32 * i : 32 * i + 32].hex() for i, user in enumerate(USERS)}


def _line(secret: str, generation: int) -> str:
    """Return a file's line; generation 1 is not written: what was made before rotation is the same."""
    return secret if generation == 1 else f"{secret} {generation}"


def _curve_accepting(files: Files, entropy: bytes, generation: int, _: str) -> Changes:
    """Publish the new public keys beside the old; who had none has the new pair at once."""
    changes: Changes = {}
    for wire, (secret, public) in _pairs(entropy).items():
        former = files.get(f"{wire}.pub")
        line = _line(public, generation)
        changes[f"{wire}.pub"] = line if former is None else f"{line}\n{former.strip()}"
        changes[f"{wire}.key" if former is None else f"{wire}{NEXT}"] = _line(secret, generation)
    return changes


def _curve_using(files: Files, _: bytes, __: int, ___: str) -> Changes:
    """Put the new keys in the place of the old."""
    return _moved(files, "key")


def _curve_settled(files: Files, _: bytes, generation: int, __: str) -> Changes:
    """Drop the old public keys."""
    kept: Changes = {}
    for name in (f"{w.wire}.pub" for w in ROSTER):
        if name not in files:  # an agent that the operator of before did not know; it gets its own next
            continue
        mine = [line for line in files[name].splitlines() if line.endswith(f" {generation}")]
        if not mine:
            raise LookupError(f"generation {generation} in {name}")
        kept[name] = mine[0]
    return kept


def _redis_accepting(files: Files, entropy: bytes, generation: int, system: str) -> Changes:
    """Let Redis take the new passwords beside the old; who had none has the new one at once."""
    changes: Changes = {}
    valid: dict[str, list[str]] = {}
    for user, password in _passwords(entropy).items():
        former = files.get(f"{user}.password")
        valid[user] = [password] if former is None else [former.partition(" ")[0], password]
        name = f"{user}.password" if former is None else f"{user}{NEXT}"
        changes[name] = _line(password, generation)
    return changes | {"users.acl": users_acl(system, valid)}


def _redis_using(files: Files, _: bytes, __: int, ___: str) -> Changes:
    """Put the new passwords in the place of the old."""
    return _moved(files, "password")


def _redis_dropping(files: Files, _: bytes, __: int, system: str) -> Changes:
    """Let Redis forget the old passwords."""
    known = {u: files[f"{u}.password"].split()[0] for u in USERS if f"{u}.password" in files}
    return {"users.acl": users_acl(system, known)}


def _redis_settled(_: Files, __: bytes, ___: int, ____: str) -> Changes:
    """Change nothing: the last file was written before."""
    return {}


def _moved(files: Files, end: str) -> Changes:
    changes: Changes = {}
    for name in sorted(files):
        if name.endswith(NEXT):
            changes |= {f"{name.removesuffix(NEXT)}.{end}": files[name], name: None}
    if not changes:
        raise LookupError(NEXT)
    return changes


#: what a Secret's files become when a stage begins, from the files of the stage before
_BEGIN: dict[tuple[str, str], Callable[[Files, bytes, int, str], Changes]] = {
    (names.CURVE_SECRET, "Accepting"): _curve_accepting,
    (names.CURVE_SECRET, "Using"): _curve_using,
    (names.CURVE_SECRET, "Settled"): _curve_settled,
    (names.REDIS_SECRET, "Accepting"): _redis_accepting,
    (names.REDIS_SECRET, "Using"): _redis_using,
    (names.REDIS_SECRET, "Dropping"): _redis_dropping,
    (names.REDIS_SECRET, "Settled"): _redis_settled,
}


def filled(manifest: dict[str, Any], entropy: bytes) -> dict[str, Any]:
    """Return a Secret's manifest with its content; raise LookupError for a Secret that is not ours."""
    part, system, stage = _about(manifest, entropy)
    if part == names.CURVE_SECRET:
        files = curve(entropy, stage.generation)
    else:
        files = redis(entropy, system, stage.generation)
    return _noted(manifest, files) | {"data": {name: _encoded(text) for name, text in files.items()}}


def advanced(manifest: dict[str, Any], data: Mapping[str, str], entropy: bytes) -> dict[str, Any]:
    """Return the merge patch that takes a Secret with `data` to the stage of its manifest.

    Raises LookupError naming the file when one that the step needs is missing.
    """
    part, system, stage = _about(manifest, entropy)
    files = {name: base64.b64decode(text).decode() for name, text in data.items()}
    changes = _BEGIN[(part, stage.phase)](files, entropy, stage.generation, system)
    written = {name: text for name, text in changes.items() if text is not None}
    metadata = {"annotations": _noted(manifest, files | written)["metadata"]["annotations"]}
    return {
        "metadata": metadata,
        "data": {name: None if text is None else _encoded(text) for name, text in changes.items()},
    }


def fingerprint(acl: str) -> str:
    """Return what tells one access list from another; the side container of Redis says it of its own."""
    return hashlib.sha256(acl.encode()).hexdigest()[:16]


def _about(manifest: dict[str, Any], entropy: bytes) -> tuple[str, str, Stage]:
    """Return the Secret's part, the system's name in Redis, and the stage; LookupError for a stranger's."""
    if len(entropy) < NEEDED:
        raise ValueError(f"{NEEDED} random bytes are needed, found {len(entropy)}")
    metadata = manifest["metadata"]
    system = metadata["labels"][names.LABEL_SYSTEM]
    found = [p for p in (names.CURVE_SECRET, names.REDIS_SECRET) if metadata["name"] == names.part(system, p)]
    if not found:
        raise LookupError(f"no content known for Secret {metadata['name']}")
    stage = read(metadata["annotations"].get(names.ANNOTATION_CREDENTIALS, ""))
    return found[0], f"{metadata['namespace']}.{system}", stage


def _noted(manifest: dict[str, Any], files: Files) -> dict[str, Any]:
    """Return the manifest with the fingerprint of its access list, where it has one."""
    if "users.acl" not in files:
        return manifest
    notes = manifest["metadata"]["annotations"] | {names.ANNOTATION_ACL: fingerprint(files["users.acl"])}
    return manifest | {"metadata": manifest["metadata"] | {"annotations": notes}}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
