"""CEL of the optional ValidatingAdmissionPolicy: limits of a house, which the definition cannot know."""

from __future__ import annotations

from qts_core.roster import AGENTS


def gpus(of: str) -> str:
    """Return a CEL expression: how many GPUs the system `of` asks for.

    An agent that says nothing of `gpu` asks for none; what stands beside a given field is filled in already.
    """
    counted = [
        f"({of}.spec.?agents.?{w.name}.?gpu.?mode.orValue('None') != 'None'"
        f" && {of}.spec.agents.{w.name}.enabled"
        f" ? {of}.spec.agents.{w.name}.gpu.count * {of}.spec.agents.{w.name}.replicas : 0)"
        for w in AGENTS
        if w.gpu
    ]
    return " + ".join(counted)


def limits() -> dict[str, str]:
    """Return the policy's variables by name; a system may always ask for no more than it did."""
    return {
        "asked": gpus("object"),
        "before": f"oldObject == null ? 0 : {gpus('oldObject')}",
    }
