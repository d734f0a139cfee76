"""`actor-registry run`: an AI server that is started, watched, restarted, and known to the registry."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.polling import until
from tests.processes import running
from tests.registry.babysitter.nursery import NAME, ask, free_ports, nursery
from tests.registry.services.stand_in import Asked, StandIn, serving

BEATS = ("POST /services/tiny/heartbeat", "POST /services/tiny-server/heartbeat")
A_TREE = "python3 -S {server} {{port}} {control} & setsid sleep 1000 & (setsid sleep 1001 &); wait"


def test_both_entries_are_registered_and_kept_alive(tmp_path: Path) -> None:
    """The babysitter and its server are in the registry as the original's are, with the server's models, and send
    heartbeats."""
    with nursery(tmp_path) as one:
        one.is_well()
        until(lambda: all(len(one.registry.lines(beat)) > 1 for beat in BEATS), "both send heartbeats")
        own, server = one.registry.services[NAME], one.registry.services[f"{NAME}-server"]
        assert (own["host"], own["port"], own["hostname"]) == ("127.0.0.1", one.port + 1, "127.0.0.1")
        assert (own["url"], own["status"]) == (f"http://127.0.0.1:{one.port + 1}", "running")
        assert own["metadata"].pop("started_at")
        assert own["metadata"] == {"type": "command", "babysitter": "enhanced"}
        assert (server["host"], server["port"], server["url"]) == ("127.0.0.1", one.port, f"http://127.0.0.1:{one.port}")
        assert server["metadata"].pop("started_at")
        assert server["metadata"] == {
            "type": "openai-api",
            "parent_service": NAME,
            "babysitter": "enhanced",
            "models": ["a", "b"],
            "models_list": [{"id": "a", "object": "model"}, {"id": "b", "object": "model"}],
        }
        assert len(one.registry.lines("POST /services ")) == 0
        assert one.registry.lines("POST /services").count("POST /services") == 2


def test_pages_of_the_babysitter(tmp_path: Path) -> None:
    """`/health`, `/models` and `/info` have the original's keys; other pages are 404, other methods 405."""
    with nursery(tmp_path) as one:
        one.is_well()
        health = one.page("/health?x=1")
        assert health is not None
        assert health.headers["content-type"] == "application/json"
        assert health.body.pop("timestamp") > 1e9
        assert health.body == {
            "status": "healthy",
            "service": NAME,
            "babysitter": "enhanced",
            "infinilm_server_running": True,
            "infinilm_server_port": one.port,
        }
        models = one.page("/models")
        assert models is not None
        assert [model["id"] for model in models.body["data"]] == ["a", "b"]
        info = one.page("/info")
        assert info is not None
        assert info.body.pop("uptime") >= 0
        assert info.body.pop("metadata")["babysitter"] == "enhanced"
        assert info.body == {
            "name": NAME,
            "host": "127.0.0.1",
            "port": one.port + 1,
            "url": f"http://127.0.0.1:{one.port + 1}",
            "service_type": "command",
            "infinilm_server_port": one.port,
            "restart_count": 0,
        }
        missing, wrong = one.page("/nothing"), one.page("/health", "POST")
        assert missing is not None
        assert wrong is not None
        assert (missing.status, wrong.status, wrong.headers["allow"]) == (404, 405, "GET,HEAD")
        assert "error" in missing.body
        assert "error" in wrong.body


def test_server_that_is_not_ready_is_not_registered(tmp_path: Path) -> None:
    """While it loads, by its list of models or by its `/health`, it gets no entry and `/health` is 503; then both."""
    with nursery(tmp_path, status=503) as one:
        until(lambda: one.registry.services.get(NAME), "the babysitter is registered")
        for loading in ({"status": 503}, {"status": 200, "health": 503}):
            one.control.tell(**loading)
            seen = len(one.registry.lines(BEATS[0]))
            until(lambda seen=seen: len(one.registry.lines(BEATS[0])) > seen + 2, "time goes on")  # type: ignore[misc]
            assert (one.health(), one.status()) == (503, "")
        models = one.page("/models")
        assert models is not None
        assert (models.status, list(models.body)) == (503, ["error"])
        one.control.tell(health=200)
        one.is_well()


@pytest.mark.parametrize("status", [404, 401])
def test_server_without_a_list_of_models(tmp_path: Path, status: int) -> None:
    """One that has no such page, or wants a key for it, is ready and registered without models."""
    with nursery(tmp_path, status=status) as one:
        one.is_well()
        assert "models" not in one.registry.services[f"{NAME}-server"]["metadata"]


