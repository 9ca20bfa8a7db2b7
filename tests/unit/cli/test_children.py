"""The state machine of a supervised process: probes, restarts, budget."""

from __future__ import annotations

import pytest

from qts_cli.children import LIVENESS, READINESS, STARTUP, UNKEPT_EXIT, Became, Child, Kill, Start, exit_words
from qts_core.probes import probes


def up(child: Child, now_s: float = 0.0) -> None:
    child.started(now_s)
    child.probed(STARTUP, True, now_s)
    child.probed(READINESS, True, now_s)


def starts(actions: list[object]) -> list[Start]:
    return [action for action in actions if isinstance(action, Start)]


def test_ready_after_startup_and_readiness() -> None:
    """A process is ready when start-up and readiness probes passed, not before."""
    child = Child("pads", probes(30.0))
    child.started(0.0)
    assert [which for which, _ in child.due(0.0)] == [STARTUP]
    child.probed(STARTUP, False, 0.0)
    assert child.due(0.2) == []
    assert [which for which, _ in child.due(0.25)] == [STARTUP]
    child.probed(STARTUP, True, 0.25)
    assert child.state == "starting"
    assert [Became("ready", "")] == child.probed(READINESS, True, 0.25)


def test_a_start_is_watched_closely_until_the_first_readiness() -> None:
    """Until then four times a second, from then on and after a relapse by the kubelet's rules."""
    child = Child("pads", probes(30.0))
    child.started(0.0)
    child.probed(STARTUP, True, 0.0)
    child.probed(READINESS, False, 0.0)
    assert READINESS in dict(child.due(0.25))
    assert [Became("ready", "")] == child.probed(READINESS, True, 0.25)
    for now_s in (2.25, 4.25):
        assert READINESS not in dict(child.due(now_s - 0.01))
        assert READINESS in dict(child.due(now_s))
        assert child.probed(READINESS, False, now_s) == []
    assert [Became("unready", "readiness probe failed 3 times")] == child.probed(READINESS, False, 6.25)


def test_startup_that_never_passes_kills_at_180_s() -> None:
    """The start-up probe kills once it has failed for 180 s, however often it was tried."""
    child = Child("pads", probes(30.0))
    child.started(0.0)
    tries = range(1000)
    kills = [n for n in tries if any(isinstance(a, Kill) for a in child.probed(STARTUP, False, 0.25 * n))]
    assert kills[0] == 719


def test_liveness_kills_at_the_third_failure_and_is_named_as_cause() -> None:
    """Three failed liveness probes kill, and the restart's cause is the probe, not the signal."""
    child = Child("pads", probes(30.0))
    up(child)
    assert child.probed(LIVENESS, False, 30.0) == []
    assert child.probed(LIVENESS, False, 60.0) == []
    assert [Kill("liveness probe failed 3 times")] == child.probed(LIVENESS, False, 90.0)
    (start,) = starts(child.exited(-9, 90.1, 0.5))
    assert start.cause == "liveness probe failed 3 times"


def test_liveness_failures_must_be_in_a_row() -> None:
    """One good liveness probe clears the failures before it."""
    child = Child("pads", probes(30.0))
    up(child)
    answers = [False, False, True, False, False]
    assert [a for n, ok in enumerate(answers) for a in child.probed(LIVENESS, ok, 30.0 * n)] == []


def test_liveness_waits_for_its_period() -> None:
    """The first liveness probe comes one period after start-up; readiness at once."""
    child = Child("pads", probes(30.0))
    child.started(0.0)
    child.probed(STARTUP, True, 4.0)
    assert [which for which, _ in child.due(4.0)] == [READINESS]
    assert {READINESS, LIVENESS} == {which for which, _ in child.due(34.0)}


def test_unready_does_not_kill() -> None:
    """Readiness failures show as unready and never restart."""
    child = Child("pads", probes(30.0))
    up(child)
    found = [a for n in range(9) for a in child.probed(READINESS, False, 2.0 * n)]
    assert [Became("unready", "readiness probe failed 3 times")] == found
    assert [Became("ready", "")] == child.probed(READINESS, True, 20.0)


def test_first_restart_at_once_then_back_off_with_jitter() -> None:
    """Delays are 0, then jitter times 0.5, 1, 2 s."""
    child = Child("pads", probes(30.0))
    child.started(0.0)
    delays = []
    for n in range(4):
        (start,) = starts(child.exited(1, float(n), 0.5))
        delays.append(start.delay_s)
        child.started(float(n))
    assert delays == [0.0, 0.25, 0.5, 1.0]
    assert child.restarts == 4


def test_back_off_resets_after_a_minute_of_health() -> None:
    """A process that was ready for 60 s restarts at once again."""
    child = Child("pads", probes(30.0))
    up(child)
    child.exited(1, 1.0, 0.5)
    up(child, 1.0)
    assert starts(child.exited(1, 2.0, 0.5))[0].delay_s == 0.25
    up(child, 2.0)
    assert starts(child.exited(1, 62.0, 0.5))[0].delay_s == 0.0


