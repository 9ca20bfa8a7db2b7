"""One of several processes of one name works, the others stand by, whatever comes late or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qts_messaging.beacon import BEACON_BYTES, MAGIC, Beacon, Kind, is_beacon, read
from qts_messaging.succession import FIRST, SILENT, Succession


def beats(process: Succession, count: int) -> list[bool]:
    """Let own beacons come back; return after each whether it is its turn."""
    found = []
    for _ in range(count):
        process.own()
        found.append(process.turn)
    return found


def test_who_is_alone_works_after_a_few_beacons() -> None:
    """Nobody else was heard in the time in which somebody at work beats at least twice."""
    process = Succession(5)
    assert beats(process, FIRST) == [False] * (FIRST - 1) + [True]


def test_who_follows_somebody_waits_until_he_is_silent() -> None:
    """A beacon of the one at work begins the count anew; his farewell ends it at once."""
    process = Succession(5)
    process.at_work()
    assert not any(beats(process, SILENT - 1))
    process.at_work()
    assert beats(process, SILENT) == [False] * (SILENT - 1) + [True]
    process.at_work()
    process.left()
    assert process.turn


def test_a_new_subscription_counts_anew_and_still_follows() -> None:
    """A server that was away makes nobody take over: who was followed has time to be heard again."""
    process = Succession(5)
    process.at_work()
    beats(process, SILENT - 1)
    process.restart()
    assert not any(beats(process, SILENT - 1))


def test_without_own_beacons_nothing_is_silent() -> None:
    """A process that hears nothing, not even itself, never takes over."""
    process = Succession(5)
    assert not process.turn
    process.at_work()
    assert not process.turn


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5, unique=True))
def test_of_those_who_stand_by_the_eldest_takes_over(epochs: list[int]) -> None:
    """All hear the same: exactly one takes its turn, and it is the one that has stood by for longest."""
    waiting = [Succession(epoch) for epoch in epochs]
    for process in waiting:
        process.at_work()
    for _ in range(SILENT):
        for process in waiting:
            process.own()
            for other in epochs:
                if other != process.epoch:
                    process.waits(other)
    assert [process.epoch for process in waiting if process.turn] == [min(epochs)]


def test_who_stood_by_and_went_away_is_waited_for_no_longer() -> None:
    """An elder that ends while it stands by does not keep the younger from working."""
    process = Succession(5)
    process.waits(1)
    found = beats(process, SILENT + 1)
    assert (any(found[:SILENT]), found[-1]) == (False, True)


def test_a_beacon_tells_its_kind_and_a_later_kind_is_no_message() -> None:
    """What an older process does not know is passed over, not counted as garbage."""
    beacon = Beacon(7, ("a",))
    for kind in Kind:
        sign = read(beacon.next(kind))
        assert sign is not None
        assert (sign.kind, sign.epoch) == (kind, 7)
    unknown = (MAGIC + b"?").ljust(BEACON_BYTES, b"\0")
    assert (is_beacon(unknown), read(unknown), read(b"a message of another length")) == (True, None, None)
