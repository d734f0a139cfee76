import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from actors.actor import Context
from actors.exits import Exit
from actors.frames import Ask
from actors.session_log import SessionLog
from actors.turns import ledger, peers
from tests.actors.counter import (
    Fail,
    Get,
    Held,
    Increment,
    MemoryJournal,
    Nested,
    Take,
)
from tests.actors.lives import Life, S, rows


def test_a_command_that_was_answered_is_answered_again_and_not_done_again(log: SessionLog) -> None:
    """A resent number gets the stored answer."""
    life = Life(log)
    assert [life.ask(1, Increment("a")) for _ in range(3)] == [1, 1, 1]
    assert life.ask(2, Get("a")) == 1


def test_a_number_whose_answer_was_acknowledged_is_refused(log: SessionLog) -> None:
    """A number from the past is an error and never a second run; so are zero and negative ones."""
    life = Life(log)
    life.ask(1, Increment("a"))
    life.ask(2, Get("a"), answered=1)
    for number in (1, 0, -5):
        assert life.ask(number, Increment("a")) == "CommandStale"
    assert life.ask(3, Get("a")) == 1


def test_an_acknowledgement_cannot_reach_beyond_the_command_that_carries_it(log: SessionLog) -> None:
    """A false `answered` of a broken client does not make its own command stale."""
    assert Life(log).ask(1, Increment("a"), answered=99) == 1


def test_acknowledged_ranges_free_exactly_their_answers(log: SessionLog) -> None:
    """What is named is forgotten; what is between the ranges is still answered from the store."""
    life = Life(log)
    for number in range(1, 8):
        life.say(number, Increment("a"))
    life.answers()
    life.engine.acknowledge(S, [(1, 2), (4, 5), (7, 7)])
    assert sorted(life.engine._peers[S].answers) == [3, 6]
    assert life.ask(6, Increment("a")) == 6
    life.engine.acknowledge(S, [(9, 3), (-1, 2**63), (5, 1)])  # nonsense does no harm
    assert life.engine._peers[S].stored_bytes >= 0


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("no", "Refused"),
        ("fault", "CommandFailed"),
        ("result", "CommandFailed"),
        ("huge", "CommandFailed"),
        ("row", "CommandFailed"),
        ("details", "CommandError"),
        ("long " * 5_000_000, "CommandError"),
    ],
)
def test_a_command_that_fails_changes_nothing(log: SessionLog, how: str, code: str) -> None:
    """Whatever goes wrong with it, its changes are undone, its caller has an error and the owner lives."""
    logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)
    life = Life(log)
    life.ask(1, Increment("a"))
    before = rows(life.actor), life.engine.turn.revision
    assert life.ask(2, Fail(how)) == code
    assert (rows(life.actor), life.engine.turn.revision) == before
    assert life.ask(3, Increment("a")) == 2


@pytest.mark.parametrize(
    "command",
    [
        b"\xc1",
        b"\xff",
        b"\x81\xa4type\xa6Absent",
        b"\x81\xa4type\xa9Increment",
        b"\x83\xa4type\xa9Increment\xa3key\x01\xa1x\x02",
        b"\x82\xa4type\xa3Get\xa3key\xa1\xff",
        b"\x82\xa4type\xa6Nested\xa5value" + b"\x91" * 500_000 + b"\xc0",
    ],
)
def test_a_command_that_is_not_understood_is_refused(log: SessionLog, command: bytes) -> None:
    """Unknown, incomplete, of the wrong type, not UTF-8 or nested without end: a typed error for its sender."""
    life = Life(log)
    assert life.ask(1, command) == "CommandInvalid"
    assert life.ask(2, Increment("a")) == 1


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_huge_numbers_are_numbers(log: SessionLog, number: int) -> None:
    """The largest numbers that MessagePack has are stored, answered and restored like others."""
    life = Life(log)
    assert life.ask(number, Increment("a")) == 1
    assert Life(life.log, epoch=2).ask(number, Increment("a")) == 1


def test_a_command_that_comes_too_late_is_not_done(log: SessionLog) -> None:
    """It is answered with `CallTimeout`; NaN is no deadline."""
    life = Life(log)
    assert life.ask(1, Increment("a"), deadline=life.clock.monotonic() - 1) == "CallTimeout"
    assert life.ask(2, Increment("a"), deadline=math.nan) == 1


