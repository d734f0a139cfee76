"""Messages that make no sense, from one session, while others work.

A message that is no list of frames must be answered with a `Refused`, a frame whose command makes no sense with an
`Answer` that says so.
"""

from __future__ import annotations

import math
import random
import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import msgspec

from actors import frames
from actors.channel import Channel
from actors.errors import UNDECODABLE
from actors.frames import Answer, Ask, Hello, Refused, Welcome
from bench.figures import Figure, at_least, at_most
from bench.trials.load import Load
from bench.trials.waiting import wait_until

MESSAGES = 100_000

LEAST = 5_000
"""However little time there is; they take a fraction of a second."""

CALLERS = 4

PAUSE_S = 0.005

UNTOLD = 200
"""Messages whose answers may be missing before the sender waits for some."""

PATIENCE_S = 5.0

DEEPEST = 20_000
"""Levels of nesting; far fewer are too many for the decoder."""


def run(seconds: float, chance: random.Random) -> Iterator[Figure]:
    """Send as many as there is time for."""
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        load = Load(stack, CALLERS, chance, PAUSE_S)
        owner = load.owner_pid
        sender = _Sender(stack.enter_context(closing(load.attach())), chance)
        while sender.sent < MESSAGES and (sender.sent < LEAST or time.monotonic() < end):
            sender.send_some()
        sender.hear_all()
        stuck = load.all_answered()
        difference = load.difference()
        alive = load.owner_pid == owner
    changed = difference.missing + difference.surplus
    yield Figure("garbage_messages", sender.sent, f"of {MESSAGES}", about=f"while {CALLERS} others work")
    yield Figure("owner_alive", alive, "of 1", goal=at_least(1), about="the owner is still the same process")
    about = "messages and commands that made no sense and were answered so, each once"
    yield Figure("sender_told", sender.told, f"of {sender.due}", goal=at_least(sender.due), about=about)
    yield Figure("told_too_much", sender.unasked, "answers", goal=at_most(0), about="answers to nothing, or a success")
    yield Figure("changed_by_garbage", changed, "changes", goal=at_most(0), about="differences from what others did")
    yield Figure("errors_beside_garbage", load.errors, "errors", goal=at_most(0), about="errors that the others saw")
    yield Figure("stuck_beside_garbage", stuck, f"of {CALLERS}", goal=at_most(0), about="others without more answers")


class _Sender:
    """A session that has greeted the owner properly, and says nothing proper from then on.

    Attributes:
        sent: Messages so far.
        due: Refusals that they are to be answered with.
        told: Refusals that came.
        unasked: Whatever else came.
    """

    def __init__(self, channel: Channel, chance: random.Random) -> None:
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._make = _Garbage(chance)
        self.sent = self.due = self.told = self.unasked = 0
        self._greeted = False
        wait_until(self._greets, PATIENCE_S)

    def send_some(self) -> None:
        """Send one message; wait while too many have not been answered."""
        message, due = self._make.message()
        self._channel.post(message)
        self.sent += 1
        self.due += due
        self._hear()
        end = time.monotonic() + PATIENCE_S
        while (self.due - self.told > UNTOLD or not self._channel.flush()) and time.monotonic() < end:
            self._poll.poll(10)
            self._hear()

    def hear_all(self) -> None:
        """Wait for what is still due, and then a little for what is too much."""
        wait_until(self._heard_all, PATIENCE_S)
        self._poll.poll(100)
        self._hear()

    def _heard_all(self) -> bool:
        self._hear()
        return self.told >= self.due

    def _greets(self) -> bool:
        self._hear()
        return self._greeted

    def _hear(self) -> None:
        while (message := self._channel.receive()) is not None:
            for frame in frames.decode_to_worker(message):
                match frame:
                    case Welcome():
                        self._channel.post(frames.encode([Hello(frame.epoch, [])]))
                        self._greeted = True
                    case Refused():
                        self.told += 1
                    case Answer(failure=None):
                        self.unasked += 1
                    case Answer():
                        self.told += 1
        if self.told > self.due:
            self.unasked += self.told - self.due
            self.told = self.due


