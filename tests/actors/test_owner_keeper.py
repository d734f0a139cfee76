import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.channel import Channel
from actors.clock import SystemClock
from actors.errors import QueueClosed
from actors.exits import Exit
from actors.owner import OwnerStart
from actors.processes.children import OwnerSpec
from actors.processes.control import MAX_FDS, Begin, Control, Died, Ended, FreshLog, FromOwner, Join, ToChild
from actors.processes.owner_keeper import OwnerKeeper
from actors.processes.reactor import Reactor
from actors.session_log import SessionLog
from tests.polling import until

KILLED = Exit(None, signal.SIGKILL)
CRASHED = Exit(3, None)


class StandIn:
    """The process of an owner, as far as the keeper sees it: a line; the test holds the other end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control: Control[Any] = Control(ours, FromOwner)
        self.theirs: Control[Any] = Control(theirs, ToChild)
        self.channels: dict[int, Channel] = {}
        self.names: dict[int, str] = {}

    def hear(self) -> Any:
        """The next message; the queues that it carries are kept."""
        self.control.flush()
        received = self.theirs.receive()
        assert received is not None, "nothing was said"
        message, fds = received
        if isinstance(message, Join):
            for session, name, fd in zip(message.sessions, message.names, fds, strict=True):
                self.channels[session] = Channel.from_fd(fd)
                self.names[session] = name
        return message

    def begins(self) -> tuple[dict[int, Exit | None], set[tuple[int, int]], list[Begin]]:
        """What a new owner is told before it begins: deaths, commands, and the messages."""
        died: dict[int, Exit | None] = {}
        crashed: set[tuple[int, int]] = set()
        begins: list[Begin] = []
        while not begins or begins[-1].more:
            message = self.hear()
            if isinstance(message, Begin):
                died.update(message.died)
                crashed.update(message.crashed)
                begins.append(message)
        return died, crashed, begins

    def close(self) -> None:
        for channel in self.channels.values():
            channel.close()
        self.control.close()
        self.theirs.close()


class Kept:
    """A keeper and the owners that it has had."""

    def __init__(self) -> None:
        self.reactor = Reactor(SystemClock())
        self.keeper = OwnerKeeper(OwnerSpec("no:actor"), self.reactor)
        self.owners: list[StandIn] = []
        self.workers: dict[int, Channel] = {}

    def begin(self) -> StandIn:
        """Another owner starts."""
        self.keeper.next_life()
        owner = StandIn()
        self.owners.append(owner)
        self.keeper.begin(owner)  # type: ignore[arg-type]  # a stand-in
        return owner

    def join(self) -> int:
        session, self.workers[session] = self.keeper.join("worker")
        return session

    def close(self) -> None:
        for channel in self.workers.values():
            channel.close()
        for owner in self.owners:
            owner.close()
        self.keeper.close()
        self.reactor.close()


@pytest.fixture
def kept() -> Iterator[Kept]:
    """A keeper without an owner."""
    kept = Kept()
    yield kept
    kept.close()


def test_the_reason_of_a_death_goes_ahead_of_the_end_of_the_queue(kept: Kept) -> None:
    """When the owner sees the end-of-file, the reason waits on its line."""
    owner = kept.begin()
    owner.begins()
    session = kept.join()
    owner.hear()
    with pytest.raises(AssertionError, match="nothing was said"):
        owner.hear()
    kept.keeper.leave(session, KILLED)
    with pytest.raises(QueueClosed):
        owner.channels[session].receive()
    assert owner.hear() == Died(session, KILLED)


def test_who_died_between_two_owners_is_named_to_the_next_until_one_is_ready(kept: Kept) -> None:
    """An owner that dies at its start leaves the same list to the next one; then it is forgotten."""
    kept.begin()
    gone, stays = kept.join(), kept.join()
    kept.keeper.ended(KILLED, ours=False)
    kept.keeper.leave(gone, CRASHED)
    for _ in range(2):
        owner = kept.begin()
        assert owner.begins()[0] == {gone: CRASHED}
        assert owner.channels.keys() == {stays}
        kept.keeper.ended(KILLED, ours=False)
    kept.begin()
    kept.keeper.works()
    kept.keeper.ended(KILLED, ours=False)
    assert kept.begin().begins()[0] == {}


def test_who_died_is_named_to_each_owner_until_one_has_ended_the_session(kept: Kept) -> None:
    """An owner may die, even after it was ready, before it has read what the dead worker left in its queue."""
    kept.begin()
    session = kept.join()
    kept.keeper.leave(session, CRASHED)
    for _ in range(2):
        kept.keeper.ended(KILLED, ours=False)
        owner = kept.begin()
        assert owner.begins()[0] == {session: CRASHED}
        assert owner.channels.keys() == {session}
        kept.keeper.works()
    kept.keeper.heard(Ended(session), [])
    assert not kept.keeper.sessions
    kept.keeper.ended(KILLED, ours=False)
    assert kept.begin().begins()[0] == {}


def test_a_death_after_the_session_was_ended_is_not_remembered(kept: Kept) -> None:
    """A worker may close its queue long before its process ends."""
    owner = kept.begin()
    owner.begins()
    session = kept.join()
    owner.hear()
    kept.keeper.heard(Ended(session), [])
    kept.keeper.leave(session, KILLED)
    with pytest.raises(AssertionError, match="nothing was said"):
        owner.hear()
    assert not kept.keeper._died


def test_thousands_of_deaths_and_commands_fit_into_messages(kept: Kept) -> None:
    """A new owner is told all of them before it begins, in as many messages as it takes."""
    kept.begin()
    stays = kept.join()
    for number in range(1_000):
        kept.keeper.pulse.mark(stays, 2**40 + number)
        kept.keeper.ended(CRASHED, ours=False)
    sessions = []
    for _ in range(4_000):  # one after the other: a process may not have so many descriptors
        session = kept.join()
        sessions.append(session)
        kept.keeper.leave(session, KILLED)
        kept.workers.pop(session).close()
    died, crashed, begins = kept.begin().begins()
    assert died == dict.fromkeys(sessions, KILLED)
    assert crashed == {(stays, 2**40 + number) for number in range(1_000)}
    assert len(begins) > 1


def test_a_mark_is_judged_once(kept: Kept) -> None:
    """The next owner begins with a clean page, so that its own death is not blamed on an old command."""
    kept.begin()
    session = kept.join()
    kept.keeper.pulse.mark(session, 9)
    assert kept.keeper.ended(CRASHED, ours=False)
    assert kept.begin().begins()[1] == {(session, 9)}
    assert not kept.keeper.ended(CRASHED, ours=False)
    assert kept.keeper.blamed == 1


def test_the_commands_of_a_session_are_forgotten_with_it(kept: Kept) -> None:
    """No owner is told of a command that cannot come any more."""
    kept.begin()
    session = kept.join()
    kept.keeper.pulse.mark(session, 9)
    kept.keeper.ended(CRASHED, ours=False)
    kept.begin()
    kept.keeper.heard(Ended(session), [])
    kept.keeper.ended(KILLED, ours=False)
    assert kept.begin().begins()[1] == set()


def test_every_owner_is_handed_all_sessions(kept: Kept) -> None:
    """There may be more of them than descriptors in a message."""
    kept.begin()
    sessions = {kept.join() for _ in range(MAX_FDS + 10)}
    kept.keeper.ended(KILLED, ours=False)
    owner = kept.begin()
    owner.begins()
    assert owner.channels.keys() == sessions


def test_a_session_without_descriptors_leaves_nothing_behind(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the owner nor the supervisor knows of it."""
    owner = kept.begin()
    owner.begins()
    duplicate = os.dup
    before = len(list(Path("/proc/self/fd").iterdir()))

    def refuse(fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), fd)

    monkeypatch.setattr(os, "dup", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        kept.keeper.join("worker")
    monkeypatch.setattr(os, "dup", duplicate)
    assert not kept.keeper.sessions
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(AssertionError, match="nothing was said"):
        owner.hear()
    assert kept.join() == 2


def test_each_life_has_the_next_number_and_the_latest_log(kept: Kept) -> None:
    """A fresh log that an owner has handed over is its successor's."""
    fresh = SessionLog.create()
    fresh.append(b"a snapshot")
    payload, _ = kept.keeper.next_life()
    first = msgspec.msgpack.decode(payload, type=OwnerStart)
    kept.keeper.heard(FreshLog(), [os.dup(fresh.fileno())])
    payload, after = kept.keeper.next_life()
    second = msgspec.msgpack.decode(payload, type=OwnerStart)
    assert (first.epoch, second.epoch) == (1, 2)
    assert os.path.sameopenfile(after[0], fresh.fileno())
    fresh.close()


def test_what_the_owners_line_has_no_room_for_is_sent_later(kept: Kept) -> None:
    """The supervisor never waits, and nothing is lost if the owner does not read for a while."""
    owner = kept.begin()
    owner.begins()
    sent = 0
    while not owner.control.blocked or sent % 10:
        sent += 1
        kept.keeper.tell(Died(sent, None))
    told = 0

    def read_on() -> bool:
        nonlocal told
        kept.reactor.turn()
        while owner.theirs.receive() is not None:
            told += 1
        return told == sent

    kept.reactor.after(0.0, lambda: None)
    until(read_on, "all of it is told")
