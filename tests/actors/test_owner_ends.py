"""How sessions, and lives of the owner, begin and end; one turn at a time by the test's hand."""

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from actors.clock import SystemClock
from actors.exits import Exit
from actors.frames import Batch, Bye
from actors.owner import REASON_S, TICK_S
from actors.processes.children import OwnerSpec
from actors.processes.control import Begin, Died, Ended, Join, Leave
from actors.processes.owner_keeper import OwnerKeeper
from actors.processes.reactor import Reactor
from tests.actors.by_hand import ByHand, Worker, owner_by_hand
from tests.actors.counter import Increment, MuteJournal, Take
from tests.actors.owners import encode

EXIT = Exit(3, None)


def taker(hand: ByHand) -> Worker:
    """A session that holds something."""
    worker = hand.join()
    worker.ask(Take())
    hand.work()
    return worker


# -- the end of a session ------------------------------------------------------------------------------------


def test_who_says_farewell_is_gone_at_once(hand: ByHand) -> None:
    """Nobody has to tell how its process ended."""
    worker = taker(hand)
    worker.say(Bye())
    hand.hang_up(worker)
    hand.work()
    assert (hand.ended(), hand.actor.exits, len(hand.actor.held)) == ([1], [None], 0)


@pytest.mark.parametrize("told", ["before", "after"])
def test_the_end_of_a_session_waits_for_its_reason(hand: ByHand, told: str) -> None:
    """Whichever comes first, the supervisor's word or the end of the queue."""
    worker = taker(hand)
    if told == "before":
        hand.died(worker, EXIT)
    else:
        hand.hang_up(worker)
    hand.work()
    assert (hand.ended(), len(hand.actor.held)) == ([], 1)
    if told == "before":
        hand.hang_up(worker)
    else:
        hand.died(worker, EXIT)
    hand.work()
    assert (hand.ended(), hand.actor.exits, len(hand.actor.held)) == ([1], [EXIT], 0)
    assert hand.owner._deaths == {}


def test_a_reason_that_does_not_come_is_not_waited_for_long(hand: ByHand) -> None:
    """Then the session ends without one; what is said of it later is not kept."""
    worker = taker(hand)
    hand.hang_up(worker)
    hand.work()
    hand.clock.advance(0.9 * REASON_S)
    hand.turn()
    assert hand.ended() == []
    hand.clock.advance(0.2 * REASON_S)
    hand.turn()
    assert (hand.ended(), hand.actor.exits) == ([1], [None])
    hand.died(worker, EXIT)
    hand.work()
    assert hand.owner._deaths == {}


@pytest.mark.parametrize(("atomic", "done"), [(True, None), (False, 2)])
def test_a_batch_of_which_a_dead_sender_wants_only_a_part(hand: ByHand, *, atomic: bool, done: int | None) -> None:
    """With an unwanted command nothing of an atomic one is done; of another one what is wanted still is."""
    worker = taker(hand)
    commands = [msgspec.Raw(encode(command)) for command in (Increment("a"), Take(), Increment("a"))]
    worker.say(Batch(2, math.inf, 0, atomic, commands))
    worker.ask(Increment("b"), first=3)
    hand.hang_up(worker)
    hand.work()
    assert (hand.actor.passing.get("a"), hand.actor.passing.get("b")) == (done, 1)
    assert hand.actor.held.get(1) == 1
    hand.died(worker, EXIT)
    hand.work()
    assert (hand.ended(), hand.actor.exits, len(hand.actor.held)) == ([1], [EXIT], 0)


# -- an end in doubt -----------------------------------------------------------------------------------------


