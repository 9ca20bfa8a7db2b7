"""Work queue, cache, expectations and lease as machines fed with time."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from qts_operator.cache import Store
from qts_operator.expectations import Expectations, not_older
from qts_operator.lease import Election
from qts_operator.workqueue import QUIET_S, WorkQueue


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
    assert queue.add_after("a", 10.0, 0.0)
    assert queue.add_after("a", 5.0, 0.0)
    assert not queue.add_after("a", 7.0, 0.0)  # nobody has to be woken for it
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


def test_the_first_event_after_silence_is_handled_at_once() -> None:
    """Silence is no pass in the last seconds and none in the next; a retry or a look far away is none."""
    queue = WorkQueue()
    queue.add_after("a", 600.0, 0.0)
    for at in (100.0, 100.0 + QUIET_S):
        assert queue.gather("a", 0.25, at)
        assert queue.take(at) == "a"
        queue.done("a", at)
    queue.add_after("b", QUIET_S - 1, 200.0)  # the numbers of a start are told then
    assert queue.gather("b", 0.25, 200.0)
    assert queue.take(200.2) is None
    assert queue.take(200.25) == "b"


def test_events_of_a_burst_share_passes() -> None:
    """A thousand in ten seconds: the first is not held, the last is seen, and each pass waits for more."""
    queue, passes, asked = WorkQueue(), list[float](), 0.0
    for tick in range(1100):
        now = tick / 100
        if now < 10.0:
            asked = now
            queue.gather("a", 0.25, now)
        if queue.take(now):
            passes.append(now)
            queue.done("a", now)
    assert passes[0] == 0.0
    assert asked <= passes[-1] <= asked + 0.25
    assert min(later - sooner for sooner, later in pairwise(passes)) >= 0.25


def test_what_comes_while_a_pass_runs_or_waits_wakes_nobody() -> None:
    queue = WorkQueue()
    assert queue.gather("a", 0.25, 0.0)
    assert not queue.gather("a", 0.25, 0.0)
    assert queue.take(0.0) == "a"
    assert queue.gather("a", 0.25, 0.1)
    assert not queue.gather("a", 0.25, 0.2)
    queue.done("a", 0.3)
    assert queue.take(0.35) == "a"


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


def test_what_the_watch_has_not_shown_is_waited_for_or_read_and_never_neither() -> None:
    """Five seconds after the write of each, whatever the clock says; what was shown is no matter any more."""
    expected, seen = Expectations(), {"b": "7"}
    for name, at in (("a", 100.0), ("b", 101.0), ("c", 103.0)):
        expected.note("k", ("Service", "n", name), "7", at)
    waited, read = [], []
    for now in (104.9, 105.0, 107.9, 108.0):
        waited.append([item[2] for item in expected.pending("k", lambda item: seen.get(item[2]), now)])
        read.append([item[2] for item in expected.overdue("k", now)])
    assert waited == [["a", "c"], ["c"], ["c"], []]
    assert read == [[], ["a"], [], ["c"]]


def test_a_system_that_is_gone_is_waited_for_no_longer() -> None:
    """Its notes go with it, and nobody else's."""
    expected = Expectations()
    for key in ("k", "other"):
        expected.note(key, ("Service", "n", "a"), "7", 0.0)
    expected.forget("k")
    expected.forget("never seen")
    assert expected.pending("k", lambda _: None, 1.0) == []
    assert expected.pending("other", lambda _: None, 1.0) == [("Service", "n", "a")]


@pytest.mark.parametrize(
    ("seen", "written", "enough"),
    [
        (None, "7", False),
        ("6", "7", False),
        ("7", "7", True),
        ("10", "7", True),
        ("x", "x", True),
        ("x", "y", False),
        ("7", "x", False),
        ("x", "7", False),
    ],
)
def test_versions_are_numbers_or_names(seen: str | None, written: str, enough: bool) -> None:
    """Numbers count upwards; of what is no number only the same is as new."""
    assert not_older(seen, written) is enough


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


def test_a_lease_says_since_when_it_is_held_and_how_often_it_changed_hands() -> None:
    """What `kubectl describe lease` shows: the time of the take-over stays while the same one holds it."""
    one = Election("one")
    first = one.decide(None, 0.0, "t0").body["spec"]
    assert (first["acquireTime"], first["renewTime"], first["leaseTransitions"]) == ("t0", "t0", 1)
    kept = one.decide({"spec": first}, 2.0, "t2").body["spec"]
    assert (kept["acquireTime"], kept["renewTime"], kept["leaseTransitions"]) == ("t0", "t2", 1)
    released = one.release({"spec": kept}, "t3")
    assert (released["spec"]["renewTime"], released["spec"]["leaseDurationSeconds"]) == ("t3", 1)
    taken = Election("two").decide(released, 3.0, "t3").body["spec"]
    assert (taken["acquireTime"], taken["leaseTransitions"]) == ("t3", 2)
    bare = one.decide({"spec": {"holderIdentity": "one"}}, 4.0, "t4").body["spec"]
    assert (bare["acquireTime"], bare["leaseTransitions"]) == ("t4", 0)


@pytest.mark.parametrize("lease", [{}, {"spec": None}, {"spec": {}}])
def test_a_lease_that_somebody_emptied_is_free(lease: dict) -> None:
    """It names nobody, so it may be taken, and handed back, at once."""
    one = Election("one")
    step = one.decide(lease, 0.0, "t")
    assert (step.verb, step.body["spec"]["holderIdentity"]) == ("update", "one")
    assert not one.holds(lease)
    assert one.holds(step.body)
    assert one.release(lease, "t")["spec"]["holderIdentity"] == ""


def test_the_duration_of_a_lease_is_what_its_holder_wrote() -> None:
    """Another version of the operator may have other terms; without a word of it ours hold."""
    for told, wait_s in ((30, 30.0), (None, 10.0)):
        two = Election("two")
        lease = {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "one"}}
        if told:
            lease["spec"] |= {"leaseDurationSeconds": told}
        assert two.decide(lease, 100.0, "t").verb == "wait"
        assert two.decide(lease, 100.0 + wait_s - 0.1, "t").verb == "wait"
        assert two.decide(lease, 100.0 + wait_s, "t").verb == "update"


def test_a_holder_that_lost_its_lease_waits_a_whole_duration_for_the_next() -> None:
    """What it saw of a holder before its own time says nothing about that one now."""
    two = Election("two")
    assert two.decide(_lease("one"), 0.0, "t").verb == "wait"
    assert two.decide(_lease("one"), 10.0, "t").verb == "update"
    two.succeeded(10.0)
    two.lost()
    assert two.decide(_lease("one"), 11.0, "t").verb == "wait"
