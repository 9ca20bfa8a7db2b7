"""Work queue and store against models so simple that they need no proof, after any history."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.control_plane.test_machines import Item

from qts_operator.cache import GRAVES, Store
from qts_operator.workqueue import FIRST_S, LAST_S, WorkQueue

KEYS = "xyz"


class Keys:
    """What a queue has to know, as plain lists that are searched from end to end."""

    def __init__(self) -> None:
        self.ready: list[tuple[str, float]] = []  # key, since when; oldest first
        self.due: dict[str, float] = {}
        self.active: dict[str, float] = {}
        self.again: dict[str, float] = {}
        self.tries: dict[str, int] = {}

    def add(self, key: str, now: float) -> None:
        if key in self.active:
            self.again[key] = min(now, self.again.get(key, now))
            return
        self.due.pop(key, None)
        if key not in dict(self.ready):
            self.ready.append((key, now))

    def later(self, key: str, at: float) -> None:
        if key not in dict(self.ready):
            self.due[key] = min(at, self.due.get(key, at))

    def take(self, now: float) -> str | None:
        for at, key in sorted((at, key) for key, at in self.due.items()):
            if at <= now:
                del self.due[key]
                self.add(key, at)
        if not self.ready:
            return None
        key, since = self.ready.pop(0)
        self.active[key] = since
        return key

    def done(self, key: str, now: float) -> None:
        self.active.pop(key, None)
        if key in self.again:
            self.add(key, min(now, self.again.pop(key)))

    def next_s(self, now: float) -> float | None:
        if self.ready:
            return 0.0
        return max(0.0, min(self.due.values()) - now) if self.due else None


def _play(queue: WorkQueue, model: Keys, step: str, key: str, now: float, delay_s: float) -> None:
    """Do one thing to both; what it answers must be the same."""
    if step == "add":
        queue.add(key, now)
        model.add(key, now)
    elif step == "later":
        queue.add_after(key, delay_s, now)
        model.later(key, now + delay_s)
    elif step == "take":
        assert queue.take(now) == model.take(now)
    elif step == "done":
        queue.done(key, now)
        model.done(key, now)
    elif step == "fail":
        tries = model.tries[key] = model.tries.get(key, 0) + 1
        delay_s = min(LAST_S, FIRST_S * 2 ** (tries - 1))
        assert queue.fail(key, now) == delay_s
        model.later(key, now + delay_s)
    elif step == "succeed":
        queue.succeed(key)
        model.tries.pop(key, None)


STEPS = st.tuples(
    st.sampled_from(["add", "later", "take", "done", "fail", "succeed"]),
    st.sampled_from(KEYS),
    st.integers(0, 3),  # time that has passed
    st.integers(0, 3),  # a delay that is asked for
)


#: while a pass runs another is asked for, and only then one is taken up that was due before
OVERTAKEN = [
    ("add", "z", 0, 0),
    ("take", "x", 0, 0),
    ("later", "z", 0, 0),
    ("add", "z", 1, 0),
    ("take", "x", 0, 0),
    ("done", "z", 0, 0),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40))
@example(OVERTAKEN)
def test_a_queue_answers_as_its_model_does(history: list[tuple[str, str, int, int]]) -> None:
    """After every step all that can be asked is the same."""
    queue, model, now = WorkQueue(), Keys(), 0.0
    for step, key, passed, delay_s in history:
        now += passed
        _play(queue, model, step, key, now, float(delay_s))
        assert queue.waiting() == len(model.ready)
        assert queue.next_s(now) == model.next_s(now)
        assert queue.oldest_s(now) == max((now - since for _, since in model.ready), default=0.0)
        for each in KEYS:
            due = model.due.get(each)
            assert queue.due_s(each, now) == (None if due is None else max(0.0, due - now))
            assert queue.busy(each) == (each in dict(model.ready) or each in model.active)
            assert queue.since_s(each, now) == now - model.active.get(each, now)


def test_what_a_queue_planned_and_no_longer_needs_it_forgets() -> None:
    """A key that is asked for earlier, again and again, leaves nothing behind: an operator runs for months."""
    queue = WorkQueue()
    for turn in range(100):
        queue.add_after("x", 10.0, float(turn))
        queue.add("x", float(turn))
        assert queue.take(float(turn)) == "x"
        queue.done("x", float(turn))
    assert queue.next_s(100.0) is None
    assert queue.take(200.0) is None
    assert queue._later == []


def test_the_same_time_twice_is_one_plan() -> None:
    """However often it is asked for."""
    queue = WorkQueue()
    for _ in range(100):
        queue.add_after("x", 50.0, 100.0)
    assert len(queue._later) == 1
    assert queue.take(150.0) == "x"


class Shelf:
    """What a store has to know: every object that is there, and the version at which each name died last."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.graves: dict[tuple[str, str], int] = {}

    def find(self, item: Item) -> Item | None:
        return next((i for i in self.items if (i.namespace, i.name) == (item.namespace, item.name)), None)

    def put(self, item: Item, *, read: bool = False) -> bool:
        known = self.find(item)
        if known is not None and known.uid == item.uid and int(known.version) >= int(item.version):
            return False
        grave = self.graves.get((item.namespace, item.name), -1)
        if int(item.version) < grave or (int(item.version) == grave and not read):
            return False
        self.items = [i for i in self.items if i is not known] + [item]
        return True

    def remove(self, item: Item) -> bool:
        known = self.find(item)
        self.graves[item.namespace, item.name] = int(item.version)
        same = known is not None and known.uid == item.uid
        self.items = [i for i in self.items if not (same and i is known)]
        return same

    def replace(self, items: list[Item], within: str | None) -> list[Item]:
        listed = {(i.namespace, i.name) for i in items}
        gone = [
            i
            for i in self.items
            if (i.namespace, i.name) not in listed and (within is None or i.namespace == within)
        ]
        self.items = [i for i in self.items if i not in gone]
        for each in listed:
            self.graves.pop(each, None)
        return gone + [i for i in items if self.put(i)]


