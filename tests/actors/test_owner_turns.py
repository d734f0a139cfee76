"""The owner's loop, one turn at a time by the test's hand: who is served when."""

import logging
from typing import Any

import pytest

from actors.actor import Context
from actors.channel import DEFAULT_LIMIT
from actors.frames import Acked, Cancel, Hello
from actors.owner import LONE_AFTER
from actors.turns import members
from tests.actors.by_hand import ByHand, Worker
from tests.actors.counter import Increment, Nested, Queue, Repeat

# -- who is served when --------------------------------------------------------------------------------------

MANY = [Increment("a")] * 2_000


def flood(hand: ByHand, worker: Worker) -> None:
    """A session has spoken alone for long enough, and then it has much to say."""
    hand.owner._alone_for = LONE_AFTER
    worker.ask(*MANY)


def test_a_lone_session_is_served_in_large_turns(hand: ByHand) -> None:
    """Its answers leave at the end of each."""
    worker = hand.join()
    flood(hand, worker)
    hand.turn()
    after_one = len(worker.hear())
    hand.turn()
    after_two = len(worker.hear())
    assert 50 < after_one < after_two < len(MANY)
    hand.work()
    assert worker.hear() == list(range(1, len(MANY) + 1))


def test_among_others_a_turn_is_short_and_a_backlog_is_answered_at_its_end(hand: ByHand) -> None:
    """To wake its process for each slice would cost the owner more than the slice."""
    long, other = hand.join(), hand.join()
    long.ask(*MANY[:30])
    other.ask(Increment("b"))
    hand.turn()
    assert (other.hear(), long.hear()) == ([1], [])
    assert hand.owner.statistics().backlog_bytes > 0
    hand.work()
    long.hear()
    assert long.messages == [list(range(1, 31))]


def test_after_a_while_alone_the_turns_are_large_again(hand: ByHand) -> None:
    """What was held back while others spoke then leaves, though the backlog is not done."""
    long, other = hand.join(), hand.join()
    flood(hand, long)
    hand.turn()
    other.ask(Increment("b"))
    hand.turn()
    before = len(long.hear())
    done = hand.engine.commands
    hand.turn(LONE_AFTER - 1)
    assert len(long.hear()) == before
    assert hand.engine.commands - done < LONE_AFTER * 20
    hand.turn(3)
    assert before < len(long.hear()) < len(MANY)


def test_who_asks_for_little_does_not_wait_for_who_asks_for_much(hand: ByHand) -> None:
    """Its command is stored and answered before the next slice of the other's is begun."""
    long, other = hand.join(), hand.join()
    flood(hand, long)
    hand.turn()
    other.ask(Increment("b"))
    turns = hand.owner.statistics().turns
    hand.turn()
    assert hand.owner.statistics().turns == turns + 2
    assert other.hear() == [1]


def test_what_was_held_back_leaves_with_the_end_of_the_backlog(hand: ByHand) -> None:
    """Also if the end of it has no answer."""
    long, other = hand.join(), hand.join()
    long.ask(*MANY[:20], then=[Cancel(9_999)] * 40)
    other.ask(Increment("b"))
    hand.work()
    assert long.hear() == list(range(1, 21))


