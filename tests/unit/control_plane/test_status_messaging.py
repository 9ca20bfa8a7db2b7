"""MessagingReady: when it is given which reason, in which words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.control_plane.systems import (
    ADMIT,
    HEARD,
    Cases,
    pods,
    seen,
    told,
)


def hears(**peers: Any) -> dict[str, Any]:
    """Return what PADS says when it hears these agents otherwise; None: it knows no such peer."""
    known = {k: v for k, v in (HEARD.peers | peers).items() if v is not None}
    return {"statusz": msgspec.structs.replace(HEARD, peers=known)}


SIMULATED = msgspec.structs.replace(HEARD, bus_mode="simulated", peers={})
MESSAGING: Cases = {
    "all": ({}, ("True", "AllHeard", "PADS hears every enabled agent")),
    "just heard": (
        hears(quasar={"state": "alive", "age_s": 14.9}),
        ("True", "AllHeard", "PADS hears every enabled agent"),
    ),
    "silent too long": (
        hears(quasar={"state": "alive", "age_s": 15.0}),
        ("False", "PeersSilent", "PADS does not hear quasar"),
    ),
    "never met": (hears(quantum_amos=None), ("False", "PeersSilent", "PADS does not hear amos")),
    "no word of a peer": (hears(quasar="alive"), ("False", "PeersSilent", "PADS does not hear quasar")),
    "one that is off": (
        {"spec": {"agents": {"amos": {"enabled": False}}}} | hears(quantum_amos=None),
        ("True", "AllHeard", "PADS hears every enabled agent"),
    ),
    "suspended": ({"spec": {"suspend": True}}, ("Unknown", "Suspended", "no agent runs")),
    "simulated": (
        {"statusz": SIMULATED},
        ("False", "Simulated", "spec.config.useRealMessaging is false: the pods do not hear each other"),
    ),
    "PADS not asked": ({"statusz": None}, ("Unknown", "StatusUnreachable", f"PADS cannot be asked{ADMIT}")),
    "PADS not ready": (
        {"statusz": None, "pods": [msgspec.structs.replace(p, ready=p.agent != "pads") for p in pods()]},
        ("Unknown", "StartingUp", "PADS is not ready yet"),
    ),
}


@pytest.mark.parametrize("case", MESSAGING)
def test_messaging_has_its_reason_and_its_words(case: str) -> None:
    """Whom PADS hears, as it says itself."""
    more, expected = MESSAGING[case]
    assert told(seen(**more), "MessagingReady") == expected
