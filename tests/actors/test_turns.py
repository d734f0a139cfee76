"""What a turn of the owner does with commands that wait, batches, and answers that are kept."""

import logging
from typing import Any

import msgspec
import pytest

from actors.actor import Context
from actors.frames import Failure
from actors.session_log import SessionLog
from actors.turns import peers
from actors.turns.answers import MAX_ANSWER_BYTES, failure_of
from actors.turns.invalid import explain
from tests.actors.counter import Fail, Get, Increment, MemoryJournal, Queue, Refused, Serve, Take
from tests.actors.lives import Life, S, rows


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


def test_what_is_acknowledged_takes_no_memory(log: SessionLog) -> None:
    """Nor does a refusal of what is past."""
    life = Life(log)
    for number in range(1, 4):
        life.ask(number, Increment("a"))
    life.engine.acknowledge(S, [(1, 3)])
    assert life.ask(2, Increment("a")) == "CommandStale"
    peer = life.engine._peers[S]
    assert (peer.answers, peer.stored_bytes) == ({}, 0)


@pytest.mark.parametrize("value", [object(), "\ud800" * 10, "x" * MAX_ANSWER_BYTES])
def test_an_error_that_cannot_travel_is_told_in_words(value: object) -> None:
    """Foreign details, text that is not Unicode, or too much of it: its code and its place are kept."""
    error = Refused(value)
    error.index = 3
    failure = msgspec.msgpack.decode(msgspec.msgpack.encode(failure_of(error)), type=Failure)
    assert (failure.code, failure.details, failure.index) == ("CommandError", {"code": "Refused"}, 3)
    assert failure.message.startswith("no: ")


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    field: int


class _Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: _Inner


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({}, "inner", "this field is required"),
        ({"inner": {}}, "inner.field", "this field is required"),
        ({"inner": {"field": 1, "more": 2}}, "inner.more", "unknown field"),
        ({"inner": {"field": 1}, "more": 2}, "more", "unknown field"),
        ({"inner": {"field": "x"}}, "inner.field", "Expected `int`, got `str`"),
    ],
)
def test_a_command_that_is_not_understood_is_told_which_field_is_wrong(value: Any, field: str, reason: str) -> None:
    """With the path to it, and why."""
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=_Outer)
    assert explain(raised.value).details == {"field": field, "reason": reason}
