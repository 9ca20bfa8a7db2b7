"""Work queue, cache, expectations and lease as machines fed with time."""

from __future__ import annotations

import msgspec

from qts_operator.cache import Store
from qts_operator.expectations import Expectations
from qts_operator.lease import Election
from qts_operator.workqueue import WorkQueue


class Item(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    uid: str
    version: str
    system: str = "s"


def test_queue_gives_each_key_once_and_the_oldest_first() -> None:
    """Repeated requests are one; order is age."""
    queue = WorkQueue()
    for key, at in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        queue.add(key, at)
    assert [queue.take(4.0), queue.take(4.0), queue.take(4.0)] == ["a", "b", None]


def test_queue_never_gives_a_key_to_two_workers() -> None:
    """A request during a pass makes one more pass after it."""
    queue = WorkQueue()
    queue.add("a", 0.0)
    assert queue.take(0.0) == "a"
    queue.add("a", 1.0)
    queue.add("a", 1.0)
    assert queue.take(1.0) is None
    queue.done("a", 2.0)
    assert queue.take(2.0) == "a"
    queue.done("a", 3.0)
    assert queue.take(3.0) is None


def test_queue_delays_and_backs_off_by_key() -> None:
    """Delays keep the earliest; failures double up to five minutes; success forgets them."""
    queue = WorkQueue()
    queue.add_after("a", 10.0, 0.0)
    queue.add_after("a", 5.0, 0.0)
    assert queue.next_s(0.0) == 5.0
    assert queue.take(4.9) is None
    assert queue.take(5.0) == "a"
    assert [queue.fail("b", 0.0) for _ in range(10)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    queue.succeed("b")
    assert queue.fail("b", 0.0) == 1


def test_queue_waits_no_longer_than_its_caller_allows() -> None:
    """What a person must put right is looked at again sooner than a server that fails."""
    queue = WorkQueue()
    assert [queue.fail("a", 0.0, last_s=15.0) for _ in range(6)] == [1, 2, 4, 8, 15, 15]


def test_store_refuses_older_versions_and_late_events_of_the_dead() -> None:
    """An older version, and an event that comes after the deletion, change nothing."""
    store: Store[Item] = Store()
    assert store.put(Item("n", "a", "u1", "5"))
    assert not store.put(Item("n", "a", "u1", "4"))
    assert store.remove(Item("n", "a", "u1", "7"))
    assert not store.put(Item("n", "a", "u1", "6"))
    assert store.put(Item("n", "a", "u2", "8"))
    assert not store.remove(Item("n", "a", "u1", "9"))
    assert [i.uid for i in store.of("n", "s")] == ["u2"]


def test_store_finds_what_a_full_list_shows_and_the_watch_did_not() -> None:
    """Vanished, new, changed and re-created objects are all reported."""
    store: Store[Item] = Store()
    for item in (Item("n", "gone", "1", "1"), Item("n", "again", "2", "1"), Item("n", "same", "3", "1")):
        store.put(item)
    changed = store.replace(
        [Item("n", "again", "9", "5"), Item("n", "same", "3", "1"), Item("n", "fresh", "4", "6")]
    )
    assert sorted(i.name for i in changed) == ["again", "fresh", "gone"]
    assert sorted(i.name for i in store.of("n", "s")) == ["again", "fresh", "same"]
    assert store.get("n", "again") == Item("n", "again", "9", "5")


def test_expectations_hold_a_key_until_the_cache_saw_our_write() -> None:
    """Pending until the version is seen; after 5 s it must be read instead."""
    expected, item = Expectations(), ("Service", "n", "a")
    expected.note("k", item, "10", 0.0)
    assert expected.pending("k", lambda _: "9", 1.0) == [item]
    assert expected.pending("k", lambda _: "11", 1.0) == []
    assert expected._notes == {}, "of a key at rest nothing is kept: there may be ten thousand"
    expected.note("k", item, "10", 0.0)
    assert expected.pending("k", lambda _: None, 6.0) == []
    assert expected.overdue("k", 6.0) == [item]
    assert expected.overdue("k", 6.0) == []


def _lease(holder: str, version: str = "1") -> dict:
    return {
        "metadata": {"resourceVersion": version},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10, "leaseTransitions": 3},
    }


def test_a_lease_is_created_kept_and_lost_in_time() -> None:
    """A holder may write for the renew deadline after its last confirmed renewal, not longer."""
    one = Election("one")
    assert one.decide(None, 0.0, "t").verb == "create"
    assert not one.leads(0.0)
    one.succeeded(0.0)
    assert one.leads(5.9)
    assert not one.leads(6.0)
    assert one.decide(_lease("one"), 6.0, "t").verb == "update"


def test_a_foreign_lease_is_taken_only_after_it_stood_still_for_its_duration() -> None:
    """Time is our own monotonic clock, never the holder's."""
    two = Election("two")
    assert two.decide(_lease("one", "1"), 0.0, "t").verb == "wait"
    assert two.decide(_lease("one", "2"), 9.0, "t").verb == "wait"
    assert two.decide(_lease("one", "2"), 18.9, "t").verb == "wait"
    step = two.decide(_lease("one", "2"), 19.0, "t")
    assert step.verb == "update"
    assert step.body["spec"]["holderIdentity"] == "two"
    assert step.body["spec"]["leaseTransitions"] == 4
    assert step.body["metadata"]["resourceVersion"] == "2"


def test_a_released_lease_is_free_at_once_and_a_conflict_ends_leading() -> None:
    """The standby takes over without waiting; a conflicting write means somebody else leads."""
    one, two = Election("one"), Election("two")
    one.succeeded(0.0)
    released = one.release(_lease("one"), "t")
    assert not one.leads(0.0)
    assert two.decide(released, 0.0, "t").verb == "update"
    two.succeeded(0.0)
    two.lost()
    assert not two.leads(0.1)
