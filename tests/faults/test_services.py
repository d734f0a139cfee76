"""500 services, half of which fall silent, while the registry's processes are killed: a model says which are listed."""

from __future__ import annotations

import http.client
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from tests.faults.beating import Answer, Caller, Client, Watcher
from tests.faults.silence import CLEANUP_S, HEARTBEAT_TIMEOUT_S, STALE_S, Listed, Outages, Service
from tests.polling import PATIENCE_S, until
from tests.processes import Program, program

SEED = "ACTOR_REGISTRY_FAULT_SEED"
"""The environment variable that makes a run repeat another one."""

SERVICES = 500
CLIENTS = 8
PAUSE_S = 4.0
"""Some only pause: long enough to be found silent, and not so long that they are removed."""


@pytest.fixture
def chance() -> random.Random:
    """Chance that can be repeated: a test that fails shows the seed."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(2**32))
    sys.stdout.write(f"{SEED}={seed}\n")
    return random.Random(seed)


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[tuple[Program, str]]:
    """A registry of short patience with its state in a folder; its program, and its host and port."""
    config = folder / "server.yaml"
    config.write_text(
        f"heartbeat_timeout_s: {HEARTBEAT_TIMEOUT_S}\nstale_after_s: {STALE_S}\ncleanup_interval_s: {CLEANUP_S}\n"
        "health_interval_s: 1\nhealth_timeout_s: 0.5\ngateways: 2\n"
    )
    arguments = ("serve", f"--port={port}", f"--config={config}", f"--data-dir={folder / 'state'}")
    with program("-m", "registry", *arguments) as run:
        yield run, until(run.address, "the server serves", 30).removeprefix("http://")
        assert "Traceback" not in run.stderr


class Observer:
    """Lists the services again and again, each time over a new connection, and compares with the model.

    Args:
        address: Host and port of the registry.
        services: The model of each.

    Attributes:
        gateways: How many lists each gateway has given.
        certain: How often the model knew exactly how a service must be listed, by what that was.
    """

    def __init__(self, address: str, services: list[Service]) -> None:
        self.gateways = Counter[str]()
        self.certain = Counter[Listed]()
        self._address = address
        self._services = services

    def look(self) -> None:
        """One list. A gateway that is killed under the request gives none, so there is another."""
        while True:
            caller = Caller(self._address)
            asked = time.monotonic()
            try:
                answer = caller.ask("GET", "/services")
            except (OSError, http.client.HTTPException):
                continue
            finally:
                caller.close()
            self._compare(answer, asked, time.monotonic())
            return

    def _compare(self, answer: Answer, asked: float, answered: float) -> None:
        self.gateways[answer.gateway] += 1
        listed = {one["name"]: one["is_healthy"] for one in answer.body["services"]}
        for service in self._services:
            healthy = listed.get(service.name)
            seen = Listed.GONE if healthy is None else Listed.HEALTHY if healthy else Listed.UNHEALTHY
            expected = service.may_be(asked, answered)
            assert seen in expected, f"{service} is listed as {seen.name} from {asked:.3f} to {answered:.3f}"
            service.gone = seen is Listed.GONE
            self.certain[seen] += len(expected) == 1


def said(name: str, number: int) -> dict[str, Any]:
    """What a service says of itself; nothing answers there."""
    url = f"http://127.0.0.1:{number % 9 + 1}"
    return {"name": name, "host": "127.0.0.1", "port": 1, "hostname": "here", "url": url, "status": "running"}


class Trial:
    """A registry, the clients of its services, and who observes all that.

    Args:
        folder: Where the registry keeps its state.
        chance: Chance.

    Attributes:
        services: The model of each service.
        ending: Those that fall silent for good.
        pausing: Those that only pause.
        clients: Who speaks for them.
        watcher: Who reads `/watch`.
        observer: Who lists them.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._stack = ExitStack()
        self._run, self._address = self._stack.enter_context(serving(folder))
        self._outages = Outages()
        self._dead_owner: int | None = None
        self.services = [Service(f"s{number}", self._outages) for number in range(SERVICES)]
        silent = chance.sample(self.services, SERVICES // 2)
        self.pausing, self.ending = silent[: SERVICES // 10], silent[SERVICES // 10 :]
        self.watcher = Watcher(self._address)
        self.observer = Observer(self._address, self.services)
        self._silent = self._silences()
        parts = [self.services[number::CLIENTS] for number in range(CLIENTS)]
        self.clients = [
            Client(self._address, [(one, said(one.name, number)) for number, one in enumerate(part)], self._silent)
            for part in parts
        ]

    def _silences(self) -> dict[str, tuple[float, float]]:
        now = time.monotonic()
        silences = {one.name: (now + self._chance.uniform(2, 14), math.inf) for one in self.ending}
        for one in self.pausing:
            begin = now + self._chance.uniform(2, 14)
            silences[one.name] = (begin, begin + PAUSE_S)
        return silences

    def __enter__(self) -> Self:
        for thread in (self.watcher, *self.clients):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.stop()
        self.watcher.stop()
        self._stack.close()
        self.watcher.join()

    def begins(self) -> None:
        """Wait until all services are registered."""
        until(lambda: all(one.is_registered for one in self.services), "all are registered")

    def observe(self, least_s: float, most_s: float) -> None:
        """List the services for some time."""
        lasting_s = self._chance.uniform(least_s, most_s)
        end = time.monotonic() + lasting_s

        def is_over() -> bool:
            self.look()
            return time.monotonic() >= end

        until(is_over, "the services were observed for long enough", lasting_s + PATIENCE_S)

    def look(self) -> bool:
        """List the services once; whether there is an owner, as far as is known."""
        self.observer.look()
        if self._dead_owner is not None and self._run.pid("owner") != self._dead_owner:
            self._outages.ends(time.monotonic())
            self._dead_owner = None
        return self._dead_owner is None

    def kill(self, *names: str) -> None:
        """Kill processes of the registry at once."""
        until(self.look, "there is an owner")
        pids = {name: self._run.pid(name) for name in names}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        if "owner" in pids:
            self._outages.begins(time.monotonic())
            self._dead_owner = pids["owner"]

    def kill_all_and_start_again(self) -> None:
        """Kill the registry, and start it again when by the clock all services would be removed."""
        until(self.look, "there is an owner")
        killed = time.monotonic()
        self._run.kill()
        self._run.leaves_nothing_running()
        for client in self.clients:
            client.pause()
        until(lambda: time.monotonic() > killed + STALE_S + 0.5, "by the clock, all would be removed")
        launched = time.monotonic()
        port = int(self._address.rpartition(":")[2])
        self._run, _ = self._stack.enter_context(serving(self._folder, port))
        served = time.monotonic()
        for service in self.services:
            service.restarted(killed, launched, served)
        self._outages.are_over()
        self.look()  # before anybody sends a heartbeat
        for client in self.clients:
            client.go_on()

    def is_certain(self) -> None:
        """Look until the model has known exactly how services must be listed: after a kill it is not sure for a while.

        Those that only pause do so again as long as it takes.
        """

        def was_certain() -> bool:
            self.look()
            if all(self.observer.certain[listed] > 20 for listed in Listed):
                return True
            now = time.monotonic()
            for one in filter(self._is_back, self.pausing):
                self._silent[one.name] = (now, now + PAUSE_S)
            return False

        until(was_certain, "the model was certain of each state", 30)
        until(lambda: self.look() and all(map(self._is_back, self.pausing)), "those that paused are back")

    def _is_back(self, service: Service) -> bool:
        return service.gone or service.last_heard > self._silent[service.name][1]

    def ends(self) -> list[dict[str, Any]]:
        """Wait until those that are silent for good are removed; all changes that there have been."""

        def are_removed() -> bool:
            self.look()
            return all(one.gone for one in self.ending)

        until(are_removed, "those that are silent for good are removed", 25)
        for client in self.clients:
            client.stop()
        self.are_unknown([one for one in self.services if one.gone])
        changes = self.history()
        until(lambda: self.watcher.last >= changes[-1]["revision"], "the watcher has seen all")
        return changes

    def are_unknown(self, gone: list[Service]) -> None:
        """Fail the test if a heartbeat brings one back that was removed."""
        with closing(Caller(self._address)) as caller:
            for service in gone:
                assert caller.ask("POST", f"/services/{service.name}/heartbeat").status == 404

    def history(self) -> list[dict[str, Any]]:
        """All changes that there have been."""
        changes: list[dict[str, Any]] = []
        with closing(Caller(self._address)) as caller:
            more = [{"revision": 0}]
            while more:
                more = caller.ask("GET", f"/history?since={more[-1]['revision']}&limit=1000").body["changes"]
                changes += more
        return changes


def steps(changes: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What happened to each service, some words a step; fails the test if one does not follow from the one before."""
    found: dict[str, list[str]] = {}
    last: dict[str, Any] = {}
    for row in (row for change in changes for row in change["rows"] if row["table"] == "services"):
        name, before, after = row["key"], row["before"], row["after"]
        assert before == last.get(name)
        last[name] = after
        found.setdefault(name, []).append(step(before, after))
    return found


def step(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """What a change has done."""
    if before is None:
        return "registered"
    if after is None:
        return "removed"
    (changed,) = {field for field in after if after[field] != before[field]} - {"revision"}
    return f"{changed} {after[changed]}"


def check_steps(service: Service, told: list[str]) -> None:
    """Fail the test unless a service has one change for each of its transitions."""
    if service.gone:
        assert told[-2:] == ["is_healthy False", "removed"]
        told = told[:-2]
    assert told[0] == "registered"
    assert told.count("health_status unhealthy") <= 1
    moves = [one for one in told[1:] if one != "health_status unhealthy"]
    falls = len(moves) // 2
    assert moves == ["is_healthy False", "is_healthy True"] * falls
    assert service.falls.least <= falls <= service.falls.most


def test_who_is_listed_while_processes_are_killed(tmp_path: Path, chance: random.Random) -> None:
    """Each list through either gateway is the model's, each transition is one change, and no age runs while it is down.

    The owner, a gateway and the health checker are killed while the clients send, then the whole registry, which
    starts again on its data directory, and then the owner and a gateway at once.
    """
    victims = ["owner", "health", "gateway-1", "owner"]
    chance.shuffle(victims)
    with Trial(tmp_path, chance) as trial:
        trial.begins()
        for victim in victims:
            trial.observe(0.5, 2.5)
            trial.kill(victim)
        trial.observe(1, 2)
        trial.kill_all_and_start_again()
        trial.observe(0.5, 2)
        trial.kill("owner", chance.choice(["gateway-1", "gateway-2"]))
        trial.is_certain()
        changes = trial.ends()
    assert trial.watcher.changes[: len(changes)] == changes
    assert [change["revision"] for change in changes] == list(range(1, len(changes) + 1))
    told = steps(changes)
    for service in trial.services:
        check_steps(service, told[service.name])
    assert [client.surprises for client in trial.clients] == CLIENTS * [[]]
    assert set(trial.observer.gateways) == set.union(*(client.gateways for client in trial.clients))
    assert len(trial.observer.gateways) == 2
