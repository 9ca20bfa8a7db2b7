"""The ACL file of a system's Redis: one user an agent, which writes under its own name only (pure).

Every key and channel ends with "@" and the name of who writes it. An agent reads all of its system, writes
what ends with its own name, and on the streams of others takes, claims and acknowledges entries of its group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from qts_core.names import WRITER_MARK, redis_heard, redis_prefix

#: the user of the side container that reloads this file; it may do nothing else
RELOADER = "acl"
#: who cuts streams that have grown too long, its own and those of others
TRIMMER = "pads"
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
    lines = ["user default off resetpass resetkeys resetchannels -@all"]
    for name in sorted(passwords):
        given = passwords[name]
        secrets = (given,) if isinstance(given, str) else tuple(given)
        hashes = " ".join("#" + hashlib.sha256(secret.encode()).hexdigest() for secret in secrets)
        rights = _RELOADER if name == RELOADER else _agent(system, name)
        lines.append(f"user {name} on resetpass {hashes} resetkeys resetchannels {rights}")
    return "\n".join(lines) + "\n"


def _agent(system: str, name: str) -> str:
    """Return the rights of one agent; each selector in parentheses stands for itself.

    A pattern is granted letter by letter to PSUBSCRIBE, and would grant PUBLISH too outside of a selector.
    """
    prefix = redis_prefix(system)
    own, streams = f"{prefix}*{WRITER_MARK}{name}", f"{prefix}durable{WRITER_MARK}*"
    heard = " ".join(f"&{pattern}" for pattern in redis_heard(system, name))
    group = "+xreadgroup +xclaim +xack +xgroup|create" + (" +xtrim" if name == TRIMMER else "")
    return f"%R~{prefix}* ~{own} &{own} {_AGENT} (~{streams} {group}) ({heard} +psubscribe)"
