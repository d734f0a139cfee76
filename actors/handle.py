"""A system started from a user's program: the supervisor as a process of its own, and the handle to it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import msgspec

from actors.channel import Channel
from actors.errors import (
    UNDECODABLE,
    CallTimeout,
    MessageInvalid,
    QueueClosed,
    QueueError,
    StartedElsewhere,
    StartFailed,
    SupervisorError,
    SystemStopped,
)
from actors.exits import Exit
from actors.forks import LINEAGE
from actors.processes.child import Child
from actors.processes.children import HANG_S, READY_S, SUPERVISOR, ChildInfo, ChildSpec, OwnerSpec
from actors.processes.control import Control, Failed, Ready, Start, payload_fd, read_payload
from actors.processes.process import Process
from actors.processes.restarts import RestartPolicy
from actors.processes.signals import watch_signals
from actors.processes.stacks import REQUEST
from actors.statistics import SupervisorStatistics
from actors.supervisor import Supervisor

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0

STOP_MARGIN_S = 5.0
"""How much longer than its workers the system may take to stop before its supervisor is killed."""


class Spawn(msgspec.Struct, frozen=True, tag=True):
    """Start a worker. Carries its payload."""

    id: int
    name: str
    target: str
    policy: RestartPolicy
    ready_within_s: float


class Attach(msgspec.Struct, frozen=True, tag=True):
    """Give the asking process a session."""

    id: int


class Await(msgspec.Struct, frozen=True, tag=True):
    """Answer when this worker has ended for good."""

    id: int
    name: str


class Status(msgspec.Struct, frozen=True, tag=True):
    """What goes on?"""

    id: int


class DumpStacks(msgspec.Struct, frozen=True, tag=True):
    """Let a process write its stacks to standard error."""

    id: int
    name: str


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End everything; the workers together have this many seconds."""

    budget_s: float


class Done(msgspec.Struct, frozen=True, tag=True):
    """A request was carried out; for `Attach` this carries the queue, for `Status` the encoded statistics."""

    id: int
    exit: Exit | None = None


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """A request was refused."""

    id: int
    reason: str


class Settings(msgspec.Struct, frozen=True):
    """The payload of a supervisor process.

    Attributes:
        actor: See `OwnerSpec`.
        options: See `OwnerSpec`.
        stop_budget_s: How long workers may take when the system is stopped by a signal or its user's end.
        log_level: Level of the supervisor's own log lines, as in `logging`.
        hang_s: See `OwnerSpec`.
        ready_within_s: See `OwnerSpec`.
        attach: Path of the socket by which other processes join; empty for none.
    """

    actor: str
    options: bytes
    stop_budget_s: float
    log_level: int
    hang_s: float = HANG_S
    ready_within_s: float = READY_S
    attach: str = ""


Request = Spawn | Attach | Await | Status | DumpStacks | Stop
FromSupervisor = Ready | Failed | Done | Refusal

_Answered = tuple[Done, list[int]]
"""An answer, and the descriptors that came with it."""


class _Numbered(msgspec.Struct):
    """What can be read of a request whose other fields make no sense."""

    id: int


_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_number = msgspec.msgpack.Decoder(_Numbered).decode


