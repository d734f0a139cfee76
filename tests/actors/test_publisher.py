"""What those are told who keep a copy of the views, message by message."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from actors import frames
from actors.channel import Channel
from actors.clock import ManualClock
from actors.frames import Answer, Follow, Resync, Snapshot, Update
from actors.replica import Replica
from actors.session import Session
from actors.session_log import SessionLog
from actors.turns import publisher, rows
from tests.actors.copied import TYPES, Add, Drop, Hide, Put, Turning

encode = msgspec.msgpack.encode

RENEWED = [type.name for type in TYPES]


class Told:
    """What a listener was told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, Any, Any]] = []

    def changed(self, view: str, key: Any, record: Any) -> None:
        self.changes.append((view, key, record))

    def cleared(self, view: str) -> None:
        self.changes.append((view, None, None))


class Follower:
    """A session with a copy, and the frames that it was sent."""

    def __init__(self, number: int, owner: Turning, clock: ManualClock) -> None:
        self.told = Told()
        self.replica = Replica(TYPES, clock, self.told)
        self.session = Session(clock, replica=self.replica)
        self.owner = owner
        self.owners_end, self.end = Channel.pair()
        owner.join(number, self.owners_end)

    def say(self, command: Any) -> None:
        self.session.tell(encode(command))
        self.end.post_all(self.session.outgoing)

    def hears(self) -> list[Any]:
        """Take what has been sent; the frames."""
        heard: list[Any] = []
        while (message := self.end.receive()) is not None:
            heard += frames.decode_to_worker(message)
            self.session.receive(message)
        self.end.post_all(self.session.outgoing)
        return heard

    def does(self, *commands: Any) -> list[Any]:
        """Ask, each in a turn of its own; what was sent to it."""
        heard = []
        for command in commands:
            self.say(command)
            self.owner.turn()
            heard += self.hears()
        return heard

    def catches_up(self) -> None:
        """Follow, and turn until the copy is complete."""
        self.hears()
        self.session.follow()
        self.session.ask_again()
        self.end.post_all(self.session.outgoing)
        for _ in range(20):
            self.owner.turn()
            self.hears()
        assert self.replica.complete

    def rows(self, view: str = "lasting") -> dict[Any, Any]:
        return dict(self.replica.rows(view))

    def close(self) -> None:
        self.owners_end.close()
        self.end.close()


def rows_of(heard: list[Any]) -> list[tuple[str, Any, Any]]:
    """The rows in updates and snapshots: view, key, record."""
    found = []
    for frame in heard:
        if isinstance(frame, Update | Snapshot):
            for rows in frame.rows:
                pairs = [msgspec.msgpack.decode(raw) for raw in (*rows.changed, *rows.arrived)]
                found += [(rows.view, key, record) for key, record in pairs]
    return found


def complete(copy: Replica) -> None:
    """Make it a whole copy of nothing, at revision 7."""
    counter = copy.follow().counter
    copy.snapshot(Snapshot(counter, RENEWED, [], complete=True, revision=7, at_s=0.0), epoch=1)


class World:
    """An owner and two followers."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = SessionLog.create()
        self.owner = Turning(self.clock, self.log)
        self.publisher = self.owner.engine.observers.publisher
        self.a, self.b = (Follower(number, self.owner, self.clock) for number in (1, 2))
        self.a.hears()
        self.b.hears()

    def close(self) -> None:
        for follower in (self.a, self.b):
            follower.close()
        self.owner.close()
        self.log.close()


@pytest.fixture
def world() -> Iterator[World]:
    """An owner and two followers, of which none follows yet."""
    world = World()
    yield world
    world.close()


def test_nobody_is_told_anything_who_does_not_follow(world: World) -> None:
    """Without a copy there is nothing but answers, and the owner notes nothing."""
    heard = world.a.does(Put("k", "x"), Add("s", 1))
    assert [type(frame) for frame in heard] == [Answer, Answer]
    assert not world.owner.engine.observers.active
    assert world.publisher._lasting.latest == 0


def test_a_copy_begins_with_all_rows_in_order(world: World) -> None:
    """A snapshot has what is there, and the copy is at the owner's revision."""
    world.a.does(Put("b", "x"), Put("a", "y"), Add("s", 3))
    world.b.catches_up()
    assert list(world.b.rows().items()) == [("b", "x"), ("a", "y")]
    assert world.b.rows("sums") == {"s": 3}
    assert world.b.replica.statistics().revision == 2


def test_ones_own_changes_come_before_the_answer(world: World) -> None:
    """In the same turn, and of the passing views nothing of what others have changed."""
    for follower in (world.a, world.b):
        follower.catches_up()
    world.b.does(Put("other", "x"), Add("other", 1))
    heard = world.a.does(Put("own", "x"))
    assert [type(frame) for frame in heard] == [Update, Answer]
    assert rows_of(heard) == [("lasting", "other", "x"), ("lasting", "own", "x")]
    assert rows_of(world.a.does(Add("own", 1))) == [("sums", "own", 1)]


