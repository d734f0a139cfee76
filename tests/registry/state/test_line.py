"""The waiting line: who waits while all backends are busy, who is served next, and who is told that it is in vain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors.errors import CallTimeout, CommandInvalid
from registry import commands as c
from registry.errors import ModelNotFound, NoBackendAvailable, QueueFull
from registry.kinds import BackendStatus
from registry.state.records import Grant, ModelRecord
from registry.state.switchboard import BUSY_RETRY_AFTER_S, MAX_WAITING
from tests.registry.state.driver import backend
from tests.registry.state.lives import Life, grant_of

HEALTHY, UNHEALTHY, UNKNOWN = BackendStatus.HEALTHY, BackendStatus.UNHEALTHY, BackendStatus.UNKNOWN


def busy() -> tuple[Life, Grant]:
    """A registry with one backend that may have one request, and session 1's lease on it."""
    life = Life()
    life.do(c.AddBackend(backend("a", "m", max_concurrency=1)))
    return life, life.acquire()


# -- limits --------------------------------------------------------------------------------------------------


def test_no_backend_has_more_requests_than_its_limit() -> None:
    """Requests go to other backends, however busy, before they are refused as busy."""
    life = Life()
    life.do(c.AddBackend(backend("a", "m", max_concurrency=1, weight=100)))
    life.do(c.AddBackend(backend("b", "m", max_concurrency=3)))
    assert sorted(life.acquire().backend for _ in range(4)) == ["a", "b", "b", "b"]
    with pytest.raises(NoBackendAvailable, match=r"^all healthy backends for model 'm' are busy") as refusal:
        life.acquire()
    assert (refusal.value.busy, refusal.value.retry_after_s) == (True, BUSY_RETRY_AFTER_S)


def test_raw_increments_count_for_the_limit() -> None:
    """A backend is as busy as its number of pending requests says, whoever counted them."""
    life = Life()
    life.do(c.AddBackend(backend("a", "m", max_concurrency=1)))
    life.do(c.IncrementPending("a"), 2)
    waiting = life.wait()
    assert life.served(waiting) == [False]
    life.do(c.DecrementPending("a"), 3)
    assert grant_of(life.answer(waiting)).backend == "a"


def test_one_that_can_be_served_does_not_wait() -> None:
    """To be willing to wait costs nothing while there is room."""
    life = Life()
    life.do(c.AddBackend(backend("a", "m", max_concurrency=1)))
    assert life.acquire(wait=True).backend == "a"


# -- what makes room -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make_room",
    [
        lambda life, lease: life.release(lease),
        lambda life, lease: life.do(c.ForceRelease(lease.id), 3),
        lambda life, _: life.end(1),
        lambda life, _: life.tick(c.LEASE_S),
        lambda life, _: life.do(c.UpdateBackend("a", max_concurrency=2), 3),
        lambda life, _: life.do(c.UpdateBackend("a", max_concurrency=None), 3),
        lambda life, _: life.do(c.PutBackend(backend("a", "m")), 3),
        lambda life, _: life.do(c.AddBackend(backend("b", "m")), 3),
        lambda life, _: life.do(c.UpdateStatus("unhealthy", HEALTHY), 3),
        lambda life, _: life.do(c.UpdateModels("other", (ModelRecord("m"),)), 3),
        lambda life, lease: life.commit() if life.say_batch([c.Release(lease.id)], atomic=True) else None,
    ],
)
def test_whatever_makes_room_serves_who_waits(make_room: Callable[[Life, Grant], object]) -> None:
    """The one who waits is answered in the turn that made room."""
    life, lease = busy()
    life.do(c.AddBackend(backend("unhealthy", "m", status=UNHEALTHY)))
    life.do(c.AddBackend(backend("other", "n")))
    waiting = life.wait(2, lease_s=60.0)
    assert life.served(waiting) == [False]
    make_room(life, lease)
    grant = grant_of(life.answer(waiting))
    assert (grant.model, grant.deadline_s) == ("m", life.clock.monotonic() + 60)
    assert [(held.id, held.session) for held in life.actor.leases.held(None, 0.0, str)][-1] == (grant.id, 2)
    assert not life.engine.waiting


