"""Several commands that are answered as one."""

import pytest

from actors.errors import CommandError, CommandFailed, CommandInvalid
from actors.turns.engine import MAX_BATCH
from tests.actors.counter import Fail, Get, Increment, Nested, Queue, Refused
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


def test_a_long_batch_arrives_whole(owner: LocalOwner, make: Make) -> None:
    """Its message has several parts."""
    values = ["x" * 50_000] * 20
    assert make(owner.join()).batch([Nested(value) for value in values]) == values
