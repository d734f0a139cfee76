"""Commands whose answer the actor puts off until another session does something."""

import threading
from typing import Any

import pytest

from actors import owner as owner_module
from actors.client import Client
from actors.errors import CallTimeout, OutcomeUnknown
from actors.frames import MAX_RANGES
from actors.session import ACKNOWLEDGE_AFTER
from tests.actors.counter import Get, Held, Increment, Queue, Serve
from tests.actors.faces import Make
from tests.actors.owners import LocalOwner, decode, encode, local_owner
from tests.polling import until


class Waiter:
    """A call that waits in a thread of its own."""

    def __init__(self, ask: Any, **options: Any) -> None:
        self.outcome: Any = None
        self._thread = threading.Thread(target=self._run, args=(ask, options))
        self._thread.start()

    def _run(self, ask: Any, options: dict[str, Any]) -> None:
        try:
            self.outcome = ask(Queue(), **options)
        except Exception as error:  # noqa: BLE001 - what was raised is the outcome
            self.outcome = error

    def result(self) -> Any:
        self._thread.join()
        return self.outcome


def in_line(client: Client, count: int) -> None:
    """Wait until so many commands wait in the owner."""
    until(lambda: client.owner_statistics().waiting == count, f"{count} wait")


def test_a_command_that_waits_is_answered_by_another_session(owner: LocalOwner, make: Make) -> None:
    """The owner serves others meanwhile, and answers in the order of the line."""
    other = Client(owner.join())
    first = Waiter(make(owner.join()).ask)
    in_line(other, 1)
    second = Waiter(make(owner.join()).ask)
    in_line(other, 2)
    assert decode(other.ask(encode(Increment("a")))) == 1
    assert [decode(other.ask(encode(Serve()))) for _ in range(3)] == [1, 0, None]
    assert [first.result(), second.result()] == [0, 1]
    other.close()


def test_a_command_that_waits_in_vain_leaves_the_line(owner: LocalOwner, make: Make) -> None:
    """At its deadline the caller has an error, and the owner is told: nobody is served for nobody."""
    other = Client(owner.join())
    waiter = Waiter(make(owner.join()).ask, timeout=0.05)
    assert isinstance(waiter.result(), OutcomeUnknown | CallTimeout)
    in_line(other, 0)
    assert decode(other.ask(encode(Serve()))) is None
    other.close()


def test_a_session_that_ends_leaves_the_line(owner: LocalOwner, make: Make) -> None:
    """What it waited for goes to the next."""
    other = Client(owner.join())
    gone = Client(owner.join())
    waiter = Waiter(lambda command, **_: gone.ask(encode(command)))
    in_line(other, 1)
    second = Waiter(make(owner.join()).ask)
    in_line(other, 2)
    gone.close()
    waiter.result()
    in_line(other, 1)
    assert decode(other.ask(encode(Serve()))) == 0
    assert second.result() == 0
    other.close()


def test_a_new_owner_keeps_the_line(owner: LocalOwner, make: Make) -> None:
    """Nobody who waits notices, and nobody loses the place."""
    other = Client(owner.join())
    waiters = []
    for count in (1, 2, 3):
        waiters.append(Waiter(make(owner.join()).ask))
        in_line(other, count)
    owner.end()
    owner.begin()
    assert [decode(other.ask(encode(Serve()))) for _ in range(3)] == [2, 1, 0]
    assert [waiter.result() for waiter in waiters] == [0, 1, 2]
    other.close()


def test_answers_past_a_waiting_command_are_not_kept_for_ever(owner: LocalOwner) -> None:
    """They are acknowledged in ranges, so one command that waits makes nothing pile up in the owner."""
    client, other = Client(owner.join()), Client(owner.join())
    waiter = Waiter(lambda command, **_: decode(client.ask(encode(command))))
    in_line(other, 1)
    for _ in range(3 * ACKNOWLEDGE_AFTER):
        client.ask(encode(Increment("a")))
    assert other.owner_statistics().stored_answers <= ACKNOWLEDGE_AFTER + 1
    other.ask(encode(Serve()))
    assert waiter.result() == 0
    client.close()
    other.close()


def test_more_gaps_than_an_acknowledgement_may_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is acknowledged later: no message is refused, and a new owner does nothing twice."""
    monkeypatch.setattr(owner_module, "WINDOW", 4 * MAX_RANGES)
    waiting = MAX_RANGES + 200
    with local_owner() as owner:
        client = Client(owner.join())
        for _ in range(waiting):
            client.tell(encode(Queue()))
            client.tell(encode(Increment("a")))
        assert decode(client.ask(encode(Get("a")))) == waiting
        assert len(client.session._answered.above) == waiting
        owner.end()
        owner.begin()
        assert decode(client.ask(encode(Get("a")))) == waiting
        assert decode(client.ask(encode(Increment("a")))) == waiting + 1
        found = client.owner_statistics()
        assert (found.misunderstood, found.refused, found.waiting) == (0, {}, waiting)
        assert client.statistics().refused == 0
        client.close()


def test_a_command_is_not_put_off_for_a_dead_session(owner: LocalOwner) -> None:
    """What it said last may stand in line for a moment; then it is taken out with the session."""
    client, other = Client(owner.join()), Client(owner.join())
    client.ask(encode(Held()))
    client.tell(encode(Queue()))
    client.close()
    until(lambda: other.owner_statistics().sessions == 1, "the session has ended")
    assert decode(other.ask(encode(Serve()))) is None
    other.close()