def test_other_models_are_registered(tmp_path: Path) -> None:
    """A server that changes its models has other ones in the registry soon."""
    with nursery(tmp_path) as one:
        one.is_well()
        one.control.tell(models=["c"])
        entry = one.registry.services[f"{NAME}-server"]
        until(lambda: entry["metadata"]["models"] == ["c"], "the new models are registered")
        assert entry["metadata"]["models_list"] == [{"id": "c", "object": "model"}]


def test_killed_server_is_restarted(tmp_path: Path) -> None:
    """It is out of the routing at once, and in it again when its next life is ready."""
    with nursery(tmp_path, "--restart-delay", "1") as one:
        one.is_well()
        first = one.registry.services[f"{NAME}-server"]["metadata"]["started_at"]
        os.kill(one.pids()[0], signal.SIGKILL)
        until(lambda: one.health() == 503, "the babysitter says that the server is dead")
        until(lambda: one.status() == "restarting", "the registry knows")
        beats = len(one.registry.lines(BEATS[1]))
        health = one.page("/health")
        assert health is not None
        assert health.body["infinilm_server_running"] is False
        one.is_well()
        assert len(one.registry.lines(BEATS[1])) - beats <= 3  # none while it was down
        assert "was killed by SIGKILL" in one.run.stderr
        assert one.registry.services[f"{NAME}-server"]["metadata"]["started_at"] > first
        info = one.page("/info")
        assert info is not None
        assert info.body["restart_count"] == 1
        assert len(one.pids()) == 2


def test_nothing_of_a_crashed_server_is_left(tmp_path: Path) -> None:
    """What the command had started is gone before it is started again, wherever it had put itself."""
    script = A_TREE.format(server=Path(__file__).with_name("ai_server.py"), control=tmp_path / "control.json")
    with nursery(tmp_path, command=["sh", "-c", script]) as one:
        one.is_well()
        first = [pid for pid in one.run.descendants()]
        assert len(first) == 5  # the guardian, the shell, the server and two that sleep
        os.kill(one.pids()[0], signal.SIGKILL)
        until(lambda: len(one.pids()) == 2, "it was started again")
        assert not running(first)
        one.is_well()


@pytest.mark.parametrize("victim", ["babysitter", "guardian"])
def test_no_orphans(tmp_path: Path, victim: str) -> None:
    """SIGKILL of the babysitter ends the whole tree below it; of the guardian, it is ended and started again."""
    script = A_TREE.format(server=Path(__file__).with_name("ai_server.py"), control=tmp_path / "control.json")
    with nursery(tmp_path, command=["sh", "-c", script]) as one:
        one.is_well()
        tree = one.run.descendants()
        assert len(tree) == 5
        if victim == "babysitter":
            one.run.kill()
            one.run.ends()
            one.run.leaves_nothing_running()
            return
        (guardian,) = (pid for pid in tree if psutil.Process(pid).ppid() == one.run.process.pid)
        os.kill(guardian, signal.SIGKILL)
        until(lambda: len(one.pids()) == 2, "it was started again")
        assert not running(tree)
        one.is_well()


def test_server_that_does_not_answer(tmp_path: Path) -> None:
    """A stopped server is out of the routing; if it goes on it is in it again, and no restart was needed."""
    with nursery(tmp_path, "--hang-timeout", "4") as one:
        one.is_well()
        os.kill(one.pids()[0], signal.SIGSTOP)
        until(lambda: one.status() == "unresponsive", "the registry knows")
        assert one.health() == 503
        os.kill(one.pids()[0], signal.SIGCONT)
        one.is_well()
        assert len(one.pids()) == 1


def test_hung_server_is_restarted(tmp_path: Path) -> None:
    """One that does not answer for the hang timeout is killed, also if it is stopped and deaf, and started again."""
    with nursery(tmp_path, "--hang-timeout", "0.5", deaf=True) as one:
        one.is_well()
        one.control.tell(deaf=False)
        (pid,) = one.pids()
        os.kill(pid, signal.SIGSTOP)
        until(lambda: "did not answer for 0.5 s" in one.run.stderr, "it is given up")
        os.kill(pid, signal.SIGKILL)  # sooner than after the 10 s that it would have
        one.is_well()
        assert len(one.pids()) == 2


def test_server_that_is_never_ready_is_restarted(tmp_path: Path) -> None:
    """After the start timeout it is ended and started again; the reason says what was the matter."""
    with nursery(tmp_path, "--start-timeout", "0.6", command=["sleep", "1000"]) as one:
        until(lambda: len(one.pids()) == 2, "it was started again")
        assert "was not ready within 0.6 s: nobody answers at its port" in one.run.stderr
        assert one.status() == ""


