"""What a session is told that wants its copy brought up to date, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from actors.frames import Answer, Resync, Snapshot, Update
from actors.session import Call
from actors.turns import publisher, rows
from actors.views import ViewType
from tests.actors.copied import Add, Beat, Drop, Put
from tests.actors.test_publisher import Follower, World, rows_of

FAR = float("inf")


@pytest.fixture
def world() -> Iterator[World]:
    """An owner and two followers, of which none follows yet."""
    world = World()
    yield world
    world.close()


def sync(follower: Follower, deadline: float = FAR) -> Call:
    """Ask, without a turn of the owner."""
    call = follower.session.sync(deadline)
    follower.end.post_all(follower.session.outgoing)
    return call


def synced(world: World, follower: Follower) -> list[Any]:
    """Ask and be answered in the same turn; what was heard."""
    call = sync(follower)
    world.owner.turn()
    heard = follower.hears()
    assert call.done
    assert call.error is None
    return heard


def test_with_nothing_changed_there_is_nothing_but_the_answer(world: World) -> None:
    """One small question, one small answer, however much there is."""
    world.a.does(*[Put(f"k{number}", "x" * 500) for number in range(200)])
    world.b.catches_up()
    [answer] = synced(world, world.b)
    assert isinstance(answer, Answer)
    assert len(msgspec.msgpack.encode([answer])) < 30


def test_everything_comes_before_the_answer(world: World) -> None:
    """What lasts, what passes and what is lazy, of all sessions; and it is not sent once more when it is due."""
    for follower in (world.a, world.b):
        follower.catches_up()
    world.a.does(Put("k", "x"), Add("s", 1), Beat("t"), Beat("t"))
    heard = synced(world, world.b)
    assert [type(frame) for frame in heard] == [Update, Answer]
    assert rows_of(heard) == [("lasting", "k", "x"), ("sums", "s", 1), ("beats", "t", 2)]
    world.clock.advance(publisher.GATHER_S)
    world.owner.turn()
    assert world.b.hears() == []


def test_a_long_update_comes_before_the_answer_as_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several messages, of which the last one completes it."""
    for follower in (world.a, world.b):
        follower.catches_up()
    world.a.does(*[Beat(f"k{number}") for number in range(50)])
    monkeypatch.setattr(publisher, "UPDATE_BYTES", 100)
    heard = synced(world, world.b)
    assert [frame.more for frame in heard[:-1]] == [True] * (len(heard) - 2) + [False]
    assert isinstance(heard[-1], Answer)
    assert world.b.rows("beats") == {f"k{number}": 1 for number in range(50)}


def test_what_is_lazy_waits_until_it_is_asked_for(world: World) -> None:
    """It is pushed to nobody, not even with the answer to who has changed it; and it wakes nobody."""
    for follower in (world.a, world.b):
        follower.catches_up()
    heard = world.a.does(*[Beat("t")] * 5)
    assert [type(frame) for frame in heard] == [Answer] * 5
    assert world.publisher.due_at == float("inf")
    world.clock.advance(1)
    world.owner.turn()
    assert world.b.hears() == []
    assert len(world.publisher._lazy) == 1
    assert rows_of(synced(world, world.a)) == [("beats", "t", 5)]
    world.a.does(Beat("t"))
    assert rows_of(synced(world, world.a)) == [("beats", "t", 6)]
    assert rows_of(synced(world, world.b)) == [("beats", "t", 6)]


