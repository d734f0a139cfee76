"""Copies of the views: random commands of several sessions, slow readers, failing disks and dying owners."""

import logging
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.clock import ManualClock
from actors.replica import Replica
from actors.session import Call, Session
from actors.session_log import SessionLog
from tests.actors.copied import TYPES, Add, Beat, CopiedActor, Drop, Hide, Put, Turning, narrow_pair
from tests.actors.counter import MemoryJournal

logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)

SLOTS = st.integers(0, 2)
KEYS = st.sampled_from("abcdef")
encode = msgspec.msgpack.encode


class Derived:
    """A second copy, made of what a listener is told; `records` must always be the rows."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {type.name: {} for type in TYPES}

    def changed(self, view: str, key: str, record: Any) -> None:
        if record is None:
            self.records[view].pop(key, None)
        else:
            self.records[view][key] = record

    def cleared(self, view: str) -> None:
        self.records[view].clear()


State = dict[str, dict[str, Any]]
"""The rows of all views."""


def state_of(actor: CopiedActor) -> State:
    """What a whole copy would hold."""
    return {
        view.type.name: {key: row for key in view.all_keys() if (row := view.get(key)) is not None}
        for view in actor.views
    }


class Worker:
    """A worker process: its session, its copy, and what it has added to a sum of its own.

    Args:
        number: Of the session.
        clock: The time.
        states: What the owner has had at the end of each of its turns; see `check_sync`.
    """

    def __init__(self, number: int, clock: ManualClock, states: list[State]) -> None:
        self.number = number
        self.derived = Derived()
        self.replica = Replica(TYPES, clock, self.derived)
        self.session = Session(clock, replica=self.replica)
        self.owners_end, self.end = narrow_pair(update_bytes=3_000)
        self.added: list[Call] = []
        self.states = states
        self.syncs: dict[int, int] = {}

    def sync(self, deadline: float) -> None:
        """Ask, and note since when."""
        self.syncs[self.session.sync(deadline).number] = len(self.states) - 1

    def runs(self) -> None:
        while (message := self.end.receive()) is not None:
            completed = self.session.receive(message)
            self.check()
            for call in completed:
                self.check_sync(call)
        self.end.post_all(self.session.outgoing)

    def check(self) -> None:
        """A complete copy has what the answered commands of this process have changed."""
        if self.replica.complete:
            answered = [msgspec.msgpack.decode(call.result) for call in self.added if call.result is not None]
            own = self.replica.rows("sums").get(f"own {self.number}", 0)
            assert own >= max(answered, default=0)
            assert own <= len(self.added)
            assert {name: dict(self.replica.rows(name)) for name in self.derived.records} == self.derived.records

    def check_sync(self, call: Call) -> None:
        """A copy that was brought up to date is what the owner had at one moment since that was asked for."""
        since = self.syncs.pop(call.number, None)
        if since is None or call.error is not None:
            return
        if self.session.is_synced:
            copy = {type.name: dict(self.replica.rows(type.name)) for type in TYPES}
            assert copy in self.states[since:]
        else:  # updates were lost on the way
            self.sync(call.deadline)

    def close(self) -> None:
        self.owners_end.close()
        self.end.close()


class CopiedWorld(RuleBasedStateMachine):
    """Three workers that keep copies, and one owner at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.journal = MemoryJournal()
        self.log = SessionLog.create()
        self.sessions = 0
        self.workers: dict[int, Worker] = {}
        self.lasting: dict[int, list[tuple[str, str]]] = {0: []}
        self.states: list[State] = []
        self.ordered = True
        self.owner = Turning(self.clock, self.log, self.journal)
        self._remember()
        for slot in range(3):
            self._join(slot)
        for slot in range(2):
            self.follow(slot)
        for _ in range(4):
            self.all_run(1)

    def _join(self, slot: int) -> None:
        self.sessions += 1
        worker = self.workers[slot] = Worker(self.sessions, self.clock, self.states)
        self.owner.join(worker.number, worker.owners_end)

    def _remember(self) -> None:
        engine = self.owner.engine
        self.lasting[engine.turn.revision] = list(self.owner.actor.lasting.items())
        self.states.append(state_of(self.owner.actor))

    # -- what happens ----------------------------------------------------------------------------------------

    @rule(slot=SLOTS)
    def follow(self, slot: int) -> None:
        self.workers[slot].session.follow()

    @rule(slot=SLOTS, wait_ms=st.sampled_from([1, 10_000_000]))
    def sync(self, slot: int, wait_ms: int) -> None:
        self.workers[slot].sync(self.clock.monotonic() + wait_ms / 1_000)

    @rule(slot=SLOTS)
    def give_up_a_sync(self, slot: int) -> None:
        worker = self.workers[slot]
        for call in list(worker.session._calls.values()):
            if call.number in worker.syncs:
                worker.session.expire(call)
                del worker.syncs[call.number]
                return

    @rule(slot=SLOTS, key=KEYS, times=st.integers(1, 5))
    def beat(self, slot: int, key: str, times: int) -> None:
        for _ in range(times):
            self.workers[slot].session.tell(encode(Beat(key)))

    @rule(slot=SLOTS, key=KEYS, size=st.sampled_from([1, 10, 1_000]), text=st.sampled_from("xyz"))
    def put(self, slot: int, key: str, size: int, text: str) -> None:
        self.workers[slot].session.call(encode(Put(key, text * size)), float("inf"))

    @rule(slot=SLOTS, key=KEYS)
    def drop(self, slot: int, key: str) -> None:
        self.workers[slot].session.call(encode(Drop(key)), float("inf"))

    @rule(slot=SLOTS, key=KEYS, amount=st.sampled_from([-1, 1]))
    def add(self, slot: int, key: str, amount: int) -> None:
        self.workers[slot].session.tell(encode(Add(key, amount)))

    @rule(slot=SLOTS, times=st.integers(1, 5))
    def add_to_own(self, slot: int, times: int) -> None:
        worker = self.workers[slot]
        for _ in range(times):
            worker.added.append(worker.session.call(encode(Add(f"own {worker.number}", 1)), float("inf")))

    @rule(slot=SLOTS, keys=st.lists(KEYS, min_size=1, max_size=4), atomic=st.booleans())
    def batch(self, slot: int, keys: list[str], *, atomic: bool) -> None:
        self.ordered = self.ordered and not atomic  # to undo something may change the order of the rows
        commands = [encode(command) for key in keys for command in (Drop(key), Put(key, "b" * 300), Add(key, 1))]
        self.workers[slot].session.batch(commands, float("inf"), atomic=atomic)

    @rule(slot=SLOTS)
    def worker_runs(self, slot: int) -> None:
        self.workers[slot].runs()

    @rule(milliseconds=st.sampled_from([1, 20]))
    def all_run(self, milliseconds: int) -> None:
        for worker in self.workers.values():
            worker.runs()
        self.owner_runs(milliseconds)
        for worker in self.workers.values():
            worker.runs()

    @rule(slot=SLOTS, turns=st.lists(st.sets(KEYS), min_size=1, max_size=8))
    def storm(self, slot: int, turns: list[set[str]]) -> None:
        """One changes a lot while the others do not read."""
        for turn, keys in enumerate(turns):
            for key in sorted(keys):
                self.put(slot, key, 3_000, str(turn))
            self.workers[slot].runs()
            self.owner_runs(20)

    @rule(slot=SLOTS)
    def hide(self, slot: int) -> None:
        """Change something that lasts and that no view shows."""
        self.workers[slot].session.tell(encode(Hide()))

    @rule(milliseconds=st.sampled_from([0, 1, 20]))
    def owner_runs(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1_000)
        self.owner.turn()
        self._remember()

    @rule()
    def tick(self) -> None:
        self.owner.tick()
        self._remember()

    @rule(fails=st.booleans())
    def disk(self, *, fails: bool) -> None:
        self.ordered = self.ordered and not fails
        self.journal.fails = fails

    @rule(slot=SLOTS)
    def worker_is_interrupted(self, slot: int) -> None:
        worker = self.workers[slot]
        worker.end.receive()  # and lost
        worker.end.drop_partial()
        worker.session.ask_again()

    @rule(slot=SLOTS)
    def worker_is_replaced(self, slot: int) -> None:
        worker = self.workers[slot]
        self.owner.end(worker.number)
        worker.close()
        self._remember()
        self._join(slot)

    @rule()
    def owner_is_replaced(self) -> None:
        self.owner.close()
        for worker in self.workers.values():
            worker.owners_end.forget_unsent()
        self.owner = Turning(self.clock, self.log, self.journal, self.owner.epoch + 1)
        self._remember()
        for worker in self.workers.values():
            self.owner.join(worker.number, worker.owners_end)

    # -- what holds ------------------------------------------------------------------------------------------

    @invariant()
    def every_complete_copy_is_the_state_at_its_revision(self) -> None:
        self._remember()
        for worker in self.workers.values():
            copy = worker.replica
            if copy.complete:
                revision = copy.statistics().revision
                assert revision is not None
                self._alike(copy.rows("lasting"), self.lasting[revision])

    def _alike(self, rows: dict[str, str], expected: list[tuple[str, str]]) -> None:
        assert rows == dict(expected)
        assert not self.ordered or list(rows) == [key for key, _ in expected]

    @rule()
    def all_become_quiet(self) -> None:
        self.journal.fails = False
        for _ in range(20):
            self.all_run(20)
        self.tick()
        state = state_of(self.owner.actor)
        for worker in self.workers.values():
            copy = worker.replica
            assert copy.complete is copy.following
            if copy.complete:
                assert copy.statistics().revision == self.owner.engine.turn.revision
                self._alike(copy.rows("lasting"), self.owner.actor.lasting.items())
                assert copy.rows("sums") == state["sums"]
                worker.sync(float("inf"))
        for _ in range(20):
            self.all_run(20)
        self.tick()
        publisher = self.owner.engine.observers.publisher
        assert not len(publisher._lasting) + len(publisher._passing) + len(publisher._lazy)
        assert not publisher.syncs
        for worker in self.workers.values():
            assert not worker.syncs
            assert not worker.replica.complete or worker.replica.rows("beats") == state["beats"]

    def teardown(self) -> None:
        try:
            self.all_become_quiet()
        finally:
            self.owner.close()
            self.log.close()
            for worker in self.workers.values():
                worker.close()


CopiedWorld.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestCopies = CopiedWorld.TestCase
