"""`actor-registry run`: an AI server that is started, watched, restarted, and known to the registry."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import psutil
import pytest

from actors.processes.signals import HURRY_AFTER_S
from demo.llama import MODEL
from tests.polling import until
from tests.processes import program, running
from tests.registry.babysitter.nursery import AI_SERVER, NAME, Control, Nursery, ask, free_ports, nursery
from tests.registry.services.stand_in import Asked, StandIn, serving

BEATS = ("POST /services/tiny/heartbeat", "POST /services/tiny-server/heartbeat")
FULL_PIPE = """
import contextlib, os, runpy
kept, full = os.pipe()
os.set_blocking(full, False)
with contextlib.suppress(BlockingIOError):
    while True:
        os.write(full, bytes(4096))
os.set_blocking(full, True)
os.dup2(full, 2)
runpy.run_module("registry", run_name="__main__", alter_sys=True)
"""
A_TREE = "python3 -S {server} {{port}} {control} & setsid sleep 1000 & (setsid sleep 1001 &); wait"


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A babysitter that tests share which leave it as well as it was."""
    folder = tmp_path_factory.mktemp("well")
    with nursery(folder, environment={"ACTOR_REGISTRY_ADMIN_KEY": "secret"}) as one:
        yield one


def insist(one: Nursery) -> None:
    """Send another SIGTERM, so late after the first one that it counts as a second."""
    since = time.monotonic()
    until(lambda: time.monotonic() - since > HURRY_AFTER_S, "a further signal is another one")
    one.run.kill(signal.SIGTERM)


def test_both_entries_are_registered_and_kept_alive(well: Nursery) -> None:
    """The babysitter and its server are in the registry as the original's are, and send heartbeats."""
    well.is_well()
    until(lambda: all(len(well.registry.lines(beat)) > 1 for beat in BEATS), "both send heartbeats")
    own, server = (deepcopy(well.registry.services[name]) for name in (NAME, f"{NAME}-server"))
    assert (own["host"], own["port"], own["hostname"]) == ("127.0.0.1", well.port + 1, "127.0.0.1")
    assert (own["url"], own["status"]) == (f"http://127.0.0.1:{well.port + 1}", "running")
    assert own["metadata"].pop("started_at")
    assert own["metadata"] == {"type": "command", "babysitter": "enhanced"}
    assert (server["host"], server["port"]) == ("127.0.0.1", well.port)
    assert server["url"] == f"http://127.0.0.1:{well.port}"
    assert server["metadata"].pop("started_at")
    assert server["metadata"] == {
        "type": "openai-api",
        "parent_service": NAME,
        "babysitter": "enhanced",
        "models": ["a", "b"],
        "models_list": [{"id": "a", "object": "model"}, {"id": "b", "object": "model"}],
    }
    assert well.registry.lines().count("POST /services") == 2


def test_pages_of_the_babysitter(well: Nursery) -> None:
    """`/health`, `/models` and `/info` have the original's keys; other pages are 404, other methods 405."""
    well.is_well()
    health = well.page("/health?x=1")
    assert health is not None
    assert health.headers["content-type"] == "application/json"
    assert health.body.pop("timestamp") > 1e9
    assert health.body == {
        "status": "healthy",
        "service": NAME,
        "babysitter": "enhanced",
        "infinilm_server_running": True,
        "infinilm_server_port": well.port,
    }
    models = well.page("/models")
    assert models is not None
    assert [model["id"] for model in models.body["data"]] == ["a", "b"]
    info = well.page("/info")
    assert info is not None
    assert info.body.pop("uptime") >= 0
    assert info.body.pop("metadata")["babysitter"] == "enhanced"
    assert info.body == {
        "name": NAME,
        "host": "127.0.0.1",
        "port": well.port + 1,
        "url": f"http://127.0.0.1:{well.port + 1}",
        "service_type": "command",
        "infinilm_server_port": well.port,
        "restart_count": 0,
    }
    missing, wrong = well.page("/nothing"), well.page("/health", "POST")
    assert missing is not None
    assert wrong is not None
    assert (missing.status, wrong.status, wrong.headers["allow"]) == (404, 405, "GET,HEAD")
    assert "error" in missing.body
    assert "error" in wrong.body


