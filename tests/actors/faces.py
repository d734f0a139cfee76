"""The blocking and the asyncio face under one set of names, and an owner that does what a test says."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import uvloop

from actors import frames
from actors.aio import AsyncClient
from actors.channel import Channel
from actors.client import Client
from actors.errors import QueueClosed
from actors.frames import Answer, Ask, Welcome
from actors.history import Watched
from actors.statistics import OwnerStatistics, SessionStatistics
from tests.actors.owners import decode, encode


class Face:
    """One way to wait, for tests that are written once."""

    def ask(self, command: Any, **options: Any) -> Any:
        return decode(self.ask_raw(encode(command), **options))

    def ask_raw(self, command: bytes, **options: Any) -> msgspec.Raw:
        raise NotImplementedError

    def ask_all(self, commands: list[Any], **options: Any) -> list[Any]:
        """Ask all at the same time; results or errors."""
        raise NotImplementedError

    def tell(self, command: Any) -> None:
        raise NotImplementedError

    def batch(self, commands: list[Any], **options: Any) -> list[Any]:
        """Ask all as one; results or errors."""
        outcomes = self.batch_raw([encode(command) for command in commands], **options)
        return [decode(outcome) if isinstance(outcome, msgspec.Raw) else outcome for outcome in outcomes]

    def batch_raw(self, commands: list[bytes], **options: Any) -> list[Any]:
        raise NotImplementedError

    def statistics(self) -> SessionStatistics:
        raise NotImplementedError

    def owner_statistics(self, **options: Any) -> OwnerStatistics:
        raise NotImplementedError

    def watch(self, since: int | None, **options: Any) -> Watched:
        raise NotImplementedError

    def sync(self, **options: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Blocking(Face):
    """Threads that wait."""

    def __init__(self, channel: Channel) -> None:
        self.client = Client(channel)

    def ask_raw(self, command: bytes, **options: Any) -> msgspec.Raw:
        return self.client.ask(command, **options)

    def ask_all(self, commands: list[Any], **options: Any) -> list[Any]:
        results: list[Any] = [None] * len(commands)

        def run(at: int) -> None:
            try:
                results[at] = self.ask(commands[at], **options)
            except Exception as error:  # noqa: BLE001 - what was raised is the result
                results[at] = error

        threads = [threading.Thread(target=run, args=(at,)) for at in range(len(commands))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def tell(self, command: Any) -> None:
        self.client.tell(encode(command))

    def batch_raw(self, commands: list[bytes], **options: Any) -> list[Any]:
        return self.client.batch(commands, **options)

    def statistics(self) -> SessionStatistics:
        return self.client.statistics()

    def owner_statistics(self, **options: Any) -> OwnerStatistics:
        return self.client.owner_statistics(**options)

    def watch(self, since: int | None, **options: Any) -> Watched:
        return self.client.watch(since, **options)

    def sync(self, **options: Any) -> None:
        self.client.sync(**options)

    def close(self) -> None:
        self.client.close()


class Awaiting(Face):
    """Tasks that await."""

    new_loop: Callable[[], asyncio.AbstractEventLoop]

    def __init__(self, channel: Channel) -> None:
        self.runner = asyncio.Runner(loop_factory=self.new_loop)
        self.client = self.run(self._make, channel)

    def run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return self.runner.run(function(*args, **options))

    async def _make(self, channel: Channel) -> AsyncClient:
        return AsyncClient(channel)

    def ask_raw(self, command: bytes, **options: Any) -> msgspec.Raw:
        raw: msgspec.Raw = self.run(self.client.ask, command, **options)
        return raw

    def ask_all(self, commands: list[Any], **options: Any) -> list[Any]:
        async def all_of_them() -> list[Any]:
            calls = [self.client.ask(encode(command), **options) for command in commands]
            return await asyncio.gather(*calls, return_exceptions=True)

        results = self.run(all_of_them)
        return [decode(result) if isinstance(result, msgspec.Raw) else result for result in results]

    def tell(self, command: Any) -> None:
        async def told() -> None:
            self.client.tell(encode(command))

        self.run(told)

    def batch_raw(self, commands: list[bytes], **options: Any) -> list[Any]:
        outcomes: list[Any] = self.run(self.client.batch, commands, **options)
        return outcomes

    def statistics(self) -> SessionStatistics:
        snapshot: SessionStatistics = self.client.statistics()
        return snapshot

    def owner_statistics(self, **options: Any) -> OwnerStatistics:
        snapshot: OwnerStatistics = self.run(self.client.owner_statistics, **options)
        return snapshot

    def watch(self, since: int | None, **options: Any) -> Watched:
        watched: Watched = self.run(self.client.watch, since, **options)
        return watched

    def sync(self, **options: Any) -> None:
        self.run(self.client.sync, **options)

    def close(self) -> None:
        async def closed() -> None:
            self.client.close()

        self.run(closed)
        self.runner.close()


class OnAsyncio(Awaiting):
    """On the standard loop."""

    new_loop = staticmethod(asyncio.new_event_loop)


class OnUvloop(Awaiting):
    """On uvloop."""

    new_loop = staticmethod(uvloop.new_event_loop)


class Told(OnUvloop):
    """Who is told the results instead of awaiting them."""

    def ask_raw(self, command: bytes, **options: Any) -> msgspec.Raw:
        raw: msgspec.Raw = self.run(self._told, self.client.ask_then, command, **options)
        return raw

    def ask_all(self, commands: list[Any], **options: Any) -> list[Any]:
        async def all_of_them() -> list[Any]:
            calls = [self._told(self.client.ask_then, encode(command), **options) for command in commands]
            return await asyncio.gather(*calls, return_exceptions=True)

        results = self.run(all_of_them)
        return [decode(result) if isinstance(result, msgspec.Raw) else result for result in results]

    def batch_raw(self, commands: list[bytes], **options: Any) -> list[Any]:
        outcomes: list[Any] = self.run(self._told, self.client.batch_then, commands, **options)
        return outcomes

    async def _told(self, ask: Callable[..., None], asked: Any, **options: Any) -> Any:
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        ask(asked, told.set_result, **options)
        outcome = await told
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


FACES = [Blocking, OnAsyncio, OnUvloop, Told]
Make = Callable[[Channel], Any]


class SilentOwner:
    """An owner's end in the test's own hand, which answers only when told to."""

    def __init__(self, window: int = 100) -> None:
        self.end, self.workers_end = Channel.pair()
        self.end.post(frames.encode([Welcome(1, 1, window)]))

    def heard(self) -> list[frames.ToOwner]:
        """What has been said since the last time."""
        found: list[frames.ToOwner] = []
        with contextlib.suppress(QueueClosed):
            while (message := self.end.receive()) is not None:
                found += frames.decode_to_owner(message)
        return found

    def asked(self) -> list[Ask]:
        """What has been asked since the last time."""
        return [frame for frame in self.heard() if isinstance(frame, Ask)]

    def answer(self, number: int, result: Any) -> None:
        self.end.post(frames.encode([Answer(number, msgspec.Raw(encode(result)), None, 1)]))