def test_budget_of_five_in_ten_minutes() -> None:
    """The sixth restart within ten minutes is refused in plain words; after a pause it is allowed."""
    child = Child("pads", probes(30.0))
    child.started(0.0)
    for n in range(5):
        assert starts(child.exited(1, float(n), 0.1))
        child.started(float(n))
    actions = child.exited(1, 6.0, 0.1)
    assert starts(actions) == []
    assert child.state == "down"
    assert "5 restarts in 10 min are used up" in actions[0].reason  # type: ignore[union-attr]
    fresh = Child("pads", probes(30.0))
    fresh.started(0.0)
    for n in range(7):
        assert starts(fresh.exited(1, 200.0 * n, 0.1))
        fresh.started(200.0 * n)


def test_no_restart_when_switched_off() -> None:
    """With auto_restart_failed false a dead process stays down, and the reason says why."""
    child = Child("pads", probes(30.0), restart=False)
    up(child)
    assert [Became("down", "signal SIGKILL; auto_restart_failed is false, it stays down")] == child.exited(
        -9, 5.0, 0.5
    )


def test_what_a_probe_says_too_late_changes_nothing() -> None:
    """Before start-up there is no liveness to fail; one kill is enough; who is stopped is not asked."""
    child = Child("pads", probes(30.0))
    child.started(0.0)
    assert [child.probed(LIVENESS, False, float(n)) for n in range(3)] == [[]] * 3
    up(child)
    said = [child.probed(LIVENESS, False, 30.0 * n) for n in range(1, 7)]
    assert said == [[], [], [Kill("liveness probe failed 3 times")], [], [], []]
    assert child.probed(READINESS, False, 200.0) == []
    other = Child("pads", probes(30.0))
    up(other)
    other.stop()
    assert [other.probed(which, False, 90.0) for which in (READINESS, LIVENESS) for _ in range(3)] == [[]] * 6


def test_each_state_is_told_when_it_begins() -> None:
    """From the first start over a crash to the next one, which is as young as the first."""
    child = Child("pads", probes(30.0))
    assert child.started(0.0) == []
    child.probed(STARTUP, True, 0.0)
    assert child.probed(READINESS, True, 0.0) == [Became("ready")]
    assert child.probed(READINESS, True, 2.0) == []
    assert child.exited(3, 5.0, 0.5) == [Became("waiting", "exit code 3"), Start(0.0, "exit code 3")]
    assert (child.last_cause, child.due(6.0)) == ("exit code 3", [])
    assert child.started(6.0) == [Became("starting")]
    assert [which for which, _ in child.due(6.0)] == [STARTUP]


def test_wanted_exit_is_no_restart() -> None:
    """After stop() an exit is the end, and probes are no longer asked."""
    child = Child("pads", probes(30.0))
    up(child)
    child.stop()
    assert child.due(100.0) == []
    assert [Became("stopped", "exit code 0")] == child.exited(0, 5.0, 0.5)


def test_refused_settings_are_not_tried_again() -> None:
    """Exit code 2 before the process ever was up means wrong settings: its own words are kept."""
    child = Child("market", probes(30.0))
    child.started(0.0)
    assert [Became("refused", "rows.csv: no column close")] == child.exited(
        2, 1.0, 0.5, "rows.csv: no column close"
    )


def test_who_refuses_without_a_word_is_told_by_its_exit_code() -> None:
    """So the reason is never empty."""
    child = Child("market", probes(30.0))
    child.started(0.0)
    assert child.exited(2, 1.0, 0.5) == [Became("refused", "exit code 2")]


def test_what_was_never_a_process_says_why() -> None:
    """Not "exit code 127", which is what a shell says; any other end is told by its exit code."""
    words = "cannot be started: [Errno 12] Cannot allocate memory"
    for code, said, cause in ((127, words, words), (127, "", "exit code 127"), (3, words, "exit code 3")):
        child = Child("market", probes(30.0))
        child.started(0.0)
        assert child.exited(code, 1.0, 0.5, said) == [Became("waiting", cause), Start(0.0, cause)]


def test_exit_code_2_after_health_is_a_crash() -> None:
    """Exit code 2 of a process that was up restarts it like any other."""
    child = Child("market", probes(30.0))
    up(child)
    assert len(starts(child.exited(2, 9.0, 0.5))) == 1
    child.started(10.0)
    (again,) = starts(child.exited(2, 11.0, 0.5, "qts_agents: rows.csv: line 9, column close: found -1"))
    assert again.cause == "exit code 2: qts_agents: rows.csv: line 9, column close: found -1"


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "signal SIGKILL"), (-11, "signal SIGSEGV")],
)
def test_exit_words(code: int, words: str) -> None:
    """An exit status is told as code or signal name."""
    assert words == exit_words(code)


def test_a_process_that_cannot_keep_what_it_decides_stays_down() -> None:
    """No restart makes room on a disk; the words name the remedy, as its standard error found no room either."""
    child = Child("pads", probes(30.0))
    up(child)
    (became,) = child.exited(UNKEPT_EXIT, 5.0, 0.5)
    assert isinstance(became, Became)
    assert (became.state, child.restarts) == ("down", 0)
    assert "free some" in became.reason
