"""Signal handlers that raise (Ctrl-C) while the blocking client works: it stays usable, and no grant leaks."""

from __future__ import annotations

import math
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from actors.client import Client
from tests.actors.counter import Get, GiveBack, Held, Increment, Queue, Repeat, Serve, Take
from tests.actors.interrupts import everywhere, interrupted
from tests.actors.owners import LocalOwner, decode, encode
from tests.polling import until

WINDOW = 8

LONG_S = 60.0
"""Nothing ends by itself while a test waits for it."""


@pytest.fixture
def client(owner: LocalOwner) -> Iterator[Client]:
    """A session in use, with a small window."""
    client = Client(owner.join())
    ask(client, Held())
    client.session.window = WINDOW
    yield client
    client.close()


def ask(client: Client, command: object) -> object:
    """A result; nobody has to wait for it longer than this."""
    return decode(client.ask(encode(command), timeout=5))


def give_back(_: object) -> bytes:
    """What to do with what was taken for nobody."""
    return encode(GiveBack())


def take(client: Client) -> None:
    """Something that must not stay with nobody."""
    client.ask(encode(Take()), on_orphan=give_back)


def take_twice(client: Client) -> None:
    """The same in a batch."""
    client.batch([encode(Take())] * 2, on_orphans=[give_back] * 2)


def count(client: Client) -> None:
    """Something that nobody waits for."""
    client.tell(encode(Increment("told")))


def read_much(client: Client) -> None:
    """An answer that comes in several parts."""
    assert len(client.ask(encode(Repeat(200_000)))) > 200_000


def fill(client: Client) -> None:
    """All the room that there is for unanswered commands is taken."""
    while client.session.has_room:
        client.session.tell(encode(Increment("filled")))
    client._send()


def nothing(client: Client) -> None:
    """All the room is free."""


def check(client: Client) -> None:
    """Whatever was interrupted: all is answered, nothing is held, and no gap is left in the numbers."""
    until(lambda: ask(client, Held()) == 0 and not client.session.unanswered, "everything is given back")
    assert client.session._answered.above == []
    assert not client._lock._is_owned()  # type: ignore[attr-defined]  # as `Condition` asks
    assert client._reader == client._sleepers == 0


@pytest.mark.parametrize("before", [nothing, fill])
@pytest.mark.parametrize("do", [take, take_twice, count, read_much, Client.owner_statistics])
def test_an_interrupt_at_any_point(client: Client, do: Callable[[Client], object], before: Callable[..., None]) -> None:
    """It is raised, the client works as before, and what was granted to nobody is given back."""

    def once() -> None:
        do(client)

    before(client)
    points = 0
    for _ in everywhere(once):
        check(client)
        before(client)
        points += 1
    assert points > 30
    filled = ask(client, Get("filled"))
    assert filled == (0 if before is nothing else WINDOW * (points + 1))


@pytest.mark.parametrize("do", [take, count])
def test_an_interrupt_while_a_new_owner_says_welcome(
    owner: LocalOwner, client: Client, do: Callable[[Client], None]
) -> None:
    """If its word is lost in this process it says it again, so nobody waits for it in vain."""

    def next_life() -> None:
        owner.end()
        owner.begin()

    next_life()
    for _ in everywhere(lambda: do(client)):
        check(client)
        next_life()
    ask(client, Held())
    assert client.session.epoch == owner._epoch


def test_an_interrupt_costs_no_other_thread_its_answer(client: Client) -> None:
    """Whoever reads for all the others is interrupted: what it has read is not lost to them."""
    others = []

    def serve() -> None:
        client.ask(encode(Serve()))

    def wait_in_line() -> None:
        others.append(client.session.call(encode(Queue()), math.inf))
        client._send()

    wait_in_line()
    for _ in everywhere(serve):
        while ask(client, Serve()) is not None:
            pass
        until(lambda: ask(client, Held()) == 0 and others[-1].done, "the other has its answer")
        assert decode(others[-1].value()) == len(others) - 1
        wait_in_line()
    assert len(others) > 30


