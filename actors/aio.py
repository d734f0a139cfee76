"""The asyncio face of a session: calls that are awaited, on asyncio's own loop or uvloop."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from actors.channel import Channel
from actors.client import DEFAULT_TIMEOUT_S
from actors.clock import Clock, SystemClock
from actors.errors import (
    ActorsError,
    CallError,
    CallTimeout,
    CommandError,
    MessageTooLarge,
    Overloaded,
    QueueClosed,
    SystemStopped,
)
from actors.forks import LINEAGE, Rejoin, cannot_rejoin
from actors.history import MAX_STEPS, Watched, decode_watched
from actors.replica import LOOK_AFTER_S, Replica
from actors.session import FRAME_BYTES, Call, OnOrphan, Session
from actors.statistics import OwnerStatistics, SessionStatistics

T = TypeVar("T")

QUICK_S = 1.0
"""How long a `tell` in a forked child, which cannot be awaited, may take to join the system."""


class AsyncClient:
    """Asks the owner and awaits; to be made and used within one running event loop.

    Commands that are awaited and begun in the same turn of the loop share one packet. One whose result is told is sent
    at once.

    Args:
        channel: The worker's end of its queue.
        errors: The error classes that the owner's refusals may name, by code.
        clock: Where deadlines are read; it must agree with the loop's clock.
        rejoin: Gives a process that is forked from this one a queue of its own, at its first call, in the event loop
            that runs then.
        replica: See `Client`.
    """

    def __init__(
        self,
        channel: Channel,
        errors: dict[str, type[CommandError]] | None = None,
        clock: Clock | None = None,
        rejoin: Rejoin = cannot_rejoin,
        replica: Replica | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._errors = errors
        self._rejoin = rejoin
        self._replica = replica
        self._begin(channel)
        self._late: set[asyncio.Task[None]] = set()
        LINEAGE.watch(self)

    def _begin(self, channel: Channel) -> None:
        self._channel = channel
        self._absent = False
        self.session = Session(self._clock, self._errors, self._replica)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel.fileno(), self._readable)
        self._flush_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self._waits_for_room = False
        self._queueing: deque[asyncio.Future[None]] = deque()

    async def ask(
        self,
        command: bytes,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        changes: bool = True,
        on_orphan: OnOrphan | None = None,
    ) -> msgspec.Raw:
        """Send a command and await its result; see `Client.ask`. Cancelling it gives back what it may be granted."""
        self._channel.check_size(len(command) + FRAME_BYTES)
        deadline = self._clock.monotonic() + timeout
        if self._absent:
            await self._return(timeout)
        if self._queueing or not self.session.has_room:
            await self._room(deadline)
        call = self.session.call(command, deadline, changes=changes, on_orphan=on_orphan)
        await self._answer(call)
        return call.value()

    async def batch(
        self,
        commands: Sequence[bytes],
        *,
        atomic: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
        on_orphans: Sequence[OnOrphan | None] = (),
    ) -> list[msgspec.Raw | CallError]:
        """Send several commands that are done with nothing in between, and await their results; see `Client.batch`."""
        self._channel.check_size(sum(len(command) + FRAME_BYTES for command in commands) + FRAME_BYTES)
        deadline = self._clock.monotonic() + timeout
        if self._absent:
            await self._return(timeout)
        if self._queueing or not self.session.has_room:
            await self._room(deadline)
        call = self.session.batch(commands, deadline, atomic=atomic, on_orphans=on_orphans)
        await self._answer(call)
        return self.session.outcomes(call)

    def ask_then(
        self,
        command: bytes,
        then: Callable[[msgspec.Raw | ActorsError], None],
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        changes: bool = True,
        on_orphan: OnOrphan | None = None,
    ) -> None:
        """Send a command at once, and have somebody told its result or error: that saves what a task costs.

        Args:
            command: The encoded command.
            then: Called once, with what `ask` returns or raises. What it raises itself is told to the event loop's
                exception handler.
            timeout: As of `ask`.
            changes: As of `ask`.
            on_orphan: As of `ask`.
        """
        if self._is_held_up:
            self._tell_late(self.ask(command, timeout=timeout, changes=changes, on_orphan=on_orphan), then)
            return
        try:
            self._channel.check_size(len(command) + FRAME_BYTES)
            deadline = self._clock.monotonic() + timeout
            call = self.session.call(command, deadline, changes=changes, on_orphan=on_orphan)
        except (MessageTooLarge, SystemStopped) as error:
            asyncio.get_running_loop().call_soon(then, error)
        else:
            self._tell(call, call.value, then)

    def batch_then(
        self,
        commands: Sequence[bytes],
        then: Callable[[list[msgspec.Raw | CallError] | ActorsError], None],
        *,
        atomic: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
        on_orphans: Sequence[OnOrphan | None] = (),
    ) -> None:
        """Send several commands at once, as `batch` does, and have somebody told what it returns or raises."""
        if self._is_held_up:
            self._tell_late(self.batch(commands, atomic=atomic, timeout=timeout, on_orphans=on_orphans), then)
            return
        try:
            self._channel.check_size(sum(len(command) + FRAME_BYTES for command in commands) + FRAME_BYTES)
            deadline = self._clock.monotonic() + timeout
            call = self.session.batch(commands, deadline, atomic=atomic, on_orphans=on_orphans)
        except (MessageTooLarge, SystemStopped) as error:
            asyncio.get_running_loop().call_soon(then, error)
        else:
            self._tell(call, partial(self.session.outcomes, call), then)

    @property
    def _is_held_up(self) -> bool:
        """Whether a call has to wait before it can be sent."""
        return self._absent or bool(self._queueing) or not self.session.has_room

    def _tell(self, call: Call, read: Callable[[], T], then: Callable[[T | ActorsError], None]) -> None:
        call.waiter = _Told(read, then)
        self._ring_by(call.deadline)
        self._flush()

    def _tell_late(self, asked: Coroutine[None, None, T], then: Callable[[T | ActorsError], None]) -> None:
        async def tell() -> None:
            outcome: T | ActorsError
            try:
                outcome = await asked
            except ActorsError as error:
                outcome = error
            then(outcome)

        task = asyncio.get_running_loop().create_task(tell())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def owner_statistics(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> OwnerStatistics:
        """A snapshot of the owner; raises as `ask`."""
        raw = await self._question(Session.inspect, timeout)
        return msgspec.msgpack.decode(raw, type=OwnerStatistics)

    async def watch(
        self, since: int | None, *, limit: int = MAX_STEPS, wait: bool = True, timeout: float = DEFAULT_TIMEOUT_S
    ) -> Watched:
        """What has changed; see `Client.watch`."""

        def begin(session: Session, deadline: float) -> Call:
            return session.watch(since, limit, deadline, wait=wait)

        return decode_watched(await self._question(begin, timeout))

    async def sync(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> None:
        """Bring the copy of the views up to date; see `Client.sync`. It is so in the step of the loop that follows."""
        deadline = self._clock.monotonic() + timeout
        await self._question(Session.sync, timeout)
        while not self.session.is_synced:
            await self._question(Session.sync, deadline - self._clock.monotonic())

    async def _question(self, begin: Callable[[Session, float], Call], timeout: float) -> msgspec.Raw:
        """Ask what is no command; raises as `ask`."""
        deadline = self._clock.monotonic() + timeout
        if self._absent:
            await self._return(timeout)
        if self._queueing or not self.session.has_room:
            await self._room(deadline)
        call = begin(self.session, deadline)
        await self._answer(call)
        return call.value()

    def refresh(self) -> bool:
        """Take in what has come for the copy of the views; see `Client.refresh`."""
        replica = self._replica
        if replica is None or self._absent:
            return False
        if not replica.following:
            self.session.follow()
            self._schedule_flush()
        self._receive()
        if replica.complete:
            replica.current_until = self._clock.monotonic() + LOOK_AFTER_S
        return replica.complete

    def statistics(self) -> SessionStatistics:
        """A snapshot of this end."""
        return self.session.statistics(self._channel.statistics())

    def tell(self, command: bytes) -> None:
        """Send a command and do not wait; it is done exactly once all the same, however late.

        It may overdraw the window: what it says (mostly that something is given back) must not be lost.

        Raises:
            SystemStopped: The session is over.
            AttachFailed: This process was forked, and could not join the system.
        """
        if self._absent:
            self._begin(self._rejoin(QUICK_S))
        self._channel.check_size(len(command) + FRAME_BYTES)
        self.session.tell(command)
        self._schedule_flush()

    def close(self) -> None:
        """Leave: the owner gives back all that this session holds. What was told is sent first, if there is room."""
        self._absent = False
        self.session.leave()
        self._flush()
        self._end("this session was closed")

    def forked(self) -> None:
        """Let go of the parent's session; see `Forkable`. The next call joins anew.

        Nothing is said to the event loop: it is the parent's, and so is the kernel's list of what it waits for.
        """
        self._channel.close()
        self._returning = asyncio.Lock()
        if self._replica is not None:
            self._replica.forget()
        if not self.session.is_closed():
            self.session.close(
                SystemStopped("the session is over: it was that of the process this one was forked from")
            )
            self._absent = True

    async def _return(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s), self._returning:
                if self._absent:
                    self._adopt(await asyncio.to_thread(self._rejoin, timeout_s))
        except TimeoutError:
            raise CallTimeout("the system was not joined by the deadline; nothing was changed") from None

    def _adopt(self, channel: Channel) -> None:
        if self._absent:
            self._begin(channel)
        else:  # a `tell` could not wait for it, or this client was closed
            channel.shutdown()

    async def _answer(self, call: Call) -> None:
        call.waiter = future = self._loop.create_future()
        self._schedule_flush()
        self._ring_by(call.deadline)
        try:
            await future
        except asyncio.CancelledError:
            self.session.abandon(call)
            self._schedule_flush()
            raise

    async def _room(self, deadline: float) -> None:
        """Queue until the window admits one more command."""
        while True:
            future = self._loop.create_future()
            self._queueing.append(future)
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                    await future
            except BaseException as error:
                future.cancel()
                self._admit()  # the place that it may have been given is another's
                if isinstance(error, TimeoutError):
                    reason = f"{self.session.unanswered} commands of this process are unanswered"
                    raise Overloaded(reason) from None
                raise
            if self.session.has_room:
                return

    def _admit(self) -> None:
        """Wake as many of those who queue as there is room for."""
        room = self.session.window - self.session.unanswered
        while self._queueing and room > 0:
            future = self._queueing.popleft()
            if not future.done():
                future.set_result(None)
                room -= 1

    def _ring_by(self, deadline: float) -> None:
        if deadline < self._rings_at:
            self._ring_at(deadline)

    def _ring_at(self, deadline: float) -> None:
        """Have one timer for all calls: most are answered long before it rings, and then it costs them nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - self._clock.monotonic()), self._expire)

    def _expire(self) -> None:
        # After a stop of the whole process, answers may be waiting that are older than this timer.
        self._receive()
        # The loop's clock may be a little ahead of the other, or rounded.
        until = max(self._rings_at, self._clock.monotonic())
        self._timer, self._rings_at = None, math.inf
        earliest = math.inf
        waiters = []
        for call in self.session.awaited():
            if call.deadline > until:
                earliest = min(earliest, call.deadline)
                continue
            waiters.append(call.waiter)
            self.session.expire(call)
            self._schedule_flush()
        if earliest < math.inf:
            self._ring_at(earliest)
        for waiter in waiters:  # last of all: who is told may ask anew at once, or end the session
            self._wake(waiter)

    def _readable(self) -> None:
        self._receive(until_answered=True)

    def _receive(self, *, until_answered: bool = False) -> None:
        """Take in what has come. When all is answered there is seldom more, and to look costs as much as to receive."""
        session = self.session
        if session.is_closed():
            return
        try:
            while (message := self._channel.receive()) is not None:
                answered = session.receive(message)
                for call in answered:
                    self._wake(call.waiter)
                if until_answered and answered:
                    break
        except QueueClosed as error:
            self._end(str(error))
            return
        self._admit()
        if not self._flush_scheduled:
            self._flush()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self.session.is_closed():
            return
        try:
            unsent = self._channel.post_all(self.session.outgoing)
        except QueueClosed as error:
            self._end(str(error))
            return
        if unsent is not self._waits_for_room:
            self._waits_for_room = unsent
            if unsent:
                self._loop.add_writer(self._channel.fileno(), self._flush)
            else:
                self._loop.remove_writer(self._channel.fileno())

    def _end(self, reason: str) -> None:
        if self.session.is_closed():
            return
        fd = self._channel.fileno()
        self._loop.remove_reader(fd)
        if self._waits_for_room:
            self._loop.remove_writer(fd)
        self._channel.shutdown()
        if self._timer is not None:
            self._timer.cancel()
        for call in self.session.close(SystemStopped(f"the session is over: {reason}")):
            self._wake(call.waiter)
        while self._queueing:
            self._wake(self._queueing.popleft())

    @staticmethod
    def _wake(future: asyncio.Future[None] | _Told[Any] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)


class _Told(Generic[T]):
    """Stands where a future does, and tells somebody instead of waking a task."""

    __slots__ = ("_read", "_then")

    def __init__(self, read: Callable[[], T], then: Callable[[T | ActorsError], None]) -> None:
        self._read = read
        self._then = then

    def done(self) -> bool:
        return False

    def set_result(self, _: None) -> None:
        outcome: T | ActorsError
        try:
            outcome = self._read()
        except ActorsError as error:
            outcome = error
        try:
            self._then(outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, others that are answered wait behind this one
            told = {"message": "who was told a result has failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
