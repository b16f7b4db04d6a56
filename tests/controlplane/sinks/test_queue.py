"""The queue before a sink: it tries again, gives up, counts what it drops, and never holds up who offers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import pytest

from controlplane.sinks import queue as queues
from controlplane.sinks.event import Event, Filter, Kind
from controlplane.sinks.queue import Queue
from controlplane.sinks.senders import NotSentError
from tests.controlplane.sinks.conftest import event

VIOLATIONS = Filter(frozenset({Kind.VIOLATION}))


class Receiver:
    """Takes batches, after it has failed as often as it is to; ``gate`` holds it until it is set."""

    def __init__(self, failures: int = 0, *, later: bool = True) -> None:
        self.failures, self.later = failures, later
        self.tried = 0
        self.got: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.came = threading.Condition()

    def __call__(self, events: Sequence[Event]) -> None:
        with self.came:
            self.tried += 1
            self.came.notify_all()
        assert self.gate.wait(60)
        if self.failures:
            self.failures -= 1
            raise NotSentError("not now", later=self.later)
        with self.came:
            self.got += [one.id for one in events]
            self.came.notify_all()

    def wait(self, *, got: int = 0, tried: int = 0) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.got) >= got and self.tried >= tried, 60)


def made(receiver: Receiver, counts: Counter[str], pause_seconds: float = 0.0) -> Queue:
    def count(outcome: str, events: int) -> None:
        counts[outcome] += events

    return Queue("it", "file", "/x", VIOLATIONS, receiver, lambda: 5, count, pause_seconds)


def test_what_is_offered_arrives_in_its_order() -> None:
    receiver, counts = Receiver(), Counter[str]()
    queue = made(receiver, counts)
    queue.start()
    for number in range(250):
        queue.offer(event(number))
    receiver.wait(got=250)
    queue.close()
    queue.join(60)
    assert receiver.got == list(range(250))
    assert counts == {"sent": 250}
    assert (queue.state().state, queue.state().waiting, queue.state().last_sent_ms) == ("ok", 0, 5)


def test_a_batch_that_is_not_taken_is_sent_again() -> None:
    receiver, counts = Receiver(failures=3), Counter[str]()
    queue = made(receiver, counts)
    queue.offer(event(1))
    queue.start()
    receiver.wait(got=1)
    queue.close()
    queue.join(60)
    assert (receiver.tried, counts) == (4, {"sent": 1})
    assert (queue.state().last_error, queue.state().attempts) == ("not now", 0)


@pytest.mark.parametrize(("later", "tries"), [(True, queues.MAX_ATTEMPTS), (False, 1)])
def test_a_batch_is_given_up_and_the_next_one_sent(later: bool, tries: int) -> None:
    receiver, counts = Receiver(failures=tries, later=later), Counter[str]()
    queue = made(receiver, counts)
    queue.offer(event(1))
    queue.start()
    receiver.wait(tried=tries)
    queue.offer(event(2))
    receiver.wait(got=1)
    queue.close()
    queue.join(60)
    assert receiver.got == [2]
    assert counts == {"failed": 1, "sent": 1}


def test_who_offers_never_waits_and_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver stands still all the while."""
    monkeypatch.setattr(queues, "MAX_WAITING", 10)
    receiver, counts = Receiver(), Counter[str]()
    receiver.gate.clear()
    queue = made(receiver, counts)
    queue.start()
    for number in range(25):
        queue.offer(event(number))
    assert (queue.state().waiting, queue.state().dropped, counts["dropped"]) == (10, 15, 15)
    receiver.gate.set()
    receiver.wait(got=10)
    queue.close()
    queue.join(60)
    assert receiver.got == list(range(10))


def test_it_ends_while_it_waits_to_try_again() -> None:
    receiver = Receiver(failures=1_000)
    queue = made(receiver, Counter(), pause_seconds=3_600)
    queue.offer(event(1))
    queue.start()
    receiver.wait(tried=1)
    queue.close()
    queue.join(60)
    assert queue.state().waiting == 1
    assert queue.state().state == "retrying"


def test_what_waits_is_sent_once_more_at_the_end() -> None:
    receiver = Receiver()
    queue = made(receiver, Counter())
    for number in range(3):
        queue.offer(event(number))
    queue.start()
    queue.close()
    queue.join(60)
    assert receiver.got == [0, 1, 2]
