"""The owner's loop, one turn at a time by the test's hand: who is served when, and how answers leave."""

import itertools
import logging
import select
from typing import Any

import pytest

from actors.actor import Context
from actors.channel import DEFAULT_LIMIT
from actors.frames import MAX_RANGES, Acked, Cancel, Hello
from actors.owner import CROWDED, LONE, LONE_AFTER, MOST_HELD
from actors.processes.control import Leave
from actors.turns.members import FRAME_BYTES, UNSENT_BYTES
from tests.actors.by_hand import ByHand, Worker
from tests.actors.counter import Increment, Nested, Queue, Repeat

MANY = [Increment("a")] * 2_000

MOST_IN_A_CROWDED_TURN = CROWDED.turn_bytes // FRAME_BYTES + 1
"""A command costs at least a frame, and the last one may go over the limit."""

MOST_IN_A_CROWDED_SLICE = CROWDED.slice_bytes // FRAME_BYTES


@pytest.fixture
def served(hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sessions whose commands were applied, in order."""
    sessions: list[int] = []
    apply = hand.actor.apply

    def noted(command: Any, context: Context) -> Any:
        sessions.append(context.session)
        return apply(command, context)

    monkeypatch.setattr(hand.actor, "apply", noted)
    return sessions


def longest_run(sessions: list[int]) -> int:
    """How many commands of one session were done in a row, at most."""
    return max(len(list(run)) for _, run in itertools.groupby(sessions))


def crowd(hand: ByHand, worker: Worker) -> None:
    """Another one speaks, in every turn that now comes."""
    worker.ask(Increment("b"), first=len(worker.hear()) + 1)
    hand.turn()


# -- who is served when --------------------------------------------------------------------------------------


def test_a_lone_session_is_served_in_large_turns(hand: ByHand) -> None:
    """Its answers leave at the end of each."""
    worker = hand.join()
    worker.ask(*MANY)
    hand.turn()
    after_one = len(worker.hear())
    hand.turn()
    after_two = len(worker.hear())
    assert MOST_IN_A_CROWDED_TURN * 3 < after_one < after_two < len(MANY)
    hand.work()
    assert worker.hear() == list(range(1, len(MANY) + 1))


def test_two_that_ask_for_much_take_turns_in_slices(hand: ByHand, served: list[int]) -> None:
    """In large ones, until somebody comes who does not ask for much; then in small ones."""
    floods = [hand.join(), hand.join()]
    other = hand.join()
    for worker in floods:
        worker.ask(*MANY)
    hand.turn(3)
    assert MOST_IN_A_CROWDED_SLICE < longest_run(served) <= LONE.slice_bytes // FRAME_BYTES + 1
    served.clear()
    other.ask(Increment("b"))
    hand.turn(4)
    assert len(served) > 8
    assert longest_run(served) <= MOST_IN_A_CROWDED_SLICE


def test_who_asks_for_little_does_not_wait_for_who_asks_for_much(
    hand: ByHand, served: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command is stored and answered before the next slice of the other's is begun; that turn is a short one."""
    flood, other = hand.join(), hand.join()
    flood.ask(*MANY)
    hand.turn()
    served.clear()
    apply = hand.actor.apply
    answered = []

    def look(command: Any, context: Context) -> Any:
        answered.append(other.hear() == [1])
        return apply(command, context)

    monkeypatch.setattr(hand.actor, "apply", look)
    other.ask(Increment("b"))
    hand.turn()
    assert served[0] == other.number
    assert answered == [False] + [True] * (len(served) - 1)
    assert 1 < len(served) <= 1 + MOST_IN_A_CROWDED_TURN


def test_who_comes_in_the_midst_of_a_turn_is_served_in_it(
    hand: ByHand, served: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the present slice, however much a lone session might still have been served before."""
    flood, other = hand.join(), hand.join()
    apply = hand.actor.apply

    def interrupted(command: Any, context: Context) -> Any:
        if hand.engine.commands == 1:
            other.ask(Increment("b"))
        return apply(command, context)

    monkeypatch.setattr(hand.actor, "apply", interrupted)
    flood.ask(*MANY)
    hand.turn()
    assert served.index(other.number) <= LONE.slice_bytes // FRAME_BYTES + 1
    assert other.hear() == [1]


def test_who_leaves_in_the_midst_of_a_turn_stores_it(hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left done and not stored when the journal is closed."""
    flood, other = hand.join(), hand.join()
    apply = hand.actor.apply

    def interrupted(command: Any, context: Context) -> Any:
        if context.session == flood.number:
            other.ask(Increment("b"), first=context.number)
        if context.number == 1:
            hand.line.send(Leave())
        return apply(command, context)

    monkeypatch.setattr(hand.actor, "apply", interrupted)
    flood.ask(*MANY)
    hand.turn()
    assert hand.engine.commands > 1
    assert hand.engine.turn.is_empty


def test_after_a_while_alone_the_turns_are_large_again(hand: ByHand) -> None:
    """What was held back while others spoke then leaves, though the backlog is not done."""
    flood, other = hand.join(), hand.join()
    flood.ask(*MANY)
    crowd(hand, other)
    done = hand.engine.commands
    hand.turn(LONE_AFTER - 1)
    assert hand.engine.commands - done <= LONE_AFTER * MOST_IN_A_CROWDED_TURN
    done = hand.engine.commands
    hand.turn()
    assert hand.engine.commands - done > 3 * MOST_IN_A_CROWDED_TURN
    assert len(flood.hear()) == hand.engine.commands - 1 < len(MANY)


def test_a_long_message_waits_until_the_short_ones_are_done(hand: ByHand, served: list[int]) -> None:
    """To take it apart takes time, and whoever has asked for little shall not wait for that."""
    long, other = hand.join(), hand.join()
    long.ask(Nested("x" * 100_000))
    other.ask(Increment("b"))
    hand.work()
    assert served == [other.number, long.number]


def test_what_comes_while_there_is_a_backlog_comes_after_it(hand: ByHand) -> None:
    """The order of a session's commands is kept."""
    worker = hand.join()
    worker.ask(*MANY)
    hand.turn()
    worker.ask(Increment("a"), first=len(MANY) + 1)
    hand.work()
    assert worker.hear() == list(range(1, len(MANY) + 2))


def test_long_answers_count_as_work(hand: ByHand) -> None:
    """Short commands with long answers do not make a turn long."""
    worker = hand.join()
    worker.ask(*[Repeat(4_000)] * 100)
    hand.turn()
    assert len(worker.hear()) < 10


# -- answers that are held back ------------------------------------------------------------------------------


def test_in_a_crowd_the_answers_of_many_turns_share_packets(hand: ByHand) -> None:
    """To wake its process for each slice would cost the owner more than the slice; all arrive, in order."""
    flood, other = hand.join(), hand.join()
    flood.ask(*MANY[:300])
    turns = 0
    while hand.owner.statistics().backlog_bytes or not turns:
        crowd(hand, other)
        turns += 1
        assert all(len(held) < MOST_HELD for held in hand.owner._mail.held.values())
    hand.work()
    assert (flood.hear(), other.hear()) == (list(range(1, 301)), list(range(1, turns + 1)))
    sizes = [len(message) for message in flood.messages]
    assert turns > 3 * len(sizes)
    assert all(MOST_HELD <= size < MOST_HELD + MOST_IN_A_CROWDED_TURN for size in sizes[:-1])
    assert all(len(message) == 1 for message in other.messages)


def test_one_that_says_much_again_and_again_is_answered_when_it_pauses(hand: ByHand) -> None:
    """As long as there is more from it in a crowd, its answers wait for each other; one command is answered at once."""
    much, other, third = hand.join(), hand.join(), hand.join()
    for first in (1, 3, 5):
        much.ask(*MANY[:2], first=first)
        third.ask(Increment("c"), first=first)
        crowd(hand, other)
    assert (much.hear(), third.hear()) == ([], [1, 3, 5])
    crowd(hand, other)
    assert (much.hear(), much.messages) == ([*range(1, 7)], [[*range(1, 7)]])


def test_one_command_is_answered_at_once_also_in_a_crowd(hand: ByHand) -> None:
    """Whatever its session has said before: nothing more has to come from it."""
    much, other = hand.join(), hand.join()
    much.ask(*MANY[:2])
    crowd(hand, other)
    hand.work()
    much.ask(Increment("a"), first=3)
    other.ask(Increment("b"), first=2)
    hand.turn()
    assert (much.hear(), other.hear()) == ([1, 2, 3], [1, 2])


def test_what_was_held_back_leaves_with_the_end_of_the_backlog(hand: ByHand) -> None:
    """Also if the end of it has no answer."""
    long, other = hand.join(), hand.join()
    long.ask(*MANY[:20], then=[Cancel(9_999)] * 40)
    other.ask(Increment("b"))
    hand.work()
    assert long.hear() == list(range(1, 21))


def test_a_session_that_ends_while_its_answers_are_held_back_gets_none(hand: ByHand) -> None:
    """And those of all others are not delayed by it; what it has said is done."""
    long, other = hand.join(), hand.join()
    long.ask(*MANY)
    for _ in range(3):
        crowd(hand, other)
    assert hand.owner._mail.held
    hand.hang_up(long)
    crowd(hand, other)
    assert not hand.owner._mail.held
    hand.work()
    assert other.hear() == [1, 2, 3, 4]
    assert hand.actor.passing.get("a") == len(MANY)


# -- sessions that do not read -------------------------------------------------------------------------------


def pause(hand: ByHand) -> Worker:
    """A session that asks for twice as much as may wait for it, and does not read."""
    worker = hand.join()
    worker.ask(*[Repeat(1_000_000)] * (2 * UNSENT_BYTES // 1_000_000))
    hand.work()
    found = hand.owner.statistics()
    assert found.backlog_bytes > 0
    assert UNSENT_BYTES <= found.unsent_bytes < UNSENT_BYTES + 2_000_000
    return worker


def test_a_session_that_does_not_read_is_neither_served_nor_read(hand: ByHand) -> None:
    """What it says meanwhile stays in the queue and fills it, so it waits at its source; others are served."""
    worker, other = pause(hand), hand.join()
    done = hand.engine.commands
    assert hand.listens_to(worker) == select.EPOLLOUT
    number = 1_000
    while not worker.channel.unsent_bytes:
        worker.ask(Nested("x" * 50_000), first=number)
        number += 1
        hand.work()
    other.ask(Increment("b"))
    hand.work()
    assert other.hear() == [1]
    assert hand.engine.commands == done + 1


def test_a_session_that_reads_again_is_served_in_the_old_order(hand: ByHand) -> None:
    """First its backlog, then what it has said since; nothing is lost, and never does more wait for it than before."""
    worker = pause(hand)
    asked = 2 * UNSENT_BYTES // 1_000_000
    worker.ask(Increment("a"), first=asked + 1)
    worker.ask(Increment("a"), Increment("a"), first=asked + 2)
    reads = 0
    while len(worker.hear()) < asked + 3 and reads < 10_000:
        hand.work()
        reads += 1
        assert hand.owner.statistics().unsent_bytes < UNSENT_BYTES + 2_000_000
    assert worker.hear() == list(range(1, asked + 4))
    assert hand.listens_to(worker) == select.EPOLLIN
    worker.ask(Increment("a"), first=asked + 4)
    hand.work()
    assert hand.actor.passing.get("a") == 4


def test_a_paused_session_that_dies_is_heard_to_the_end(hand: ByHand) -> None:
    """What it had said counts, though nobody reads the answers."""
    worker = pause(hand)
    worker.ask(Increment("a"), first=1_000)
    hand.hang_up(worker)
    hand.work()
    assert hand.actor.passing.get("a") == 1
    assert hand.owner.statistics().unsent_bytes == 0


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
    assert (worker.hear(), found.misunderstood, len(worker.refused)) == ([1], 1, 1)


@pytest.mark.parametrize("kind", [Hello, Acked])
def test_too_many_ranges_are_refused_and_harm_nobody(hand: ByHand, kind: Any) -> None:
    """The sender is told, nothing of the message is done, and it goes on; as many as are allowed are taken."""
    worker, other = hand.join(), hand.join()
    worker.ask(*MANY[:3])
    hand.work()
    gaps = [(number, number) for number in range(1, 2 * MAX_RANGES + 2, 2)]
    assert len(gaps) == MAX_RANGES + 1
    worker.say(*([kind(1, gaps)] if kind is Hello else [kind(gaps)]))
    worker.ask(Increment("a"), first=4)
    other.ask(Increment("a"))
    hand.work()
    assert (worker.hear(), other.hear()) == ([1, 2, 3, 4], [1])
    assert len(worker.refused) == 1
    assert "length <= 4096" in worker.refused[0]
    assert hand.owner.statistics().stored_answers == 5
    worker.say(*([kind(1, gaps[:-1])] if kind is Hello else [kind(gaps[:-1])]))
    hand.work()
    assert len(worker.refused) == 1
    assert hand.owner.statistics().stored_answers == 3
