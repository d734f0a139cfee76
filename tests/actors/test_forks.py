"""What is watched over forks."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from typing import Any

import pytest

from actors import client as client_module
from actors.channel import Channel
from actors.client import Client
from actors.errors import AttachFailed, SystemStopped
from actors.forks import LINEAGE
from actors.session import Session
from tests.actors.counter import Held, Increment
from tests.actors.owners import LocalOwner, decode, encode, local_owner
from tests.forking import in_fork
from tests.polling import until


class Watched:
    """Notes that it was told."""

    def __init__(self) -> None:
        self.told = 0
        LINEAGE.watch(self)

    def forked(self) -> None:
        self.told += 1


def test_each_child_is_told_once_and_the_parent_never() -> None:
    """A grandchild is told of both forks, and is two generations on."""
    thing = Watched()
    generation = LINEAGE.generation
    assert in_fork(lambda: [thing.told, in_fork(lambda: thing.told), thing.told]) == [1, 2, 1]
    assert in_fork(lambda: in_fork(lambda: LINEAGE.generation)) == generation + 2
    assert (thing.told, LINEAGE.generation) == (0, generation)


def test_what_is_watched_is_not_kept_alive() -> None:
    """To be watched is no reason to live."""
    thing = Watched()
    reference = weakref.ref(thing)
    del thing
    gc.collect()
    assert reference() is None
    assert in_fork(lambda: 1) == 1


def test_a_client_of_any_actor() -> None:
    """It calls for a queue in the child, once, with the time its call has; in the parent it stays as it is."""
    with local_owner() as owner:
        joins = [owner.join(), owner.join()]
        asked: list[float] = []

        def rejoin(timeout_s: float) -> Channel:
            asked.append(timeout_s)
            return joins[1]

        client = Client(joins[0], rejoin=rejoin)
        assert decode(client.ask(encode(Increment("a")))) == 1

        def use() -> list[object]:
            answers = [decode(client.ask(encode(Increment("a")), timeout=7)) for _ in range(2)]
            return [answers, asked]

        assert in_fork(use) == [[2, 3], [7]]
        assert decode(client.ask(encode(Increment("a")))) == 4
        assert not asked
        client.close()
        joins[1].close()


def test_a_join_that_fails_is_tried_again() -> None:
    """A child whose first call finds no system may find one at its second."""
    with local_owner() as owner:
        joins = [owner.join(), owner.join()]
        errors = [AttachFailed("not yet")]

        def rejoin(timeout_s: float) -> Channel:
            del timeout_s
            if errors:
                raise errors.pop()
            return joins[1]

        client = Client(joins[0], rejoin=rejoin)

        def use() -> object:
            with pytest.raises(AttachFailed, match="not yet"):
                client.tell(encode(Increment("a")))
            client.tell(encode(Increment("a")))
            return decode(client.ask(encode(Increment("a"))))

        assert in_fork(use) == 2
        client.close()
        joins[1].close()


def test_a_call_that_is_under_way_at_the_fork() -> None:
    """A fork from within a call, as a signal handler may do, ends that call in the child and not in the parent."""
    with local_owner() as owner:
        client = Client(owner.join())
        call = client.session.call(encode(Increment("a")), 1e9)

        def state() -> list[object]:
            return [call.done, isinstance(call.error, SystemStopped), client.session.is_closed()]

        assert in_fork(state) == [True, True, True]
        assert state() == [False, False, False]
        client.close()


def test_a_thread_that_comes_while_another_one_joins_anew(owner: LocalOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits until all is made anew, and does not mix the old lock with the new session."""
    client = Client(owner.join(), rejoin=lambda _: owner.join())
    client.forked()
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> Session:
        begun.set()
        go_on.wait(10)
        return Session(*arguments)

    monkeypatch.setattr(client_module, "Session", slowly)
    found: list[Any] = []

    def ask() -> None:
        found.append(decode(client.ask(encode(Held()))))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]

    def waits(thread: threading.Thread) -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        return frame is not None and frame.f_code.co_name in {"ask", "_return"}

    threads[0].start()
    begun.wait(10)
    threads[1].start()
    until(lambda: waits(threads[1]), "the second one waits for the first")
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert found == [0, 0]
    client.close()