def test_who_does_not_follow_yet_is_answered_with_the_last_piece(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question brings the copy, with what has changed on the way; in the very turn that completes it."""
    monkeypatch.setattr(publisher, "PIECE_BYTES", 100)
    world.a.does(*[Put(f"k{number}", "x" * 40) for number in range(20)], *[Beat(f"k{number}") for number in range(20)])
    call = sync(world.b)
    changes = (change for turn in range(20) for change in (Put(f"new{turn}", "y"), Beat("k0"), Drop(f"k{turn}")))
    turns = 0
    while not world.b.replica.complete:
        assert not call.done
        world.a.does(next(changes))
        heard = world.b.hears()
        turns += 1
    assert turns > 5
    assert call.done
    assert [type(frame) for frame in heard if not isinstance(frame, Snapshot)] == [Update, Answer]
    assert list(world.b.rows().items()) == world.owner.actor.lasting.items()
    assert world.b.rows("beats") == dict(world.owner.actor.beats.items())


def test_one_whose_updates_are_lost_asks_again(world: World) -> None:
    """An answer that finds the copy incomplete does not count; the next one comes with the snapshot."""
    world.b.catches_up()
    world.owner.mail.post(world.owner.members[2], msgspec.msgpack.encode([Resync()]))
    first = sync(world.b)
    world.owner.turn()
    world.b.hears()
    assert first.done
    assert not world.b.session.is_synced
    second = sync(world.b)
    for _ in range(5):
        world.owner.turn()
        world.b.hears()
    assert second.done
    assert world.b.session.is_synced


def test_as_long_as_a_row_is_too_long_there_is_no_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the deadline; and the number is free again then."""
    monkeypatch.setattr(rows, "LONGEST_ROW_BYTES", 1_000)
    world.a.catches_up()
    world.b.does(Put("k", "x" * 2_000))
    call = sync(world.a, world.clock.monotonic() + 5)
    for _ in range(10):
        world.owner.turn()
        world.a.hears()
    assert not call.done
    assert world.publisher.syncs
    world.clock.advance(6)
    world.owner.tick()
    assert [type(frame) for frame in world.a.hears()] == [Answer]
    assert type(call.error).__name__ == "CallTimeout"
    assert not world.publisher.syncs


def test_one_that_is_given_up_is_answered_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is left, at either end."""
    monkeypatch.setattr(publisher, "PIECE_BYTES", 100)
    world.a.does(*[Put(f"k{number}", "x" * 40) for number in range(20)])
    call = sync(world.b)
    world.owner.turn()
    world.b.session.expire(call)
    world.b.end.post_all(world.b.session.outgoing)
    world.owner.turn()
    world.b.hears()
    assert not world.publisher.syncs
    assert world.b.session.unanswered == 0
    assert not world.b.replica.complete


def test_the_end_of_a_session_ends_its_questions(world: World) -> None:
    """And with the last of them the owner tells nobody anything."""
    world.a.does(Put("k", "x"))
    sync(world.b)
    sync(world.b)
    world.owner.turn()
    assert world.publisher.syncs
    world.owner.end(2)
    assert not world.publisher.syncs
    world.owner.tick()
    assert not world.owner.engine.observers.active


def test_without_a_copy_there_is_nothing_to_wait_for(world: World) -> None:
    """A session that does not follow is answered at once."""
    call = world.a.session.sync(FAR)
    world.a.session._outgoing = [call.ask]
    world.a.end.post_all(world.a.session.outgoing)
    world.owner.turn()
    assert [type(frame) for frame in world.a.hears()] == [Answer]
    assert call.done


def test_lazy_changes_nobody_asks_for_take_bounded_memory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks after too many of them follows anew: it is sent what does not last, and nothing else."""
    monkeypatch.setattr(publisher, "MAX_NOTED", 50)
    for follower in (world.a, world.b):
        follower.catches_up()
    world.a.does(Put("k", "x"))
    for number in range(200):
        world.b.does(Beat(f"t{number}"))
    world.owner.tick()
    assert len(world.publisher._lazy) == 0
    assert world.a.replica.complete
    call = sync(world.a)
    heard = []
    for _ in range(10):
        world.owner.turn()
        heard += world.a.hears()
    assert heard.count(Resync()) == 1
    assert [frame.renewed for frame in heard if isinstance(frame, Snapshot) and frame.renewed] == [["sums", "beats"]]
    assert call.done
    assert world.a.replica.complete
    assert world.a.rows("beats") == {f"t{number}": 1 for number in range(200)}


def test_a_durable_view_cannot_be_lazy() -> None:
    """Whoever is answered knows all that is durable."""
    with pytest.raises(ValueError, match="both durable and lazy"):
        ViewType("wrong", str, str, durable=True, lazy=True)
