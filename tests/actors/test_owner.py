import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from actors import frames
from actors.channel import Channel
from actors.client import Client
from actors.frames import Answer, Ask, Hello, Refused, Welcome
from tests.actors.counter import Fail, Get, Held, Increment, Nested, Repeat, Take
from tests.actors.owners import LocalOwner, decode, encode, local_owner
from tests.polling import until


@pytest.fixture
def owner() -> Iterator[LocalOwner]:
    """An owner that serves."""
    with local_owner() as owner:
        yield owner


class Raw:
    """A worker that says whatever it likes."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.heard: list[Any] = []

    def say(self, *said: Any) -> None:
        self.channel.post(frames.encode(list(said)))

    def hear(self, kind: Any, number: int | None = None) -> Any:
        """Wait for a frame of a kind."""

        def found() -> Any:
            self.channel.flush()
            while (message := self.channel.receive()) is not None:
                self.heard.extend(frames.decode_to_worker(message))
            frame: Any
            for frame in self.heard:
                if isinstance(frame, kind) and (number is None or frame.number == number):
                    return frame
            return None

        return until(found, f"{kind.__name__} {number or ''}")


def ask(number: int, command: Any) -> Ask:
    """A command as a frame."""
    return Ask(number, float("inf"), 0, msgspec.Raw(encode(command)))


def test_nothing_counts_that_was_said_before_hello(owner: LocalOwner) -> None:
    """What was meant for another owner is void, also after a Hello of another epoch."""
    worker = Raw(owner.join())
    worker.hear(Welcome)
    worker.say(ask(1, Increment("a")))
    worker.say(Hello(99, []), ask(1, Increment("a")))
    worker.say(Hello(1, []), ask(2, Get("a")))
    assert decode(worker.hear(Answer, 2).result) == 0
    worker.channel.close()


def test_garbage_is_refused_and_harms_nobody(owner: LocalOwner) -> None:
    """Whatever arrives, its sender is told, the owner lives and another session is served."""
    chance = random.Random(4)
    other = Client(owner.join())
    worker = Raw(owner.join())
    worker.say(Hello(1, []))
    proper = frames.encode([ask(1, Increment("a")), Hello(1, [(1, 2)])])
    special = [b"\x91" * 1_000_000, b"\xdd\xff\xff\xff\xff", b"\x91\x93\xa2\xff\xff", b"", b"\x90", b"x" * 300_000]
    for turn in range(5_000):
        noise = bytearray(proper if turn % 2 else chance.randbytes(chance.randrange(60)))
        if noise:
            noise[chance.randrange(len(noise))] = chance.randrange(256)
        worker.channel.post(bytes(noise) if turn >= len(special) else special[turn])
        while worker.channel.unsent_bytes and not worker.channel.flush():
            worker.channel.receive()
        while worker.channel.receive() is not None:
            pass
    worker.channel.post(b"\xc1")
    worker.hear(Refused)
    assert decode(other.ask(encode(Held()))) == 0
    other.close()
    worker.channel.close()


def test_an_answer_near_the_limit_shares_no_message(owner: LocalOwner) -> None:
    """Small answers and one of almost the limit leave in one turn, and all arrive."""
    worker = Raw(owner.join())
    sizes = [10_000, 20_000, 16 * 1024 * 1024 - 300, 10_000, 60_000]
    worker.say(Hello(1, []), *(ask(number, Repeat(size)) for number, size in enumerate(sizes, 1)))
    assert [len(decode(worker.hear(Answer, number).result)) for number in range(1, 6)] == sizes
    worker.channel.close()


def test_an_error_that_quotes_a_long_command_is_shortened(owner: LocalOwner) -> None:
    """A refusal longer than any message reaches its caller, and the owner lives."""
    worker = Raw(owner.join())
    worker.say(Hello(1, []), ask(1, Fail("x" * 10_000_000)))
    failure = worker.hear(Answer, 1).failure
    assert failure.details == {"code": "Refused"}
    assert len(failure.message) <= 1_000
    worker.channel.close()


def test_a_reader_that_stopped_delays_nobody(owner: LocalOwner) -> None:
    """One that asks and does not read is served no more at some point; another is served at once."""
    slow, other = Raw(owner.join()), Client(owner.join())
    slow.say(Hello(1, []))
    for number in range(1, 60):
        slow.say(ask(number, Nested("x" * 1_000_000)))
        slow.channel.flush()
        assert decode(other.ask(encode(Increment("a")))) == number
    last = slow.hear(Answer, 59)
    assert len(decode(last.result)) == 1_000_000
    other.close()
    slow.channel.close()


def test_a_session_that_closes_gives_back_what_it_held(owner: LocalOwner) -> None:
    """What it said before counts, but it takes nothing any more."""
    worker, other = Raw(owner.join()), Client(owner.join())
    worker.say(Hello(1, []), ask(1, Take()), ask(2, Increment("a")))
    worker.hear(Answer, 2)
    worker.say(ask(3, Increment("a")))
    worker.channel.close()
    owner.wait_for_end(1)
    assert decode(other.ask(encode(Held()))) == 0
    assert decode(other.ask(encode(Get("a")))) == 2
    other.close()
