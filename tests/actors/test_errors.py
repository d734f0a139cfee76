import pickle
import re
from collections.abc import Iterator

import pytest

from actors import errors
from actors.errors import (
    ActorsError,
    AlreadyRunning,
    CommandInvalid,
    CommandStale,
    MessageTooLarge,
    MissingMainGuard,
    Overloaded,
    QueueShared,
)

EXAMPLES = [
    MessageTooLarge(2, 1),
    QueueShared(7),
    QueueShared(),
    Overloaded("too much"),
    CommandInvalid("field", "reason"),
    CommandStale(3),
    AlreadyRunning("/data", "somebody"),
    MissingMainGuard(),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way_to_another_process(error: ActorsError) -> None:
    """A process pool hands on what its workers raise: class, text and fields stay."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line before
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__


def subclasses(cls: type[ActorsError]) -> Iterator[type[ActorsError]]:
    """All below a class that its module defines."""
    for subclass in cls.__subclasses__():
        if subclass.__module__ == errors.__name__:
            yield subclass
        yield from subclasses(subclass)


def test_the_tree_at_the_top_of_the_module_is_complete() -> None:
    """Each error is drawn there, and nothing else."""
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert sorted(drawn) == sorted({cls.__name__ for cls in subclasses(ActorsError)})
