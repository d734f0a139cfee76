"""An owner's life without its sockets: what it is told, it does; what it says, is looked at."""

import math
import weakref
from typing import Any

import msgspec

from actors import frames
from actors.clock import ManualClock
from actors.frames import Ask, Batch
from actors.journal import Journal
from actors.pulse import Pulse
from actors.session_log import SessionLog
from actors.turns.engine import Engine
from tests.actors.counter import CounterActor, MemoryJournal, duplicate

S = 7
"""The session that asks, unless a test has several."""


class Life:
    """An owner's life without its sockets; its descriptors are closed as soon as nobody refers to it.

    Args:
        log: The session log, of which it takes a duplicate.
        journal: Where durable changes go.
        epoch: The number of the life.
    """

    def __init__(self, log: SessionLog, journal: Journal | None = None, epoch: int = 1) -> None:
        self.actor = CounterActor()
        self.clock = ManualClock()
        self._logs = logs = [log]
        self.pulse = Pulse.create()
        self.engine = Engine(
            self.actor,
            journal or MemoryJournal(),
            duplicate(log),
            self.clock,
            epoch,
            lambda fresh: logs.append(duplicate(fresh)),  # not a method: the engine must not keep this object alive
            self.pulse,
        )
        weakref.finalize(self, _close, self.engine, self.pulse, logs)
        self.known = self.engine.recover()
        self.engine.join(S)

    @property
    def log(self) -> SessionLog:
        """What a next life is given."""
        return self._logs[-1]

    def say(
        self, number: int, command: Any, *, answered: int = 0, deadline: float = math.inf, session: int = S
    ) -> None:
        raw = command if isinstance(command, bytes) else msgspec.msgpack.encode(command)
        self.engine.ask(session, Ask(number, deadline, answered, msgspec.Raw(raw)))

    def say_batch(
        self, number: int, commands: list[Any], *, atomic: bool = False, session: int = S, posthumous: bool = False
    ) -> None:
        raws = [msgspec.Raw(msgspec.msgpack.encode(command)) for command in commands]
        self.engine.ask(session, Batch(number, math.inf, 0, atomic, raws), posthumous=posthumous)

    def answers(self, session: int = S) -> dict[int, Any]:
        """End the turn; what each number was answered with: its result, or the code of its failure."""
        out = self.engine.commit().get(session, [])
        answers = [msgspec.msgpack.decode(frame, type=frames.Answer) for frame in out]
        return {
            answer.number: answer.failure.code if answer.failure else msgspec.msgpack.decode(answer.result)
            for answer in answers
        }

    def ask(self, number: int, command: Any, **more: Any) -> Any:
        self.say(number, command, **more)
        return self.answers(more.get("session", S))[number]


def _close(engine: Engine, pulse: Pulse, logs: list[SessionLog]) -> None:
    engine.ledger._log.close()
    pulse.close()
    for log in logs[1:]:  # the first is that of whoever gave it
        log.close()


def rows(actor: CounterActor) -> dict[str, dict[Any, Any]]:
    """All state."""
    return {table.name: dict(table.items()) for table in actor.tables}
