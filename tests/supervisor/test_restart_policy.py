"""Restart policy: a table of exits and verdicts."""

import signal

import pytest

from spacedrive_node.supervisor.restart_policy import (
    MAX_QUICK_FAILURES,
    ExitHistory,
    GiveUp,
    Restart,
    cause_of,
)


def history(intensity=(120, 60.0)):
    return ExitHistory(intensity, (0.010, 2.0), lambda: 0.999999)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (0, "exit"),
        (70, "exit"),
        (-signal.SIGSEGV, "signal"),
        (-signal.SIGABRT, "signal"),
        (-signal.SIGKILL, "killed"),
    ],
)
def test_causes(status, cause):
    """An exit status is mapped to a cause."""
    assert cause_of(status) == cause


def test_poison():
    """The third self-inflicted exit over one input makes it poison; other exits in between do not count."""
    past = history()
    causes = ["exit", "killed", "signal", "zygote", "killed", "hang"]
    verdicts = [past.record_exit(cause, now, lived=2.0, input_number=7) for now, cause in enumerate(causes)]
    assert [verdict.poison for verdict in verdicts] == [False] * 5 + [True]


@pytest.mark.parametrize("numbers", [(1, 2, 1), (None, None, None), (1, None, 1)])
def test_no_poison(numbers):
    """Different inputs, or none, are never poison."""
    past = history()
    assert not any(
        past.record_exit("exit", now, lived=2.0, input_number=number).poison
        for now, number in enumerate(numbers)
    )


def test_intensity():
    """More than n exits in t seconds: given up. The same number over a longer time: not."""
    past = history((20, 60.0))
    verdicts = [past.record_exit("killed", now * 0.1, lived=2.0) for now in range(21)]
    assert all(isinstance(verdict, Restart) for verdict in verdicts[:20])
    assert isinstance(verdicts[20], GiveUp)
    slow = history((20, 60.0))
    assert all(isinstance(slow.record_exit("killed", now * 3.1, lived=2.0), Restart) for now in range(200))


def test_a_kill_every_second_is_survived():
    """An actor that is killed from outside every second comes back each time, at once."""
    past = history()
    verdicts = [past.record_exit("killed", float(now), lived=1.0) for now in range(600)]
    assert all(isinstance(verdict, Restart) and verdict.delay <= 0.010 for verdict in verdicts)


def test_the_loss_of_the_fork_server_does_not_count():
    """It counts neither for the intensity of a child nor against its input."""
    past = history((1, 60.0))
    assert all(past.record_exit("zygote", 0.0, input_number=1) == Restart(0.0) for _ in range(10))


def test_backoff_then_given_up():
    """The pause after quick failures grows up to 2 s, and then the actor is given up."""
    past = history()
    verdicts = [past.record_exit("exit", now * 2.0) for now in range(MAX_QUICK_FAILURES)]
    delays = [verdict.delay for verdict in verdicts[:-1]]
    assert delays == sorted(delays)
    assert delays[0] <= 0.010
    assert 1.9 < delays[-1] <= 2.0
    assert isinstance(verdicts[-1], GiveUp)


def test_the_first_restart_is_at_once():
    """No pause after a life of a second or more; a pause after the second quick exit in a row."""
    past = history()
    assert past.record_exit("killed", 10.0, lived=5.0).delay == 0.0
    assert 0.0 < past.record_exit("killed", 10.1, lived=0.1).delay <= 0.010
    assert past.record_exit("killed", 20.0, lived=5.0).delay == 0.0


def test_success_resets_backoff():
    """A second of life after Ready makes the next restart quick again."""
    past = history()
    for now in range(5):
        past.record_exit("exit", float(now))
    assert past.record_exit("exit", 10.0, lived=5.0).delay <= 0.010
