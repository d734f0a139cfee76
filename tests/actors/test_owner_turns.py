"""The owner's loop, one turn at a time by the test's hand: who is served when, and how sessions end."""

import logging
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from actors import frames
from actors.actor import Context
from actors.channel import Channel
from actors.clock import ManualClock
from actors.exits import Exit
from actors.frames import Acked, Answer, Ask, Bye, Cancel, Hello
from actors.journal import NoJournal
from actors.owner import LONE_AFTER, REASON_S, Owner
from actors.processes.control import Begin, Control, Died, Ended, FromOwner, Join, Leave, ToChild
from actors.pulse import Pulse
from actors.session_log import SessionLog
from actors.turns import members
from actors.turns.engine import Engine
from tests.actors.counter import CounterActor, Increment, Nested, Queue, Repeat, Take
from tests.actors.owners import encode

EXIT = Exit(3, None)


class _OneTurn(Pulse):
    """Stops the loop that shows its pulse after the turn that begins."""

    owner: Owner

    def beat(self) -> None:
        super().beat()
        self.owner._leaving = True


class Worker:
    """A session that says what the test says, and has said Hello."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.messages: list[list[Any]] = []
        self.say(Hello(1, []))

    def say(self, *said: Any) -> None:
        self.channel.post(frames.encode(list(said)))

    def ask(self, *commands: Any, first: int = 1) -> None:
        """Ask all in one message."""
        self.say(
            *(Ask(number, float("inf"), 0, msgspec.Raw(encode(one))) for number, one in enumerate(commands, first))
        )

    def hear(self) -> list[int]:
        """The numbers of all answers that have arrived so far; `messages` has them as they came."""
        while (message := self.channel.receive()) is not None:
            answers = [frame.number for frame in frames.decode_to_worker(message) if isinstance(frame, Answer)]
            if answers:
                self.messages.append(answers)
        return [number for message in self.messages for number in message]


class ByHand:
    """An owner whose turns are taken one by one."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line: Control[Any] = Control(ours, FromOwner)
        self.clock = ManualClock()
        self.actor = CounterActor()
        self.log = SessionLog.create()
        self.engine = Engine(self.actor, NoJournal(), self.log, self.clock, 1)
        self.pulse = _OneTurn.create()
        assert isinstance(self.pulse, _OneTurn)
        self.theirs: Control[Any] = Control(theirs, ToChild)
        self.owner = self.pulse.owner = Owner(self.engine, self.theirs, self.clock, self.pulse)
        self.ends: list[Channel] = []

    def join(self) -> Worker:
        owner_end, worker_end = Channel.pair()
        self.ends += [owner_end, worker_end]
        self.line.send(Join([len(self.ends) // 2]), [owner_end.fileno()])
        worker = Worker(worker_end)
        self.work()
        return worker

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            if not (self.owner._busy or self.owner._epoll.poll(0)):
                self.line.send(Join([]))  # so that it need not wait
            self.owner._leaving = False
            self.owner.run()

    def work(self) -> None:
        """Take turns until there is nothing to do."""
        while self.owner._busy or self.owner._epoll.poll(0):
            self.turn()

    def ended(self) -> list[int]:
        """The sessions whose end was told since the last time."""
        found = []
        while (received := self.line.receive()) is not None:
            assert isinstance(received[0], Ended)
            found.append(received[0].session)
        return found

    def close(self) -> None:
        for member in self.owner._sessions.values():
            member.channel.close()
        for end in self.ends:
            end.close()
        self.owner._epoll.close()
        self.line.close()
        self.theirs.close()
        self.pulse.close()
        self.log.close()


@pytest.fixture
def hand() -> Iterator[ByHand]:
    """An owner that does nothing by itself."""
    hand = ByHand()
    yield hand
    hand.close()


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
    long.ask(*MANY[:100])
    long.say(*[Cancel(9_999)] * 100)
    other.ask(Increment("b"))
    hand.work()
    assert long.hear() == list(range(1, 101))


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
    hand.clock.advance(0.9 * REASON_S)
    hand.turn()
    assert hand.ended() == []
    hand.clock.advance(0.2 * REASON_S)
    hand.turn()
    assert (hand.ended(), hand.actor.exits) == ([1], [None])
    hand.line.send(Died(1, EXIT))
    hand.work()
    assert hand.owner._deaths == {}


def test_a_session_that_ends_while_its_answers_are_held_back_gets_none(hand: ByHand) -> None:
    """And those of all others are not delayed by it."""
    long, other = hand.join(), hand.join()
    flood(hand, long)
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
