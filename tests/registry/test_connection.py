"""`registry.connect`: programs that join a registry which another one started."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import closing
from pathlib import Path

import pytest

import registry
from actors.errors import AttachFailed, StartFailed, SystemStopped
from registry import Registry, Supervisor
from registry.directory import default_directory
from tests.forking import Forked
from tests.polling import until
from tests.processes import program
from tests.registry.systems import A
from tests.registry.test_supervisor import UNGUARDED


def pending(supervisor: Supervisor) -> int:
    """Requests in flight on the one backend."""
    view = supervisor.registry.get_backend("a")
    assert view is not None
    return view.pending_requests


def pid_of(supervisor: Supervisor, name: str) -> int:
    """The process id of a process of the system."""
    pid = until(lambda: next(info.pid for info in supervisor.processes() if info.name == name), f"{name} runs")
    assert pid is not None
    return pid


HOLDER = """
import sys, threading, registry
joined = registry.connect(sys.argv[1])
lease = joined.acquire("m")
joined.increment_pending("a")
print(lease.backend, flush=True)
threading.Event().wait()
"""


def test_an_unrelated_program_holds_and_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    """A program that knows nothing but the directory takes part; a SIGKILL gives back all that it held."""
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    with program(str(script), str(supervisor.path)) as run:
        until(lambda: run.stdout == "a\n", "the program holds a lease", 20)
        assert pending(supervisor) == 2
        run.kill()
        until(lambda: pending(supervisor) == 0, "what it held is given back", 2)


def test_both_faces_see_the_same(supervisor: Supervisor) -> None:
    """The blocking and the asyncio face of two programs speak to one owner."""

    async def look() -> list[str]:
        with closing(await registry.connect_async(supervisor.path)) as joined:
            await joined.increment_pending("a")
            return await joined.get_models()

    with closing(registry.connect(supervisor.path / "registry.sock")) as joined, joined.lease("m") as lease:
        assert lease.backend == "a"
        assert asyncio.run(look()) == ["m"] == joined.get_models()


def test_close_gives_everything_back(supervisor: Supervisor) -> None:
    """A program that leaves need not end for it, and has nothing to say afterwards."""
    joined = registry.connect(str(supervisor.path))
    joined.acquire("m")
    joined.close()
    until(lambda: pending(supervisor) == 0, "what it held is given back", 2)
    with pytest.raises(SystemStopped):
        joined.acquire("m")


def test_the_owner_is_killed_while_programs_are_attached(tmp_path: Path) -> None:
    """They go on without noticing: each command is done exactly once, and leases stay."""
    with Supervisor(tmp_path) as supervisor:
        supervisor.registry.add_backend(A)

        def count() -> list[int]:
            joined = registry.connect(supervisor.path)
            with joined.lease("m"):
                return [joined.increment_total_requests("a") for _ in range(2_000)]

        children = [Forked(count) for _ in range(2)]
        with closing(registry.connect(supervisor.path)) as joined, joined.lease("m"):
            for kills in range(1, 4):
                os.kill(pid_of(supervisor, "owner"), signal.SIGKILL)
                until(
                    lambda: next(i for i in supervisor.processes() if i.name == "owner").restarts == kills,  # noqa: B023 - used at once
                    "the next owner",
                )
                assert joined.get_leases()
        totals = sorted(total for child in children for total in child.result())
        assert len(set(totals)) == len(totals) == 4_000
        assert supervisor.registry.get_backend("a").total_requests == 4_001 + 2  # type: ignore[union-attr]  # it is there


def test_a_supervisor_that_is_killed_and_its_successor(tmp_path: Path) -> None:
    """Calls say that the system has stopped, connecting that it has ended, and with a new system all is well."""
    with Supervisor(tmp_path) as first:
        first.registry.add_backend(A)
        joined = registry.connect(tmp_path)
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: raises_stopped(joined), "calls raise SystemStopped", 2)
        with pytest.raises(AttachFailed, match="has ended: nobody listens on its socket"):
            registry.connect(tmp_path)
    with Supervisor(tmp_path), closing(registry.connect(tmp_path)) as again:
        assert again.backend_count() == 1
    with pytest.raises(AttachFailed, match="there is no system at"):
        registry.connect(tmp_path)
    with pytest.raises(SystemStopped):
        again.backend_count()


def test_a_system_that_stops_tells_whoever_is_attached(tmp_path: Path) -> None:
    """Their calls raise the same error as everybody's, also those that wait just then."""
    errors: list[BaseException] = []
    with Supervisor(tmp_path) as supervisor:
        joined = registry.connect(tmp_path)

        def ask() -> None:
            try:
                while True:
                    joined.backend_count()
            except SystemStopped as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        supervisor.stop()
    asking.join(10)
    assert len(errors) == 1


def test_no_path_is_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `actor-registry serve` keeps its state unless told otherwise, there `connect` looks."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(AttachFailed, match=str(default_directory() / "registry.sock")):
        registry.connect()
    with Supervisor(default_directory()), closing(registry.connect()) as joined:
        assert joined.backend_count() == 0