class Handle:
    """Starts a system and stays in touch with its supervisor. All methods may be called from any thread.

    In a process that is forked from this one they raise `StartedElsewhere`, but for `stop`, which does nothing.

    Args:
        settings: What to run.
        fds: Descriptors that each owner shall hold; they stay the caller's to close.

    Raises:
        StartFailed: The owner could not start, and why.
    """

    def __init__(self, settings: Settings, fds: Sequence[int] = ()) -> None:
        start = Start(SUPERVISOR, "actors.handle:main", 0)
        self._process: Process[FromSupervisor] = Process(start, msgspec.msgpack.encode(settings), fds, FromSupervisor)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[_Answered]] = {}
        self._awaited: dict[str, Future[_Answered]] = {}
        self._started: Future[None] = Future()
        self._gone = threading.Event()
        self._reason = "the system has stopped"
        self._elsewhere = False
        self.exit: Exit | None = None
        LINEAGE.watch(self)
        threading.Thread(target=self._listen, name="supervisor-handle", daemon=True).start()
        try:
            self._started.result(START_TIMEOUT_S)
        except FutureTimeoutError:
            self._process.kill(signal.SIGKILL)
            reason = f"the system was not ready within {START_TIMEOUT_S:.0f} s"
            raise StartFailed(reason) from None
        except KeyboardInterrupt:
            self._process.kill(signal.SIGKILL)
            raise

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    def spawn(
        self, name: str, target: str, payload: bytes, policy: RestartPolicy, ready_within_s: float = READY_S
    ) -> None:
        """Start a worker; see `ChildSpec`."""
        with payload_fd(payload) as fd:
            self._ask(lambda id: Spawn(id, name, target, policy, ready_within_s), [fd])

    def attach(self) -> Channel:
        """A session for this process: the worker's end of its queue."""
        _, fds = self._ask(Attach)
        return Channel.from_fd(fds[0])

    def wait(self, name: str, timeout: float | None) -> Exit | None:
        """How a worker ended for good; None if it has not within the timeout (seconds)."""
        self._check_here()
        # One question serves all who wait, so asking again and again does not pile up callbacks in the supervisor.
        future = self._awaited.get(name)
        if future is None or future.done():
            future = Future()
            self._begin(future, lambda id: Await(id, name))
            self._awaited[name] = future
        try:
            done, _ = future.result(timeout)
        except FutureTimeoutError:
            return None
        return done.exit

    def processes(self) -> list[ChildInfo]:
        """The owner and all workers, in order of their start."""
        return [ChildInfo.of(process) for process in self._counts().processes[1:]]

    def statistics(self) -> SupervisorStatistics:
        """What goes on in the system, with the machine's figures of its processes, first the supervisor's."""
        from actors.processes.machine import measured  # noqa: PLC0415 - psutil takes its time to load, and few ask

        # Measured here: the supervisor must not be kept waiting, also if there are many processes.
        return measured(self._counts())

    def dump_stacks(self, name: str) -> None:
        """Let a process write the stacks of all its threads to its standard error; it goes on as before.

        Args:
            name: Of a worker, or `owner`, or `supervisor`.

        Raises:
            SupervisorError: No process of this name runs.
        """
        if name == SUPERVISOR:  # not by asking it: it may be what is stuck
            with self._lock:
                if self._gone.is_set():
                    raise SystemStopped(self._reason)
                self._process.kill(REQUEST)
            return
        self._ask(lambda id: DumpStacks(id, name))

    def _counts(self) -> SupervisorStatistics:
        _, fds = self._ask(Status)
        return msgspec.msgpack.decode(read_payload(fds[0]), type=SupervisorStatistics)

    def stop(self, budget_s: float) -> None:
        """End everything and wait until it has ended."""
        if self._elsewhere:
            return
        with self._lock, contextlib.suppress(QueueClosed):
            if not self._gone.is_set():
                self._process.control.send(Stop(budget_s))
        if self._gone.wait(budget_s + STOP_MARGIN_S):
            return
        with self._lock:
            if not self._gone.is_set():
                self._process.kill(signal.SIGKILL)
        self._gone.wait()

    def forked(self) -> None:
        """Let go of the supervisor, which is the parent's; see `Forkable`."""
        self._elsewhere = True
        self._process.disown()

    def _check_here(self) -> None:
        if self._elsewhere:
            raise StartedElsewhere

    def _ask(self, make: Callable[[int], Request], fds: Sequence[int] = ()) -> _Answered:
        future: Future[_Answered] = Future()
        try:
            self._begin(future, make, fds)
            return future.result(START_TIMEOUT_S)
        except BaseException as error:  # also of a signal handler: who is told nothing cannot close what has come
            future.add_done_callback(_close_what_came)
            if isinstance(error, FutureTimeoutError):
                raise CallTimeout("the supervisor did not answer in time") from None
            raise

    def _begin(self, future: Future[_Answered], make: Callable[[int], Request], fds: Sequence[int] = ()) -> None:
        self._check_here()
        with self._lock:
            if self._gone.is_set():
                raise SystemStopped(self._reason)
            id = next(self._ids)
            self._waiting[id] = future  # first of all: a signal handler may raise once it is sent
            try:
                self._process.control.send(make(id), fds)
            except QueueClosed:
                raise SystemStopped(self._reason) from None

    def _listen(self) -> None:
        reason = ""
        try:
            while True:
                received = self._process.control.receive(block=True)
                if received is not None:
                    reason = self._hear(*received) or reason
        except (QueueClosed, OSError):
            pass
        with self._lock:
            self.exit = self._process.reap()
            self._reason = reason or self._reason
            self._gone.set()
        if not self._started.done():
            self._started.set_exception(StartFailed(reason or f"the supervisor ended ({self.exit})"))
        for future in list(self._waiting.values()):
            future.set_exception(SystemStopped(self._reason))

    def _hear(self, message: FromSupervisor, fds: list[int]) -> str | None:
        if isinstance(message, Ready):
            self._started.set_result(None)
            return None
        if isinstance(message, Failed):
            return message.reason
        with self._lock:
            future = self._waiting.pop(message.id)
        if isinstance(message, Done):
            future.set_result((message, fds))
        else:
            future.set_exception(SupervisorError(message.reason))
        return None


