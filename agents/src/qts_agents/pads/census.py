"""How often each override, style, caution, alert and phase change came up in a journal (pure)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec
import numpy as np

from qts_agents.columns import array
from qts_agents.kernels.outcomes import CLASSES, UNRESOLVED
from qts_agents.pads import veto
from qts_agents.pads.records import AlertBody, Entry, OutcomeBody, RoundBody, TransitionBody, body
from qts_messaging.records import Decision

EQUAL = 1e-9
Census = dict[str, Counter[str]]


def census(entries: Iterable[Entry]) -> Census:
    """Return kind → name → count; rows are symbols of rounds, phases and regimes are counted by round."""
    found: Census = defaultdict(Counter)
    for entry in entries:
        if entry.kind == "round":
            _round(found, body(entry, RoundBody))
        elif entry.kind == "alert":
            heard = body(entry, AlertBody)
            advice = f", {heard.advice}" if heard.advice else ""
            found["alerts"][f"{heard.alert.alert_type} of {heard.alert.sender}: {heard.why}{advice}"] += 1
        elif entry.kind == "transition":
            judged = body(entry, TransitionBody)
            change = judged.transition
            fate = f"rejected by rule {judged.rule}" if judged.rule else "announced"
            found["transitions"][f"{change.old_phase} → {change.new_phase} by {change.source}: {fate}"] += 1
        elif entry.kind == "outcome":
            known = array(body(entry, OutcomeBody).feedback.outcome)
            found["outcomes"].update(CLASSES[int(y)] for y in known[known != UNRESOLVED])
    return dict(found)


def _round(found: Census, kept: RoundBody) -> None:
    decision = msgspec.msgpack.decode(kept.decision, type=Decision)
    columns = {name: array(kept.columns[name]) for name in ("fired", "override", "biased")}
    found["rounds"][kept.outcome] += 1
    found["phases"][decision.phase] += 1
    found["regimes"][kept.regime] += 1
    found["actions"].update(decision.actions[int(x)] for x in array(decision.action))
    found["reasons"].update(decision.reasons[int(x)] for x in array(decision.reason))
    styles = [decision.styles[int(x)] for x in array(decision.style)]
    found["styles"].update(styles)
    said = zip(styles, columns["fired"], columns["override"], strict=True)
    found["spoke"].update("override" if over else style if fired else "pool" for style, fired, over in said)
    found["overrides"].update(kept.overrides[int(x)] for x in columns["override"] if x)
    for bits in array(decision.veto):
        found["cautions"].update(veto.named(int(bits)))
    if _caught(kept, decision):
        found["caps"]["barbell"] += 1
    found["remembered"].update(kept.panarchy.get("remembered", ()))
    found["prospect"]["disagrees with the expected value"] += int(np.count_nonzero(columns["biased"]))
    if kept.psi < 1.0:
        found["alert factor"][_tenth(kept.psi)] += 1


def _caught(kept: RoundBody, decision: Decision) -> bool:
    """Tell whether entries filled all that the barbell leaves, which is where it scales them down to."""
    size, factors = array(decision.size), array(kept.columns["factors"])
    held = float(np.abs(array(kept.columns["exposure"]) + size).sum())
    shrunk = np.abs(size) < factors.prod(axis=1) * (1.0 - EQUAL)
    return abs(held - (1.0 - kept.safe)) < EQUAL and bool((shrunk & (size != 0.0)).any())


def _tenth(psi: float) -> str:
    """Return the tenth that ψ lies in."""
    low = int(psi * 10.0)
    return f"{low / 10.0:.1f} to {(low + 1) / 10.0:.1f}"
