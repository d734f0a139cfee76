"""Messages that would harm whoever opened them."""

import ast
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from actors import frames
from actors.errors import MessageInvalid
from actors.frames import Hello, Refused, Welcome
from actors.queues import MessageQueue
from tests.actors.counter import Increment
from tests.actors.systems import System
from tests.forking import forked
from tests.polling import until
from tests.processes import ROOT

UNPICKLES = {
    "actors/processes/functions.py": "a user's function, in the process that runs it, from its own parent",
}
"""Who may open pickled bytes, and whose."""


class Bomb:
    """Whoever unpickles this makes a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def bombs(path: Path) -> list[bytes]:
    """One in every protocol of pickle."""
    return [pickle.dumps(Bomb(path), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]


def test_hazard_15_hostile_payload_for_the_owner(system: System, tmp_path: Path) -> None:
    """Pickled code is not run: its sender is told so, and the owner serves the others."""
    made = tmp_path / "made"
    channel = system.handle.attach()
    welcome = frames.decode_to_worker(until(channel.receive, "the Welcome") or b"")
    assert isinstance(welcome[0], Welcome)
    channel.post(frames.encode([Hello(welcome[0].epoch, [])]))
    for bomb in bombs(made):
        channel.post(bomb)
        (refused,) = frames.decode_to_worker(until(channel.receive, "an answer") or b"")
        assert isinstance(refused, Refused)
    assert system.ask(Increment("a")) == 1
    assert not made.exists()
    channel.close()


def test_hazard_15_hostile_payload_in_a_queue(tmp_path: Path) -> None:
    """Its reader has a typed error for it, and reads on."""
    made = tmp_path / "made"
    ours, theirs = MessageQueue.pair(dict[str, int])

    def write() -> None:
        for bomb in bombs(made):
            theirs._channel.post(bomb)
        theirs.put({"a": 1})

    with ours, forked(write):
        theirs.close()
        for _ in bombs(made):
            with pytest.raises(MessageInvalid):
                ours.get(timeout=10)
        assert ours.get(timeout=10) == {"a": 1}
    assert not made.exists()


def test_hazard_15_hostile_payload_has_nobody_who_opens_it() -> None:
    """Nothing in the runtime or the registry loads pickled bytes but what starts a user's function."""
    found = set()
    for path in [*(ROOT / "actors").rglob("*.py"), *(ROOT / "registry").rglob("*.py")]:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        text = path.read_text()
        if "pickle" in text and names & {"loads", "load", "Unpickler"} and "import pickle" in text:
            found.add(str(path.relative_to(ROOT)))
    assert found == set(UNPICKLES)