def test_as_many_are_served_as_there_is_room_for() -> None:
    """A higher limit serves all it has room for at once, and the others wait on."""
    life, _ = busy()
    waiting = [life.wait(2) for _ in range(5)]
    life.do(c.UpdateBackend("a", max_concurrency=4))
    assert life.served(*waiting) == [True, True, True, False, False]


def test_one_room_serves_one_of_several_models() -> None:
    """A backend that several models wait for is given to the first in line of all of them."""
    life = Life()
    life.do(c.AddBackend(backend("a", "m", "n", max_concurrency=1)))
    lease = life.acquire()
    for_m, for_n = life.wait(2, "m", priority=1), life.wait(3, "n")
    life.release(lease)
    assert life.served(for_m, for_n) == [False, True]
    life.release(grant_of(life.answer(for_n)), 3)
    assert life.served(for_m) == [True]


# -- order ---------------------------------------------------------------------------------------------------


def order(life: Life, lease: Grant, waiting: list[tuple[int, int]]) -> list[int]:
    """In which order those who wait are served, as their places in a list."""
    served: list[int] = []
    holder = 1
    while len(served) < len(waiting):
        life.release(lease, holder)
        (latest,) = (at for at, call in enumerate(waiting) if call in life.answers and at not in served)
        served.append(latest)
        lease = grant_of(life.answer(waiting[latest]))
        holder = waiting[latest][0]
    return served


def test_a_session_is_served_in_the_order_in_which_it_asked() -> None:
    """First come, first served."""
    life, lease = busy()
    assert order(life, lease, [life.wait(2) for _ in range(4)]) == [0, 1, 2, 3]


def test_sessions_take_turns() -> None:
    """One that asks for little does not wait for all that another has asked for."""
    life, lease = busy()
    sessions = (2, 2, 2, 2, 3, 3, 1)
    assert order(life, lease, [life.wait(session) for session in sessions]) == [0, 4, 6, 1, 5, 2, 3]


def test_a_session_that_asks_again_and_again_is_not_always_the_first() -> None:
    """Who was served longest ago is next, also if the other comes back each time."""
    life, lease = busy()
    first = life.wait(2)
    calls = [life.wait(3), life.wait(3)]
    life.release(lease)
    calls += [life.wait(2), life.wait(2)]
    life.release(grant_of(life.answer(first)), 2)
    assert life.served(*calls) == [True, False, False, False]
    life.release(grant_of(life.answer(calls[0])), 3)
    assert life.served(*calls) == [True, False, True, False]


def test_lower_priority_numbers_go_first() -> None:
    """Priority comes before turns and arrival."""
    life, lease = busy()
    priorities = (5, 0, -100, 100, 0)
    assert order(life, lease, [life.wait(2, priority=one) for one in priorities]) == [2, 1, 4, 0, 3]


def test_a_newcomer_does_not_overtake() -> None:
    """What is freed goes to those who wait before anybody else can ask for it, even in the same turn."""
    life, lease = busy()
    waiting = life.wait(2)
    life.say(c.Release(lease.id))
    newcomer = life.say(c.Acquire("m"), 3)
    life.commit()
    assert life.served(waiting) == [True]
    with pytest.raises(NoBackendAvailable):
        life.answer(newcomer)


def test_one_that_cannot_use_what_is_free_is_passed_over() -> None:
    """A backend that the first in line has tried before goes to the next."""
    life = Life()
    for id in ("a", "b"):
        life.do(c.AddBackend(backend(id, "m", max_concurrency=1)))
    leases = {lease.backend: lease for lease in (life.acquire(), life.acquire())}
    picky, other = life.wait(2, exclude=("a",)), life.wait(3)
    life.release(leases["a"])
    assert life.served(picky, other) == [False, True]
    life.release(leases["b"])
    assert grant_of(life.answer(picky)).backend == "b"


# -- waiting in vain -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (c.UpdateStatus("a", UNHEALTHY), NoBackendAvailable),
        (c.DrainBackend("a"), NoBackendAvailable),
        (c.RemoveBackend("a"), ModelNotFound),
        (c.UpdateModels("a", ()), ModelNotFound),
        (c.PutBackend(backend("a", "n")), ModelNotFound),
    ],
)
def test_nobody_waits_for_what_cannot_come(command: c.Command, error: type[Exception]) -> None:
    """When no healthy backend is left, those who wait are told at once, as those who come later."""
    life, _ = busy()
    waiting = life.wait(2)
    life.do(command)
    for call in (waiting, life.wait(2)):
        with pytest.raises(error):
            life.answer(call)
    assert not life.engine.waiting