def test_an_answer_never_comes_before_the_durable_changes_it_saw(world: World) -> None:
    """Even if it is a refusal: its revision is that of the copy."""
    for follower in (world.a, world.b):
        follower.catches_up()
    world.b.does(Put("other", "x"))
    heard = world.a.does(Drop("absent"))
    assert [type(frame) for frame in heard] == [Update, Answer]
    assert world.a.rows() == {"other": "x"}
    assert world.a.replica.statistics().revision == heard[-1].revision


def test_others_changes_are_gathered(world: World) -> None:
    """However often a key changes in a moment, it is sent once, and only when the moment is over."""
    for follower in (world.a, world.b):
        follower.catches_up()
    world.b.does(*[Add("s", 1)] * 100, *[Add("t", 1)] * 100)
    world.owner.turn()
    assert world.a.hears() == []
    world.clock.advance(publisher.GATHER_S)
    world.owner.turn()
    heard = world.a.hears()
    assert len(heard) == 1
    assert rows_of(heard) == [("sums", "s", 100), ("sums", "t", 100)]


def test_what_must_be_seen_together_is_seen_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long update comes in several messages and counts with the last one."""
    monkeypatch.setattr(publisher, "UPDATE_BYTES", 100)
    for follower in (world.a, world.b):
        follower.catches_up()
    world.b.session.batch([encode(Put(key, "x" * 60)) for key in "abcde"], float("inf"), atomic=True)
    world.b.end.post_all(world.b.session.outgoing)
    world.owner.turn()
    world.clock.advance(publisher.GATHER_S)
    world.owner.turn()
    counts = []
    while (message := world.a.end.receive()) is not None:
        [frame] = frames.decode_to_worker(message)
        assert isinstance(frame, Update)
        world.a.session.receive(message)
        counts.append((frame.more, len(world.a.rows())))
    assert counts == [(True, 0), (True, 0), (False, 5)]


def test_a_snapshot_comes_in_pieces_and_holds_what_changed_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn sends one to a reader that keeps up; rows that came, changed, went or moved on the way are right."""
    monkeypatch.setattr(publisher, "PIECE_BYTES", 100)
    world.a.does(*[Put(f"k{number}", "x" * 40) for number in range(20)])
    world.b.session.follow()
    world.b.end.post_all(world.b.session.outgoing)
    world.owner.turn()
    pieces = [len(world.b.hears())]
    for _ in range(3):
        world.owner.turn()
        pieces.append(len(world.b.hears()))
    assert pieces == [1, 1, 1, 1]
    world.a.does(Put("new", "y"), Drop("k1"), Drop("k19"), Put("k0", "z"), Drop("k2"), Put("k2", "z"))
    for _ in range(20):
        world.clock.advance(publisher.GATHER_S)
        world.owner.turn()
        world.b.hears()
    assert list(world.b.rows().items()) == world.owner.actor.lasting.items()


def test_who_does_not_read_is_sent_no_more_of_a_snapshot(world: World) -> None:
    """What waits for it is no more than what its socket did not take of one piece."""
    world.a.does(*[Put(f"k{number}", "x" * 40_000) for number in range(30)])
    world.b.session.follow()
    world.b.end.post_all(world.b.session.outgoing)
    for _ in range(60):
        world.owner.turn()
    assert 0 < world.b.owners_end.unsent_bytes < 100_000
    for _ in range(60):
        world.b.hears()
        world.owner.turn()
    world.b.hears()
    assert world.b.replica.complete


def test_a_copy_at_the_owners_revision_is_not_sent_again(world: World) -> None:
    """Only what does not last is; and what has changed meanwhile, of which the listener is told."""
    world.a.does(Put("k", "x"), Put("l", "y"), Add("s", 1))
    world.b.catches_up()
    world.b.told.changes.clear()
    world.b.session.ask_again()
    world.b.end.post_all(world.b.session.outgoing)
    world.owner.turn()  # the snapshot begins
    world.a.does(Put("l", "z"), Drop("k"))
    heard = []
    for _ in range(5):
        world.owner.turn()
        heard += world.b.hears()
    assert [frame.renewed for frame in heard if isinstance(frame, Snapshot) and frame.renewed] == [["sums", "beats"]]
    assert sorted(rows_of(heard)) == [("lasting", "k", None), ("lasting", "l", "z"), ("sums", "s", 1)]
    assert world.b.rows() == {"l": "z"}
    assert world.b.told.changes[-1] == ("lasting", "k", None)
    assert ("lasting", "l", "z") in world.b.told.changes


