"""Several commands that are answered as one."""

import pytest

from actors.errors import CommandError, CommandFailed, CommandInvalid
from actors.turns.answers import MAX_REFUSAL_BYTES
from actors.turns.engine import MAX_BATCH
from tests.actors.counter import Fail, Get, Held, Increment, Nested, Queue, Refused, Repeat, Take
from tests.actors.faces import Make
from tests.actors.owners import LocalOwner


def test_each_command_of_a_batch_stands_for_itself(owner: LocalOwner, make: Make) -> None:
    """One that is refused, fails, is not understood or would have to wait costs the others nothing."""
    wrong = [Fail("no"), Fail("fault"), Fail("row"), {"type": "Nobody"}, Queue()]
    outcomes = make(owner.join()).batch([Increment("a"), *wrong, Increment("a"), Get("broken")])
    assert [outcomes[0], outcomes[-2], outcomes[-1]] == [1, 2, 0]
    assert [type(error) for error in outcomes[1:-2]] == [
        *(Refused, CommandFailed, CommandFailed, CommandInvalid, CommandInvalid)
    ]


@pytest.mark.parametrize("wrong", [Fail("no"), Fail("fault"), {"type": "Nobody"}, Queue()])
def test_an_atomic_batch_is_done_wholly_or_not_at_all(owner: LocalOwner, make: Make, wrong: object) -> None:
    """The error of the refused command is raised, with its place; what came before it is undone."""
    face = make(owner.join())
    with pytest.raises(CommandError) as raised:
        face.batch([Increment("a"), Increment("b", durable=True), wrong, Increment("a")], atomic=True)
    assert raised.value.index == 2
    assert face.batch([Get("a"), Get("b", durable=True)]) == [0, 0]
    assert face.batch([Increment("a"), Increment("a")], atomic=True) == [1, 2]


def test_a_batch_takes_a_revision_for_each_change_and_an_atomic_one_takes_one(owner: LocalOwner, make: Make) -> None:
    """Revisions rise by one."""
    face = make(owner.join())
    commands = [Increment("a", durable=True), Get("a"), Increment("b", durable=True)]
    face.batch(commands)
    assert face.owner_statistics().revision == 2
    face.batch(commands, atomic=True)
    assert face.owner_statistics().revision == 3


def test_a_batch_has_limits(owner: LocalOwner, make: Make) -> None:
    """Too many commands are refused as a whole; none is a batch too."""
    face = make(owner.join())
    with pytest.raises(CommandInvalid, match="at most 1,000 commands, not 1,001"):
        face.batch([Increment("a")] * (MAX_BATCH + 1))
    assert face.batch([]) == []
    assert face.batch([Increment("a")] * MAX_BATCH) == list(range(1, MAX_BATCH + 1))


def test_a_result_for_which_the_answer_has_no_room_costs_the_others_nothing(owner: LocalOwner, make: Make) -> None:
    """It is refused alone, and what it has changed is undone."""
    face = make(owner.join())
    commands = [Increment("a"), Repeat(5_000_000), Repeat(5_000_000), Repeat(1_000), Increment("a"), Get("a")]
    outcomes = face.batch(commands)
    assert isinstance(outcomes[2], CommandFailed)
    assert "5,000,005 bytes, for which the answer to the batch has no room" in str(outcomes[2])
    del outcomes[2]
    assert outcomes == [1, "x" * 5_000_000, "x" * 1_000, 2, 2]
    outcomes = face.batch([Repeat(8_500_000), *[Take()] * 3, Nested("x" * 200_000), Held()])
    assert outcomes[1:4] + outcomes[5:] == [1, 2, 3, 3]
    assert isinstance(outcomes[4], CommandFailed)


def test_an_atomic_batch_whose_answer_has_no_room_is_undone(owner: LocalOwner, make: Make) -> None:
    """The error says which command's result was too long."""
    face = make(owner.join())
    commands = [Increment("a"), Increment("b", durable=True), Repeat(5_000_000), Repeat(5_000_000), Increment("a")]
    with pytest.raises(CommandFailed, match="for which the answer to the batch has no room") as raised:
        face.batch(commands, atomic=True)
    assert raised.value.index == 3
    assert face.batch([Get("a"), Get("b", durable=True)], atomic=True) == [0, 0]
    assert face.batch(commands[:3], atomic=True)[:2] == [1, 1]


def test_there_is_room_for_a_refusal_of_each_command(owner: LocalOwner, make: Make) -> None:
    """However many are refused, and at whatever length, beside results that fill their share of the answer."""
    face = make(owner.join())
    words = (MAX_REFUSAL_BYTES - 200) // 2  # they stand in the text and in the details
    outcomes = face.batch([Repeat(8_500_000), *[Fail("x" * words)] * (MAX_BATCH - 1)])
    assert len(outcomes[0]) == 8_500_000
    assert [len(error.value) for error in outcomes[1:]] == [words] * (MAX_BATCH - 1)
    (shortened,) = face.batch([Fail("x" * MAX_REFUSAL_BYTES)])
    assert shortened.details["code"] == "Refused"
    assert len(str(shortened)) == 1_000


def test_a_long_batch_arrives_whole(owner: LocalOwner, make: Make) -> None:
    """Its message has several parts."""
    values = ["x" * 50_000] * 20
    assert make(owner.join()).batch([Nested(value) for value in values]) == values