def test_who_has_tried_all_others_does_not_wait_for_them() -> None:
    """If the only backend left is one that was excluded, waiting is in vain; for others it is not."""
    life = Life()
    for id in ("a", "b"):
        life.do(c.AddBackend(backend(id, "m", max_concurrency=1)))
        life.acquire()
    picky, other = life.wait(2, exclude=("a",)), life.wait(3)
    life.do(c.DrainBackend("b"))
    with pytest.raises(NoBackendAvailable):
        life.answer(picky)
    assert life.served(other) == [False]


def test_the_line_is_bounded() -> None:
    """One more than may wait is refused; those for other models are not concerned."""
    life, _ = busy()
    life.do(c.AddBackend(backend("b", "n", max_concurrency=1)))
    life.acquire(model="n")
    for _ in range(MAX_WAITING):
        life.say(c.Acquire("m", wait=True), 2)
    refused = life.wait(3)
    with pytest.raises(QueueFull) as refusal:
        life.answer(refused)
    assert (refusal.value.model, refusal.value.waiting) == ("m", MAX_WAITING)
    assert life.served(life.wait(3, "n")) == [False]
    assert life.engine.waiting == life.actor.apply(c.GetMetrics(), life.engine._context((1, 0), 0.0)).waiting == 1_001


def test_the_deadline_ends_the_waiting() -> None:
    """At its deadline the caller has a timeout, and what is freed later goes to the next."""
    life, lease = busy()
    short = life.wait(2, deadline_s=life.clock.monotonic() + 5)
    patient = life.wait(3)
    life.tick(5.1)
    with pytest.raises(CallTimeout):
        life.answer(short)
    life.release(lease)
    assert life.served(patient) == [True]


def test_nothing_is_given_after_the_deadline() -> None:
    """An owner that was stopped reads a release before its next tick: whoever has given up meanwhile is passed over."""
    life, lease = busy()
    late, patient = life.wait(2, deadline_s=life.clock.monotonic() + 5), life.wait(3)
    life.clock.advance(5.1)
    life.release(lease)
    assert life.served(late, patient) == [False, True]
    life.tick()
    with pytest.raises(CallTimeout):
        life.answer(late)
    assert not len(life.actor.line.records)


def test_who_gives_up_or_dies_leaves_the_line() -> None:
    """What is freed goes to those who are still there."""
    life, lease = busy()
    given_up, dead, patient = life.wait(1), life.wait(2), life.wait(3)
    life.cancel(given_up)
    life.end(2)
    life.release(lease)
    assert life.served(dead, patient) == [False, True]
    assert [held.session for held in life.actor.leases.held(None, 0.0, str)] == [3]


def test_a_batch_does_not_wait() -> None:
    """A command that would have to wait is refused within a batch."""
    life, _ = busy()
    call = life.say_batch([c.Acquire("m", wait=True)], atomic=True)
    life.commit()
    with pytest.raises(CommandInvalid):
        life.answer(call)
    assert not life.engine.waiting
    assert not len(life.actor.line.records)


# -- owners --------------------------------------------------------------------------------------------------


def test_a_new_owner_keeps_every_place() -> None:
    """The line is the same in the next owner's life, with its order."""
    life, lease = busy()
    calls = [life.wait(2, priority=1), life.wait(3, priority=1), life.wait(2, priority=1)]
    life.next_owner()
    calls.append(life.wait(2))
    calls.append(life.wait(3, priority=1))
    assert order(life, lease, calls) == [3, 1, 0, 4, 2]


def test_what_is_undone_gives_nobody_a_place() -> None:
    """If the batch that made room is undone, those who wait go on waiting, in their order."""
    life, lease = busy()
    calls = [life.wait(2), life.wait(2)]
    life.say_batch([c.Release(lease.id), c.RemoveBackend("nobody")], atomic=True)
    assert life.commit() == {(1, 3)}
    assert life.served(*calls) == [False, False]
    assert order(life, lease, calls) == [0, 1]