def test_a_session_that_never_acknowledges_is_refused_at_last(log: SessionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stored answers have a bound; others are served, and it is too as soon as it acknowledges."""
    monkeypatch.setattr(peers, "MAX_STORED_BYTES", 10_000)
    life = Life(log)
    results = [life.ask(number, Increment("a")) for number in range(1, 100)]
    refused = results.index("Overloaded")
    assert set(results[refused:]) == {"Overloaded"}
    life.engine.join(8)
    life.say(1, Increment("a"), session=8)
    assert life.answers(8) == {1: refused + 1}
    assert life.ask(100, Increment("a"), answered=99) == refused + 2


def test_the_next_life_knows_what_was_answered(log: SessionLog) -> None:
    """State, revision, answers and sessions come back from journal and log."""
    journal = MemoryJournal()
    life = Life(log, journal)
    for number, command in enumerate([Increment("a"), Increment("b", durable=True), Take(), Increment("a")], 1):
        life.ask(number, command)
    after = Life(life.log, journal, epoch=2)
    assert rows(after.actor) == rows(life.actor)
    assert (after.engine.turn.revision, after.engine.ledger.turn, after.known) == (1, 4, {S})
    assert [after.ask(n, Increment("a")) for n in (1, 2, 3, 4)] == [1, 1, 1, 2]


def test_the_end_of_a_session_that_did_nothing_is_told_by_the_next_life(log: SessionLog) -> None:
    """It is known from its beginning on, so the actor hears of its end whichever owner lives then."""
    life = Life(log)
    life.engine.join(8)
    life.answers()
    after = Life(life.log, epoch=2)
    assert after.known == {S, 8}
    after.engine.end(8, Exit(3, None))
    assert after.actor.exits == [Exit(3, None)]


def test_a_turn_that_reached_the_journal_but_not_the_log_stands(log: SessionLog) -> None:
    """The transaction carries the record, so nothing of the turn is lost and nothing is done twice."""
    journal = MemoryJournal()
    life = Life(log, journal)
    life.ask(1, Increment("a", durable=True))
    content = bytes_of(life)
    life.say(2, Increment("a", durable=True))
    life.say(3, Increment("b"))
    life.answers()
    after = Life(log_of(content), journal, epoch=2)
    assert (after.engine.ledger.turn, after.engine.turn.revision) == (2, 2)
    assert [after.ask(2, Increment("a", durable=True)), after.ask(3, Increment("b"))] == [2, 1]
    assert rows(Life(after.log, journal, epoch=3).actor) == rows(life.actor)


def bytes_of(life: Life) -> bytes:
    """What a life has written to its session log."""
    return os.pread(life.log.fileno(), life.engine.ledger._log.size, 0)


def log_of(content: bytes) -> SessionLog:
    """A log that a dead owner left so."""
    log = SessionLog.create()
    os.pwrite(log.fileno(), content, 0)
    return log


def test_a_first_life_does_not_believe_the_turn_of_a_former_system(log: SessionLog) -> None:
    """Without a session log the journal's last turn is a former system's: it is not replayed, now or by a successor."""
    journal = MemoryJournal()
    with closing(SessionLog.create()) as former:
        Life(former, journal).ask(1, Increment("a", durable=True))
    assert Life(log, journal).known == set()
    life = Life(log, journal, epoch=2)
    assert life.known == set()
    assert life.ask(1, Increment("a", durable=True)) == 2


def test_a_torn_tail_costs_only_the_last_turn(log: SessionLog) -> None:
    """Cut at every byte: the turns before are whole, and the log goes on from there."""
    life = Life(log)
    life.ask(1, Increment("a"))
    whole = len(bytes_of(life))
    life.ask(2, Increment("a"))
    content = bytes_of(life)
    for end in range(whole, len(content)):
        torn = log_of(content[:end])
        after = Life(torn, epoch=2)
        assert after.engine.ledger.turn == 1
        assert after.ask(2, Increment("a")) == 2
        last = Life(torn, epoch=3)
        assert last.ask(3, Increment("a")) == 3
        torn.close()


def test_any_damaged_byte_of_the_last_record_is_noticed(log: SessionLog) -> None:
    """A dying process may have written its record in any order: the checksum tells."""
    life = Life(log)
    life.ask(1, Increment("a"))
    whole = len(bytes_of(life))
    life.ask(2, Increment("a"))
    content = bytes_of(life)
    for at in range(whole, len(content)):
        damaged = log_of(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        after = Life(damaged, epoch=2)
        assert after.engine.ledger.turn == 1
        damaged.close()


def test_a_log_grows_with_what_it_holds(log: SessionLog) -> None:
    """A record longer than the mapped memory is written and read like any other."""
    life = Life(log)
    for number in range(1, 5):
        assert life.ask(number, Increment("k" * 1_000_000)) == number
    assert rows(Life(life.log, epoch=2).actor) == rows(life.actor)


def test_a_turn_that_cannot_be_stored_is_undone(log: SessionLog) -> None:
    """With a journal stand-in that fails: durable commands are refused, the others are done as if alone."""
    logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)
    journal = MemoryJournal()
    life = Life(log, journal)
    life.ask(1, Increment("a", durable=True))
    journal.fails = True
    commands = [Increment("b"), Increment("a", durable=True), Get("a", durable=True), Increment("b"), Fail("no")]
    for number, command in enumerate(commands, 2):
        life.say(number, command)
    assert life.answers() == {2: 1, 3: "StorageUnavailable", 4: 1, 5: 2, 6: "Refused"}
    assert life.engine.turn.revision == 1
    journal.fails = False
    assert life.ask(7, Increment("a", durable=True)) == 2
    after = Life(life.log, journal, epoch=2)
    assert rows(after.actor) == rows(life.actor)


def test_a_session_that_ends_in_a_turn_that_cannot_be_stored_ends_all_the_same(log: SessionLog) -> None:
    """With a journal stand-in that fails: what the dead session held is given back, and nothing is sent to it."""
    logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)
    journal = MemoryJournal()
    life = Life(log, journal)
    life.ask(1, Take())
    journal.fails = True
    life.say(2, Increment("a", durable=True))
    life.say(3, Increment("b"))
    life.engine.end(S)
    assert life.answers() == {}
    life.engine.join(8)
    life.say(1, Held(), session=8)
    assert life.answers(8) == {1: 0}


def test_a_compacted_log_says_the_same(log: SessionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """After compaction a next life knows the same state, answers and sessions, also those without stored answers."""
    monkeypatch.setattr(ledger, "COMPACT_BYTES", 2_000)
    life = Life(log)
    life.engine.join(8)
    life.say(1, Take(), session=8)
    life.answers(8)
    life.say(2, Held(), session=8, answered=1)
    life.answers(8)
    for number in range(1, 200):
        life.ask(number, Increment("a"), answered=max(0, number - 3))
    assert life.log is not log
    assert life.engine.ledger._log.size < 5_000
    after = Life(life.log, epoch=2)
    assert after.known == {S, 8}
    assert rows(after.actor) == rows(life.actor)
    assert after.ask(199, Increment("a")) == 199
    assert after.ask(100, Increment("a")) == "CommandStale"
    after.engine.end(8)
    assert after.ask(200, Held()) == 0


def test_what_a_dead_session_said_last_still_counts_unless_it_takes_something(log: SessionLog) -> None:
    """Posthumous commands are done, except those the actor does not want; then what was held is given back."""
    life = Life(log)
    life.engine.join(8)
    for number, command in enumerate([Increment("a"), Take()], 1):
        raw = msgspec.Raw(msgspec.msgpack.encode(command))
        life.engine.ask(8, Ask(number, math.inf, 0, raw), posthumous=True)
    assert len(life.actor.held) == 0
    life.engine.end(8)
    life.answers(8)
    assert life.actor.passing.get("a") == 1


def test_an_actor_that_fails_on_a_tick_or_an_end_harms_nobody(log: SessionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the actor is logged, and the owner goes on."""
    logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)
    life = Life(log)

    def fail(context: Any, _: Any = None) -> None:
        life.actor.passing.put("half", context.session)
        raise ZeroDivisionError

    monkeypatch.setattr(life.actor, "tick", fail)
    monkeypatch.setattr(life.actor, "session_ended", fail)
    life.engine.join(8)
    life.engine.tick()
    life.engine.end(8)
    assert life.ask(1, Increment("a")) == 1
    assert "half" not in life.actor.passing