def test_server_that_is_not_ready_is_not_registered(tmp_path: Path) -> None:
    """While it loads, by its models or its `/health`, it has no entry, and the babysitter's own says `starting`."""
    with nursery(tmp_path, status=503) as one:
        until(lambda: one.registry.services.get(NAME), "the babysitter is registered")
        until(lambda: one.control.asked("/models") >= 2, "it was asked for its models twice")
        assert (one.health(), one.status(), one.own_status()) == (503, "", "starting")
        one.control.tell(health=503, status=200)
        before = one.control.asked("/health")
        until(lambda: one.control.asked("/health") >= before + 2, "it was asked since")
        assert (one.health(), one.status()) == (503, "")
        models = one.page("/models")
        assert models is not None
        assert (models.status, list(models.body)) == (503, ["error"])
        one.control.tell(health=200)
        one.is_well()


def test_server_without_a_list_of_models(tmp_path: Path) -> None:
    """One that has no such page is ready, and registered without models."""
    with nursery(tmp_path, status=404) as one:
        one.is_well()
        assert "models" not in one.registry.services[f"{NAME}-server"]["metadata"]


def test_models_that_a_registry_cannot_have(tmp_path: Path) -> None:
    """What a server says of its models may be more than a registry takes; then it gets their names."""
    with nursery(tmp_path, said_of_each={"size": 10**30}) as one:
        one.is_well()
        metadata = one.registry.services[f"{NAME}-server"]["metadata"]
        assert (metadata["models"], metadata.get("models_list")) == (["a", "b"], None)


def test_other_models_are_registered(well: Nursery) -> None:
    """A server that changes its models has other ones in the registry soon."""
    well.is_well()
    well.control.tell(models=["c"])
    entry = well.registry.services[f"{NAME}-server"]
    until(lambda: entry["metadata"]["models"] == ["c"], "the new models are registered")
    assert entry["metadata"]["models_list"] == [{"id": "c", "object": "model"}]
    well.control.tell(models=["a", "b"])
    until(lambda: entry["metadata"]["models"] == ["a", "b"], "the old models are registered again")


def test_list_of_models_that_says_when_it_was_made(tmp_path: Path) -> None:
    """The same models are no news, though the server dates each list anew; the entry is not changed."""
    with nursery(tmp_path, dated=True) as one:
        one.is_well()
        asked = one.control.asked("/v1/models")
        until(lambda: one.control.asked("/v1/models") > asked + 4, "it was asked again and again")
        one.control.tell(models=["c"])
        entry = one.registry.services[f"{NAME}-server"]
        until(lambda: entry["metadata"]["models"] == ["c"], "other models are news")
        assert one.run.stderr.count("has other models now") == 1
        assert one.registry.lines().count(f"PUT /services/{NAME}-server") == 1


def test_killed_server_is_restarted(tmp_path: Path) -> None:
    """It is out of the routing at once, and in it again when its next life is ready."""
    with nursery(tmp_path, "--restart-delay", "1") as one:
        one.is_well()
        first = one.registry.services[f"{NAME}-server"]["metadata"]["started_at"]
        os.kill(one.pids()[0], signal.SIGKILL)
        until(lambda: one.health() == 503, "the babysitter says that the server is dead")
        until(lambda: one.status() == one.own_status() == "restarting", "the registry knows")
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
    script = A_TREE.format(server=AI_SERVER, control=tmp_path / "control.json")
    with nursery(tmp_path, command=["sh", "-c", script]) as one:
        one.is_well()
        first = one.run.descendants()
        assert len(first) == 5  # the guardian, the shell, the server and two that sleep
        os.kill(one.pids()[0], signal.SIGKILL)
        until(lambda: len(one.pids()) == 2, "it was started again")
        assert not running(first)
        one.is_well()


@pytest.mark.parametrize("victim", ["babysitter", "guardian"])
def test_no_orphans(tmp_path: Path, victim: str) -> None:
    """SIGKILL of the babysitter ends the whole tree below it; of the guardian, it is ended and started again."""
    script = A_TREE.format(server=AI_SERVER, control=tmp_path / "control.json")
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


