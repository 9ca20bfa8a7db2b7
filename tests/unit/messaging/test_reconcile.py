"""Books of several processes added up: every ending that a run can have."""

from __future__ import annotations

from qts_messaging.accounts import Book, Record, summary
from qts_messaging.reconcile import Totals, reconcile

S = 1_000_000_000


def sender(lane: str, count: int, *, name: str = "pads", closed_s: int = 100, step_s: int = 1) -> Book:
    """Return a book that sent `count` messages on `lane`, one each `step_s` from second 10 on."""
    book = Book(name, 1, 0)
    for n in range(count):
        book.accepted(lane, "k", "x")
        book.left(lane, "k", "x", (10 + n * step_s) * S)
    book.closed_ns = closed_s * S
    return book


def receiver(
    lane: str, numbers: list[int], *, name: str = "quasar", epoch: int = 1, closed_s: int = 100
) -> Book:
    """Return a book that got `numbers` of pads' lane."""
    book = Book(name, epoch, 0)
    for n in numbers:
        if (flow := book.arrived(("pads", 1, lane), n, 0)) is not None:
            flow.finished("k", "delivered")
    book.closed_ns = closed_s * S
    return book


def total(*given: Book) -> Totals:
    """Return the sum of books, having checked that it balances."""
    found = reconcile([b.record() for b in given])
    assert found.sent == found.delivered + sum(found.lost.values()) + found.in_flight + found.unaccounted
    return found


def test_all_delivered_leaves_nothing_over() -> None:
    """A broadcast counts once for each receiver."""
    found = total(
        sender("market", 5), receiver("market", [1, 2, 3, 4, 5]), receiver("market", [3, 4, 5], name="b")
    )
    assert (found.sent, found.delivered, found.lost, found.unaccounted) == (8, 8, {}, 0)


def test_what_a_handler_has_in_hand_is_on_its_way() -> None:
    """Three arrived and one is done; a process at work may finish the others, one that ended will not."""
    for closed_s, moving, lost in ((0, 2, {}), (100, 0, {"gap": 2})):
        got = Book("quasar", 1, 0)
        flows = [got.arrived(("pads", 1, "to.quasar"), n, 0) for n in (1, 2, 3)]
        assert flows[0] is not None
        flows[0].finished("k", "delivered")
        got.closed_ns = closed_s * S
        found = total(sender("to.quasar", 3), got)
        assert (found.sent, found.delivered, found.in_flight) == (3, 1, moving)
        assert {reason: n for reason, n in found.lost.items() if n} == lost


def test_a_sender_that_cannot_say_where_a_message_stayed_is_unaccounted() -> None:
    """Three accepted, two left, none waits; a fourth waits and is on its way."""
    book = sender("to.quasar", 2)
    book.accepted("to.quasar", "k", "x")
    book.out["to.quasar"].queued = 0
    got = receiver("to.quasar", [1, 2])
    assert reconcile([book.record(), got.record()]).unaccounted == 1
    book.out["to.quasar"].queued = 1
    found = total(book, got)
    assert (found.unaccounted, found.in_flight, found.sent) == (0, 1, 3)


def test_a_second_copy_is_no_delivery() -> None:
    """Duplicates come on top and change nothing."""
    found = total(sender("to.quasar", 2), receiver("to.quasar", [1, 1, 2, 2]))
    assert (found.sent, found.delivered, found.duplicates) == (2, 2, 2)


def test_a_hole_is_a_gap_where_it_may_happen_and_unaccounted_where_not() -> None:
    """The same missing number is lost on a direct lane and a fault on a durable one."""
    assert total(sender("to.quasar", 3), receiver("to.quasar", [1, 3])).lost == {"gap": 1}
    found = total(sender("decisions", 3), receiver("decisions", [1, 3]))
    assert (found.lost, found.unaccounted) == ({}, 1)


def test_what_was_sent_to_one_that_was_closing_is_lost_by_shutdown() -> None:
    """Receiver gone at second 12: the messages of seconds 12 and 13 could not reach it."""
    for lane in ("to.quasar", "decisions", "market"):
        found = total(sender(lane, 4), receiver(lane, [1, 2], closed_s=12))
        assert (found.lost, found.unaccounted) == ({"shutdown": 2}, 0), lane


def test_a_durable_tail_that_nobody_explains_is_unaccounted() -> None:
    """Both were up for long after the last message: it should have arrived."""
    found = total(sender("decisions", 3), receiver("decisions", [1, 2]))
    assert found.unaccounted == 1
    assert total(sender("market", 3), receiver("market", [1, 2])).lost == {"gap": 1}


