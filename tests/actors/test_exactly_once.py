"""Sessions and owners in a world where owners die at any point; a model beside it says what must be true."""

import contextlib
import logging
import os
from collections import Counter, defaultdict, deque
from collections.abc import Sequence

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from actors import frames
from actors.clock import ManualClock
from actors.errors import StorageUnavailable
from actors.frames import Acked, Ask, Batch, Cancel, Hello, Welcome
from actors.journal import SavedRow, Step
from actors.session import Call, Session
from actors.session_log import SessionLog
from actors.turns.engine import Engine
from tests.actors.counter import CounterActor, Fail, GiveBack, Increment, MemoryJournal, Queue, Serve, Take, duplicate

logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)

SLOTS = st.integers(0, 2)
KEYS = st.sampled_from(["a", "b"])
encode = msgspec.msgpack.encode


class Death(BaseException):
    """The owner is killed here."""


class _MortalJournal(MemoryJournal):
    """A journal whose process dies before or after the transaction, when told to."""

    dies = ""
    mute = ""

    def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
        if self.dies == "before the journal":
            raise Death
        if self.mute != "before":
            super().commit(steps, turn, record, saved)
        if self.dies == "after the journal":
            raise Death
        if self.mute:
            raise StorageUnavailable("no word from the disk")

    def holds(self, turn: int) -> bool:
        if self.mute:
            raise StorageUnavailable("no word from the disk")
        return super().holds(turn)


class _MortalLog(SessionLog):
    """A session log whose process dies before or after a record, when told to."""

    dies = ""

    def append(self, body: bytes) -> None:
        if self.dies == "before the log":
            raise Death
        super().append(body)
        if self.dies == "after the log":
            raise Death


class _Worker:
    """A worker process: its session, the two directions of its queue, and what it has asked."""

    def __init__(self, number: int, clock: ManualClock) -> None:
        self.number = number
        self.session = Session(clock)
        self.to_owner: deque[bytes] = deque()
        self.to_worker: deque[bytes] = deque()
        self.greeted = False
        self.increments: list[tuple[tuple[str, bool], Call]] = []
        self.holds: list[tuple[int, Call]] = []
        self.queueing: list[Call] = []
        self.batches: list[tuple[int, bool, Call]] = []
        self.sent: list[bytes] = []

    def flush(self) -> None:
        while (message := self.session.outgoing()) is not None:
            self.to_owner.append(message)
            self.sent.append(message)


DEATHS = st.sampled_from(
    ["before the journal", "after the journal", "before the log", "after the log", "before answers"]
)


