"""Key material from given random bytes: CURVE pairs (X25519, Z85) and Redis passwords. Pure.

The curve is RFC 7748 with the point 9, as libzmq has it; the alphabet is ZeroMQ RFC 32.
"""

from __future__ import annotations

import base64
from typing import Any

from qts_core import names
from qts_core.acl import users_acl
from qts_core.roster import ROSTER

_PRIME = 2**255 - 19
_A24 = 121665
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
#: random bytes that one Secret of each part needs
NEEDED = 32 * len(ROSTER)


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
    scalar = int.from_bytes(secret, "little")
    scalar = (scalar & ~7 & ~(1 << 255)) | (1 << 254)
    return _ladder(scalar, 9).to_bytes(32, "little")


def _ladder(scalar: int, u: int) -> int:
    """Multiply the point `u` by `scalar` on the Montgomery ladder."""
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for bit in range(254, -1, -1):
        now = scalar >> bit & 1
        if swap ^ now:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = now
        a, b = (x2 + z2) % _PRIME, (x2 - z2) % _PRIME
        aa, bb = a * a % _PRIME, b * b % _PRIME
        e = (aa - bb) % _PRIME
        da, cb = (x3 - z3) * a % _PRIME, (x3 + z3) * b % _PRIME
        x3, z3 = (da + cb) ** 2 % _PRIME, u * (da - cb) ** 2 % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + _A24 * e) % _PRIME
    if swap:
        x2, z2 = x3, z3
    return x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME


def curve(entropy: bytes) -> dict[str, str]:
    """Return `<wire>.key` and `<wire>.pub` of every workload; 32 bytes of `entropy` each."""
    files = {}
    for index, workload in enumerate(ROSTER):
        secret = entropy[32 * index : 32 * index + 32]
        files[f"{workload.wire}.key"] = z85(secret)
        files[f"{workload.wire}.pub"] = z85(public_of(secret))
    return files


def redis(entropy: bytes, system: str) -> dict[str, str]:
    """Return `<wire>.password` of every workload and `users.acl`; 32 bytes of `entropy` each."""
    passwords = {w.wire: entropy[32 * i : 32 * i + 32].hex() for i, w in enumerate(ROSTER)}
    files = {f"{wire}.password": password for wire, password in passwords.items()}
    return files | {"users.acl": users_acl(system, passwords)}


def filled(manifest: dict[str, Any], entropy: bytes) -> dict[str, Any]:
    """Return a Secret's manifest with its content; raise LookupError for a Secret that is not ours."""
    if len(entropy) < NEEDED:
        raise ValueError(f"{NEEDED} random bytes are needed, found {len(entropy)}")
    metadata = manifest["metadata"]
    system = metadata["labels"][names.LABEL_SYSTEM]
    if metadata["name"] == names.part(system, names.CURVE_SECRET):
        files = curve(entropy)
    elif metadata["name"] == names.part(system, names.REDIS_SECRET):
        files = redis(entropy, f"{metadata['namespace']}.{system}")
    else:
        raise LookupError(f"no content known for Secret {metadata['name']}")
    data = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    return manifest | {"data": data}
