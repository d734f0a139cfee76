"""Who comes first: at the owner, and when all end."""

from pathlib import Path

import msgspec

from actors import frames
from actors.channel import Channel
from actors.exits import Exit
from actors.frames import Answer, Ask, Hello
from tests.actors.counter import Increment
from tests.actors.owners import decode, encode, local_owner
from tests.actors.systems import OFTEN, System
from tests.polling import until

FLOOD = 3_000
"""As many as a socket takes at one time."""


def say(channel: Channel, count: int, epoch: int) -> None:
    """Ask so often at one time."""
    increment = msgspec.Raw(encode(Increment("a")))
    asks = [Ask(number, float("inf"), 0, increment) for number in range(1, count + 1)]
    channel.post(frames.encode([Hello(epoch, []), *asks]))


def first_answer(channel: Channel) -> int:
    """What the first command was answered with."""

    def heard() -> list[Answer]:
        message = channel.receive()
        return [frame for frame in frames.decode_to_worker(message or b"\x90") if isinstance(frame, Answer)]

    result: int = decode(until(heard, "an answer")[0].result)
    return result


def test_hazard_17_fairness() -> None:
    """One who asks for one thing is served before nearly all that another has asked for before."""
    with local_owner() as owner:
        owner.end()
        flooding, polite = owner.join(), owner.join()
        say(flooding, FLOOD, epoch=2)
        say(polite, 1, epoch=2)
        assert flooding.unsent_bytes == 0
        owner.begin()
        assert first_answer(polite) < FLOOD / 20
        flooding.close()
        polite.close()


def test_hazard_19_shutdown_order(system: System, tmp_path: Path) -> None:
    """The owner still answers what the workers ask when they are told to stop, and ends after them."""
    files = [tmp_path / str(number) for number in range(3)]
    for file in files:
        system.handle.spawn(file.name, "tests.hazards.workers:finish_with_a_command", str(file).encode(), OFTEN)
    for file in files:
        system.ready(file.name)
    system.handle.stop(10)
    assert sorted(int(file.read_text()) for file in files) == [1, 2, 3]
    assert system.handle.exit == Exit(0, None)
