"""What the blocking and the asyncio face share, from one list; asyncio's own loop and uvloop take it both."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from actors import client as client_module
from actors.aio import AsyncClient
from actors.channel import Channel
from actors.client import Client
from actors.clock import ManualClock
from actors.errors import CallTimeout, CommandInvalid, MessageTooLarge, OutcomeUnknown, Overloaded, SystemStopped
from actors.frames import Ask, Batch, Bye, Cancel, Inspect
from tests.actors.counter import Get, GiveBack, Held, Increment, Nested, Take
from tests.actors.faces import FACES, Make, SilentOwner
from tests.actors.owners import LocalOwner, decode, encode
from tests.polling import until


def test_a_command_is_answered(owner: LocalOwner, make: Make) -> None:
    """The result comes back, and a second face of the same kind sees the change."""
    face = make(owner.join())
    assert [face.ask(Increment("a")) for _ in range(3)] == [1, 2, 3]
    assert make(owner.join()).ask(Get("a"), changes=False) == 3


def test_a_refusal_is_raised_with_its_field(owner: LocalOwner, make: Make) -> None:
    """The typed error of the owner arrives in the process that asked."""
    face = make(owner.join())
    with pytest.raises(CommandInvalid) as raised:
        face.ask({"type": "Increment", "kex": 1})
    assert raised.value.field == "kex"
    assert face.ask(Increment("a")) == 1


def test_many_at_a_time_are_all_answered_once(owner: LocalOwner, make: Make) -> None:
    """However many wait together, each has its own answer."""
    face = make(owner.join())
    results = face.ask_all([Increment("a")] * 200)
    assert sorted(results) == list(range(1, 201))


def test_more_at_a_time_than_the_window_wait_for_room(make: Make) -> None:
    """The window is never overdrawn by calls that wait, and all of them are answered in the end."""
    silent = SilentOwner(window=4)
    most = 0
    answered = 0

    def serve() -> None:
        nonlocal most, answered
        open_ones: list[Ask] = []
        while answered < 50:
            open_ones += silent.asked()
            most = max(most, len(open_ones))
            for ask in open_ones[:2]:
                silent.answer(ask.number, ask.number)
                answered += 1
            del open_ones[:2]

    face = make(silent.workers_end)
    thread = threading.Thread(target=serve)
    thread.start()
    results = face.ask_all([Increment("a")] * 50)
    thread.join()
    assert sorted(results) == list(range(1, 51))
    assert most <= 4
    silent.end.close()


def test_no_room_in_time_is_overloaded(make: Make) -> None:
    """A call that found no room by its deadline was never sent."""
    silent = SilentOwner(window=1)
    face = make(silent.workers_end)
    results = face.ask_all([Increment("a")] * 3, timeout=0.1)
    assert sorted(type(result).__name__ for result in results) == ["OutcomeUnknown", "Overloaded", "Overloaded"]
    assert len({ask.number for ask in silent.asked()}) == 1
    assert any(isinstance(result, Overloaded) for result in results)
    silent.end.close()


@pytest.mark.parametrize("asks", ["batch", "owner_statistics"])
def test_batches_and_statistics_wait_for_room_too(make: Make, asks: str) -> None:
    """They take a place in the window like any command."""
    silent = SilentOwner(window=1)
    face = make(silent.workers_end)
    face.tell(Increment("a"))
    with pytest.raises(Overloaded):
        face.batch([Increment("a")], timeout=0.05) if asks == "batch" else face.owner_statistics(timeout=0.05)
    assert not [frame for frame in silent.heard() if isinstance(frame, Batch | Inspect)]
    silent.end.close()


def test_a_batch_over_the_limit_is_refused_at_the_sender(owner: LocalOwner, make: Make) -> None:
    """Its commands count together; it gets no number."""
    face = make(owner.join())
    with pytest.raises(MessageTooLarge):
        face.batch([Nested("x" * (6 * 1024 * 1024))] * 3)
    assert face.statistics().asked == 0
    assert face.batch([Increment("a")]) == [1]


@pytest.mark.parametrize("kind", FACES)
def test_the_owner_is_told_of_a_caller_that_gave_up_and_of_a_farewell(silent: SilentOwner, kind: type[Any]) -> None:
    """A command that waits there is of use to nobody then, and nobody wonders how the process ended."""
    face = kind(silent.workers_end)
    with pytest.raises(OutcomeUnknown):
        face.ask(Take(), timeout=0.05)
    face.close()
    assert silent.heard()[-2:] == [Cancel(1), Bye()]


@pytest.mark.parametrize(("changes", "error"), [(True, OutcomeUnknown), (False, CallTimeout)])
def test_no_answer_in_time_says_what_is_known(
    silent: SilentOwner, make: Make, *, changes: bool, error: type[Exception]
) -> None:
    """A change may have happened, a read has not; a late answer disturbs nothing."""
    face = make(silent.workers_end)
    with pytest.raises(error):
        face.ask(Increment("a"), timeout=0.05, changes=changes)
    [ask] = silent.asked()
    silent.answer(ask.number, "late")
    silent.answer(ask.number + 1, "in time")
    assert face.ask(Increment("a")) == "in time"


def test_a_late_grant_is_given_back(silent: SilentOwner, make: Make) -> None:
    """What arrives when its caller has gone is released by the next turn of the client."""
    face = make(silent.workers_end)
    with pytest.raises(OutcomeUnknown):
        face.ask(Take(), timeout=0.05, on_orphan=lambda _: encode(GiveBack()))
    [ask] = silent.asked()
    silent.answer(ask.number, "granted")
    silent.answer(ask.number + 1, None)
    silent.answer(ask.number + 2, None)
    face.ask(Get("a"))
    assert any(decode(ask.command) == {"type": "GiveBack"} for ask in silent.asked())


def test_a_grant_at_the_very_deadline_is_given_back_though_nobody_reads_on(
    silent: SilentOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was under way when the caller gave up; a blocking process that says nothing more would keep it."""
    monkeypatch.setattr(client_module, "LAST_WORD_S", 10.0)
    client = Client(silent.workers_end)

    def grant_too_late() -> None:
        until(lambda: Cancel(1) in silent.heard(), "the caller gives up")
        silent.answer(1, 7)

    thread = threading.Thread(target=grant_too_late)
    thread.start()
    with pytest.raises(CallTimeout):
        client.ask(encode(Take()), timeout=0.05, changes=False, on_orphan=lambda _: encode(GiveBack()))
    thread.join()
    until(lambda: any(decode(ask.command) == {"type": "GiveBack"} for ask in silent.asked()), "it is given back")
    client.close()