def test_a_thread_that_sleeps_is_woken_if_the_reader_is_interrupted(owner: LocalOwner, client: Client) -> None:
    """Its answer may be there already, and no further message come; others that sleep do not keep it from that."""
    other = Client(owner.join())
    main = threading.get_ident()

    def sleep() -> None:
        with client._lock:
            client._sleep(LONG_S)

    def wait_in_line() -> None:
        client.ask(encode(Queue()), timeout=LONG_S)

    def wait_in_line_and_be_interrupted(at: int) -> bool:
        over = threading.Event()
        sleepers = [threading.Thread(target=sleep), threading.Thread(target=wait_in_line)]

        def serve_both_at_once() -> None:
            until(lambda: client._reader == main or over.is_set(), "the main thread reads")
            for count, sleeper in enumerate(sleepers, 1):
                sleeper.start()
                until(lambda: client._sleepers == count or over.is_set(), "it sleeps")  # noqa: B023 - used at once
            until(lambda: other.owner_statistics().waiting == 2 or over.is_set(), "two stand in line")
            other.batch([encode(Serve())] * 2)

        helper = threading.Thread(target=serve_both_at_once)
        helper.start()
        came = interrupted(lambda: client.ask(encode(Queue())), at)
        over.set()
        helper.join()

        def served() -> bool:
            # It may come into the line only now; once it was served, this sends its process nothing more.
            return ask(other, Serve()) is None and not sleepers[1].is_alive()

        def woken() -> bool:
            with client._lock:
                client._changed.notify_all()
            return not sleepers[0].is_alive()

        until(served, "it has its answer")
        until(woken, "the other has slept enough")
        return came

    at = 1
    while wait_in_line_and_be_interrupted(at):
        at += 1
    assert at > 30
    other.close()


def test_the_lock_is_held_again_whatever_is_raised_meanwhile(client: Client) -> None:
    """Signals that come while another thread holds the lock, one after the other: nobody is locked out afterwards."""
    raised = []

    def interrupt(*_: object) -> None:
        raised.append(1)
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGUSR2, interrupt)
    main = threading.get_ident()

    def at_the_lock() -> bool:
        frame: FrameType | None = sys._current_frames()[main]
        return frame is not None and frame.f_code.co_name == "_hold_again"

    def trouble() -> None:
        until(lambda: client._reader == main, "the main thread waits for its answer")
        with client._lock:
            for number in range(1, 6):
                signal.pthread_kill(main, signal.SIGUSR2)
                until(lambda: len(raised) == number and at_the_lock(), "it wants the lock again")  # noqa: B023 - used at once

    troublemaker = threading.Thread(target=trouble)
    troublemaker.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(client, Queue())
    finally:
        troublemaker.join()
        signal.signal(signal.SIGUSR2, handler)
    assert len(raised) == 5
    check(client)
    from_another_thread: list[object] = []
    thread = threading.Thread(target=lambda: from_another_thread.append(ask(client, Serve())))
    thread.start()
    thread.join(5)
    assert from_another_thread == [None]  # who was interrupted does not stand in line any more


def test_a_storm_of_signals_among_threads(owner: LocalOwner) -> None:
    """Real ones, at real moments, while other threads ask: none of them notices, and every answer comes once."""
    chance = random.Random(11)
    client = Client(owner.join())
    stopping = threading.Event()
    answers: list[list[int]] = [[], [], []]
    errors: list[BaseException] = []

    def work(found: list[int]) -> None:
        try:
            while not stopping.is_set():
                found.append(decode(client.ask(encode(Increment("a")), timeout=5)))
        except BaseException as error:  # noqa: BLE001 - the test shall see it
            errors.append(error)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    threads = [threading.Thread(target=work, args=(found,)) for found in answers]
    for thread in threads:
        thread.start()
    before = signal.signal(signal.SIGUSR2, interrupt)
    interrupts = 0
    try:
        while interrupts < 200:
            timer = threading.Timer(
                chance.random() * 0.001, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR2)
            )
            try:
                timer.start()
                while True:
                    client.ask(encode(Take()), on_orphan=give_back)
                    client.ask(encode(GiveBack()))
            except KeyboardInterrupt:
                interrupts += 1
            timer.join()
    finally:
        signal.signal(signal.SIGUSR2, before)
        stopping.set()
        for thread in threads:
            thread.join(10)
    assert errors == []
    found = [answer for answers_of_one in answers for answer in answers_of_one]
    assert sorted(found) == list(range(1, len(found) + 1))
    client.close()
