"""Snapshots of a session and of the owner."""

import pytest

from actors.channel import Channel
from actors.client import Client
from actors.errors import CommandInvalid, MessageTooLarge
from actors.statistics import Durations
from tests.actors.counter import Fail, Increment, Refused
from tests.actors.faces import Make
from tests.actors.owners import LocalOwner, encode
from tests.polling import until


def test_a_session_counts_what_it_asks(owner: LocalOwner, make: Make) -> None:
    """Its numbers are those of this process, and the queue's."""
    face = make(owner.join())
    for _ in range(3):
        face.ask(Increment("a"))
    found = face.statistics()
    assert (found.session, found.epoch, found.asked, found.answered, found.unanswered) == (1, 1, 3, 3, 0)
    assert found.queue.received >= 3
    assert found.queue.sent_bytes > 3 * len(encode(Increment("a")))


def test_a_new_owner_is_seen_in_the_epoch(owner: LocalOwner, make: Make) -> None:
    """Only that a call went on, and when, is seen of it."""
    face = make(owner.join())
    face.ask(Increment("a"))
    owner.end()
    owner.begin()
    face.ask(Increment("a"))
    assert face.statistics().epoch == 2


def test_the_owner_tells_of_itself(owner: LocalOwner, make: Make) -> None:
    """Commands, refusals by their code, messages that were not understood, sessions, time."""
    face = make(owner.join())
    raw: Channel = owner.join()
    raw.post(b"garbage")
    for _ in range(3):
        face.ask(Increment("a", durable=True))
    with pytest.raises(Refused):
        face.ask(Fail("no"))
    with pytest.raises(CommandInvalid):
        face.ask({"type": "Nobody"})
    found = until(lambda: (now := face.owner_statistics()).misunderstood and now, "the garbage is counted")
    assert (found.epoch, found.revision, found.sessions, found.misunderstood) == (1, 3, 2, 1)
    assert found.commands == 4
    assert found.refused == {"Refused": 1, "CommandInvalid": 1}
    assert found.log_bytes > 0
    assert sum(found.journal_ms.counts) == 3
    assert found.turn_ms.total_ms > 0
    raw.close()


def test_histogram_counts_what_is_longer_than_all_bounds() -> None:
    """Nothing is lost at either end."""
    durations = Durations()
    for seconds in (0.0, 0.00005, 0.4, 1_000.0):
        durations.note(seconds)
    counts = durations.snapshot().counts
    assert (counts[0], counts[-1], sum(counts)) == (2, 1, 4)


def test_what_is_refused_at_the_sender_is_not_asked(owner: LocalOwner) -> None:
    """A command over the limit never gets a number."""
    client = Client(owner.join())
    with pytest.raises(MessageTooLarge):
        client.ask(b"x" * 20_000_000)
    assert client.statistics().asked == 0
    client.close()