def _close_what_came(future: Future[_Answered]) -> None:
    if future.exception() is None:
        for fd in future.result()[1]:
            os.close(fd)


class _Service:
    """The supervisor's side of the handle."""

    def __init__(self, child: Child, settings: Settings) -> None:
        self._settings = settings
        spec = OwnerSpec(settings.actor, settings.options, tuple(child.fds), settings.hang_s, settings.ready_within_s)
        self._supervisor = Supervisor(spec, attach=settings.attach)
        self._control: Control[Any] = child.control
        self._control.expect(msgspec.Raw)  # what is no request has a number all the same, by which it is refused
        # The user's process itself is watched too: a child that it has forked may keep the control line open.
        self._user = os.pidfd_open(os.getppid())

    def run(self) -> None:
        supervisor = self._supervisor
        watch_signals(supervisor, self._settings.stop_budget_s)
        supervisor.reactor.watch(self._control.fileno(), self._readable)
        supervisor.reactor.watch(self._user, self._user_gone)
        supervisor.on_ready = self._ready
        supervisor.start()
        supervisor.run()

    def _ready(self) -> None:
        self._supervisor.on_ready = lambda: None
        self._say(Ready())

    def _readable(self) -> None:
        try:
            while (received := self._control.receive()) is not None:
                self._hear(*received)
        except MessageInvalid as error:
            logger.warning("from the program that started the system: %s", error)
        except QueueClosed:
            self._user_gone()

    def _user_gone(self) -> None:
        for fd in (self._control.fileno(), self._user):  # the other one must not hurry this stop
            self._supervisor.reactor.forget(fd)
        self._supervisor.stop("the program that started the system has ended", self._settings.stop_budget_s)

    def _hear(self, message: msgspec.Raw, fds: list[int]) -> None:
        try:
            request = _decode_request(message)
        except UNDECODABLE as error:
            for fd in fds:
                os.close(fd)
            self._refuse(message, f"the supervisor does not understand the request: {error}")
            return
        if isinstance(request, Stop):
            self._supervisor.stop("asked to stop", request.budget_s)
            return
        try:
            self._do(request, fds)
        except (SupervisorError, OSError) as error:
            self._say(Refusal(request.id, str(error)))

    def _refuse(self, message: msgspec.Raw, reason: str) -> None:
        logger.warning("%s", reason)
        with contextlib.suppress(*UNDECODABLE):  # what has no number awaits no answer
            self._say(Refusal(_decode_number(message).id, reason))

    def _do(self, request: Spawn | Attach | Await | Status | DumpStacks, fds: list[int]) -> None:
        id = request.id
        match request:
            case Spawn():
                payload = read_payload(fds[0])
                self._supervisor.add(
                    ChildSpec(request.name, request.target, payload, (), request.policy, request.ready_within_s)
                )
                self._say(Done(id))
            case Attach():
                _, channel = self._supervisor.join(os.getppid())
                self._say(Done(id), [channel.fileno()])
                channel.close()
            case Await():
                self._supervisor.when_ended(request.name, lambda end: self._say(Done(id, exit=end)))
            case Status():
                # As a payload: with very many processes it is longer than a message of this line may be.
                with payload_fd(msgspec.msgpack.encode(self._supervisor.counts())) as fd:
                    self._say(Done(id), [fd])
            case DumpStacks():
                self._supervisor.dump_stacks(request.name)
                self._say(Done(id))

    def _say(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        with contextlib.suppress(QueueError):  # its end-of-file is seen by `_readable`
            self._control.send(message, fds)


def main(child: Child) -> None:
    """The supervisor process of a user's program."""
    settings = msgspec.msgpack.decode(child.payload, type=Settings)
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    try:
        _Service(child, settings).run()
    except SupervisorError as error:
        raise StartFailed(str(error)) from error
