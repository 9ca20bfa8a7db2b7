"""Breadth-first search over every interleaving of the real pass with faults, crashes, users and controllers.

Two kinds of law: no reachable state holds a lie, and from every reachable state a run without further faults
ends in the desired state and then stays silent.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from qts_operator import steps
from qts_operator.writes import Failed

from . import model
from .model import OWNER, STRANGER, Obj, World

DRIFT = "drifted"
PATIENCE = 400  # steps of a run without faults
Node = tuple[World, int]  # the second: the pass under way, 0 when none is


class Found(Exception):  # noqa: N818 - a finding is the purpose
    """A law that does not hold, with the way there."""


class Passes:
    """Passes by number; each (pass, answer) is computed once, however many worlds lead to it."""

    def __init__(self) -> None:
        self._states: list[tuple[steps.Pass, steps.Request | None] | None] = [None]
        self._next: dict[Any, int] = {}

    def begin(self) -> int:
        """Return the number of a new pass."""
        return self._number("begin", lambda: steps.begin(model.DEFAULTS, 1e9))

    def at(self, number: int) -> tuple[steps.Pass, steps.Request | None]:
        """Return where a pass stands and what it asks for."""
        found = self._states[number]
        if found is None:
            raise IndexError("no pass is under way")
        return found

    def step(self, number: int, response: steps.Response, world: World) -> int:
        """Return the pass after an answer."""
        state, _ = self.at(number)
        # a look is told apart by what the cache shows, which is cheap to compare
        mark = (
            (world.cached_system, world.cached, world.held) if isinstance(response, steps.Seen) else response
        )
        return self._number((number, mark), lambda: steps.step(state, response))

    def _number(self, key: Any, make: Any) -> int:
        if key not in self._next:
            self._states.append(make())
            self._next[key] = len(self._states) - 1
        return self._next[key]


class Explorer:
    """All states within the budgets of faults, crashes, changes of the spec and acts of others."""

    def __init__(self, *, faults: int, crashes: int, changes: int, actors: int, rotation: int = 0) -> None:
        model.forget()
        self.passes = Passes()
        empty = msgspec.json.encode({})
        start = World(
            spec=0,
            generation=1,
            objects=(),
            status=empty,
            cached=(),
            looked=(),
            cached_system=(0, 1, empty),
            dirty=True,
            uids=0,
            faults=faults,
            crashes=crashes,
            changes=changes,
            actors=actors,
        )
        self.start: World = start if not rotation else self._before_rotation(start)
        self.parent: dict[Node, tuple[Node, str] | None] = {}
        self._converges: set[Node] = set()
        self.runs = 0

    def _before_rotation(self, start: World) -> World:
        """Return a system at rest, with pods, in the moment that new keys and passwords are asked for."""
        calm = {"faults": 0, "crashes": 0, "changes": 0, "actors": 0}
        held = (("s-curve", "1"), ("s-redis-auth", "1"))
        at: Node = (msgspec.structs.replace(start, held=held, **calm), 0)
        while (following := next(self.forward(at), None)) is not None:
            at = following[1]
        budget = {name: getattr(start, name) for name in calm}
        generation = model.ROTATION + 1
        return msgspec.structs.replace(at[0], spec=model.ROTATION, generation=generation, **budget)

    def explore(self) -> int:
        """Visit every state; return their number, raise Found at the first law that is broken."""
        first: Node = (self.start, 0)
        self.parent[first] = None
        todo: deque[Node] = deque([first])
        while todo:
            node = todo.popleft()
            if node[0].lie:
                raise Found(f"{node[0].lie}\n{self.way(node)}")
            for label, after in self.moves(node):
                if after not in self.parent:
                    self.parent[after] = (node, label)
                    todo.append(after)
        for node in list(self.parent):
            self.converge(node)
        return len(self.parent)

    def way(self, node: Node) -> str:
        """Return the labels of the shortest way to a state."""
        labels = []
        at = self.parent.get(node)
        while at is not None:
            labels.append(at[1])
            at = self.parent.get(at[0])
        return " → ".join(reversed(labels))

    def moves(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Yield everything that can happen next."""
        world, number = node
        yield from self.forward(node)
        if number and world.crashes:
            yield "crash", self._restarted(world)
        if number and world.faults:
            yield from self._faults(node)
        if world.changes:
            spec = model.spec_of(world.generation + 1)
            changed = {"spec": spec, "generation": world.generation + 1, "changes": world.changes - 1}
            yield f"spec {spec}", (msgspec.structs.replace(world, **changed), number)
        if world.actors and world.objects:
            yield from self._actors(node)

    def forward(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Yield what happens without anything going wrong; at rest nothing."""
        world, number = node
        current = (world.spec, world.generation, world.status)
        if world.cached != world.objects or world.cached_system != current:
            delivered = {"cached": world.objects, "cached_system": current, "dirty": True}
            yield "deliver", (msgspec.structs.replace(world, **delivered), number)
        after = model.synced(world) if world.held else world
        if after.held != world.held:
            yield "take up", (after, number)
        if number:
            yield self._answer(node)
        elif world.dirty:
            yield "begin", (msgspec.structs.replace(world, dirty=False), self.passes.begin())
        open_ = [(k, o) for k, o in world.objects if not o.settled]
        for key, obj in open_[:1]:
            done = msgspec.structs.replace(obj, settled=True)
            objects = model.put(world.objects, key, done)
            yield f"settle {key[1]}", (msgspec.structs.replace(world, objects=objects), number)

    def _answer(self, node: Node) -> tuple[str, Node]:
        world, number = node
        _, request = self.passes.at(number)
        if request is None:
            return "end", self._ended(world, number)
        after, response = model.perform(world, request)
        return _label(request), self._continued(after, number, response)

    def _continued(self, world: World, number: int, response: steps.Response) -> Node:
        following = self.passes.step(number, response, world)
        if self.passes.at(following)[1] is None:
            return self._ended(world, following)
        return world, following

    def _ended(self, world: World, number: int) -> Node:
        again = steps.unfinished(self.passes.at(number)[0])
        return msgspec.structs.replace(world, dirty=world.dirty or again, looked=()), 0

    def _restarted(self, world: World) -> Node:
        current = (world.spec, world.generation, world.status)
        fresh = {"cached": world.objects, "cached_system": current, "dirty": True, "looked": ()}
        return msgspec.structs.replace(world, crashes=world.crashes - 1, **fresh), 0

    def _faults(self, node: Node) -> Iterator[tuple[str, Node]]:
        world, number = node
        _, request = self.passes.at(number)
        if request is None or isinstance(request, steps.Look):
            return
        less = msgspec.structs.replace(world, faults=world.faults - 1)
        silent = Failed(code=0, reason="NoAnswer")
        yield f"lost {_label(request)}", self._continued(less, number, silent)
        after, _ = model.perform(less, request, answered=False)
        yield f"unanswered {_label(request)}", self._continued(after, number, silent)
        yield f"409 {_label(request)}", self._continued(less, number, Failed(code=409, reason="Conflict"))

    def _actors(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Others change, delete or replace one of the objects that matter to different rules."""
        world, number = node
        for key, obj in world.objects:
            if key[0] not in ("Deployment", "ConfigMap") or obj.owner != OWNER:
                continue
            less = {"actors": world.actors - 1, "uids": world.uids + 1}
            stranger = Obj(world.uids + 1, STRANGER, DRIFT, settled=True)
            edited = msgspec.structs.replace(obj, mark=DRIFT)
            for label, new in (("edit", edited), ("delete", None), ("replace", stranger)):
                objects = model.put(world.objects, key, new)
                changed = msgspec.structs.replace(world, objects=objects, **less)
                yield f"{label} {key[0]}", (changed, number)

    def converge(self, node: Node) -> None:
        """Follow the run without faults to its end; raise Found when it does not end well."""
        trail, at = [], node
        visited: dict[Node, int] = {}
        for _ in range(PATIENCE):
            visited[at] = len(trail)
            if at in self._converges:
                break
            trail.append(at)
            following = next(self.forward(at), None)
            if following is None:
                self._at_rest(at, node)
                break
            at = following[1]
            if at[0].lie:
                raise Found(f"{at[0].lie}\n{self.way(node)}")
            if at in visited:
                # what a person must put right is looked at again and again, without a write
                circle = trail[visited[at] :]
                if any((w.objects, w.status) != (at[0].objects, at[0].status) for w, _ in circle):
                    raise Found(f"a circle with writes\n{self.way(node)}")
                self._at_rest(at, node)
                break
        else:
            raise Found(f"no rest within {PATIENCE} steps\n{self.way(node)}")
        self.runs += 1
        self._converges.update(trail)

    def _at_rest(self, node: Node, origin: Node) -> None:
        """Judge a state in which nothing moves; a stranger on a name of ours must be named, never removed."""
        world, _ = node
        told = msgspec.json.decode(world.status)
        conditions = {c["type"]: c for c in told.get("conditions") or ()}
        marks = model.wanted_marks(world.spec, world.status, world.objects, world.held)
        live = dict(world.objects)
        taken = [k for k in marks if k in live and live[k].owner != OWNER]
        wrong = [k for k, mark in marks.items() if k not in taken and (k not in live or live[k].mark != mark)]
        extra = [k for k, o in live.items() if k not in marks and k[0] != "Secret" and o.owner == OWNER]
        ready = conditions.get("Ready", {}).get("status")
        expected = "False" if taken or model.SPECS[world.spec].get("suspend") else "True"
        if world.held and (late := model.unfinished(world)):
            raise Found(f"at rest with {late=}\n{self.way(origin)}")
        if wrong or extra or ready != expected:
            raise Found(f"at rest with {wrong=} {extra=} {ready=} {taken=}\n{self.way(origin)}")


def _label(request: steps.Request) -> str:
    manifest = getattr(request, "manifest", None)
    name = f" {manifest['kind']}/{manifest['metadata']['name']}" if manifest else ""
    return type(request).__name__.lower() + name


#: every act of a rotation in any order, with a fault or a crash anywhere
SECOND = {"rotation": 1, "changes": 0, "actors": 0}
#: what CI explores, in seconds; `make campaign` explores both
SMALL = (
    {"faults": 1, "crashes": 1, "changes": 0, "actors": 0},
    {"faults": 0, "crashes": 1, "changes": 1, "actors": 0},
    {"faults": 0, "crashes": 0, "changes": 0, "actors": 1},
    SECOND | {"faults": 1, "crashes": 0},
    SECOND | {"faults": 0, "crashes": 1},
)
LARGE = (
    {"faults": 2, "crashes": 1, "changes": 0, "actors": 0},
    {"faults": 1, "crashes": 0, "changes": 1, "actors": 0},
    {"faults": 0, "crashes": 1, "changes": 2, "actors": 0},
    {"faults": 0, "crashes": 0, "changes": 1, "actors": 1},
    {"faults": 1, "crashes": 1, "changes": 0, "actors": 1},
    SECOND | {"faults": 1, "crashes": 1},
)


def main() -> int:
    """Explore and print what was visited."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="minutes instead of seconds")
    for budget in (*SMALL, *LARGE) if parser.parse_args().large else SMALL:
        started = time.process_time()
        explorer = Explorer(**budget)
        states = explorer.explore()
        spent = time.process_time() - started
        print(f"{states} states, {explorer.runs} runs to rest, {spent:.1f} s of CPU: {budget}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
