"""To whom an end of a queue belongs, with real processes."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

import pytest

from actors.errors import QueueClosed, QueueShared
from actors.queues import MessageQueue
from tests.forking import forked, in_fork

Ends = tuple[Any, Any]
SPAWN: Any = multiprocessing.get_context("spawn")


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a queue, not used yet."""
    ends: Ends = MessageQueue.pair()
    yield ends
    for end in ends:
        end.close()


USES: dict[str, Callable[[Any], object]] = {
    "put": lambda end: end.put("x"),
    "get": lambda end: end.get(timeout=0),
    "offer": lambda end: end.offer("x", "resync"),
    "flush": lambda end: end.flush(),
}


@pytest.mark.parametrize("use", USES)
def test_a_copy_in_a_forked_process_is_refused(ends: Ends, use: str) -> None:
    """The end belongs to the process that has used it; that one goes on, and nothing was sent or read by the other."""
    left, right = ends
    left.put("before")
    right.put("for the first")

    def in_child() -> None:
        with pytest.raises(QueueShared, match=str(os.getppid())):
            USES[use](left)

    in_fork(in_child)
    left.put("after")
    assert [right.get(), right.get()] == ["before", "after"]
    assert left.get() == "for the first"
    with pytest.raises(Empty):
        right.get_nowait()


@pytest.mark.parametrize("use", USES)
def test_a_forked_process_can_be_the_first(ends: Ends, use: str) -> None:
    """Then it is the one that made the pair which is refused, and once the first is dead it is not."""
    left, right = ends

    def in_child() -> None:
        right.put("mine")
        right.get()

    with forked(in_child) as child:
        assert left.get(timeout=10) == "mine"
        with pytest.raises(QueueShared):
            USES[use](right)
        left.put("end")
        child.result()
    right.put("taken over")
    assert left.get(timeout=10) == "taken over"


def test_of_two_forked_processes_the_first_is_served(ends: Ends) -> None:
    """The kernel knows which process uses an end, whoever else has a copy."""
    left, right = ends

    def first() -> None:
        right.put("mine")
        right.get()

    def second() -> None:
        with pytest.raises(QueueShared):
            right.put("mine too")

    with forked(first) as one:
        assert left.get(timeout=10) == "mine"
        in_fork(second)
        left.put("end")
        one.result()


def answer(end: MessageQueue[str]) -> None:
    """Say who this is, and stay until told to go."""
    try:
        end.put("served")
    except QueueShared:
        os._exit(9)
    end.get()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_giver_cannot_use_what_it_has_given(ends: Ends, method: str) -> None:
    """Not even before the process has used it, nor after it has ended; the process is not disturbed."""
    left, right = ends
    process = multiprocessing.get_context(method).Process(target=answer, args=(right,))  # type: ignore[attr-defined]
    process.start()
    with pytest.raises(QueueShared):
        right.put("x")
    assert left.get(timeout=30) == "served"
    with pytest.raises(QueueShared):
        right.get(timeout=0)
    left.put("go")
    process.join()
    assert process.exitcode == 0
    with pytest.raises(QueueShared):
        right.get(timeout=0)


def test_a_second_process_is_refused_until_the_first_is_dead(ends: Ends) -> None:
    """The same end can be given again: to a replacement, which takes over after a SIGKILL."""
    left, right = ends
    first = SPAWN.Process(target=answer, args=(right,))
    first.start()
    assert left.get(timeout=30) == "served"
    rival = SPAWN.Process(target=answer, args=(right,))
    rival.start()
    rival.join()
    assert rival.exitcode == 9
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    replacement = SPAWN.Process(target=answer, args=(right,))
    replacement.start()
    assert left.get(timeout=30) == "served"
    left.put("go")
    replacement.join()
    assert replacement.exitcode == 0


def test_an_end_that_was_used_cannot_be_given(ends: Ends) -> None:
    """It is refused when the process would start, and goes on serving where it is."""
    left, right = ends
    right.put("mine")
    process = SPAWN.Process(target=answer, args=(right,))
    with pytest.raises(QueueShared):
        process.start()
    right.put("still mine")
    assert [left.get(), left.get()] == ["mine", "still mine"]


def test_a_forked_process_sees_the_death_of_the_other_side(ends: Ends) -> None:
    """Its own copy of the other end does not keep the queue alive."""
    left, right = ends

    def in_child() -> None:
        right.put("here")
        with pytest.raises(QueueClosed):
            right.get(timeout=10)

    with forked(in_child) as child:
        assert left.get(timeout=10) == "here"
        left.close()
        child.result()


def test_one_process_may_use_both_ends(ends: Ends) -> None:
    """As threads of one process do."""
    left, right = ends
    left.put("a")
    assert right.get() == "a"
    right.put("b")
    assert left.get() == "b"
