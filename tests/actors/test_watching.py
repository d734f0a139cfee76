"""`watch` on the blocking and the asyncio face."""

import asyncio
import signal
import threading
from typing import Any

import pytest

from actors.aio import AsyncClient
from actors.client import Client
from actors.errors import CallTimeout, CommandInvalid, Compacted, SystemStopped
from actors.frames import Cancel, Sync, Watch
from actors.history import Watched
from tests.actors.counter import Get, Increment
from tests.actors.faces import FACES, Make, SilentOwner
from tests.actors.owners import LocalOwner, encode
from tests.polling import until

LASTING = Increment("a", durable=True)


def revisions(watched: Watched) -> list[int]:
    """Those of the steps."""
    return [step.revision for step in watched.steps]


def test_what_has_changed_is_told_with_who_did_it(owner: LocalOwner, make: Make) -> None:
    """Steps come in order, with the name of the process that made them."""
    face = make(owner.join())
    with pytest.raises(CallTimeout):
        face.watch(0, timeout=0.01)
    for _ in range(3):
        face.ask(LASTING)
    watched = face.watch(1)
    assert (watched.revision, revisions(watched)) == (3, [2, 3])
    assert {(step.by, step.cause) for step in watched.steps} == {("test", "Increment")}
    assert revisions(face.watch(None, limit=1)) == [3]


def test_a_revision_out_of_reach_is_a_typed_error(owner: LocalOwner, make: Make) -> None:
    """One that is gone and one that does not exist yet."""
    face = make(owner.join())
    face.ask(LASTING)
    with pytest.raises(Compacted) as gone:
        face.watch(0)
    assert (gone.value.since, gone.value.oldest) == (0, 2)
    with pytest.raises(CommandInvalid, match="since"):
        face.watch(2)


@pytest.mark.parametrize("kind", FACES)
def test_a_watch_that_nobody_waits_for_is_cancelled(silent: SilentOwner, kind: type[Any]) -> None:
    """Its time is over: the owner is told, and nothing was changed."""
    face = kind(silent.workers_end)
    with pytest.raises(CallTimeout):
        face.watch(0, timeout=0.05)
    face.close()
    asked = [frame for frame in silent.heard() if isinstance(frame, Watch | Cancel)]
    assert [type(frame) for frame in asked] == [Watch, Cancel]


@pytest.mark.parametrize("kind", FACES)
def test_a_sync_that_nobody_waits_for_is_cancelled(silent: SilentOwner, kind: type[Any]) -> None:
    """Its time is over: the owner is told, and nothing was changed."""
    face = kind(silent.workers_end)
    with pytest.raises(CallTimeout):
        face.sync(timeout=0.05)
    face.close()
    assert [type(frame) for frame in silent.heard() if isinstance(frame, Sync | Cancel)] == [Sync, Cancel]


def test_a_sync_of_who_keeps_no_copy(owner: LocalOwner, make: Make) -> None:
    """It is answered at once, as often as it is asked."""
    face = make(owner.join())
    for _ in range(3):
        face.sync()
    assert (face.statistics().asked, face.statistics().unanswered) == (3, 0)


def test_a_watch_goes_on_under_the_next_owner(owner: LocalOwner, make: Make) -> None:
    """It is asked again by itself."""
    watcher, other = make(owner.join()), make(owner.join())
    told: list[Watched] = []
    thread = threading.Thread(target=lambda: told.append(watcher.watch(0, timeout=30)))
    thread.start()
    for _ in range(2):
        until(lambda: owner.engine.observers.watchers.waiting, "the watch waits")
        owner.end()
        owner.begin()
    until(lambda: owner.engine.observers.watchers.waiting, "the watch waits")
    other.ask(LASTING)
    thread.join()
    assert revisions(told[0]) == [1]


def test_other_threads_work_while_one_watches(owner: LocalOwner) -> None:
    """Waiting for a change holds no lock; the change may be made by another thread of the same process."""
    client = Client(owner.join())
    told: list[Watched] = []
    thread = threading.Thread(target=lambda: told.append(client.watch(0, timeout=30)))
    thread.start()
    until(lambda: owner.engine.observers.watchers.waiting, "the watch waits")
    for _ in range(100):
        client.ask(encode(Get("a")))
    assert not told
    client.ask(encode(LASTING))
    thread.join()
    assert revisions(told[0]) == [1]
    client.close()


def test_an_interrupted_watch_leaves_the_client_usable(owner: LocalOwner) -> None:
    """Ctrl-C ends the wait, the owner forgets it, and the next calls are answered."""
    client = Client(owner.join())
    client.ask(encode(Get("a")))

    def interrupt() -> None:
        until(lambda: owner.engine.observers.watchers.waiting, "the watch waits")
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.watch(0, timeout=30)
    thread.join()
    client.ask(encode(LASTING))
    until(lambda: not owner.engine.observers.watchers.waiting, "the owner has forgotten it")
    assert revisions(client.watch(0)) == [1]
    client.close()


def test_the_end_of_the_session_ends_the_wait(owner: LocalOwner, make: Make) -> None:
    """A face that is closed, or whose owner's side is gone, says so to whoever watches."""
    face = make(owner.join())
    face.client.close()
    with pytest.raises(SystemStopped):
        face.watch(0)


def test_closing_wakes_a_thread_that_watches(owner: LocalOwner) -> None:
    """It does not wait for its deadline."""
    client = Client(owner.join())
    errors: list[Exception] = []

    def watch() -> None:
        try:
            client.watch(0, timeout=30)
        except SystemStopped as error:
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    until(lambda: owner.engine.observers.watchers.waiting, "the watch waits")
    client.close()
    thread.join(5)
    assert len(errors) == 1


def test_a_task_that_watches_can_be_cancelled(owner: LocalOwner) -> None:
    """The owner is told, and the client is as usable as before."""

    async def behave() -> None:
        client = AsyncClient(owner.join())
        task = asyncio.create_task(client.watch(0, timeout=30))
        while not owner.engine.observers.watchers.waiting:
            await client.ask(encode(Get("a")))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while owner.engine.observers.watchers.waiting:
            await client.ask(encode(Get("a")))
        await client.ask(encode(LASTING))
        client.close()

    asyncio.run(behave())