class LossyWorld(RuleBasedStateMachine):
    """Three workers, one owner at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.journal = _MortalJournal()
        self.log = SessionLog.create()
        self.logs = [self.log]
        self.epoch = 0
        self.sessions = 0
        self.workers: list[_Worker] = []
        self.gone: list[_Worker] = []
        self.served: list[Call] = []
        self.given_up: list[Call] = []
        self._begin_life()
        for slot in range(3):
            self.workers.append(self._join())
            self.worker_runs(slot)

    # -- the world -------------------------------------------------------------------------------------------

    def _begin_life(self) -> None:
        self.epoch += 1
        self.journal.dies = ""
        self.owner_log = _MortalLog(os.dup(self.log.fileno()))
        self.actor = CounterActor()
        self.engine = Engine(self.actor, self.journal, self.owner_log, self.clock, self.epoch, self._handed)
        self.engine.ledger._compact_at = 400
        known = self.engine.recover()
        for worker in self.workers:
            self._welcome(worker)
        for session in known - {worker.number for worker in self.workers}:
            self.engine.end(session)
        self.engine.commit()

    def _end_life(self) -> None:
        self.engine.ledger._log.close()
        self._begin_life()

    def _handed(self, log: SessionLog) -> None:
        self.log = duplicate(log)
        self.logs.append(self.log)

    def _join(self) -> _Worker:
        self.sessions += 1
        worker = _Worker(self.sessions, self.clock)
        self._welcome(worker)
        return worker

    def _welcome(self, worker: _Worker) -> None:
        worker.greeted = False
        self.engine.join(worker.number)
        worker.to_worker.append(frames.encode([Welcome(self.epoch, worker.number, 100)]))

    def _read(self, worker: _Worker, message: bytes, *, posthumous: bool = False) -> None:
        for frame in frames.decode_to_owner(message):
            if isinstance(frame, Hello):
                if frame.epoch == self.epoch:
                    worker.greeted = True
                    self.engine.acknowledge(worker.number, frame.answered)
            elif worker.greeted and isinstance(frame, Ask | Batch):
                self.engine.ask(worker.number, frame, posthumous=posthumous)
            elif worker.greeted and isinstance(frame, Cancel):
                self.engine.cancel(worker.number, frame.number)
            elif worker.greeted and isinstance(frame, Acked):
                self.engine.acknowledge(worker.number, frame.answered)

    def _commit(self) -> None:
        for session, answers in self.engine.commit().items():
            for worker in self.workers:
                if worker.number == session:
                    worker.to_worker.append(frames.encode([msgspec.Raw(answer) for answer in answers]))

    # -- what can happen -------------------------------------------------------------------------------------

    @rule(slot=SLOTS, keys=st.lists(st.tuples(KEYS, st.booleans()), min_size=1, max_size=3), sends=st.booleans())
    def increment(self, slot: int, keys: list[tuple[str, bool]], *, sends: bool) -> None:
        worker = self.workers[slot]
        for key, durable in keys:
            call = worker.session.call(encode(Increment(key, durable)), 1e9)
            worker.increments.append(((key, durable), call))
        if sends:
            worker.flush()

    @rule(slot=SLOTS, takes=st.booleans())
    def hold(self, slot: int, *, takes: bool) -> None:
        worker = self.workers[slot]
        call = worker.session.call(encode(Take() if takes else GiveBack()), 1e9)
        worker.holds.append((1 if takes else -1, call))

    @rule(slot=SLOTS, sends=st.booleans())
    def queue(self, slot: int, *, sends: bool) -> None:
        worker = self.workers[slot]
        worker.queueing.append(worker.session.call(encode(Queue()), 1e9))
        if sends:
            worker.flush()

    @rule(slot=SLOTS)
    def serve(self, slot: int) -> None:
        worker = self.workers[slot]
        self.served.append(worker.session.call(encode(Serve()), 1e9))
        worker.flush()

    @rule(slot=SLOTS)
    def give_up(self, slot: int) -> None:
        worker = self.workers[slot]
        for call in worker.queueing:
            if not call.done:
                worker.session.expire(call)
                self.given_up.append(call)
                break

    @rule(slot=SLOTS, count=st.integers(1, 3), atomic=st.booleans(), fails=st.booleans())
    def batch(self, slot: int, count: int, *, atomic: bool, fails: bool) -> None:
        worker = self.workers[slot]
        commands = [encode(Increment("batch")) for _ in range(count)] + [encode(Fail("no"))] * fails
        counted = 0 if atomic and fails else count
        worker.batches.append((counted, atomic and fails, worker.session.batch(commands, 1e9, atomic=atomic)))
        worker.flush()

    @rule(slot=SLOTS)
    def worker_runs(self, slot: int) -> None:
        worker = self.workers[slot]
        while worker.to_worker:
            worker.session.receive(worker.to_worker.popleft())
        worker.flush()

    @rule(count=st.integers(1, 5))
    def owner_takes_a_turn(self, count: int) -> None:
        for worker in self.workers:
            for _ in range(min(count, len(worker.to_owner))):
                self._read(worker, worker.to_owner.popleft())
        self._commit()

    @rule(slot=SLOTS, age=st.integers(1, 5))
    def a_message_arrives_once_more(self, slot: int, age: int) -> None:
        worker = self.workers[slot]
        if len(worker.sent) >= age and not worker.to_owner:
            self._read(worker, worker.sent[-age])
            self._commit()

    @rule(how=DEATHS, count=st.integers(1, 5))
    def owner_is_killed_in_a_turn(self, how: str, count: int) -> None:
        for worker in self.workers:
            for _ in range(min(count, len(worker.to_owner))):
                self._read(worker, worker.to_owner.popleft())
        self.journal.dies = self.owner_log.dies = how
        with contextlib.suppress(Death):
            self.engine.commit()  # its answers do not leave
        self._end_life()

    @rule(slot=SLOTS)
    def worker_is_killed(self, slot: int) -> None:
        worker = self.workers[slot]
        while worker.to_owner:
            self._read(worker, worker.to_owner.popleft(), posthumous=True)
        self.engine.end(worker.number)
        self.gone.append(worker)
        self._commit()
        self.workers[slot] = self._join()

    @rule(slot=SLOTS)
    def worker_and_owner_are_killed(self, slot: int) -> None:
        worker = self.workers.pop(slot)
        self.gone.append(worker)
        self._end_life()
        self.workers.insert(slot, self._join())

    @rule()
    def time_passes(self) -> None:
        self.engine.tick()
        if self.engine.wants_successor:
            self._end_life()

    @precondition(lambda self: not self.journal.mute)
    @rule(when=st.sampled_from(["before", "after"]))
    def the_disk_falls_silent(self, when: str) -> None:
        self.journal.mute = when

    @precondition(lambda self: self.journal.mute)
    @rule()
    def the_disk_speaks_again(self) -> None:
        self.journal.mute = ""

    @precondition(lambda self: not self.journal.fails)
    @rule()
    def the_disk_fills_up(self) -> None:
        self.journal.fails = True

    @precondition(lambda self: self.journal.fails)
    @rule()
    def the_disk_has_room_again(self) -> None:
        self.journal.fails = False

    # -- what must be true in the end ------------------------------------------------------------------------

    def teardown(self) -> None:
        self.journal.fails = False
        self.journal.mute = ""
        self.time_passes()
        for _ in range(3):  # a Welcome, what is sent again, and its answers
            for worker in self.workers:
                while worker.to_worker:
                    worker.session.receive(worker.to_worker.popleft())
                worker.flush()
                while worker.to_owner:
                    self._read(worker, worker.to_owner.popleft())
            self._commit()
        self._check_counts()
        self._check_holds()
        self._check_queue()
        self._check_batches()
        before = {table.name: dict(table.items()) for table in self.actor.tables}
        self._end_life()
        assert {table.name: dict(table.items()) for table in self.actor.tables} == before
        for log in (*self.logs, self.engine.ledger._log):
            log.close()

    def _check_counts(self) -> None:
        results: dict[tuple[str, bool], list[int]] = defaultdict(list)
        unknown: Counter[tuple[str, bool]] = Counter()
        for worker in (*self.workers, *self.gone):
            latest: Counter[tuple[str, bool]] = Counter()
            for key, call in worker.increments:
                if call.result is not None:
                    result = msgspec.msgpack.decode(call.result)
                    assert result > latest[key], "the order of a worker's commands was not kept"
                    latest[key] = result
                    results[key].append(result)
                elif call.done:
                    assert isinstance(call.error, StorageUnavailable), call.error
                else:
                    assert worker in self.gone, "a command of a living worker has no answer"
                    unknown[key] += 1
        for count in {*results, *unknown}:
            found = results[count]
            name, durable = count
            total = (self.actor.lasting if durable else self.actor.passing).get(name) or 0
            assert len(set(found)) == len(found), "two commands had the same answer"
            assert max(found, default=0) <= total
            assert len(found) <= total <= len(found) + unknown[count], "lost, or done twice"

    def _check_holds(self) -> None:
        for worker in self.workers:
            assert all(call.result is not None for _, call in worker.holds)
            assert (self.actor.held.get(worker.number) or 0) == sum(step for step, _ in worker.holds)
        assert set(self.actor.held) <= {worker.number for worker in self.workers}, "the dead hold something"

    def _check_queue(self) -> None:
        """Nobody is served twice, nobody is forgotten, and the line is as long as those who wait."""
        everybody = [call for worker in (*self.workers, *self.gone) for call in worker.queueing]
        tickets = [msgspec.msgpack.decode(call.result) for call in everybody if call.result is not None]
        assert len(set(tickets)) == len(tickets)
        waiting = [call for worker in self.workers for call in worker.queueing if not call.done]
        assert len(self.actor.line) == len(waiting) == self.engine.waiting, "forgotten, or waiting for nobody"
        served = self.actor.passing.get("served") or 0
        counted = [call for call in self.served if call.result is not None and bytes(call.result) != encode(None)]
        assert max(tickets, default=-1) < served
        assert len(counted) <= served
        for worker in self.workers:
            order = [msgspec.msgpack.decode(call.result) for call in worker.queueing if call.result is not None]
            assert order == sorted(order), "the order of a line was not kept"

    def _check_batches(self) -> None:
        total = self.actor.passing.get("batch") or 0
        known = unknown = 0
        for worker in (*self.workers, *self.gone):
            for counted, refused, call in worker.batches:
                if call.done:
                    assert (call.error is not None) == refused
                    known += counted
                else:
                    assert worker in self.gone, "a batch of a living worker has no answer"
                    unknown += counted
        assert known <= total <= known + unknown


LossyWorld.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_commands_are_done_exactly_once = LossyWorld.TestCase