ITEMS = st.builds(
    Item,
    namespace=st.sampled_from("mn"),
    name=st.sampled_from("ab"),
    uid=st.sampled_from("12"),
    version=st.integers(1, 12).map(str),
    system=st.sampled_from("st"),
)
LISTS = st.lists(ITEMS, max_size=3, unique_by=lambda i: (i.namespace, i.name))
ACTS = st.one_of(
    st.tuples(st.just("put"), ITEMS),
    st.tuples(st.just("read"), ITEMS),
    st.tuples(st.just("remove"), ITEMS),
    st.tuples(st.just("replace"), st.tuples(LISTS, st.sampled_from([None, "m", "n"]))),
)


def _done(store: Store[Item], shelf: Shelf, act: str, what: Any) -> str | None:
    """Do one thing to both, and return the scope that it listed."""
    if act == "put":
        assert store.put(what) == shelf.put(what)
        return ""
    if act == "read":
        assert store.put(what, read=True) == shelf.put(what, read=True)
        return ""
    if act == "remove":
        assert store.remove(what) == shelf.remove(what)
        return ""
    items, within = what
    items = [i for i in items if within in (None, i.namespace)]
    told = store.replace(items, within)
    assert sorted(map(repr, told)) == sorted(map(repr, shelf.replace(items, within)))
    return within


@settings(max_examples=400, deadline=None)
@given(st.lists(ACTS, max_size=25))
def test_a_store_holds_what_its_model_holds(history: list[tuple[str, Any]]) -> None:
    """Puts, deletions and full lists in any order, late and repeated ones among them."""
    store, shelf = Store[Item](), Shelf()
    scopes: set[str | None] = set()
    for act, what in history:
        scope = _done(store, shelf, act, what)
        scopes |= {scope} - {""}
        assert store.listed == scopes
        assert len(store) == len(shelf.items)
        assert sorted(map(repr, store.all())) == sorted(map(repr, shelf.items))
        for item in shelf.items:
            assert store.get(item.namespace, item.name) == item
            for version in ("0", item.version, "13"):
                shown = store.shows(item.namespace, item.name, item.uid, version)
                assert shown == (int(version) <= int(item.version))
            assert not store.shows(item.namespace, item.name, "another", "0")
        for namespace in "mn":
            for name in "ab":
                known = store.get(namespace, name)
                grave = shelf.graves.get((namespace, name))
                last = known.version if known is not None else None if grave is None else str(grave)
                assert store.seen(namespace, name) == last
            for system in "st":
                mine = [i for i in shelf.items if (i.namespace, i.system) == (namespace, system)]
                assert store.of(namespace, system) == sorted(mine, key=lambda i: i.name)
        assert set(store._by_system) == {(i.namespace, i.system) for i in shelf.items if i.system}, (
            "no system is left over"
        )


def test_an_event_of_the_dead_does_not_replace_what_came_after_it() -> None:
    """It is late by a whole life: its object is deleted, and another one of its name is there."""
    store = Store[Item]()
    store.put(Item("n", "a", "u1", "5"))
    store.remove(Item("n", "a", "u1", "7"))
    store.put(Item("n", "a", "u2", "8"))
    assert not store.put(Item("n", "a", "u1", "6"))
    assert store.get("n", "a") == Item("n", "a", "u2", "8")


def test_of_the_dead_the_last_are_remembered() -> None:
    """So many that no event is that late, and no more: names come and go for years."""
    store = Store[Item]()
    for number in range(GRAVES + 1):
        store.remove(Item("n", str(number), "u", "7"))
    assert store.put(Item("n", "0", "u", "6"))
    assert not store.put(Item("n", "1", "u", "6"))
    assert len(store._tombstones) == GRAVES