def test_registry_that_forgot(tmp_path: Path) -> None:
    """After a 404 both are registered again, the server with its models."""
    with nursery(tmp_path) as one:
        one.is_well()
        one.registry.services.clear()
        until(lambda: len(one.registry.services) == 2, "both are registered again")
        assert one.registry.services[f"{NAME}-server"]["metadata"]["models"] == ["a", "b"]


def test_registry_that_comes_later(tmp_path: Path) -> None:
    """The server runs without a registry, and is registered when there is one."""
    port = free_ports()
    with nursery(tmp_path, registry_url=f"http://127.0.0.1:{port}") as one:
        until(lambda: one.health() == 200, "the server is ready")
        late = StandIn()
        with serving(late, port):
            until(lambda: len(late.services) == 2, "both are registered")


def test_registry_that_hangs(tmp_path: Path) -> None:
    """It delays neither the start, nor a restart, nor for long the end."""
    released = threading.Event()

    def hang(_: Asked) -> None:
        released.wait(30)

    with nursery(tmp_path, registry=StandIn(answer=hang)) as one:
        try:
            until(lambda: one.health() == 200, "the server is ready")
            os.kill(one.pids()[0], signal.SIGKILL)
            until(lambda: len(one.pids()) == 2 and one.health() == 200, "it was restarted")
            one.run.kill(signal.SIGTERM)
            until(lambda: "goodbye" in one.run.stdout, "the server is told to end")
            time.sleep(0.15)  # a signal at once would count as the same
            one.run.kill(signal.SIGTERM)
            assert one.run.ends(4) == 0  # sooner than the registry's deadline
        finally:
            released.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end(tmp_path: Path, number: signal.Signals) -> None:
    """Both entries are removed once, the server is asked to end, nothing is left, and the exit code is 0."""
    with nursery(tmp_path) as one:
        one.is_well()
        one.run.kill(number)
        assert one.run.ends() == 0
        assert sorted(one.registry.lines("DELETE")) == ["DELETE /services/tiny", "DELETE /services/tiny-server"]
        assert one.registry.services == {}
        assert one.run.stdout == "the server says goodbye\n"
        assert "Traceback" not in one.run.stderr
        one.run.leaves_nothing_running()


def test_second_signal_hurries(tmp_path: Path) -> None:
    """A server that does not end is killed at once when somebody insists."""
    with nursery(tmp_path, deaf=True) as one:
        one.is_well()
        one.run.kill(signal.SIGTERM)
        until(lambda: not one.registry.services, "both are unregistered")
        time.sleep(0.15)  # a signal at once would count as the same
        one.run.kill(signal.SIGTERM)
        assert one.run.ends(5) == 0  # sooner than the 10 s that it would have
        one.run.leaves_nothing_running()


def test_giving_up(tmp_path: Path) -> None:
    """A server that fails again and again is given up: exit code 1, a sentence, and nothing is left in the registry."""
    with nursery(tmp_path, "--max-restarts", "2", fail=3) as one:
        assert one.run.ends() == 1
        last = one.run.stderr.splitlines()[-1]
        assert last == (
            "actor-registry: gave up on 'tiny' after 2 restarts in a row: the server ended by itself (exit code 3)"
        )
        assert one.run.stderr.count("the server fails") == 3
        assert one.registry.services == {}
        assert "Traceback" not in one.run.stderr


@pytest.mark.parametrize("own", [False, True])
def test_port_in_use(tmp_path: Path, own: bool) -> None:
    """If another program has the server's port, or the babysitter's own, nothing is started and a sentence says so."""
    port = free_ports()
    with socket.create_server(("127.0.0.1", port + own)), nursery(tmp_path, "--port", str(port)) as one:
        assert one.run.ends() == 1
        (line,) = one.run.stderr.splitlines()
        assert line.startswith(f"actor-registry: port {port + own} is in use by another program")
        assert one.registry.asked == []


def test_command_that_is_not_there(tmp_path: Path) -> None:
    """It is wrong use, said in a sentence."""
    with nursery(tmp_path, command=["no-such-program"]) as one:
        assert one.run.ends() == 2
        assert one.run.stderr.splitlines()[-1] == (
            "actor-registry: 'no-such-program' cannot be started: No such file or directory"
        )


def test_server_sees_its_port_and_no_key(tmp_path: Path) -> None:
    """Its port is in its environment, the admin key is not; the registry gets the key."""
    with nursery(tmp_path, environment={"ACTOR_REGISTRY_ADMIN_KEY": "secret"}) as one:
        one.is_well()
        seen = ask(f"http://127.0.0.1:{one.port}/seen")
        assert seen is not None
        assert seen.body["environment"]["PORT"] == str(one.port)
        assert "secret" not in json.dumps(seen.body)
        assert {asked.headers.get("authorization") for asked in one.registry.asked} == {"Bearer secret"}
