"""A real server whose processes are killed and stopped in the middle of streams.

The AI servers behind it are stand-ins (`stand_ins`), so that the test decides what they send and when.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from tests.faults.stand_ins import Server, Stream, serve
from tests.polling import until

SEED = "ACTOR_REGISTRY_FAULT_SEED"
"""The environment variable that makes a run repeat another one."""


@pytest.fixture(scope="module")
def running_server() -> Iterator[Server]:
    """One server for all tests that leave it alive."""
    with serve() as server:
        yield server
        assert "Traceback" not in server.run.stderr


@pytest.fixture
def server(running_server: Server) -> Server:
    """The server, idle."""
    until(lambda: not running_server.pending(), "nothing is in flight")
    return running_server


@pytest.fixture
def chance() -> random.Random:
    """Chance that can be repeated: a test that fails shows the seed."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(2**32))
    sys.stdout.write(f"{SEED}={seed}\n")
    return random.Random(seed)


def begin(server: Server, chance: random.Random) -> list[Stream]:
    """Streams through both gateways that have begun, some of them with bytes still under way."""
    streams = server.open_streams()
    for stream in streams:
        stream.send(chance)
        stream.arrived()
        for _ in range(chance.randrange(3)):
            stream.send(chance)
    return streams


def in_flight(streams: list[Stream]) -> dict[str, int]:
    """What the registry should count while these streams are open."""
    return dict(Counter(stream.backend for stream in streams))


def is_back(server: Server, name: str, before: int) -> None:
    """Wait until a process has another id than before, and works."""
    until(lambda: server.pid(name) != before, f"{name} is back")


def finish(server: Server, streams: list[Stream], chance: random.Random) -> None:
    """Let streams go on and end one after the other; each byte is compared, and the counts after each end."""
    open_ones = list(streams)
    chance.shuffle(open_ones)
    for stream in list(open_ones):
        stream.send(chance)
        stream.arrived()
    while open_ones:
        open_ones.pop().finishes()
        until(lambda: server.pending() == in_flight(open_ones), "the counts are those of the open streams")


def test_owner_is_killed(server: Server, chance: random.Random) -> None:
    """Streams do not notice, counts are those of the open streams, and who talks only during the outage is answered."""
    streams = begin(server, chance)
    before = server.pid("owner")
    os.kill(before, signal.SIGKILL)
    server.ask()
    assert server.pending() == in_flight(streams)
    is_back(server, "owner", before)
    finish(server, streams, chance)


def test_stream_ends_while_there_is_no_owner(server: Server, chance: random.Random) -> None:
    """A lease that is given back while there is no owner is given back to the next one."""
    streams = begin(server, chance)
    before = server.pid("owner")
    os.kill(before, signal.SIGKILL)
    ended, going_on = streams[::2], streams[1::2]
    for stream in ended:
        stream.finishes()
    until(lambda: server.pending() == in_flight(going_on), "only the open streams are counted")
    is_back(server, "owner", before)
    finish(server, going_on, chance)


@pytest.mark.parametrize("name", ["gateway-1", "gateway-2"])
def test_gateway_is_killed(server: Server, chance: random.Random, name: str) -> None:
    """Its leases are given back and its upstream connections closed; the other's streams end as they should."""
    streams = begin(server, chance)
    lost = [stream for stream in streams if stream.gateway == name]
    others = [stream for stream in streams if stream.gateway != name]
    before = server.pid(name)
    os.kill(before, signal.SIGKILL)
    for stream in lost:
        stream.breaks()
    until(lambda: server.pending() == in_flight(others), "the leases of the killed gateway are given back", 2.0)
    server.ask()
    is_back(server, name, before)
    until(lambda: server.ask() == name, f"{name} answers again")
    finish(server, others, chance)


def test_upstream_is_told_when_a_gateway_is_killed(server: Server, chance: random.Random) -> None:
    """An AI server does not go on working for a client that is gone with its gateway."""
    streams = begin(server, chance)
    lost = [stream for stream in streams if stream.gateway == "gateway-1"]
    before = server.pid("gateway-1")
    os.kill(before, signal.SIGKILL)
    for stream in lost:

        def noticed(one: Stream = stream) -> bool:
            one.send(chance)
            return one.upstream.broken.is_set()

        until(noticed, "the upstream server sees the connection end")
        stream.breaks()
    finish(server, [stream for stream in streams if stream not in lost], chance)
    is_back(server, "gateway-1", before)


@pytest.mark.parametrize("name", ["discovery", "health"])
def test_who_looks_after_the_backends_is_killed(server: Server, chance: random.Random, name: str) -> None:
    """Nobody notices, it is back, and the backends stay as they were."""
    streams = begin(server, chance)
    before = server.pid(name)
    healthy = server.healthy()
    os.kill(before, signal.SIGKILL)
    assert server.healthy() == healthy
    server.ask()
    is_back(server, name, before)
    assert server.healthy() == healthy
    assert server.pending() == in_flight(streams)
    finish(server, streams, chance)