def test_command_ends_with_its_guardian(tmp_path: Path) -> None:
    """The kernel kills the command when the guardian dies, also if the babysitter can do nothing any more."""
    with nursery(tmp_path) as one:
        one.is_well()
        (pid,) = one.pids()
        (guardian,) = set(one.run.descendants()) - {pid}
        one.run.kill(signal.SIGSTOP)
        os.kill(guardian, signal.SIGKILL)
        until(lambda: not running([pid]), "the command is gone")
        one.run.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_guardian(tmp_path: Path, number: signal.Signals) -> None:
    """A guardian that somebody has stopped goes on when the babysitter needs it, or ends."""
    with nursery(tmp_path) as one:
        one.is_well()
        (pid,) = one.pids()
        (guardian,) = set(one.run.descendants()) - {pid}
        os.kill(guardian, signal.SIGSTOP)
        one.run.kill(number)
        assert one.run.ends(5.0) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
        one.run.leaves_nothing_running()


def test_server_that_does_not_answer(tmp_path: Path) -> None:
    """A stopped server is out of the routing; if it goes on it is in it again, and no restart was needed."""
    with nursery(tmp_path, "--hang-timeout", "4") as one:
        one.is_well()
        os.kill(one.pids()[0], signal.SIGSTOP)
        until(lambda: one.status() == one.own_status() == "unresponsive", "the registry knows")
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
        until(lambda: "did not answer for" in one.run.stderr, "it is given up")
        os.kill(pid, signal.SIGKILL)  # sooner than after the 10 s that it would have
        one.is_well()
        assert len(one.pids()) == 2


def test_server_that_has_left_its_command(tmp_path: Path) -> None:
    """If the command goes on without the server that it had started, all of it is started again soon."""
    script = f"python3 -S {AI_SERVER} {{port}} {tmp_path / 'control.json'} | sleep infinity"
    with nursery(tmp_path, command=["sh", "-c", script]) as one:
        one.is_well()
        (server,) = (pid for pid in one.run.descendants() if str(AI_SERVER) in psutil.Process(pid).cmdline())
        os.kill(server, signal.SIGKILL)
        until(lambda: one.status() == "unresponsive", "the registry knows")
        until(lambda: len(one.pids()) == 2, "it was started again", 20)
        one.is_well()


def test_log_that_nobody_reads(tmp_path: Path) -> None:
    """A full pipe behind its log delays neither the start, nor heartbeats, nor a restart, nor the end."""
    with nursery(tmp_path, started_by=("-c", FULL_PIPE)) as one:
        one.is_well()
        (server,) = (pid for pid in one.run.descendants() if str(AI_SERVER) in psutil.Process(pid).cmdline())
        os.kill(server, signal.SIGKILL)
        until(lambda: one.status() == "restarting", "the registry knows")
        one.is_well()
        more = {beat: len(one.registry.lines(beat)) + 2 for beat in BEATS}
        until(lambda: all(len(one.registry.lines(beat)) >= more[beat] for beat in BEATS), "heartbeats go on")
        one.run.kill(signal.SIGTERM)
        assert one.run.ends() == 0
        one.run.leaves_nothing_running()
        assert one.registry.services == {}


def test_server_that_is_never_ready_is_restarted(tmp_path: Path) -> None:
    """After the start timeout it is ended and started again; the reason says what was the matter."""
    with nursery(tmp_path, "--start-timeout", "0.6", command=["sleep", "1000"]) as one:
        until(lambda: len(one.pids()) == 2, "it was started again")
        assert "was not ready within 0.6 s: nobody answers at its port" in one.run.stderr
        until(lambda: one.own_status() == "restarting", "the registry knows")
        assert one.status() == ""


def test_registry_that_forgot(well: Nursery) -> None:
    """After a 404 both are registered again, the server with its models."""
    well.is_well()
    well.registry.services.clear()
    until(lambda: len(well.registry.services) == 2, "both are registered again")
    assert well.registry.services[f"{NAME}-server"]["metadata"]["models"] == ["a", "b"]


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
            insist(one)
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
        insist(one)
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