def test_what_is_due_is_stored_each_for_itself(log: SessionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a change of its own after the tick, and one that fails leaves the others alone."""
    logging.getLogger("actors.turns.engine").setLevel(logging.CRITICAL)
    journal = MemoryJournal()
    life = Life(log, journal)

    def fail(context: Context) -> None:
        life.actor.lasting.put("half", context.session)
        raise ZeroDivisionError

    def due(_: Context) -> Iterator[Callable[[Context], None]]:
        yield lambda context: life.actor.lasting.put("a", context.revision)
        yield fail
        yield lambda context: life.actor.lasting.put("b", context.revision)
        raise ZeroDivisionError

    monkeypatch.setattr(life.actor, "due", due)
    monkeypatch.setattr(life.actor, "tick", lambda _: life.actor.passing.put("ticked", 1))
    life.engine.tick()
    life.answers()
    assert dict(life.actor.lasting.items()) == {"a": 0, "b": 1}
    assert [(step.revision, step.cause, len(step.changes)) for step in journal.steps] == [
        (1, "tick", 1),
        (2, "tick", 1),
    ]


def test_what_is_due_and_cannot_be_stored_takes_nothing_with_it(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tick itself stands, as far as it needs no journal."""
    journal = MemoryJournal()
    life = Life(log, journal)
    monkeypatch.setattr(life.actor, "due", lambda _: [lambda _: life.actor.lasting.put("a", 1)])
    monkeypatch.setattr(life.actor, "tick", lambda _: life.actor.passing.put("ticked", 1))
    journal.fails = True
    life.engine.tick()
    life.answers()
    assert (life.actor.lasting.get("a"), life.actor.passing.get("ticked")) == (None, 1)
    journal.fails = False
    life.engine.tick()
    life.answers()
    assert journal.rows == {("lasting", "a"): 1}


def test_any_value_is_answered_as_it_was_sent(log: SessionLog) -> None:
    """The runtime adds nothing to a result and takes nothing away."""
    value = {"a": [1, -1, 2**64 - 1, None, True, 1.5, b"\xff", "ü"]}
    assert Life(log).ask(1, Nested(value)) == value
