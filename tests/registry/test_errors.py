"""What an error says, and that it survives the way to another process."""

import pickle

import pytest

from actors.errors import CommandError
from registry.errors import (
    BackendNotFound,
    ConfigError,
    DuplicateBackend,
    InvalidField,
    LeaseNotFound,
    ModelNotFound,
    NoBackendAvailable,
    QueueFull,
    RegistryError,
    RevisionMismatch,
    ServiceNotFound,
)

REFUSALS = [
    DuplicateBackend("b"),
    BackendNotFound("b"),
    InvalidField("url", "has no host"),
    ModelNotFound("m", ["n", "o"]),
    NoBackendAvailable("m", 1.5),
    NoBackendAvailable("m", 1.5, busy=True),
    QueueFull("m", 1_000),
    RevisionMismatch("b", 3, 4),
    RevisionMismatch("b", 3, None),
    LeaseNotFound(7),
    ServiceNotFound("s"),
]


@pytest.mark.parametrize("error", REFUSALS)
def test_every_refusal_is_one_of_the_registrys(error: RegistryError) -> None:
    """One `except` catches all that the registry can refuse."""
    assert isinstance(error, RegistryError)
    assert isinstance(error, CommandError)


def test_no_refusal_was_forgotten_here() -> None:
    """These tests know all classes of refusals."""
    assert {type(error) for error in REFUSALS} == set(RegistryError.classes().values()) - {RegistryError}


@pytest.mark.parametrize("error", REFUSALS)
def test_details_make_the_same_error_again(error: RegistryError) -> None:
    """The details that travel between processes are all it takes to raise the same error in the other one."""
    again = CommandError.classes()[error.code](**error.details)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("error", REFUSALS)
def test_errors_can_be_pickled(error: RegistryError) -> None:
    """An error may leave a worker of a process pool."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_wrong_configuration_is_not_a_refusal() -> None:
    """Nobody who catches refusals of the owner catches a wrong configuration with them."""
    assert not issubclass(ConfigError, CommandError)