def test_owner_and_a_gateway_are_killed_together(server: Server, chance: random.Random) -> None:
    """The next owner gives back what a gateway held that died with the one before."""
    streams = begin(server, chance)
    victims = ["owner", "gateway-1"]
    chance.shuffle(victims)
    before = {name: server.pid(name) for name in victims}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    others = [stream for stream in streams if stream.gateway == "gateway-2"]
    for stream in streams:
        if stream not in others:
            stream.breaks()
    until(lambda: server.pending() == in_flight(others), "the counts are those of the open streams")
    for name, pid in before.items():
        is_back(server, name, pid)
    finish(server, others, chance)


def test_requests_go_on_while_processes_are_killed_in_turn(server: Server, chance: random.Random) -> None:
    """Clients that ask all the time are answered, but for those whose gateway was killed under them."""
    stop = threading.Event()
    answered = Counter[str]()
    failures: list[Exception] = []
    lock = threading.Lock()

    def ask() -> None:
        while not stop.is_set():
            try:
                gateway = server.ask()
            except Exception as error:  # noqa: BLE001 - which ones are allowed is checked below
                with lock:
                    failures.append(error)
            else:
                with lock:
                    answered[gateway] += 1

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    victims = ["owner", "discovery", "gateway-1", "health", "owner", "gateway-2"]
    chance.shuffle(victims)
    try:
        for name in victims:
            seen = answered.total()
            until(lambda seen=seen: answered.total() > seen + 20, "requests are answered")  # type: ignore[misc]  # a lambda with a default
            before = server.pid(name)
            os.kill(before, signal.SIGKILL)
            is_back(server, name, before)
    finally:
        stop.set()
        for client in clients:
            client.join()
    # Each of the two gateways takes at most one request of each client with it.
    assert all(isinstance(error, OSError) for error in failures), failures
    assert len(failures) <= 2 * len(clients), failures
    until(lambda: not server.pending(), "nothing is in flight")


def test_gateway_is_stopped(server: Server, chance: random.Random) -> None:
    """New connections go to the other gateway, which goes on; after SIGCONT the stopped one ends its streams exactly.

    A stopped process accepts nothing, so no new connection lands on it. What it had accepted waits: its streams, and
    requests on connections that clients keep open to it.
    """
    streams = begin(server, chance)
    stopped = [stream for stream in streams if stream.gateway == "gateway-1"]
    others = [stream for stream in streams if stream.gateway != "gateway-1"]
    pid = server.pid("gateway-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "the gateway is stopped")
        assert {server.ask() for _ in range(20)} == {"gateway-2"}
        for stream in others:
            stream.send(chance)
            stream.arrived()
        for stream in stopped:
            stream.send(chance)
        assert server.pending() == in_flight(streams)
    finally:
        os.kill(pid, signal.SIGCONT)
    for stream in stopped:
        stream.arrived()
    until(lambda: server.ask() == "gateway-1", "the gateway answers again")
    assert server.pid("gateway-1") == pid
    finish(server, streams, chance)


def test_supervisor_is_killed(chance: random.Random) -> None:
    """In the middle of streams too, no process is left within two seconds."""
    with serve() as server:
        streams = begin(server, chance)
        server.run.kill()
        server.run.leaves_nothing_running(2.0)
        for stream in streams:
            stream.breaks()


def test_server_is_told_to_stop_during_streams(chance: random.Random) -> None:
    """Streams that run finish, every byte of them, and then everything ends with exit code 0."""
    with serve() as server:
        streams = begin(server, chance)
        server.run.kill(signal.SIGTERM)
        until(lambda: "stopping: received SIGTERM" in server.run.stderr, "the server knows")
        chance.shuffle(streams)
        for stream in streams:
            stream.send(chance)
            stream.arrived()
        assert server.run.process.poll() is None
        for stream in streams:
            stream.finishes()
        assert server.run.ends() == 0
        server.run.leaves_nothing_running()
        assert "Traceback" not in server.run.stderr


def test_second_signal_hurries(chance: random.Random) -> None:
    """Whoever asks twice does not wait for streams; nothing is left."""
    with serve() as server:
        streams = begin(server, chance)
        server.run.kill(signal.SIGTERM)
        until(lambda: "stopping: received SIGTERM" in server.run.stderr, "the server knows")

        def hurries_when_asked_again() -> bool:
            hurries = "is killed" in server.run.stderr
            if not hurries:
                server.run.kill(signal.SIGTERM)
            return hurries

        until(hurries_when_asked_again, "the workers are killed", 5)
        assert server.run.ends() == 0
        server.run.leaves_nothing_running(2.0)
        for stream in streams:
            stream.breaks()
