"""What a turn of the owner does with commands that wait, batches, sessions that end, and a journal that fails."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from actors.actor import Context
from actors.errors import StorageUnavailable
from actors.exits import Exit
from actors.frames import Ask
from actors.journal import Step
from actors.session_log import SessionLog
from actors.turns import ledger, peers
from tests.actors.counter import Fail, Get, Held, Increment, MemoryJournal, Queue, Serve, Take
from tests.actors.lives import Life, S, rows


class MuteJournal(MemoryJournal):
    """A journal that at some time says nothing any more: whether a turn was stored, nobody can tell."""

    mute = False

    def commit(self, steps: Sequence[Step], turn: int, record: bytes) -> None:
        super().commit(steps, turn, record)
        if self.mute:
            raise StorageUnavailable("no word from the disk")

    def holds(self, turn: int) -> bool:
        if self.mute:
            raise StorageUnavailable("no word from the disk")
        return super().holds(turn)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the engine complains of is meant."""
    caplog.set_level(logging.CRITICAL, "actors.turns.engine")


# -- commands that wait --------------------------------------------------------------------------------------


def test_a_command_that_waits_is_refused_after_its_deadline(log: SessionLog) -> None:
    """The owner sees to that by itself, whatever its caller does: it leaves the line with an error."""
    life = Life(log)
    life.say(1, Queue(), deadline=life.clock.monotonic() + 5.0)
    life.clock.advance(4.0)
    life.engine.tick()
    assert (life.answers(), life.engine.waiting) == ({}, 1)
    life.clock.advance(2.0)
    life.engine.tick()
    assert (life.answers(), life.engine.waiting, len(life.actor.line)) == ({1: "CallTimeout"}, 0, 0)


def test_a_command_that_is_cancelled_leaves_the_line_and_another_does_not(log: SessionLog) -> None:
    """A cancel that comes after the answer, or for a number that does not wait, does nothing."""
    life = Life(log)
    life.say(1, Queue())
    life.say(2, Queue())
    life.say(3, Increment("a"))
    life.engine.cancel(S, 1)
    life.engine.cancel(S, 3)
    life.engine.cancel(S, 9)
    assert life.answers() == {1: "CallTimeout", 3: 1}
    assert list(life.actor.line) == [(S, 2)]
    life.ask(4, Serve())
    life.engine.cancel(S, 2)
    assert life.ask(2, Queue()) == 0


def test_a_refusal_of_a_command_that_waited_is_given_again(log: SessionLog) -> None:
    """Also by the next owner: it changed the line, so it is stored."""
    life = Life(log)
    life.say(1, Queue())
    life.engine.cancel(S, 1)
    life.answers()
    after = Life(life.log, epoch=2)
    assert after.ask(1, Queue()) == "CallTimeout"
    assert len(after.actor.line) == 0


def test_the_actor_is_told_the_time(log: SessionLog) -> None:
    """Once a tick."""
    life = Life(log)
    life.engine.tick()
    life.engine.tick()
    assert life.actor.ticks == 2


# -- commands that end an owner ------------------------------------------------------------------------------


def test_a_command_that_ended_an_owner_is_answered_and_not_applied(log: SessionLog) -> None:
    """Alone or as a batch; the same number of another session is another command."""
    life = Life(log)
    life.engine.join(8)
    life.engine.crashed([(S, 1), (S, 2)])
    life.say_batch(2, [Increment("a")])
    life.say(1, Increment("a"))
    life.say(1, Get("a"), session=8)
    out = {session: len(answers) for session, answers in life.engine.commit().items()}
    assert out == {S: 2, 8: 1}
    assert [life.ask(number, Get("a")) for number in (1, 2, 3)] == ["CommandCrashedOwner", "CommandCrashedOwner", 0]