def test_what_is_told_is_done(owner: LocalOwner, make: Make) -> None:
    """A tell needs no waiting and is in order with the asks around it."""
    face = make(owner.join())
    for _ in range(500):
        face.tell(Increment("a"))
    assert face.ask(Get("a")) == 500


def test_a_command_over_the_limit_is_refused_at_the_sender(owner: LocalOwner, make: Make) -> None:
    """Nothing is sent, and a long command below the limit arrives."""
    face = make(owner.join())
    with pytest.raises(MessageTooLarge):
        face.ask(Nested("x" * (16 * 1024 * 1024)))
    long = "x" * (16 * 1024 * 1024 - 200)
    assert face.ask(Nested(long)) == long


def test_closing_ends_the_session_and_gives_back_what_it_held(owner: LocalOwner, make: Make) -> None:
    """The owner learns it at once, and the closed face says so to its callers."""
    face, other = make(owner.join()), make(owner.join())
    face.ask(Take())
    face.client.close()
    owner.wait_for_end(1)
    assert other.ask(Held()) == 0
    with pytest.raises(SystemStopped):
        face.ask(Increment("a"))


def test_the_end_of_the_owners_side_is_raised(silent: SilentOwner, make: Make) -> None:
    """A call that waits, and every later one, gets `SystemStopped`."""
    face = make(silent.workers_end)

    def end() -> None:
        until(silent.asked, "a command")
        silent.end.close()

    threading.Thread(target=end).start()
    for _ in range(2):
        with pytest.raises(SystemStopped):
            face.ask(Increment("a"))


