"""What the owner stores of a turn, and what it does when that fails."""

import logging
import math
import os
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec
import pytest

from actors.actor import Context
from actors.errors import StorageUnavailable
from actors.exits import Exit
from actors.frames import Answer, Ask
from actors.journal import SavedRow, Step
from actors.session_log import SessionLog
from actors.turns import ledger
from tests.actors.counter import Fail, Get, Held, Increment, MemoryJournal, MuteJournal, Queue, Refused, Serve, Take
from tests.actors.lives import Life, S, rows


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the engine complains of is meant."""
    caplog.set_level(logging.CRITICAL, "actors.turns.engine")


def test_a_compacted_log_knows_who_waits_and_what_was_acknowledged(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even of a session of which no answer is kept, in ranges."""
    monkeypatch.setattr(ledger, "COMPACT_BYTES", 0)
    life = Life(log)
    life.engine.join(8)
    life.say(1, Queue(), session=8)
    life.say(1, Increment("a"))
    life.say(3, Increment("a"))
    life.answers()
    life.engine.acknowledge(S, [(1, 1), (3, 3)])
    life.engine._compact()
    after = Life(life.log, epoch=2)
    assert after.known == {S, 8}
    assert (after.engine.waiting, list(after.actor.line)) == (1, [(8, 1)])
    assert [after.ask(number, Increment("a")) for number in (1, 3, 2)] == ["CommandStale", "CommandStale", 3]
    after.say(4, Serve())
    assert after.engine.commit().keys() == {S, 8}