def test_a_turn_ends_as_soon_as_somebody_new_waits(hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a lone session might still have been served in it."""
    long, other = hand.join(), hand.join()
    apply = hand.actor.apply

    def interrupted(command: Any, context: Context) -> Any:
        if hand.engine.commands == 1:
            other.ask(Increment("b"))
        return apply(command, context)

    monkeypatch.setattr(hand.actor, "apply", interrupted)
    flood(hand, long)
    hand.turn()
    assert hand.engine.commands < 20
    hand.turn()
    assert other.hear() == [1]


def test_a_long_message_waits_until_the_short_ones_are_done(hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """To take it apart takes time, and whoever has asked for little shall not wait for that."""
    long, other = hand.join(), hand.join()
    asked: list[str] = []
    monkeypatch.setattr(hand.actor, "apply", lambda command, _: asked.append(type(command).__name__))
    long.ask(Nested("x" * 100_000))
    other.ask(Increment("b"))
    hand.work()
    assert asked == ["Increment", "Nested"]


def test_what_comes_while_there_is_a_backlog_comes_after_it(hand: ByHand) -> None:
    """The order of a session's commands is kept."""
    worker = hand.join()
    flood(hand, worker)
    hand.turn()
    worker.ask(Increment("a"), first=len(MANY) + 1)
    hand.work()
    assert worker.hear() == list(range(1, len(MANY) + 2))


def test_long_answers_count_as_work(hand: ByHand) -> None:
    """Short commands with long answers do not make a turn long."""
    worker = hand.join()
    hand.owner._alone_for = LONE_AFTER
    worker.ask(*[Repeat(4_000)] * 100)
    hand.turn()
    assert len(worker.hear()) < 10


def test_a_session_that_does_not_read_is_paused_and_goes_on_when_it_does(
    hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backlog stays where it is; nothing is lost and nothing is unsent without bound."""
    monkeypatch.setattr(members, "UNSENT_BYTES", 200_000)
    worker, other = hand.join(), hand.join()
    worker.ask(*[Repeat(10_000)] * 200)
    hand.work()
    found = hand.owner.statistics()
    assert found.backlog_bytes > 0
    assert 200_000 <= found.unsent_bytes < 300_000
    other.ask(Increment("a"))
    hand.work()
    assert other.hear() == [1]
    heard = -1
    while len(worker.hear()) > heard:
        heard = len(worker.hear())
        hand.work()
    assert worker.hear() == list(range(1, 201))


def test_a_paused_session_that_dies_is_heard_to_the_end(hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had said counts, though nobody reads the answers."""
    monkeypatch.setattr(members, "UNSENT_BYTES", 200_000)
    worker = hand.join()
    worker.ask(*[Repeat(10_000)] * 100, Increment("a"))
    hand.work()
    assert hand.actor.passing.get("a") is None
    worker.channel.close()
    hand.ends[0].hang_up()
    hand.work()
    assert hand.actor.passing.get("a") == 1


# -- what a session says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", [Hello(1, [(1, 2)]), Acked([(1, 2)])])
def test_answers_that_have_arrived_are_forgotten(hand: ByHand, says: Any) -> None:
    """A worker says so in its Hello, and when a command waits."""
    worker = hand.join()
    worker.ask(*MANY[:3])
    hand.work()
    assert hand.owner.statistics().stored_answers == 3
    worker.say(says)
    hand.work()
    assert hand.owner.statistics().stored_answers == 1


def test_a_cancelled_command_leaves_the_line_at_once(hand: ByHand) -> None:
    """Not only at its deadline."""
    worker = hand.join()
    worker.ask(Queue())
    hand.work()
    assert hand.owner.statistics().waiting == 1
    worker.say(Cancel(1))
    hand.work()
    assert hand.owner.statistics().waiting == 0


def test_one_line_in_the_log_tells_of_a_broken_program(hand: ByHand, caplog: pytest.LogCaptureFixture) -> None:
    """However much it says; all of it is counted."""
    caplog.set_level(logging.WARNING)
    worker = hand.join()
    for _ in range(5):
        worker.channel.post(b"garbage")
    hand.work()
    hand.work()
    assert len(caplog.records) == 1
    assert hand.owner.statistics().misunderstood == 5


def test_a_message_that_is_too_long_is_refused_and_its_sender_served(hand: ByHand) -> None:
    """Whoever does not keep to the limit is told, and loses only that message."""
    worker = hand.join()
    worker.channel.limit *= 2
    worker.channel.post(b"x" * (DEFAULT_LIMIT + 1))
    while worker.channel.unsent_bytes:
        hand.work()
        worker.channel.flush()
    worker.ask(Increment("a"))
    hand.work()
    found = hand.owner.statistics()
    assert (worker.hear(), found.misunderstood) == ([1], 1)