def test_a_new_owner_is_not_noticed(owner: LocalOwner, make: Make) -> None:
    """Calls begun under one owner are answered by the next, exactly once; nobody reconnects."""
    face = make(owner.join())
    face.ask(Take())
    for _ in range(3):
        owner.end()
        for _ in range(20):
            face.tell(Increment("a"))
        thread = threading.Timer(0.01, owner.begin)
        thread.start()
        face.ask(Increment("a"))
        thread.join()
    assert face.ask(Get("a")) == 63
    assert face.ask(Held()) == 1


def test_a_waiting_call_is_woken_when_another_thread_closes(silent: SilentOwner) -> None:
    """`Client.close` ends the calls of all threads at once, not at their deadlines."""
    client = Client(silent.workers_end)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            client.ask(encode(Increment("a")), timeout=60)
        except SystemStopped as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: client.session.unanswered == 3, "three calls")
    client.close()
    for thread in threads:
        thread.join(5)
    assert len(errors) == 3
    assert silent.workers_end.fileno() == -1


def test_an_interrupt_gives_back_what_was_granted(silent: SilentOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a waiting call neither leaks the grant nor stops the other threads."""
    client = Client(silent.workers_end)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Channel, "wait_and_receive", lambda _: interrupt())
    with pytest.raises(KeyboardInterrupt):
        client.ask(encode(Take()), on_orphan=lambda _: encode(GiveBack()))
    monkeypatch.undo()
    silent.answer(1, "granted")
    silent.answer(2, "other")
    assert decode(client.ask(encode(Get("a")))) == "other"
    asked = {ask.number: decode(ask.command)["type"] for ask in silent.asked()}  # some may have been sent again
    assert list(asked.values()) == ["Take", "Get", "GiveBack"]
    client.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_cancelled_call_gives_back_what_was_granted(
    silent: SilentOwner, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Also when the answer is there already and only the task has not run yet."""

    async def scene() -> None:
        client = AsyncClient(silent.workers_end)
        task = asyncio.create_task(client.ask(encode(Take()), on_orphan=lambda _: encode(GiveBack())))
        while not (asked := silent.asked()):  # noqa: ASYNC110 - the other end is in our own hand, not in a task
            await asyncio.sleep(0)
        silent.answer(asked[0].number, "granted")
        client._readable()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not (asked := silent.asked()):  # noqa: ASYNC110 - the other end is in our own hand, not in a task
            await asyncio.sleep(0)
        assert decode(asked[0].command) == {"type": "GiveBack"}
        client.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scene())


def test_who_is_told_that_time_is_over_may_ask_again(silent: SilentOwner) -> None:
    """The new call has its own deadline, although another one is still under way that may take much longer."""

    async def scene() -> None:
        client = AsyncClient(silent.workers_end, clock=ManualClock())
        client._readable()  # the window is open
        told: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def again(_: object) -> None:
            client.ask_then(encode(Increment("a")), told.set_result, timeout=0.05, changes=False)

        client.ask_then(encode(Increment("a")), lambda _: None, timeout=3600)
        client.ask_then(encode(Increment("a")), again, timeout=0.05)
        async with asyncio.timeout(20):
            assert isinstance(await told, CallTimeout)
        client.close()

    uvloop.run(scene())


def test_each_is_told_once_also_if_one_of_them_ends_the_session(silent: SilentOwner) -> None:
    """Time is over for all at once: each is told so, and not that the session is over as well."""

    async def scene() -> None:
        client = AsyncClient(silent.workers_end, clock=ManualClock())
        client._readable()  # the window is open
        told: list[str] = []
        all_told = asyncio.Event()

        def close(error: object) -> None:
            told.append(type(error).__name__)
            client.close()
            if len(told) == 4:
                all_told.set()

        for _ in range(3):
            client.ask_then(encode(Increment("a")), close, timeout=0.05, changes=False)
        client.ask_then(encode(Increment("a")), close, timeout=3600)
        async with asyncio.timeout(20):
            await all_told.wait()
        assert sorted(told) == ["CallTimeout"] * 3 + ["SystemStopped"]

    uvloop.run(scene())
