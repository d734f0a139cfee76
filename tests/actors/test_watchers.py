import logging
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from actors import frames
from actors.errors import StorageUnavailable
from actors.frames import Watch
from actors.history import StoredChange, Watched
from actors.journal import SavedRow, Step
from actors.session_log import SessionLog
from actors.turns import watchers
from tests.actors.counter import Fail, Get, Increment, MemoryJournal, Nested
from tests.actors.lives import Life, S

LASTING = Increment("a", durable=True)


class WatchedLife(Life):
    """A life in which session 8 watches."""

    def __init__(self, log: SessionLog, journal: MemoryJournal | None = None, epoch: int = 1) -> None:
        self.journal = journal or MemoryJournal()
        super().__init__(log, self.journal, epoch)
        self.engine.join(8, "watcher")
        self._number = 0

    def change(self, times: int = 1) -> None:
        """Change something that lasts, in a turn of its own each."""
        for _ in range(times):
            self._number += 1
            self.say(self._number, LASTING)
            self.heard()

    def watch(self, since: int | None, *, number: int = 1, limit: int = 100, wait: bool = True) -> None:
        self.engine.observers.watch(8, Watch(number, self.clock.monotonic() + 5, 0, since, limit, wait))

    def heard(self) -> dict[int, Any]:
        """End the turn; what session 8 is told, by number: revisions, or the failure."""
        found: dict[int, Any] = {}
        for frame in self.engine.commit().get(8, []):
            answer = msgspec.msgpack.decode(frame, type=frames.Answer)
            if answer.failure is not None:
                found[answer.number] = (answer.failure.code, answer.failure.details)
            else:
                watched = msgspec.msgpack.decode(answer.result, type=Watched)
                assert watched.revision == self.engine.turn.revision
                found[answer.number] = [step.revision for step in watched.steps]
        return found

    def told(self, since: int | None, **more: Any) -> Any:
        """What a watch is answered at once."""
        self.watch(since, **more)
        return self.heard()[more.get("number", 1)]


@pytest.fixture
def life(log: SessionLog) -> WatchedLife:
    """A life that somebody watches."""
    return WatchedLife(log)


@pytest.mark.parametrize("early", [True, False])
def test_what_there_is_is_told_at_once_from_memory_and_from_the_journal(life: WatchedLife, *, early: bool) -> None:
    """Whether or not somebody watched when it was made, a step is told with all that is known of it."""
    if early:
        life.watch(0)
        life.heard()
        life.engine.cancel(8, 1)
    life.change(3)
    life.watch(1, number=2)
    assert bool(life.engine.observers.watchers._latest) is early
    answer = msgspec.msgpack.decode(life.engine.commit()[8][-1], type=frames.Answer)
    watched = msgspec.msgpack.decode(answer.result, type=Watched)
    assert [step.revision for step in watched.steps] == [2, 3]
    step = watched.steps[0]
    assert (step.session, step.by, step.cause, step.wall_s) == (S, "", "Increment", life.clock.wall())
    assert step.changes == (StoredChange("lasting", "a", 1, 2),)


def test_a_watch_waits_for_the_next_step_that_is_stored(life: WatchedLife) -> None:
    """It is not told before, nor of what does not last; and then once."""
    life.watch(0)
    assert life.heard() == {}
    life.say(1, Increment("a"))
    assert life.heard() == {}
    life.say(2, LASTING)
    assert life.heard() == {1: [1]}
    life.say(3, LASTING)
    assert life.heard() == {}


def test_who_did_it_is_told(log: SessionLog) -> None:
    """A step bears the name of the session's process, also in the journal."""
    life = WatchedLife(log)
    life.engine.join(9, "worker-1")
    life.say(1, LASTING, session=9)
    life.heard()
    assert [(step.session, step.by) for step in life.journal.steps] == [(9, "worker-1")]


def test_a_step_that_could_not_be_stored_is_never_told(life: WatchedLife) -> None:
    """A turn that is taken back leaves no trace; the revision is given to the next one that is stored."""
    logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)
    life.watch(0)
    life.journal.fails = True
    life.say(1, LASTING)
    assert life.heard() == {}
    life.say(2, Fail("no"))
    assert life.heard() == {}
    life.journal.fails = False
    life.say(3, Increment("b", durable=True))
    assert life.heard() == {1: [1]}
    assert life.journal.steps[0].changes[0].key == "b"


def test_a_step_in_doubt_is_not_told(log: SessionLog) -> None:
    """What stands in the journal, while nobody can tell, is not shown; the next owner tells it."""
    logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)

    class Mute(MemoryJournal):
        def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
            super().commit(steps, turn, record, saved)
            if turn > 1:
                raise StorageUnavailable("no word from the disk")

        def holds(self, turn: int) -> bool:  # noqa: ARG002 - the contract's
            raise StorageUnavailable("no word from the disk")

    journal = Mute()
    life = WatchedLife(log, journal)
    life.change()
    life.watch(1)
    life.say(2, LASTING)
    assert life.heard() == {}
    assert life.engine.in_doubt
    assert len(journal.steps) == 2
    assert life.told(0, number=2) == [1]
    assert WatchedLife(life.log, journal, epoch=2).told(1) == [2]


