"""The ACL file of a system's Redis: one user an agent, its keys and channels only (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from qts_core.names import redis_prefix

#: the user of the side container that reloads this file; it may do nothing else
RELOADER = "acl"
#: @read would show the key names of other systems by SCAN and RANDOMKEY; INFO is @dangerous, hence last
_AGENT = (
    "-@all +@read +@write +@stream +@pubsub +@connection -@dangerous -scan -randomkey -dbsize"
    " -pubsub|channels +info +time"
)
_RELOADER = "-@all +acl|load +acl|whoami +ping +auth +hello +client|setinfo"


def users_acl(system: str, passwords: Mapping[str, str | Sequence[str]]) -> str:
    """Return the text of an ACL file (Valkey, Redis >= 7) for `passwords` by wire name.

    Several passwords of one user are generations that are valid at once. Only hashes are written.
    """
    prefix = redis_prefix(system)
    lines = ["user default off resetpass resetkeys resetchannels -@all"]
    for name in sorted(passwords):
        given = passwords[name]
        secrets = (given,) if isinstance(given, str) else tuple(given)
        hashes = " ".join("#" + hashlib.sha256(secret.encode()).hexdigest() for secret in secrets)
        rights = _RELOADER if name == RELOADER else f"~{prefix}* &{prefix}* {_AGENT}"
        lines.append(f"user {name} on resetpass {hashes} resetkeys resetchannels {rights}")
    return "\n".join(lines) + "\n"