class _Garbage:
    """Makes messages without sense, of every kind in turn."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._number = 0
        self._kinds: list[Callable[[], bytes]] = [
            self._noise,
            self._wrong_shape,
            self._cut_off,
            self._altered,
            self._wrong_command,
            self._huge_numbers,
        ]

    def message(self) -> tuple[bytes, int]:
        """A message, and how many refusals it is to be answered with."""
        while True:
            # Deep ones are long, so there are fewer of them.
            make = self._deep if self._chance.random() < 0.01 else self._chance.choice(self._kinds)
            message = make()
            try:
                said = frames.decode_to_owner(message)
            except UNDECODABLE:
                return message, 1
            # What happens to have sense is not garbage: no frames at all, one that moves the numbers on, a greeting.
            if said and all(isinstance(frame, Ask) and frame.answered <= 0 for frame in said):
                return message, len(said)

    def _ask(self, command: Any) -> bytes:
        self._number += 1
        return frames.encode([Ask(self._number, math.inf, 0, msgspec.Raw(msgspec.msgpack.encode(command)))])

    def _noise(self) -> bytes:
        return self._chance.randbytes(self._chance.randrange(1, 300))

    def _wrong_shape(self) -> bytes:
        return msgspec.msgpack.encode(self._anything(3))

    def _anything(self, depth: int) -> Any:
        chance = self._chance
        leaves: list[Any] = [
            None,
            True,
            -1,
            2**64 - 1,
            1.5,
            math.nan,
            "ask",
            "hello",
            "\0",
            b"\xff",
            "x" * 1_000,
            [],
            {},
        ]
        if depth == 0 or chance.random() < 0.3:
            return chance.choice(leaves)
        some = range(chance.randrange(5))
        if chance.random() < 0.7:
            return [self._anything(depth - 1) for _ in some]
        return {str(number): self._anything(depth - 1) for number in some}

    def _cut_off(self) -> bytes:
        whole = self._ask({"type": "GetBackend", "id": "nobody" * 20})
        return whole[: self._chance.randrange(len(whole))] or b"\x91"

    def _altered(self) -> bytes:
        bytes_ = bytearray(self._ask({"type": "RemoveBackend", "id": "nobody"}))
        at = self._chance.randrange(len(bytes_))
        bytes_[at] ^= self._chance.randrange(1, 256)
        return bytes(bytes_)

    def _wrong_command(self) -> bytes:
        commands: list[Any] = [
            None,
            7,
            [],
            {},
            {"type": "Nothing"},
            {"type": "RemoveBackend"},
            {"type": "RemoveBackend", "id": 5},
            {"type": "RemoveBackend", "id": "nobody"},
            {"type": "RemoveBackend", "id": ""},
            {"type": "RemoveBackend", "id": "x" * 1_000},
            {"type": "IncrementPending", "id": "shared-0", "times": 2},
            {"type": "UpdateLatency", "id": "shared-0", "latency_ms": -1},
            {"type": "UpdateLatency", "id": "shared-0", "latency_ms": 2**63},
            {"type": "UpdateStatus", "id": "shared-0", "status": "excellent"},
            {"type": "Acquire", "model": "m", "lease_s": math.inf},
            {"type": "Acquire", "model": "no such model"},
            {"type": "Release", "lease": 2**60},
            {"type": "AddBackend", "backend": {"id": "a", "name": "a", "url": "not a url"}},
            {"type": "AddBackend", "backend": [[[]]]},
        ]
        return self._ask(self._chance.choice(commands))

    def _huge_numbers(self) -> bytes:
        chance = self._chance
        number = chance.choice([chance.randrange(2**62, 2**63), -chance.randrange(1, 2**62), 10**400])
        if number == 10**400:  # more than MessagePack has: a number as text
            return msgspec.msgpack.encode([["ask", str(number), 0.0, 0, None]])
        deadline = chance.choice([math.inf, -math.inf, 1e308])
        return frames.encode([Ask(number, deadline, -1, msgspec.Raw(msgspec.msgpack.encode({"type": "No"})))])

    def _deep(self) -> bytes:
        depth = self._chance.randrange(1_000, DEEPEST)
        if self._chance.random() < 0.5:
            return b"\x91" * depth + b"\xc0"
        self._number += 1
        nested = msgspec.Raw(b"\x91" * depth + b"\xc0")
        return frames.encode([["ask", self._number, math.inf, 0, nested]])
