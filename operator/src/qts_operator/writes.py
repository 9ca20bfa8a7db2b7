"""The writes of a pass as a step machine: (state, response) → state, and the request that follows. Pure.

Writes go in order; a refused object does not hold back the others; a namespace on its way out ends them, as
do a stale view and an unwell server, which ask for another pass.
"""

from __future__ import annotations

import msgspec

from qts_core import names
from qts_operator.behind import fields_of
from qts_operator.plan import Action, Apply, Create, Delete, HandOver, Refuse, Rotate, Wait
from qts_operator.snapshot import Finding

NAMED = 3  # fields of one object
UNTYPED = "failed to create typed patch object ("  # how the server begins where a field is not in its schema
LEAVING = "NamespaceTerminating"  # the reason of a finding, below


class Done(msgspec.Struct, frozen=True):
    """The server did it."""

    version: str = ""  # that an object which is watched has now
    altered: tuple[str, ...] = ()  # paths that the server did not keep, told once


class Taken(msgspec.Struct, frozen=True):
    """An object of this name is there and belongs to somebody else."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The server said no; code 0: it did not answer."""

    code: int
    reason: str = ""
    message: str = ""
    field: str = ""
    retry_after: float | None = None  # seconds that the server wants to be left alone


Response = Done | Taken | Failed


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where the writes stand."""

    todo: tuple[Action, ...]
    findings: tuple[Finding, ...] = ()
    writes: int = 0
    stale: bool = False  # the view was old: look again soon
    unwell: str = ""  # the server is: try again later, with back-off
    retry_after: float | None = None
    waiting: bool = False  # something must go first
    altered: tuple[str, ...] = ()  # what the server did not keep, a sentence for each object

    @property
    def complete(self) -> bool:
        """Tell whether everything that was planned is done."""
        return not (self.todo or self.findings or self.stale or self.unwell or self.waiting)


def begin(actions: list[Action]) -> State:
    """Return the state before the first write."""
    refused = tuple(_taken(a.kind, a.name, a.orphan) for a in actions if isinstance(a, Refuse))
    waiting = any(isinstance(a, Wait) for a in actions)
    todo = tuple(a for a in actions if isinstance(a, Apply | Create | Rotate | HandOver | Delete))
    return State(todo=todo, findings=refused, waiting=waiting)


def request(state: State) -> Action | None:
    """Return what to send next, None when the writes are over."""
    return None if state.stale or state.unwell or not state.todo else state.todo[0]


def step(state: State, response: Response) -> State:
    """Take the answer to the first action of `todo`."""
    action, rest = state.todo[0], state.todo[1:]
    kind, name = identity(action)
    moved = msgspec.structs.replace(state, todo=rest)
    match response:
        case Done(altered=paths):
            told = (_altered(kind, name, paths),) if paths else ()
            return msgspec.structs.replace(moved, writes=state.writes + 1, altered=(*state.altered, *told))
        case Taken():
            return msgspec.structs.replace(moved, findings=(*state.findings, _taken(kind, name)))
        case Failed(code=404) if isinstance(action, Delete):
            return moved
        case Failed(code=404 | 409 | 410):
            return msgspec.structs.replace(state, stale=True)
        case Failed(code=422, reason="Conflict"):
            return msgspec.structs.replace(state, stale=True)
        case Failed(code=code) if code in (400, 403, 422) or _mistyped(response):
            finding = _refusal(response, action)
            # a namespace on its way out takes nothing, so nothing more is tried
            left = () if finding.reason == LEAVING else (*_number(action), *rest)
            return msgspec.structs.replace(state, todo=left, findings=(*state.findings, finding))
        case Failed(code=code, message=message):
            text = message or f"no answer to {kind}/{name} ({code})"
            return msgspec.structs.replace(state, unwell=text, retry_after=response.retry_after)


def identity(action: Action) -> tuple[str, str]:
    """Return kind and name of what the action is about."""
    if isinstance(action, Apply | Create | Rotate):
        return action.manifest["kind"], action.manifest["metadata"]["name"]
    return action.kind, action.name


def _number(refused: Action) -> tuple[Action, ...]:
    """Return what sets a Deployment's replicas alone: to stop or to start again needs no new template."""
    if not isinstance(refused, Apply) or refused.replicas is None or refused.uid is None:
        return ()
    told = refused.manifest["metadata"]
    namespace, name, notes = told["namespace"], told["name"], told["annotations"]
    parked = notes.get(names.ANNOTATION_REPLICAS_BEFORE_SUSPEND, "")
    count = refused.replicas
    return (HandOver(namespace=namespace, name=name, uid=refused.uid, replicas=count, parked=parked),)


def _altered(kind: str, name: str, paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    listed = f"{', '.join(paths[:NAMED])}{more}"
    return f"{kind}/{name}: the server did not keep {listed}; it is left so until somebody changes it"


def _taken(kind: str, name: str, orphan: str = "") -> Finding:
    text = f"{kind}/{name} exists and does not belong to this resource; rename one of them"
    if orphan:
        left = f"delete this resource, then what has the label {orphan}, and make it again"
        text += f"; or, if an earlier one left it (--cascade=orphan): {left}"
    return Finding(reason="NameTaken", message=text)


def lacks_right(failed: Failed) -> bool:
    """Tell a missing right from the other things that the server answers with 403: a quota, an admission
    check, a namespace on its way out. The sentence is that of the server's authorizer."""
    return failed.code == 403 and 'User "' in failed.message and " cannot " in failed.message


def _mistyped(failed: Failed) -> bool:
    """Tell a field that the server's schema has not, as in an affinity: it answers 500 for ever."""
    return failed.code == 500 and failed.message.startswith(UNTYPED)


def over_quota(told: str) -> bool:
    """Tell a quota from what else keeps objects from being made, in the server's words."""
    return "exceeded quota" in told


def _refusal(failed: Failed, action: Action) -> Finding:
    kind, name = identity(action)
    if failed.code == 403 and over_quota(failed.message):
        return Finding(reason="QuotaExceeded", message=failed.message, condition="Scheduled")
    if failed.code == 403 and "is being terminated" in failed.message:
        return Finding(reason="NamespaceTerminating", message=failed.message)
    if failed.code == 403:
        return Finding(reason="AccessDenied", message=failed.message or f"{kind}/{name}: forbidden")
    if failed.reason == "CredentialsMissing":
        return Finding(reason=failed.reason, message=failed.message)
    told = _fields_of(failed.message) if _mistyped(failed) else failed.message
    told = told if failed.field in told else f"{failed.field}: {told}"
    known = fields_of(action.manifest, told) if isinstance(action, Apply) else ""
    remedy = f"; correct {known}" if known else ""
    return Finding(reason="ObjectRejected", message=f"{kind}/{name}: {told}"[: 1000 - len(remedy)] + remedy)


def _fields_of(told: str) -> str:
    """Return one line of what follows UNTYPED: a field, or `errors:` and a line for each."""
    lines = told.partition("): ")[2].removeprefix("errors:").splitlines()
    return "; ".join(line.strip().lstrip(".") for line in lines if line.strip())