def test_without_standard_streams(tmp_path: Path) -> None:
    """A program whose standard streams are closed works, and gives their numbers to nothing else."""
    said = tmp_path / "said"
    asked = (
        "import os; print([os.readlink(f'/proc/self/fd/{fd}') for fd in range(3)], file=open(os.environ['SAID'], 'w'))"
    )
    flags = ["-m", "registry", "run", "--name", NAME, "--port", str(free_ports()), "--registry", "http://127.0.0.1:1"]
    run = [sys.executable, *flags, "--max-restarts", "0", "--", sys.executable, "-c", asked]
    with program("-c", f"import os; os.closerange(0, 3); os.execv({run[0]!r}, {run!r})", SAID=str(said)) as one:
        assert one.ends() == 1
    assert said.read_text() == "['/dev/null', '/dev/null', '/dev/null']\n"


def test_server_sees_its_port_and_no_key(well: Nursery) -> None:
    """Its port is in its environment, the admin key is not; the registry gets the key."""
    well.is_well()
    seen = ask(f"http://127.0.0.1:{well.port}/seen")
    assert seen is not None
    assert seen.body["environment"]["PORT"] == str(well.port)
    assert "secret" not in json.dumps(seen.body)
    assert {asked.headers.get("authorization") for asked in well.registry.asked} == {"Bearer secret"}


def test_file_of_the_original(tmp_path: Path) -> None:
    """A file needs no command; what it says of metadata goes over the server's entry; 0.0.0.0 is not registered."""
    port, control = free_ports(), Control(tmp_path / "control.json")
    file = tmp_path / "one.toml"
    file.write_text(
        f"""
        name = "of-the-file"
        host = "0.0.0.0"
        port = {port}
        router_url = "http://localhost:1"
        [babysitter]
        heartbeat_interval = 1
        [backend]
        type = "command"
        command = "{sys.executable} -S {AI_SERVER}"
        args = ["{port}", "{control.path}", "a b"]
        work_dir = "{tmp_path}"
        env = {{ WORD = "two words" }}
        [metadata]
        cache_type = "static"
        models = ["declared"]
        """
    )
    registry = StandIn()
    with (
        serving(registry) as url,
        program("-m", "registry", "run", "--config-file", str(file), "--registry", url) as run,
    ):
        until(lambda: len(registry.services) == 2, "both are registered")
        entry = registry.services["of-the-file-server"]
        assert (entry["host"], entry["url"]) == ("127.0.0.1", f"http://127.0.0.1:{port}")
        assert entry["metadata"]["cache_type"] == "static"
        assert entry["metadata"]["models"] == ["declared"]
        assert entry["metadata"]["parent_service"] == "of-the-file"
        assert registry.services["of-the-file"]["metadata"]["config_file"] == str(file)
        seen = ask(f"http://127.0.0.1:{port}/seen")
        assert seen is not None
        assert seen.body["argv"][1:] == [str(port), str(control.path), "a b"]
        assert (seen.body["cwd"], seen.body["environment"]["WORD"]) == (str(tmp_path), "two words")
        run.kill(signal.SIGTERM)
        assert run.ends() == 0


def test_real_server(tmp_path: Path) -> None:
    """A llama.cpp server behind a pipe of a shell is registered with its real model, and ends with the babysitter."""
    script = "sleep infinity | exec python -m demo.llama --port {port} --slots 1 --context 256"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with nursery(tmp_path, command=["sh", "-c", script], environment={"PATH": path}) as one:
        until(lambda: one.health() == 200, "the model is loaded", 60)
        until(lambda: one.status() == "running", "it is registered")
        metadata = one.registry.services[f"{NAME}-server"]["metadata"]
        assert metadata["models"] == [MODEL]
        assert metadata["models_list"][0]["object"] == "model"
        one.run.kill()
        one.run.leaves_nothing_running()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--name is missing: by which name is the service to be registered?"),
        (["--name", "x", "--port", "x", "--", "a"], "Invalid value for '--port': "),
        (
            ["--name", "x", "--port", "1", "--listen", "192.0.2.1", "--", "a"],
            "port 2 cannot be listened at on 192.0.2.1",
        ),
    ],
)
def test_wrong_use(arguments: list[str], said: str) -> None:
    """Each mistake is told in one sentence."""
    with program("-m", "registry", "run", *arguments) as run:
        assert run.ends() in {1, 2}
        (line,) = run.stderr.splitlines()
        assert line.startswith(f"actor-registry: {said}")