class Successions:
    """A real keeper, whose owners the test lets live one after the other on one journal."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.journal = MuteJournal()
        reactor = Reactor(SystemClock())
        stack.callback(reactor.close)
        self.keeper = OwnerKeeper(OwnerSpec("no:actor"), reactor)
        stack.callback(self.keeper.close)

    def begin(self) -> ByHand:
        """The next owner greets the sessions that there are."""
        self.keeper.next_life()
        hand = self._stack.enter_context(owner_by_hand(self.journal, self.keeper._log, self.keeper.epoch))
        process: Any = SimpleNamespace(control=hand.line)
        self.keeper.begin(process)
        hand.owner.greet_all(hand.known)
        self.keeper.works()
        return hand

    def join(self, hand: ByHand) -> Worker:
        session, channel = self.keeper.join()
        self._stack.callback(channel.close)
        worker = Worker(channel, session)
        hand.work()
        return worker

    def die(self, worker: Worker, exit: Exit | None) -> None:
        """The supervisor has seen the process of a session end."""
        worker.channel.close()
        self.keeper.leave(worker.number, exit)

    def hear(self, hand: ByHand) -> list[int]:
        """The keeper hears which sessions the owner has ended."""
        ended = hand.ended()
        for session in ended:
            self.keeper.heard(Ended(session), [])
        return ended


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("exit", [EXIT, Exit(None, 9), None])
def test_a_session_that_ends_in_doubt_is_ended_by_the_successor_with_its_exit(stored: bool, exit: Exit | None) -> None:
    """The owner in doubt ends nothing for good, so the keeper keeps the reason for the next one, which ends it once."""
    with contextlib.ExitStack() as stack:
        successions = Successions(stack)
        first = successions.begin()
        worker, other = successions.join(first), successions.join(first)
        worker.ask(Take())
        first.work()
        successions.journal.mute, successions.journal.fails = True, not stored
        other.ask(Increment("a", durable=True))
        first.work()
        assert first.engine.in_doubt
        successions.die(worker, exit)
        first.work()
        assert (successions.hear(first), successions.keeper.sessions) == ([], {1, 2})
        successions.journal.mute = successions.journal.fails = False
        first.clock.advance(TICK_S)
        first.turn()
        assert first.engine.wants_successor
        second = successions.begin()
        assert second.actor.held.get(1) == 1
        second.work()
        assert (successions.hear(second), second.actor.exits, len(second.actor.held)) == ([1], [exit], 0)
        assert successions.keeper.sessions == {2}
        assert second.actor.lasting.get("a") == (1 if stored else None)


# -- the beginning and the end of a life ---------------------------------------------------------------------


def test_a_new_owner_is_told_of_deaths_and_crashes_in_parts(hand: ByHand) -> None:
    """Sessions that it is not handed end with the reason it was told; the others keep theirs for later."""
    session, owner_end, worker_end = hand.ends()
    for known in (session, 5, 6):
        hand.engine.join(known)
    hand.line.send(Join([session]), [owner_end.fileno()])
    hand.line.send(Begin(died=[(5, EXIT)], crashed=[(session, 1)], more=True))
    hand.line.send(Died(6, Exit(4, None)))
    hand.line.send(Begin(died=[(session, Exit(5, None))], crashed=[(session, 2)]))
    hand.owner.greet_all({session, 5, 6})
    assert sorted(exit.code or 0 for exit in hand.actor.exits if exit) == [3, 4]
    worker = Worker(worker_end, session)
    worker.ask(*[Increment("a")] * 3)
    hand.work()
    assert hand.actor.passing.get("a") == 1
    hand.hang_up(worker)
    hand.work()
    assert hand.ended() == [session]
    assert hand.actor.exits[-1] == Exit(5, None)
    assert hand.owner._deaths == {}


def test_an_owner_that_wants_a_successor_makes_room_for_it(hand: ByHand) -> None:
    """Without a word from the supervisor, and without another turn."""
    hand.engine.wants_successor = True
    hand.owner.run()
    assert hand.actor.ticks == 0


def test_an_owner_without_a_supervisor_ends(hand: ByHand) -> None:
    """So it does when it is told to leave."""
    hand.line.send(Leave())
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
    hand.clock.advance(2 * TICK_S)
    worker.ask(Increment("a"))
    hand.turn()
    assert heard + len(hand.ended()) == told
    assert hand.actor.ticks


def test_a_queue_that_is_handed_over_in_vain_harms_nobody(hand: ByHand) -> None:
    """Its process may be dead before the owner hears of the session."""
    session, owner_end, worker_end = hand.ends()
    worker_end.close()
    hand.line.send(Join([session]), [owner_end.fileno()])
    hand.work()
    hand.line.send(Died(session, EXIT))
    hand.work()
    assert (hand.ended(), hand.actor.exits) == ([session], [EXIT])