def test_pieces_for_an_earlier_question_are_void(world: World) -> None:
    """Of two questions only the last one is answered by what completes the copy."""
    copy = world.a.replica
    first, second = copy.follow(), copy.follow()
    for counter, complete in ((first.counter, False), (second.counter, True)):
        copy.snapshot(Snapshot(counter, RENEWED, [], complete=True, revision=7, at_s=0.0), epoch=1)
        assert copy.complete is complete
    assert (first, second) == (Follow(1, None), Follow(2, None))


def test_a_snapshot_does_not_overtake_an_update_that_was_held_back(world: World) -> None:
    """Else what was true before it would replace what is true now."""
    world.a.does(Put("k", "new"))
    world.b.catches_up()
    stale = Update(1, [frames.Rows("lasting", [msgspec.Raw(encode(("k", "old")))], [])], more=False, at_s=0.0)
    mail, member = world.owner.mail, world.owner.members[2]
    mail.hold(member, [frames.encode(stale)])
    world.b.catches_up()
    mail.let_go(member)
    world.b.hears()
    assert world.b.rows() == {"k": "new"}


def test_updates_for_an_incomplete_copy_are_void(world: World) -> None:
    """They may come between what was lost and what makes good for it."""
    copy = world.a.replica
    copy.snapshot(Snapshot(copy.follow().counter, RENEWED, [], complete=True, revision=7, at_s=0.0), epoch=1)
    row = msgspec.Raw(encode(("k", "x")))
    assert copy.resync().revision == 7
    copy.update(Update(8, [frames.Rows("lasting", [row], [])], more=False, at_s=0.0))
    assert (dict(copy.rows("lasting")), copy.statistics().revision) == ({}, 7)


def test_an_interrupted_update_leaves_a_copy_of_no_revision(world: World) -> None:
    """So that it is sent as a whole when it is asked for again."""
    copy = world.a.replica
    copy.snapshot(Snapshot(copy.follow().counter, RENEWED, [], complete=True, revision=7, at_s=0.0), epoch=1)
    with pytest.raises(msgspec.DecodeError):
        copy.update(Update(8, [frames.Rows("lasting", [msgspec.Raw(b"\xc1")], [])], more=False, at_s=0.0))
    assert copy.follow().revision is None


def test_an_idle_owner_gives_a_sign_of_life(world: World) -> None:
    """Twice a second, so that the age of a copy says whether the owner lives; also of changes that no view shows."""
    for follower in (world.a, world.b):
        follower.catches_up()
    assert world.a.replica.statistics().age_s == 0
    world.clock.advance(3)
    assert world.a.replica.statistics().age_s == 3
    for _ in range(2):
        world.owner.tick()
    world.clock.advance(2)
    world.a.hears()
    assert world.a.replica.statistics().age_s == 2, "since it was said, not since it was read"
    world.owner.tick()
    assert world.a.hears() == [Update(0, [], more=False, at_s=world.clock.monotonic())]
    assert world.a.replica.statistics().age_s == 0
    world.b.does(Hide())
    world.clock.advance(publisher.GATHER_S)
    world.owner.turn()
    assert world.a.hears() == [Update(1, [], more=False, at_s=world.clock.monotonic())]


def test_a_row_that_fits_no_message(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is there nobody has a copy, and everybody asks; then a snapshot makes good for it."""
    monkeypatch.setattr(rows, "LONGEST_ROW_BYTES", 1_000)
    world.a.catches_up()
    assert Resync() in world.a.does(Put("k", "x" * 2_000))
    for _ in range(10):
        world.owner.turn()
        world.a.hears()
    assert not world.a.replica.statistics().complete
    assert not world.publisher.can_go_on(1)
    world.b.does(Put("k", "short"))
    for _ in range(10):
        world.owner.turn()
        world.a.hears()
    assert world.a.replica.statistics().complete
    assert world.a.rows() == {"k": "short"}


def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all know is forgotten; a snapshot whose reader does not read begins anew when too much has changed."""
    monkeypatch.setattr(publisher, "MAX_NOTED", 50)
    world.a.catches_up()
    for number in range(300):
        world.a.does(Put(f"k{number}", "x" * 2_000))
    world.owner.tick()
    assert len(world.publisher._lasting) == 0
    world.b.session.follow()
    world.b.end.post_all(world.b.session.outgoing)
    for number in range(200):
        world.a.does(Drop(f"k{number}"))
    for _ in range(2):
        world.clock.advance(publisher.GATHER_S)
        world.owner.tick()
        world.owner.turn()
    assert len(world.publisher._lasting) < 50
    for _ in range(50):
        world.b.hears()
        world.owner.turn()
    world.b.hears()
    assert world.b.rows() == world.a.rows()


def test_the_end_of_the_last_follower_ends_all_noting(world: World) -> None:
    """Then a turn costs what it cost before."""
    world.a.catches_up()
    world.owner.end(1)
    world.owner.tick()
    assert not world.owner.engine.observers.active
