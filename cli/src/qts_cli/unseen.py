"""Secrets that were not looked at, taken to be as the resource wants them: nothing is said of them. Pure."""

from __future__ import annotations

from typing import Any

from qts_core import names
from qts_core.acl import RELOADER
from qts_core.roster import ROSTER
from qts_operator import rotation
from qts_operator.look import SECRETS
from qts_operator.resolve import spec_of
from qts_operator.snapshot import Child
from qts_operator.stages import Stage


def secrets(namespace: str, name: str, uid: str, tree: dict[str, Any]) -> dict[tuple[str, str], Child]:
    """Return the Secrets of a system by kind and name; ConfigError when its spec cannot be read."""
    spec, found = spec_of(tree), {}
    for part in SECRETS:
        secret = names.part(name, part)
        found[("Secret", secret)] = Child(
            kind="Secret",
            namespace=namespace,
            name=secret,
            uid="",
            version="",
            owner_uid=uid,
            holders=",".join([*(w.wire for w in ROSTER), RELOADER]),
            credentials=Stage(rotation.generation(spec, part)).text(),
        )
    return found
