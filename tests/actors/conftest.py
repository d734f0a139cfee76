from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from actors.channel import Channel
from actors.session_log import SessionLog
from tests.actors.by_hand import ByHand, owner_by_hand
from tests.actors.faces import FACES, Face, Make, SilentOwner
from tests.actors.owners import LocalOwner, local_owner


@pytest.fixture
def owner() -> Iterator[LocalOwner]:
    """An owner that serves."""
    with local_owner() as owner:
        yield owner


@pytest.fixture
def hand() -> Iterator[ByHand]:
    """An owner whose turns the test takes."""
    with owner_by_hand() as hand:
        yield hand


@pytest.fixture(params=FACES)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes faces of one kind, and closes them."""
    with ExitStack() as stack:

        def made(channel: Channel) -> Face:
            face: Face = request.param(channel)
            stack.callback(face.close)
            return face

        yield made


@pytest.fixture
def silent() -> Iterator[SilentOwner]:
    """An owner that does what the test says."""
    silent = SilentOwner()
    yield silent
    silent.end.close()


@pytest.fixture
def log() -> Iterator[SessionLog]:
    """A session log that nobody has written to."""
    with closing(SessionLog.create()) as log:
        yield log
