"""Every reachable state of the pass obeys both laws, and the explorer sees what breaks them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from qts_operator import rotation, status, steps, writes
from qts_operator.plan import Apply, Delete
from qts_operator.stages import Stage

from . import model
from .explorer import SMALL, Explorer, Found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("budget", SMALL, ids=lambda b: "-".join(f"{v}" for v in b.values()))
def test_no_state_lies_and_every_state_comes_to_rest(budget: dict[str, int]) -> None:
    """Faults after any request, crashes anywhere, late watches, users and strangers in between."""
    explorer = Explorer(**budget)
    states = explorer.explore()
    print(f"{states} states, {explorer.runs} runs to rest: {budget}")
    assert states > 500
    assert explorer.runs == states


def _lying_status(patch: pytest.MonkeyPatch) -> None:
    """Whatever the writes came to, the generation counts as applied."""
    patch.setattr(writes.State, "complete", property(lambda _: True))


def _no_uid(patch: pytest.MonkeyPatch) -> None:
    """An apply goes to whatever has the name."""
    real = model._write

    def write(world, action):
        live = dict(world.objects).get(model._key(action))
        if isinstance(action, Apply | Delete) and action.uid is not None and live is not None:
            action = msgspec.structs.replace(action, uid=str(live.uid))
        return real(world, action)

    patch.setattr(model, "_write", write)


def _forgotten_write(patch: pytest.MonkeyPatch) -> None:
    """The last thing to do is left out."""
    real = steps.due
    patch.setattr(steps, "due", lambda *given: real(*given)[:-1])


def _status_before_writes(patch: pytest.MonkeyPatch) -> None:
    """The status is built from the look before the writes."""
    real = steps._checked
    patch.setattr(steps, "_checked", lambda state, fresh: real(state, state.snapshot))
    patch.setattr(steps, "_same_system", lambda state, fresh: steps._seen(state))
    build = status.build

    def early(facts):
        return build(msgspec.structs.replace(facts, state=writes.State(todo=())))

    patch.setattr(status, "build", early)


def _no_second_try(patch: pytest.MonkeyPatch) -> None:
    """A pass that was refused asks for no other."""
    patch.setattr(steps, "unfinished", lambda _: False)


def _no_waiting(patch: pytest.MonkeyPatch) -> None:
    """A change of passwords goes on before the pods have them."""
    patch.setitem(rotation.TAKEN, ("redis-auth", "Using"), lambda _: "")


def _stage_from_memory(patch: pytest.MonkeyPatch) -> None:
    """What a Secret says of itself is not asked: each change begins anew."""
    patch.setattr(rotation, "read", lambda _: Stage(1))


NONE = {"faults": 0, "crashes": 0, "changes": 0, "actors": 0}
#: an error, and what must be allowed to happen for it to show
MUTANTS = (
    (_lying_status, NONE | {"faults": 1}),
    (_no_uid, NONE | {"actors": 2}),
    (_forgotten_write, NONE),
    (_status_before_writes, NONE | {"faults": 1}),
    (_no_second_try, NONE | {"faults": 1}),
    (_no_waiting, NONE | {"rotation": 1}),
    (_stage_from_memory, NONE | {"rotation": 1}),
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("mutant", "budget"), MUTANTS, ids=[m.__name__.strip("_") for m, _ in MUTANTS])
def test_the_explorer_sees(
    mutant: Callable[[pytest.MonkeyPatch], None], budget: dict[str, int], monkeypatch
) -> None:
    """Each of these errors breaks a law in some reachable state; without it the same budget is clean."""
    mutant(monkeypatch)
    explorer = Explorer(**budget)
    with pytest.raises(Found):
        explorer.explore()
