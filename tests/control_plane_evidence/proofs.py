"""What shows a requirement: a command, what it needs, and how its numbers are read. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

#: what a proof needs: python; nodes: $KUBECONFIG with nodes that kwok plays; server: one whose
#: components may be stopped too; pods: real nodes with the images loaded, as .ci/cluster makes them;
#: images: buildah, and $PYTHON_IMAGE names the base
Need = Literal["python", "nodes", "server", "pods", "images"]
UNIT, CLUSTER = "tests/unit/control_plane", "tests/cluster"
CONTROL, CRASHES = f"{CLUSTER}/test_control_plane.py", f"{CLUSTER}/test_crashes.py"
CAMPAIGN = "python -m tests.control_plane_campaign.campaign"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A command from the root of the tree; `reads` names how its numbers are read from what it prints.

    Rows that share a command tell different things by it: `about` are words of which the names of a row's numbers
    hold one; without any, all are its.
    """

    command: str
    reads: str = "tests"
    needs: Need = "python"
    short: str = ""  # CI's form; "" = CI runs the same, "-" = CI runs none
    limit_s: int = 600
    within_s: float = float("inf")  # what the acceptance gives it
    about: tuple[str, ...] = ()

    def concerns(self, number: str) -> bool:
        """Tell whether a number of this name belongs to the row."""
        return not self.about or any(word in number for word in self.about)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement; `missing` is what of the acceptance no proof shows."""

    number: int
    requirement: str
    acceptance: str
    tier: str
    proofs: tuple[Proof, ...]
    missing: str = ""


def pytest_of(
    *names: str, needs: Need = "python", short: str = "", limit_s: int = 600, given: str = ""
) -> Proof:
    """Return the proof that tests are: files, or one test of a file as file::name."""
    marks = "" if needs == "python" else "-m cluster "
    command = f"{given}python -m pytest -q -p no:randomly {marks}{' '.join(names)}"
    return Proof(command=command, needs=needs, short=short, limit_s=limit_s)


def about(proof: Proof, *words: str) -> Proof:
    """Return a command that other rows tell of too, as a row tells it: by the numbers that hold a word of these."""
    return msgspec.structs.replace(proof, about=words)


#: the operator, chart and definition of commits that render older templates than any release
EARLIER = pytest_of(f"{CLUSTER}/test_earlier_commits.py", needs="nodes", limit_s=900)
WALK = pytest_of(f"{CLUSTER}/test_walk.py", needs="pods", limit_s=1500)