def test_a_log_is_compacted_when_it_has_doubled(log: SessionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that is long already is not followed by another one at each turn."""
    monkeypatch.setattr(ledger, "COMPACT_BYTES", 1_000)
    life = Life(log)
    replaced = life.engine.ledger._log.fileno()
    for number in range(1, 200):
        life.ask(number, Increment(f"a long key {number}"))
        if life.engine.ledger.compactions == 1 and replaced:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(replaced)
            replaced = 0
    assert 3 < life.engine.ledger.compactions < 12


# -- a journal that fails ------------------------------------------------------------------------------------


def test_a_session_is_not_over_before_its_end_is_stored(log: SessionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the actor has to store something for it, the end comes again with the time, whichever owner lives then."""
    monkeypatch.setattr(ledger, "COMPACT_BYTES", 0)
    journal = MemoryJournal()
    life = Life(log, journal)
    life.engine.join(8)
    life.ask(1, Take(), session=8)
    end = life.actor.session_ended

    def stored_end(context: Context, exit: Exit | None) -> None:
        end(context, exit)
        life.actor.lasting.put("ended", context.session)

    monkeypatch.setattr(life.actor, "session_ended", stored_end)
    journal.fails = True
    life.engine.end(8, Exit(3, None))
    life.say(1, Increment("b", durable=True))
    life.answers()
    life.engine._compact()
    assert Life(life.log, journal, epoch=2).known == {S, 8}
    assert (life.actor.held.get(8), life.actor.lasting.get("ended")) == (1, None)
    life.engine.tick()
    life.answers()
    journal.fails = False
    life.engine.tick()
    life.answers()
    assert (life.actor.held.get(8), life.actor.lasting.get("ended")) == (None, 8)
    assert life.actor.exits[-1] == Exit(3, None)
    assert Life(life.log, journal, epoch=3).known == {S}


def test_a_read_that_saw_what_could_not_be_stored_is_done_again(log: SessionLog) -> None:
    """With a journal stand-in that fails: nobody is told of a change that is undone, in a result or a refusal."""
    journal = MemoryJournal()
    life = Life(log, journal)
    journal.fails = True
    life.say(1, Get("a", durable=True))
    life.say(2, Increment("a", durable=True))
    life.say(3, Get("a", durable=True))
    life.say_batch(4, [Get("a", durable=True)])
    life.say(5, Fail("no"))
    assert life.answers() == {1: 0, 2: "StorageUnavailable", 3: 0, 4: [[0, None]], 5: "Refused"}


@pytest.mark.parametrize("stored", [True, False])
def test_in_doubt_nothing_changes_until_the_journal_can_be_read(log: SessionLog, stored: bool) -> None:
    """With a stand-in that falls silent: reads go on, changes stay unanswered, and a next owner does them."""
    journal = MuteJournal()
    life = Life(log, journal)
    assert life.ask(1, Increment("a", durable=True)) == 1
    journal.mute, journal.fails = True, not stored
    life.say(2, Increment("a", durable=True))
    life.say(3, Increment("b"))
    life.say(4, Get("a", durable=True))
    assert life.answers() == {}
    assert life.engine.in_doubt
    life.say(5, Increment("b"))
    life.say_batch(6, [Increment("b")])
    life.say(7, Get("a", durable=True))
    life.say(8, Fail("no"))
    life.say(2, Increment("a", durable=True))
    assert life.answers() == {7: 1, 8: "Refused"}
    ticks = life.actor.ticks
    life.engine.tick()
    assert (life.engine.wants_successor, life.actor.ticks) == (False, ticks)
    journal.mute = journal.fails = False
    life.engine.tick()
    assert life.engine.wants_successor
    assert rows(life.actor)["passing"] == {}
    after = Life(life.log, journal, epoch=2)
    assert [after.ask(2, Increment("a", durable=True)), after.ask(3, Increment("b"))] == [2, 1]
    assert after.ask(5, Increment("b")) == 2


def test_a_turn_of_which_the_journal_says_that_it_stands_is_answered(log: SessionLog) -> None:
    """With a stand-in that stores and then fails: looking again is enough."""

    class Stores(MemoryJournal):
        def commit(self, steps: Sequence[Step], turn: int, record: bytes, saved: Sequence[SavedRow] = ()) -> None:
            super().commit(steps, turn, record, saved)
            raise StorageUnavailable("the disk has a hiccup")

    life = Life(log, Stores())
    assert life.ask(1, Increment("a", durable=True)) == 1
    assert not life.engine.in_doubt
    assert life.ask(2, Get("a", durable=True)) == 1


def test_a_transaction_that_is_older_than_the_log_is_not_replayed(log: SessionLog) -> None:
    """Only the very next turn is what the log lacks."""
    journal = MemoryJournal()
    life = Life(log, journal)
    life.ask(1, Increment("a", durable=True))
    life.ask(2, Increment("b"))
    after = Life(life.log, journal, epoch=2)
    assert after.engine.ledger.turn == 2
    assert rows(after.actor) == rows(life.actor)


def test_turns_are_counted_on_from_a_journal_without_a_log(log: SessionLog) -> None:
    """A number that the journal has seen is not given again, so `holds` cannot mistake an old turn for a new one."""
    journal = MemoryJournal()
    with closing(SessionLog.create()) as former:
        old = Life(former, journal)
        for number in range(1, 4):
            old.ask(number, Increment("a", durable=True))
    life = Life(log, journal)
    assert life.engine.ledger.turn == 3
    life.ask(1, Take())
    after = Life(life.log, journal, epoch=2)
    assert (after.engine.ledger.turn, after.ask(2, Held())) == (4, 1)


def test_an_event_that_changes_something_waits_for_the_end_of_a_doubt(log: SessionLog) -> None:
    """With a stand-in that falls silent: a session that ends then is ended by the next owner."""
    journal = MuteJournal()
    life = Life(log, journal)
    life.engine.join(8)
    life.ask(1, Take(), session=8)
    journal.mute = True
    life.say(1, Increment("a", durable=True))
    life.answers()
    life.engine.end(8)
    life.answers()
    assert life.actor.held.get(8) == 1
    after = Life(life.log, journal, epoch=2)
    assert after.known == {S, 8}
    after.engine.end(8)
    assert len(after.actor.held) == 0


def test_nobody_is_asked_again_for_the_dead(log: SessionLog) -> None:
    """With a journal stand-in that fails: what a session did in the turn in which it ended is not done anew."""
    journal = MemoryJournal()
    life = Life(log, journal)
    life.engine.join(8)
    journal.fails = True
    raw = msgspec.Raw(msgspec.msgpack.encode(Take()))
    life.engine.ask(8, Ask(1, math.inf, 0, raw))
    life.say(1, Increment("a", durable=True))
    life.engine.end(8)
    life.answers()
    assert len(life.actor.held) == 0


def test_a_served_session_that_ends_in_a_turn_that_cannot_be_stored(log: SessionLog) -> None:
    """With a journal stand-in that fails: what served it is done again, for nobody."""
    journal = MemoryJournal()
    life = Life(log, journal)
    life.engine.join(8)
    life.say(1, Queue(), session=8)
    life.answers()
    journal.fails = True
    life.say(1, Serve())
    life.say(2, Increment("a", durable=True))
    life.engine.end(8)
    assert life.answers() == {1: 0, 2: "StorageUnavailable"}
    assert (len(life.actor.line), life.engine.waiting) == (0, 0)


def test_a_refusal_that_saw_what_could_not_be_stored_is_made_again(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a journal stand-in that fails: its reason is one that stands, and there is one answer."""
    journal = MemoryJournal()
    life = Life(log, journal)
    apply = life.actor.apply

    def refuse(command: Any, context: Context) -> Any:
        if isinstance(command, Fail):
            raise Refused(life.actor.lasting.get("a"))
        return apply(command, context)

    monkeypatch.setattr(life.actor, "apply", refuse)
    journal.fails = True
    life.say(1, Increment("a", durable=True))
    life.say(2, Fail("no"))
    answers = [msgspec.msgpack.decode(frame, type=Answer) for frame in life.engine.commit()[S]]
    failures = {answer.number: answer.failure for answer in answers}
    assert len(answers) == len(failures) == 2
    assert failures[2] is not None
    assert failures[2].details == {"value": None}


def test_the_answers_of_a_turn_that_could_not_be_stored_are_not_kept(log: SessionLog) -> None:
    """With a journal stand-in that fails: the next life does anew what was undone."""
    journal = MemoryJournal()
    life = Life(log, journal)
    journal.fails = True
    life.say(1, Increment("b"))
    life.say(2, Increment("a", durable=True))
    assert life.answers() == {1: 1, 2: "StorageUnavailable"}
    journal.fails = False
    after = Life(life.log, journal, epoch=2)
    assert [after.ask(1, Increment("b")), after.ask(2, Increment("a", durable=True))] == [1, 1]
    assert rows(after.actor)["lasting"] == {"a": 1}


@pytest.mark.parametrize("how", ["result", "huge", "row"])
def test_what_fails_after_other_changes_of_the_turn_is_not_stored(log: SessionLog, how: str) -> None:
    """Neither in the journal nor in the log is anything of it."""
    journal = MemoryJournal()
    life = Life(log, journal)
    life.say(1, Increment("a", durable=True))
    life.say(2, Fail(how))
    life.say(3, Increment("a"))
    assert life.answers() == {1: 1, 2: "CommandFailed", 3: 1}
    after = Life(life.log, journal, epoch=2)
    assert rows(after.actor) == rows(life.actor)
    assert (after.engine.turn.revision, "broken" in after.actor.passing) == (1, False)


def test_a_durable_record_that_cannot_be_encoded_is_refused_before_it_is_stored(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs its caller an error, and the others of the turn nothing."""
    life = Life(log)
    life.say(1, Increment("a", durable=True))
    with monkeypatch.context() as patch:
        patch.setattr(life.actor, "apply", lambda *_: life.actor.lasting.put("broken", 2**70))
        life.say(2, Get("a"))
    life.say(3, Get("a", durable=True))
    assert life.answers() == {1: 1, 2: "CommandFailed", 3: 1}
    assert "broken" not in life.actor.lasting


def test_durable_records_are_the_journals_alone(log: SessionLog) -> None:
    """A compacted log has no older ones that would hide them."""
    journal = MemoryJournal()
    life = Life(log, journal)
    life.ask(1, Increment("a", durable=True))
    life.engine._compact()
    life.ask(2, Increment("a", durable=True))
    assert Life(life.log, journal, epoch=2).actor.lasting.get("a") == 2


def test_the_first_turn_of_a_system_stands_if_it_reached_the_journal(log: SessionLog) -> None:
    """A first owner that dies before it has written its log leaves enough to know that the turn is its own."""
    journal = MemoryJournal()
    life = Life(log, journal)
    with closing(SessionLog.create()) as begun:
        os.pwrite(begun.fileno(), os.pread(life.log.fileno(), life.engine.ledger.log_bytes, 0), 0)
        life.ask(1, Increment("a", durable=True))
        after = Life(begun, journal, epoch=2)
    assert after.known == {S}
    assert after.ask(1, Increment("a", durable=True)) == 1


def test_a_turn_in_which_nothing_changes_is_not_stored(log: SessionLog) -> None:
    """Reads, refusals and ticks cost the disk nothing, also after a session has come or gone."""
    life = Life(log)
    life.engine.join(8)
    life.answers()
    life.engine.end(8)
    life.answers()
    turn = life.engine.ledger.turn
    for number, command in enumerate([Get("a"), Fail("no"), Held()], 1):
        life.ask(number, command)
    life.engine.tick()
    life.answers()
    assert life.engine.ledger.turn == turn