def test_the_command_at_work_is_marked_until_the_end_of_its_turn(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch too; an event is nobody's command."""
    life = Life(log)
    seen: list[tuple[int, int] | None] = []
    apply = life.actor.apply

    def look(command: Any, context: Context) -> Any:
        seen.append(life.pulse.marked)
        return apply(command, context)

    monkeypatch.setattr(life.actor, "apply", look)
    monkeypatch.setattr(life.actor, "tick", lambda _: seen.append(life.pulse.marked))
    life.say(1, Increment("a"))
    life.say_batch(2, [Increment("a")])
    life.engine.tick()
    life.say(3, Increment("a"))
    assert life.pulse.marked == (S, 3)
    life.answers()
    assert seen == [(S, 1), (S, 2), None, (S, 3)]
    assert life.pulse.marked is None


# -- batches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("atomic", [False, True])
def test_what_a_batch_changed_is_known_to_the_next_life(log: SessionLog, atomic: bool) -> None:
    """Durable or not: each of its commands is stored as if it had come alone."""
    journal = MemoryJournal()
    life = Life(log, journal)
    life.say_batch(1, [Increment("a"), Increment("b", durable=True), Increment("b", durable=True)], atomic=atomic)
    first = life.answers()
    after = Life(life.log, journal, epoch=2)
    assert rows(after.actor) == rows(life.actor)
    assert after.actor.lasting.get("b") == 2
    after.say_batch(1, [Increment("a")])
    assert after.answers() == first


@pytest.mark.parametrize("atomic", [False, True])
def test_a_batch_can_end_the_waiting_of_others(log: SessionLog, atomic: bool) -> None:
    """Whoever is served by one of its commands has the answer."""
    life = Life(log)
    life.say(1, Queue())
    life.say_batch(2, [Serve(), Serve()], atomic=atomic)
    answers = life.answers()
    assert answers[1] == 0
    assert answers[2] == [[0, None], [None, None]]


def test_what_a_dead_session_said_last_in_a_batch_takes_nothing(log: SessionLog) -> None:
    """As of single commands, those are left out that the actor does not want."""
    life = Life(log)
    life.engine.join(8)
    life.say_batch(1, [Increment("a"), Take()], session=8, posthumous=True)
    assert (life.actor.passing.get("a"), len(life.actor.held)) == (1, 0)


def test_commands_of_a_batch_are_counted_one_by_one(log: SessionLog) -> None:
    """Those that were done, and those that were refused by their codes."""
    life = Life(log)
    life.say_batch(1, [Increment("a"), Fail("no"), Get("a")])
    assert (life.engine.commands, life.engine.turn.refused) == (3, {"Refused": 1})


# -- answers that are kept -----------------------------------------------------------------------------------


def test_a_refusal_is_kept(log: SessionLog) -> None:
    """What was refused once is not done when it comes again, even if it could be done by then."""
    life = Life(log)
    assert life.ask(1, Increment("a"), deadline=life.clock.monotonic() - 1) == "CallTimeout"
    assert life.ask(1, Increment("a")) == "CallTimeout"
    assert life.engine.repeated == 1
    assert life.ask(2, Get("a")) == 0


def test_a_session_that_is_full_is_not_filled_with_refusals(log: SessionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not kept then: the bound holds, and the command can be done later."""
    monkeypatch.setattr(peers, "MAX_STORED_BYTES", 1_000)
    life = Life(log)
    for number in range(1, 100):
        life.ask(number, Increment("a"))
    kept = len(life.engine._peers[S].answers)
    assert kept < 10
    life.engine.acknowledge(S, [(1, kept)])
    assert life.ask(99, Increment("a")) == kept + 1


def test_what_was_acknowledged_is_not_kept_by_the_next_life(log: SessionLog) -> None:
    """It learns that from the log, as it learns which sessions are over."""
    life = Life(log)
    life.engine.join(8)
    life.ask(1, Increment("a"))
    life.ask(2, Increment("a"), answered=1)
    life.engine.end(8)
    life.answers()
    after = Life(life.log, epoch=2)
    assert after.known == {S}
    assert after.ask(1, Increment("a")) == "CommandStale"


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
    for number in range(1, 200):
        life.ask(number, Increment(f"a long key {number}"))
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
        def commit(self, steps: Sequence[Step], turn: int, record: bytes) -> None:
            super().commit(steps, turn, record)
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
    life.engine.ledger.turn = 1
    life.ask(2, Increment("b"))
    after = Life(life.log, journal, epoch=2)
    assert after.engine.ledger.turn == 2
    assert rows(after.actor) == rows(life.actor)


def test_turns_are_counted_on_from_a_journal_without_a_log(log: SessionLog) -> None:
    """A number that the journal has seen is not given again, so `holds` cannot mistake an old turn for a new one."""
    journal = MemoryJournal()
    old = Life(SessionLog.create(), journal)
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
