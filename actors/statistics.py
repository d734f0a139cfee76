"""Frozen snapshots of what goes on inside: each part of the runtime has a `statistics()` that gives one of these."""

from __future__ import annotations

import bisect

import msgspec

BOUNDS_MS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)
"""Upper bounds of the buckets of a `Histogram`, in milliseconds; one more bucket holds what is longer."""


_BOUNDS_S = tuple(bound / 1_000 for bound in BOUNDS_MS)


class Histogram(msgspec.Struct, frozen=True):
    """How long something took.

    Attributes:
        counts: For each of `BOUNDS_MS` how many took at most that long (and more than the bound before), and last
            how many took longer than all.
        total_ms: The sum of all.
    """

    counts: tuple[int, ...]
    total_ms: float


class Durations:
    """Counts durations; `snapshot` gives the histogram.

    >>> durations = Durations()
    >>> durations.note(0.0003)
    >>> durations.snapshot().counts[:3], durations.snapshot().total_ms
    ((0, 0, 1), 0.3)
    """

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_MS) + 1)
        self._total_s = 0.0

    def note(self, seconds: float) -> None:
        """Something took this long."""
        self._counts[bisect.bisect_left(_BOUNDS_S, seconds)] += 1
        self._total_s += seconds

    def snapshot(self) -> Histogram:
        """What was counted so far."""
        return Histogram(tuple(self._counts), round(self._total_s * 1_000, 3))


class QueueStatistics(msgspec.Struct, frozen=True):
    """One end of a queue.

    Attributes:
        sent: Messages sent, or kept to be sent.
        sent_bytes: Their length.
        received: Messages received.
        received_bytes: Their length.
        unsent_bytes: What waits for room in the socket.
        resyncs: How often updates for a slow reader were replaced by one note that it must ask for everything anew.
        dropped: Updates that were dropped so.
    """

    sent: int
    sent_bytes: int
    received: int
    received_bytes: int
    unsent_bytes: int
    resyncs: int
    dropped: int


class SessionStatistics(msgspec.Struct, frozen=True):
    """A session, seen from its worker process.

    Attributes:
        session: Its number; 0 before the first Welcome.
        epoch: The owner's life; 0 before the first Welcome.
        revision: The latest durable change that this process has heard of.
        window: How many commands may be unanswered at a time.
        unanswered: How many are.
        asked: Commands so far.
        answered: Answers so far.
        resent: Commands that were sent again to a new owner.
        expired: Calls whose deadline came before their answer.
        refused: Messages that the owner did not understand.
        unknown_answers: Answers that nobody had asked for any more.
        queue: Its end of the queue.
    """

    session: int
    epoch: int
    revision: int
    window: int
    unanswered: int
    asked: int
    answered: int
    resent: int
    expired: int
    refused: int
    unknown_answers: int
    queue: QueueStatistics


class OwnerStatistics(msgspec.Struct, frozen=True):
    """The owner; counts are those of this life, unless said otherwise.

    Attributes:
        epoch: Number of this life.
        revision: Number of the latest durable change.
        turns: Number of the latest turn that stored something, counted over all lives.
        commands: Commands applied.
        repeated: Commands that had been done before and were answered from memory.
        refused: Commands that were refused with a typed error, by its code.
        misunderstood: Messages that were not understood.
        sessions: Sessions at this moment.
        waiting: Commands whose answer the actor has put off.
        backlog_bytes: What was read from the queues and is not applied yet.
        unsent_bytes: Answers that wait for room in a queue.
        stored_answers: Answers kept because nobody has acknowledged them.
        stored_bytes: The memory they take.
        log_bytes: Length of the session log.
        compactions: How often the session log was replaced by a snapshot.
        in_doubt: Whether nobody knows if the last turn was stored; changes wait until that is known.
        turn_ms: How long turns took.
        journal_ms: How long commits to the journal took.
    """

    epoch: int
    revision: int
    turns: int
    commands: int
    repeated: int
    refused: dict[str, int]
    misunderstood: int
    sessions: int
    waiting: int
    backlog_bytes: int
    unsent_bytes: int
    stored_answers: int
    stored_bytes: int
    log_bytes: int
    compactions: int
    in_doubt: bool
    turn_ms: Histogram
    journal_ms: Histogram


class ProcessStatistics(msgspec.Struct, frozen=True):
    """A process of the system, as the supervisor and the machine see it.

    Attributes:
        name: Its name.
        pid: Its process id, None between two lives.
        session: Its session, 0 if it has none.
        ready: Whether it has said that it works.
        restarts: How often it was started again.
        state: The machine's word for what it does: running, sleeping, stopped, ...; None if it does not run.
        rss_bytes: Memory in use.
        cpu_s: Processor time of this life, user and system.
        threads: Its threads.
        descriptors: Its open descriptors.
    """

    name: str
    pid: int | None
    session: int
    ready: bool
    restarts: int
    state: str | None
    rss_bytes: int
    cpu_s: float
    threads: int
    descriptors: int


class SupervisorStatistics(msgspec.Struct, frozen=True):
    """The supervisor.

    Attributes:
        epoch: How many owners there have been.
        sessions: Sessions at this moment.
        attached: Those of them that processes have which the supervisor did not start.
        hangs: How often an owner was replaced because it hung.
        crashed_commands: Commands that are not tried again because they ended an owner.
        log_memory_bytes: Memory set aside for the session log, which grows a piece at a time; its length is the owner's
            `log_bytes`.
        uptime_s: Since the system was started.
        processes: The supervisor itself, the owner and the workers.
    """

    epoch: int
    sessions: int
    attached: int
    hangs: int
    crashed_commands: int
    log_memory_bytes: int
    uptime_s: float
    processes: tuple[ProcessStatistics, ...]
