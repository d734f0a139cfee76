"""What the owner's loop tells those who keep a copy, one turn at a time by the test's hand."""

from typing import Any

import msgspec
import pytest

from actors import frames
from actors.actor import Context
from actors.frames import Follow, Update
from tests.actors.by_hand import Worker, owner_by_hand
from tests.actors.copied import CopiedActor, Put


def updates(worker: Worker) -> list[Update]:
    """The updates that have arrived."""
    found = []
    while (message := worker.channel.receive()) is not None:
        found += [frame for frame in frames.decode_to_worker(message) if isinstance(frame, Update)]
    return found


def test_nobody_is_shown_what_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if an update is due when somebody speaks in the midst of a turn."""
    with owner_by_hand(actor=CopiedActor()) as hand:
        flood, other, reader = hand.join(), hand.join(), hand.join()
        reader.say(Follow(1, None))
        flood.ask(Put("a", "1"))
        hand.work()
        hand.turn(3)
        updates(reader)
        apply = hand.actor.apply

        def interrupted(command: Any, context: Context) -> Any:
            if hand.engine.commands == 10:
                other.ask(Put("b", "0"), first=2)
                hand.clock.advance(0.1)
            return apply(command, context)

        monkeypatch.setattr(hand.actor, "apply", interrupted)
        other.ask(Put("a", "2"))
        hand.turn()
        flood.ask(*[Put("a", str(number)) for number in range(3, 100)], first=2)
        hand.work()
        hand.clock.advance(1.0)
        hand.turn()
        heard = updates(reader)
        assert len(heard) > 1
        for update in heard:
            for rows in update.rows:
                for raw in (*rows.changed, *rows.arrived):
                    _, text = msgspec.msgpack.decode(raw)
                    assert int(text) <= update.revision