def test_an_answer_has_an_end(life: WatchedLife, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has at most so many steps as asked for, or a hundred, or ends with the one that makes it long."""
    life.change(150)
    assert life.told(0, limit=3) == [1, 2, 3]
    assert life.told(0, limit=1_000, number=2) == list(range(1, 101))
    monkeypatch.setattr(watchers, "ANSWER_BYTES", 10)
    assert life.told(7, number=3) == [8]


def test_the_latest_are_told_by_their_number(life: WatchedLife) -> None:
    """Without a revision the last ones are meant, as far as they are kept; none at all just tells the revision."""
    life.change(5)
    assert life.told(None, limit=2, wait=False) == [4, 5]
    assert life.told(None, limit=0, wait=False, number=2) == []
    del life.journal.steps[:3]
    assert life.told(None, limit=50, wait=False, number=3) == [4, 5]
    del life.journal.steps[:]
    assert life.told(None, limit=50, wait=False, number=4) == []


def test_what_is_not_kept_any_more_is_said(life: WatchedLife) -> None:
    """The answer names the oldest step that is, or the next one to come."""
    life.change(5)
    del life.journal.steps[:2]
    assert life.told(1) == ("Compacted", {"since": 1, "oldest": 3})
    assert life.told(2, number=2) == [3, 4, 5]
    del life.journal.steps[:]
    assert life.told(4, number=3) == ("Compacted", {"since": 4, "oldest": 6})


def test_a_gap_in_a_journal_is_not_passed_over(life: WatchedLife) -> None:
    """Whoever watches sees each step, or is told that it cannot."""
    life.change(5)
    del life.journal.steps[2]
    assert life.told(0) == [1, 2]
    assert life.told(2, number=2) == ("Compacted", {"since": 2, "oldest": 4})


def test_a_step_longer_than_a_message_is_not_kept_for_watchers(
    life: WatchedLife, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who watches must read everything, and goes on after it."""
    monkeypatch.setattr(watchers, "LONGEST_BYTES", 10)
    life.change(2)
    assert life.told(0) == ("Compacted", {"since": 0, "oldest": 2})


@pytest.mark.parametrize(
    ("since", "limit", "field"), [(-1, 1, "since"), (3, 1, "since"), (2**63, 1, "since"), (0, -1, "limit")]
)
def test_a_revision_that_does_not_exist_is_refused(life: WatchedLife, since: int, limit: int, field: str) -> None:
    """The error names the field."""
    life.change(2)
    code, details = life.told(since, limit=limit)
    assert (code, details["field"]) == ("CommandInvalid", field)


def test_memory_is_bounded_and_given_back(life: WatchedLife, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many of the latest are kept, and none when nobody has watched for a while."""
    monkeypatch.setattr(watchers, "KEPT_STEPS", 3)
    life.watch(0)
    life.change(10)
    kept = life.engine.observers.watchers._latest
    assert [step.revision for step in kept] == [8, 9, 10]
    assert life.told(8, number=2) == [9, 10]
    assert life.told(3, number=3) == [4, 5, 6, 7, 8, 9, 10]
    monkeypatch.setattr(watchers, "KEPT_BYTES", len(kept[0].frame))
    life.change()
    assert len(kept) == 1
    for _ in range(watchers.QUIET_TICKS + 1):
        life.engine.tick()
    assert not life.engine.observers.active
    assert not kept


def test_the_journal_is_read_once_a_turn(life: WatchedLife) -> None:
    """Those who are far behind are answered one after the other, so that nobody waits long for them."""
    life.change(3)
    for number in range(1, 4):
        life.watch(0, number=number)
    life.watch(3, number=4)
    answered = []
    while life.engine.observers.watchers.behind:
        answered.append(life.heard())
    assert answered == [{1: [1, 2, 3]}, {2: [1, 2, 3]}, {3: [1, 2, 3]}]
    life.change()
    assert life.engine.observers.watchers.waiting == 0


def test_each_number_is_answered_once(life: WatchedLife) -> None:
    """One that is given up, by its caller or at its deadline, gets an answer all the same; a session that ends none."""
    life.watch(0, number=1)
    life.watch(0, number=2)
    life.watch(0, number=2)
    life.watch(0, number=3)
    assert life.heard() == {}
    life.engine.cancel(8, 1)
    assert list(life.heard()) == [1]
    life.clock.advance(6)
    life.watch(0, number=4)
    life.engine.tick()
    assert sorted(life.heard()) == [2, 3]
    life.engine.end(8)
    life.change()
    assert life.engine.observers.watchers.waiting == 0


def test_a_watch_keeps_nobody_from_anything(life: WatchedLife) -> None:
    """Others' commands, and the watcher's own, are answered while it waits."""
    life.watch(0, number=1)
    life.engine.ask(8, frames.Ask(2, math.inf, 0, msgspec.Raw(msgspec.msgpack.encode(Get("a")))))
    assert life.ask(1, Nested(7)) == 7
    assert life.engine.observers.watchers.waiting == 1
