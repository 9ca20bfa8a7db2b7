"""Books by sender, receiver and type: what each row says of every way a message can end."""

from __future__ import annotations

from qts_messaging.accounts import Book
from qts_messaging.by_type import TypeRow, by_type


def books() -> tuple[Book, Book]:
    """Return a sender and a receiver of one direct lane and one topic, three types."""
    pads, amos = Book("pads", 1, 0), Book("amos", 1, 0)
    for kind, lane, peer in (("vote", "to.amos", "amos"), ("bar", "market", "*")):
        for n in range(3):
            pads.out[lane].passed(kind, peer, n)
    pads.accepted("to.amos", "vote", "amos")
    pads.unsent("to.amos", "vote", "amos", "no_route")
    for lane, kind, ends in (
        ("to.amos", "vote", ("delivered", "expired")),
        ("market", "bar", ("delivered", "decode")),
    ):
        for number, outcome in enumerate(ends, start=1):
            flow = amos.arrived(("pads", 1, lane), number, 0)
            assert flow is not None
            flow.finished(kind, outcome)
    return pads, amos


def test_direct_and_broadcast_rows_add_up() -> None:
    """What left for all counts against each receiver; what never arrived is unseen, what never left is unsent."""
    pads, amos = books()
    assert by_type([pads.record(), amos.record()]) == [
        TypeRow("pads", "*", "bar", sent=3),
        TypeRow("pads", "amos", "bar", sent=3, delivered=1, ended={"decode": 1}, unseen=1),
        TypeRow("pads", "amos", "vote", 3, 1, unsent={"no_route": 1}, ended={"expired": 1}, unseen=1),
    ]


def test_a_killed_sender_leaves_nothing_below_zero() -> None:
    """Without the sender's book its messages were not sent by anybody, and none is unseen for that."""
    _, amos = books()
    assert [(row.sent, row.unseen) for row in by_type([amos.record()])] == [(0, 0), (0, 0)]


def test_starts_are_added_up_and_a_driven_letter_is_sent_again() -> None:
    """Two starts of a receiver share one row; a dead letter that was driven again ends twice, and left twice."""
    pads, amos = Book("pads", 1, 0), [Book("amos", epoch, 0) for epoch in (1, 2)]
    for n in range(2):
        pads.out["feedback"].passed("f", "*", n)
    for number, (book, outcome) in enumerate(zip(amos, ("dead_letter", "delivered"), strict=True), start=1):
        flow = book.arrived(("pads", 1, "feedback"), number, 0)
        assert flow is not None
        flow.finished("f", outcome)
    amos[1].reopened(("pads", 1, "feedback"), 0).finished("f", "delivered")
    row = by_type([pads.record(), *(book.record() for book in amos)])[1]
    assert row == TypeRow("pads", "amos", "f", sent=3, delivered=2, ended={"dead_letter": 1})