def test_a_durable_tail_that_lies_in_the_spool_is_there() -> None:
    """One of two that are missing waits in the sender's file; of a direct lane nothing can."""
    book = sender("decisions", 4)
    book.unstored("decisions", 1)
    found = total(book, receiver("decisions", [1, 2]))
    assert (found.lost, found.unaccounted) == ({"spooled": 1}, 1)


def test_a_killed_receiver_takes_its_book_along() -> None:
    """Numbers that no surviving book covers fell to the process that was killed before it began."""
    new = receiver("to.quasar", [7, 8, 9, 10], epoch=2)
    new.opened_ns = 15 * S
    found = total(sender("to.quasar", 10), new)
    assert (found.lost, found.delivered) == ({"peer_restarted": 6}, 4)
    assert total(sender("to.quasar", 10)).lost == {"peer_restarted": 10}


def test_a_first_message_that_is_lost_is_a_gap() -> None:
    """A receiver that was up from the start cannot excuse a hole at the start; on a durable lane it is a fault."""
    assert total(sender("to.quasar", 3), receiver("to.quasar", [2, 3])).lost == {"gap": 1}
    assert total(sender("feedback", 3), receiver("feedback", [2, 3])).unaccounted == 1


def test_a_receiver_restarted_in_order_leaves_two_books() -> None:
    """Both incarnations together cover the lane."""
    old, new = receiver("decisions", [1, 2, 3]), receiver("decisions", [4, 5], epoch=2)
    found = total(sender("decisions", 5), old, new)
    assert (found.delivered, found.lost, found.unaccounted) == (5, {}, 0)


def test_a_lane_that_an_earlier_start_has_read_to_its_end_lost_nothing() -> None:
    """A sender that ended before the last start of its receiver is not missed by that start."""
    old, new = receiver("to.quasar", [1, 2, 3], closed_s=20), receiver("other", [], epoch=2)
    new.opened_ns = 30 * S
    assert total(sender("to.quasar", 3, closed_s=19), old, new).lost == {}
    found = total(sender("to.quasar", 5, closed_s=19), old, new)
    assert (found.sent, found.lost) == (5, {"peer_restarted": 2})
    found = total(sender("to.quasar", 400, closed_s=19, step_s=0), receiver("to.quasar", [1]), new)
    assert found.lost == {"peer_restarted": 399}  # more than the send times that are kept


def test_a_killed_sender_is_known_from_its_receivers() -> None:
    """Without the sender's book its receivers' view is all there is; durable holes went with it."""
    found = total(receiver("decisions", [1, 2, 4]), receiver("market", [5, 7], name="b"))
    assert (found.delivered, found.lost, found.unaccounted) == (5, {"peer_restarted": 1, "gap": 1}, 0)


def test_what_still_lies_in_the_spool_is_named() -> None:
    """Redis did not come back: the live copy of number 2 never arrived, and the file holds it."""
    book = sender("decisions", 3)
    book.unstored("decisions", 3)
    found = total(book, receiver("decisions", [1, 3]))
    assert (found.lost, found.unaccounted) == ({"spooled": 1}, 0)


def test_what_never_left_is_lost_by_its_reason() -> None:
    """Expired and dropped messages count as sent and as lost."""
    book = Book("pads", 1, 0)
    for reason in ("expired", "full", "no_route", "no_route"):
        book.accepted("to.quasar", "k", "quasar")
        book.unsent("to.quasar", "k", "quasar", reason)
    book.closed_ns = 100 * S
    assert total(book).lost == {"expired": 1, "full": 1, "no_route": 2}


def test_a_peer_that_never_heard_a_lane_lost_what_was_sent_while_it_listened() -> None:
    """A deaf process cannot hide: messages from 5 s after its start on are missed."""
    deaf = Book("quasar", 1, 10 * S)
    deaf.closed_ns = 100 * S
    assert total(sender("market", 10), deaf).lost == {"gap": 5}
    assert total(sender("decisions", 10), deaf).unaccounted == 5


def test_books_that_contradict_each_other_are_unaccounted() -> None:
    """More endings than arrivals is a fault in the books, not a delivery."""
    book = receiver("market", [1, 2])
    book.into[("pads", 1, "market")].delivered += 1
    record: Record = book.record()
    assert reconcile([sender("market", 2).record(), record]).unaccounted == 1
    assert summary(record).unaccounted == 1
