"""How sessions, and lives of the owner, begin and end; one turn at a time by the test's hand."""

import pytest

from actors.channel import Channel
from actors.exits import Exit
from actors.frames import Bye
from actors.processes.control import Begin, Died, Ended, Join, Leave
from tests.actors.by_hand import ByHand, Worker
from tests.actors.counter import Increment, Take

EXIT = Exit(3, None)


MANY = [Increment("a")] * 2_000


# -- the end of a session ------------------------------------------------------------------------------------


def taker(hand: ByHand) -> Worker:
    """A session that holds something."""
    worker = hand.join()
    worker.ask(Take())
    hand.work()
    return worker


def hang_up(hand: ByHand, worker: Worker) -> None:
    """The process of the first session is gone."""
    worker.channel.close()
    hand.ends[0].hang_up()
    hand.work()


def test_who_says_farewell_is_gone_at_once(hand: ByHand) -> None:
    """Nobody has to tell how its process ended."""
    worker = taker(hand)
    worker.say(Bye())
    hang_up(hand, worker)
    assert (hand.ended(), hand.actor.exits, len(hand.actor.held)) == ([1], [None], 0)


@pytest.mark.parametrize("told", ["before", "after"])
def test_the_end_of_a_session_waits_for_its_reason(hand: ByHand, told: str) -> None:
    """Whichever comes first, the supervisor's word or the end of the queue."""
    worker = taker(hand)
    if told == "before":
        hand.line.send(Died(1, EXIT))
        hand.work()
        assert (hand.ended(), len(hand.actor.held)) == ([], 1)
    hang_up(hand, worker)
    if told == "after":
        assert (hand.ended(), len(hand.actor.held)) == ([], 1)
        hand.line.send(Died(1, EXIT))
        hand.work()
    assert (hand.ended(), hand.actor.exits, len(hand.actor.held)) == ([1], [EXIT], 0)
    assert hand.owner._deaths == {}


def test_a_reason_that_does_not_come_is_not_waited_for_long(hand: ByHand) -> None:
    """Then the session ends without one; what is said of it later is not kept."""
    worker = taker(hand)
    hang_up(hand, worker)
    hand.clock.advance(0.9)
    hand.turn()
    assert hand.ended() == []
    hand.clock.advance(0.2)
    hand.turn()
    assert (hand.ended(), hand.actor.exits) == ([1], [None])
    hand.line.send(Died(1, EXIT))
    hand.work()
    assert hand.owner._deaths == {}


def test_a_session_that_ends_while_its_answers_are_held_back_gets_none(hand: ByHand) -> None:
    """And those of all others are not delayed by it."""
    long, other = hand.join(), hand.join()
    long.ask(*MANY)
    hand.turn()
    other.ask(Increment("b"))
    hand.turn()
    hang_up(hand, long)
    assert hand.owner._mail.holding == []
    assert hand.owner.statistics().backlog_bytes == 0


# -- the beginning and the end of a life ---------------------------------------------------------------------


def test_a_new_owner_is_told_of_deaths_and_crashes_in_parts(hand: ByHand) -> None:
    """Sessions that it is not handed end with the reason it was told; the others keep theirs for later."""
    owner_end, worker_end = Channel.pair()
    hand.ends += [owner_end, worker_end]
    for session in (1, 5, 6):
        hand.engine.join(session)
    hand.line.send(Join([1]), [owner_end.fileno()])
    hand.line.send(Begin(died=[(5, EXIT)], crashed=[(1, 1)], more=True))
    hand.line.send(Died(6, Exit(4, None)))
    hand.line.send(Begin(died=[(1, Exit(5, None))], crashed=[(1, 2)]))
    hand.owner.greet_all({1, 5, 6})
    assert sorted(exit.code or 0 for exit in hand.actor.exits if exit) == [3, 4]
    worker = Worker(worker_end)
    worker.ask(*MANY[:3])
    hand.work()
    assert hand.actor.passing.get("a") == 1
    hang_up(hand, worker)
    assert hand.ended() == [1]
    assert hand.actor.exits[-1] == Exit(5, None)
    assert hand.owner._deaths == {}


def test_an_owner_that_wants_a_successor_makes_room_for_it(hand: ByHand) -> None:
    """Without a word from the supervisor."""
    beats = hand.pulse.beats
    hand.engine.wants_successor = True
    hand.owner.run()
    assert hand.pulse.beats == beats


def test_an_owner_without_a_supervisor_ends(hand: ByHand) -> None:
    """So it does when it is told to leave."""
    hand.line.send(Leave())
    hand.owner._leaving = False
    hand.owner._hear_supervisor()
    assert hand.owner._leaving
    hand.owner._leaving = False
    hand.line.close()
    hand.owner._hear_supervisor()
    assert hand.owner._leaving


def test_what_the_supervisor_has_no_room_for_is_told_later(hand: ByHand) -> None:
    """With the next tick, at the latest."""
    worker = hand.join()
    told = 0
    while not hand.theirs.blocked:
        hand.theirs.send(Ended(1))
        told += 1
    heard = len(hand.ended())
    assert heard < told
    hand.clock.advance(1.0)
    worker.ask(Increment("a"))
    hand.turn()
    assert heard + len(hand.ended()) == told
    assert hand.actor.ticks