def test_a_whole_server(tmp_path: Path) -> None:
    """A program joins `actor-registry serve` as it joins a `Supervisor`, and the socket goes with the server."""
    arguments = ("serve", "--port", "0", "--gateways", "1", "--data-dir", str(tmp_path))
    with program("-m", "registry.cli", *arguments) as run:
        until(run.address, "the server serves", 20)
        with closing(registry.connect(tmp_path)) as joined:
            joined.add_backend(A)
            joined.acquire("m")
            assert [view.pending_requests for view in joined.get_all_backends()] == [1]
            run.kill(signal.SIGTERM)
            assert run.ends() == 0
            assert raises_stopped(joined)
        assert not (tmp_path / "registry.sock").exists()
        assert "Traceback" not in run.stderr


def raises_stopped(joined: Registry) -> bool:
    """Whether a call says that the session is over."""
    try:
        joined.backend_count()
    except SystemStopped:
        return True
    return False


def test_a_path_with_a_null_character(tmp_path: Path) -> None:
    """No file has such a name, and both sides say so."""
    with pytest.raises(AttachFailed, match=r"the path '.*a\\x00b.*' has a null character"):
        registry.connect(tmp_path / "a\0b")
    with pytest.raises(StartFailed, match=r"the name of the data directory '.*a\\x00b' has a null character"):
        Supervisor(tmp_path / "a\0b")


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It means the same as in every other program."""
    monkeypatch.chdir(tmp_path)
    with Supervisor("here") as supervisor, closing(registry.connect("here")) as joined:
        assert supervisor.path == tmp_path / "here"
        assert joined.backend_count() == 0


def test_a_directory_that_is_too_deep(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The system runs and says that nobody can join; whoever tries is told why, a forked child too."""
    deep = tmp_path / ("x" * 100)
    with Supervisor(deep) as supervisor:
        joined = supervisor.registry
        assert joined.backend_count() == 0
        with pytest.raises(AttachFailed, match=r"may have 107; use a data directory with a shorter path"):
            registry.connect(deep)
        with pytest.raises(AssertionError, match=r"AttachFailed: the path .* may have 107; use a data directory"):
            Forked(joined.backend_count).result()
        assert joined.backend_count() == 0
    assert "no other process can join this system" in capfd.readouterr().err


def test_nothing_is_left_open_in_the_supervisor(supervisor: Supervisor) -> None:
    """After 200 programs have come and gone, neither the supervisor nor the owner has more descriptors than before."""

    def descriptors() -> list[int]:
        pids = (supervisor.pid, pid_of(supervisor, "owner"))
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]

    before = descriptors()
    for _ in range(200):
        with closing(registry.connect(supervisor.path)) as joined:
            joined.backend_count()
    until(lambda: descriptors() == before, "all descriptors are closed")


def test_fifty_programs_at_once(supervisor: Supervisor) -> None:
    """They all get in, count together, and leave nothing behind."""
    start, go = os.pipe()

    def count() -> None:
        os.close(go)
        os.read(start, 1)
        registry.connect(supervisor.path).increment_total_requests("a")

    before = supervisor.registry.increment_total_requests("a")
    children = [Forked(count) for _ in range(50)]
    os.close(go)
    for child in children:
        child.result()
    os.close(start)
    assert supervisor.registry.increment_total_requests("a") == before + 51


MULTIPROCESSING = """
import multiprocessing, sys, registry

{start}

def work():
    print("worked", flush=True)

if __name__ == "__main__" or {everywhere}:
    if __name__ == "__main__":
        child = multiprocessing.get_context("spawn").Process(target=work)
        child.start()
        child.join()
        print("exit", child.exitcode)
"""


def test_a_missing_guard_and_multiprocessing(tmp_path: Path) -> None:
    """A child of `multiprocessing` that imports a script which starts a system is told as well."""
    script = tmp_path / "script.py"
    script.write_text(MULTIPROCESSING.format(start="supervisor = registry.Supervisor()", everywhere=True))
    with program(str(script)) as run:
        assert run.ends() == 0
        assert "if __name__ == '__main__':" in run.stderr
        assert run.stdout == "exit 1\n"


def test_connecting_needs_no_guard(supervisor: Supervisor, tmp_path: Path) -> None:
    """A script that only joins may be imported by its children: each has a session of its own."""
    script = tmp_path / "script.py"
    start = f"joined = registry.connect({str(supervisor.path)!r}); joined.increment_total_requests('a')"
    script.write_text(MULTIPROCESSING.format(start=start, everywhere=True))
    before = supervisor.registry.increment_total_requests("a")
    with program(str(script)) as run:
        assert run.ends() == 0, run.stderr
        assert run.stdout == "worked\nexit 0\n"
    assert supervisor.registry.increment_total_requests("a") == before + 3


def test_connecting_in_a_script_that_spawns_without_a_guard(supervisor: Supervisor, tmp_path: Path) -> None:
    """There the start of the second system is refused, and not the connection before it."""
    script = tmp_path / "script.py"
    script.write_text(f"import registry; joined = registry.connect({str(supervisor.path)!r})\n{UNGUARDED}")
    with program(str(script)) as run:
        assert run.ends() == 0
        assert "if __name__ == '__main__':" in run.stderr


def test_a_registry_without_a_way_back(supervisor: Supervisor) -> None:
    """One that was made from a bare queue says in a forked child what it lacks."""
    with closing(Registry(supervisor._handle.attach())) as bare:
        with pytest.raises(AssertionError, match="AttachFailed: this process was forked"):
            Forked(bare.backend_count).result()
        assert bare.backend_count() == 1
