"""What the worker processes of the tests do."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import msgspec

from actors.client import Client
from actors.errors import StartFailed
from actors.processes.child import Child
from actors.processes.functions import unpack
from tests.actors.counter import Increment, Take
from tests.actors.troublemaker import Count


def _client(child: Child) -> Client:
    assert child.channel is not None
    return Client(child.channel)


def hold(child: Child) -> None:
    """Hold something for as long as the process lives."""
    child.leave_with_supervisor()
    client = _client(child)
    client.ask(msgspec.msgpack.encode(Take()))
    child.ready()
    signal.pause()


def hold_stubbornly(child: Child) -> None:
    """The same, deaf to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hold(child)


def hold_without_threads(child: Child) -> None:
    """Nobody in this process watches the supervisor."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    client = _client(child)
    client.ask(msgspec.msgpack.encode(Take()))
    child.ready()
    signal.pause()


def increment(child: Child) -> None:
    """Add to a key (the payload) until told to stop; each result must be higher than the one before."""
    child.leave_with_supervisor()
    key, count = msgspec.msgpack.decode(child.payload, type=tuple[str, int])
    client = _client(child)
    child.ready()
    latest = 0
    for _ in range(count):
        result = msgspec.msgpack.decode(client.ask(msgspec.msgpack.encode(Increment(key))))
        assert result > latest
        latest = result


def crash(child: Child) -> None:
    """End badly as soon as it is ready."""
    child.ready()
    os._exit(3)


def fail_to_start(child: Child) -> None:
    """Say why it cannot work."""
    del child
    raise StartFailed("there is no tea")


def end_well(child: Child) -> None:
    """Do nothing, successfully."""
    child.ready()


def descriptors(child: Child) -> None:
    """Die at once by SIGKILL, after a short life in which it had a session."""
    _client(child).ask(msgspec.msgpack.encode(Take()))
    child.ready()
    os.kill(os.getpid(), signal.SIGKILL)


def run_function(child: Child) -> None:
    """Open a packed function and run it."""
    child.leave_with_supervisor()
    function, args, kwargs = unpack(child.payload)
    child.ready()
    function(*args, **kwargs)


def write_file(path: str, text: str) -> None:
    """A user's function: leaves a trace."""
    Path(path).write_text(text)


def flood(child: Child) -> None:
    """Tell the owner as much as it takes, from two threads, for ever."""
    child.leave_with_supervisor()
    client = _client(child)
    child.ready()

    def tell() -> None:
        while True:
            client.tell(msgspec.msgpack.encode(Increment("flood")), timeout=60)

    threading.Thread(target=tell, daemon=True).start()
    threading.Event().wait()


def never_ready(child: Child) -> None:
    """Work at something for ever without saying that it works."""
    child.leave_with_supervisor()
    signal.pause()


def turn_without_end(child: Child) -> None:
    """Compute for ever in one thread, with a name to be found in its stack."""
    child.ready()
    compute_without_end()


def compute_without_end() -> None:
    """A fault that no exception ends."""
    while True:
        pass


def count_once(child: Child) -> None:
    """Change something, so that each owner knows of this session, and go on."""
    _client(child).ask(msgspec.msgpack.encode(Count()))
    child.ready()
    signal.pause()


def write_when_told_to_end(child: Child) -> None:
    """At SIGTERM ask the owner for something, and add the own name to a file (the payload is its path)."""
    client = _client(child)
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    child.ready()
    told.wait()
    client.ask(msgspec.msgpack.encode(Increment("farewell")))
    with Path(child.payload.decode()).open("a", encoding="ascii") as file:
        file.write(f"{child.name} ")
