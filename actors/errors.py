"""Everything that can go wrong in the actor runtime.

```text
ActorsError
├── QueueError
│   ├── QueueClosed          the process at the other end is gone
│   ├── QueueShared          a second process uses an end that belongs to another one
│   ├── MessageTooLarge      refused at the sender
│   └── MessageInvalid       cannot be encoded, or does not have the agreed shape
├── CallError                a call to the owner gave no result
│   ├── CallTimeout          no answer by the deadline, and nothing was changed
│   ├── OutcomeUnknown       no answer by the deadline; the change may or may not have happened
│   ├── Overloaded           too many unanswered commands in this process
│   ├── SystemStopped        the supervisor, and with it the owner, is gone
│   └── CommandError         the owner answered, and the answer is no
│       ├── CommandInvalid   a field is missing, unknown, of the wrong type or out of limits
│       ├── CommandStale     a sequence number from the past: it is never run a second time
│       ├── CommandFailed    the actor raised an unexpected exception; nothing was changed
│       ├── CommandCrashedOwner  applying it ended the owner process; it is not tried again
│       └── StorageUnavailable   the journal could not be written; nothing was changed
└── SupervisorError
    ├── AlreadyRunning       another system holds the data directory
    ├── StartFailed          a process ended before it was ready
    │   └── JournalDamaged   the file cannot be read, or a newer version wrote it
    ├── TooManyRestarts      a process kept crashing, so the system was stopped
    ├── AttachFailed         this process could not join a running system
    ├── StartedElsewhere     this process was forked from the one that started the system, which must be asked
    └── MissingMainGuard     a worker imported the script that starts the system
```
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import msgspec

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on foreign bytes: wrong shape, text that is not UTF-8, nesting without end."""


class ActorsError(Exception):
    """Base of every error of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        # An error may end a worker of a process pool, and a constructor takes more than the text that pickle knows.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(cls: type[ActorsError], args: tuple[Any, ...], fields: dict[str, Any]) -> ActorsError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(fields)
    return error


class QueueError(ActorsError):
    """Base of the errors of a message queue."""


class QueueClosed(QueueError):
    """The other end is gone, or this end was closed."""


class QueueShared(QueueError):
    """A second process uses an end of a queue. Nothing was sent or read, and the first one is not affected.

    Args:
        user: Process id of the first, if it is known.
    """

    def __init__(self, user: int | None = None) -> None:
        owner = "another process" if user is None else f"process {user}"
        super().__init__(f"this end of the queue belongs to {owner}; make a pair of ends for each two processes")
        self.user = user


class MessageTooLarge(QueueError):
    """A message is longer than the queue's limit. Nothing was sent.

    Args:
        size: Length of the encoded message in bytes.
        limit: The queue's limit in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the message has {size:,} bytes, the limit of this queue is {limit:,}")
        self.size = size
        self.limit = limit


class MessageInvalid(QueueError):
    """A message cannot be encoded, or what arrived is not of the queue's type."""


class CallError(ActorsError):
    """Base of the errors of a call to the owner."""


class CallTimeout(CallError):
    """No answer came by the deadline. The command changed nothing."""


class OutcomeUnknown(CallError):
    """No answer came by the deadline. The change may or may not have been made."""


class Overloaded(CallError):
    """This process has too many unanswered commands; try again later, or wait for some answers."""


class SystemStopped(CallError):
    """The supervisor has ended and with it the owner: this session is over."""


class CommandError(CallError):
    """The owner answered with a refusal. Nothing was changed.

    Subclasses take their details as keyword arguments; `code`, the class's name, and the details travel between
    the processes, and the same class is raised in the process that asked.
    """

    code: ClassVar[str] = "CommandError"
    index: int | None = None
    """In an atomic batch, the place of the refused command, from 0."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = cls.__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self.details)

    @classmethod
    def classes(cls) -> dict[str, type[Self]]:
        """This class and all below it, by code."""
        found: dict[str, type[Self]] = {cls.code: cls}
        for subclass in cls.__subclasses__():
            found.update(subclass.classes())
        return found


def _rebuild(cls: type[CommandError], message: str, details: dict[str, Any]) -> CommandError:
    return CommandError(message, **details) if cls is CommandError else cls(**details)


class CommandInvalid(CommandError):
    """A command could not be understood.

    Args:
        field: The offending field, empty when the whole command is not understood.
        reason: What is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason, field=field, reason=reason)
        self.field = field
        self.reason = reason


class CommandStale(CommandError):
    """A command carries a number whose answer was already acknowledged. It was not run again."""

    def __init__(self, number: int) -> None:
        super().__init__(f"command {number} was answered and acknowledged before", number=number)
        self.number = number


class CommandFailed(CommandError):
    """The actor raised an unexpected exception: a fault of the actor, not of the caller. Nothing was changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the owner failed on this command: {reason}", reason=reason)
        self.reason = reason


class CommandCrashedOwner(CommandError):
    """The owner process died while it applied this command. Nothing was changed, and it is not tried again."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the owner process died of command {number}; nothing was changed", number=number)
        self.number = number


class StorageUnavailable(CommandError):
    """The journal could not be written (disk full, read-only, I/O error). Nothing was changed; try again later."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the change could not be stored: {reason}", reason=reason)
        self.reason = reason


class SupervisorError(ActorsError):
    """Base of the errors of starting and supervising processes."""


class AlreadyRunning(SupervisorError):
    """Another system holds the data directory.

    Args:
        directory: The directory in question.
        holder: Name and process id of the system that holds it, as it wrote them down.
    """

    def __init__(self, directory: str, holder: str) -> None:
        super().__init__(f"the data directory {directory} is in use by {holder}")
        self.directory = directory
        self.holder = holder


class StartFailed(SupervisorError):
    """A process ended, or said that it cannot work, before it was ready."""


class JournalDamaged(StartFailed):
    """The journal cannot be used: it is damaged, or a newer version wrote it. Nothing was changed in it."""


class AttachFailed(SupervisorError):
    """No running system could be joined: there is none at that place, or it refused."""


class StartedElsewhere(SupervisorError):
    """This process did not start the system, it was forked from the one that did: only that one can do this."""

    def __init__(self) -> None:
        super().__init__(
            "this process was forked from the one that started the system; only that one can start and stop things"
        )


class TooManyRestarts(SupervisorError):
    """A process crashed more often than its restart policy allows, so the system was stopped."""


class MissingMainGuard(SupervisorError):
    """A worker process imported the script that starts the system, which would start another one, and so on."""

    def __init__(self) -> None:
        super().__init__(
            "this script starts a system while a worker process imports it;"
            " put the start under: if __name__ == '__main__':"
        )
