"""`python -m demo` on real model servers, as a person and as a build server run it."""

import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from demo.client import Answer, Served
from demo.crash import Crash
from demo.errors import DemoError
from demo.llama import MODEL, LlamaServer
from demo.server import Gateway
from demo.story import verdict

ROOT = Path(__file__).resolve().parents[2]
LAST_LINE = "demo: 8 of 8 answered, 2 backends used, 1 process killed, 0 leases left"
DEMO_TIMEOUT_S = 90
GONE_TIMEOUT_S = 5
MARK = "ACTOR_REGISTRY_TEST_RUN"


class Run:
    """One run of the demo, whose processes are known by a mark in their environment.

    Args:
        extra: Variables to add to the environment.
    """

    def __init__(self, **extra: str) -> None:
        self.mark = uuid.uuid4().hex
        self.env = {**os.environ, MARK: self.mark, **extra}
        self.command = [sys.executable, "-m", "demo"]

    @contextmanager
    def start(self, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
        """Start it in the background; a test that fails meanwhile does not wait for its end."""
        with subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        ) as demo:
            try:
                yield demo
            except BaseException:
                demo.kill()
                raise

    def processes(self, attributes: Sequence[str] = ()) -> list[psutil.Process]:
        """Whatever of it is alive, with these attributes of psutil in `info`."""
        return [process for process in psutil.process_iter(list(attributes)) if self._is_ours(process)]

    def left_behind(self) -> list[str]:
        """The command lines of the processes that outlive it by more than a moment."""
        psutil.wait_procs(self.processes(), timeout=GONE_TIMEOUT_S)
        return [process.info["cmdline"] for process in self.processes(["cmdline"])]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark
        except psutil.Error:
            return False


@pytest.fixture
def run() -> Iterator[Run]:
    """A run that ends at once where there is a terminal, and of which nothing outlives the test."""
    one = Run(ONCE="1")
    yield one
    for process in one.processes():
        process.kill()


def test_demo_shows_the_whole_job_and_leaves_nothing_behind(run: Run) -> None:
    """The demo ends with the promised line and code 0, and none of its processes outlives it."""
    done = subprocess.run(
        run.command,
        cwd=ROOT,
        env=run.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEMO_TIMEOUT_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == LAST_LINE
    assert run.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_demo_stopped_in_the_middle_leaves_nothing_behind(run: Run, number: signal.Signals) -> None:
    """A signal while requests are under way ends the demo with one sentence, and all of its processes."""
    with run.start() as demo:
        read_until(demo, "Sending 8")
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=DEMO_TIMEOUT_S)

    assert (demo.returncode, errors) == (128 + number, f"demo: stopped by {number.name}.\n")
    assert run.left_behind() == []


def test_demo_that_is_killed_takes_its_processes_along(run: Run) -> None:
    """After SIGKILL to the demo, the model servers and the registry end by themselves."""
    with run.start() as demo:
        read_until(demo, "Sending 8")
        demo.kill()

    assert run.left_behind() == []


def test_demo_says_in_one_sentence_that_the_registry_is_gone(run: Run) -> None:
    """If the registry dies in the middle, the demo ends with code 1 and one sentence, without a traceback."""
    with run.start() as demo:
        read_until(demo, "Sending 8")
        for process in psutil.Process(demo.pid).children():
            if "serve" in process.cmdline():
                process.kill()
        _, errors = demo.communicate(timeout=DEMO_TIMEOUT_S)

    assert demo.returncode == 1
    assert errors.startswith("demo: ")
    assert errors.count("\n") == 1
    assert run.left_behind() == []


def test_demo_on_a_terminal_serves_until_ctrl_c(run: Run) -> None:
    """On a terminal the demo goes on serving at the address it names; Ctrl-C is then a good end."""
    del run.env["ONCE"]
    master, terminal = pty.openpty()
    try:
        with run.start(stdout=terminal) as demo:
            os.close(terminal)
            with os.fdopen(os.dup(master), errors="replace") as screen:
                url = next(line for line in screen if "Still serving" in line).split()[3]
                answer = httpx2.get(f"{url}/v1/models", trust_env=False)
                demo.send_signal(signal.SIGINT)
                _, errors = demo.communicate(timeout=DEMO_TIMEOUT_S)
    finally:
        os.close(master)

    assert [model["id"] for model in answer.json()["data"]] == [MODEL]
    assert (demo.returncode, errors) == (0, "")
    assert run.left_behind() == []


def some_answers(backends: list[str]) -> list[Answer]:
    """One answer from each of these backends."""
    gateway = Gateway("gateway-1", 1)
    return [Answer(n, False, "Paris.", Served(backend, gateway), 1.0) for n, backend in enumerate(backends, 1)]


CRASH = Crash(Served("a", Gateway("gateway-1", 1)), "Once", 1, 0.0, 0, 1.0, "APIConnectionError")


def test_verdict_is_the_last_line_when_all_is_well() -> None:
    """Eight answers from two backends, one kill and no lease make the promised line."""
    assert verdict(some_answers(["a", "b"] * 4), [CRASH], 0) == LAST_LINE


@pytest.mark.parametrize(
    ("backends", "leases", "seen"),
    [
        (["a", "b"] * 3, 0, "6 of 8 answered, 2 backends used, 1 process killed, 0 leases left"),
        (["a"] * 8, 0, "8 of 8 answered, 1 backend used, 1 process killed, 0 leases left"),
        (["a", "b"] * 4, 1, "8 of 8 answered, 2 backends used, 1 process killed, 1 lease left"),
    ],
    ids=["unanswered", "one-backend", "lease-left"],
)
def test_verdict_fails_when_a_figure_is_wrong(backends: list[str], leases: int, seen: str) -> None:
    """Any figure that is not the promised one fails the demo, and is shown."""
    with pytest.raises(DemoError, match=seen):
        verdict(some_answers(backends), [CRASH], leases)


def test_llama_server_offers_its_model(llama_servers: tuple[LlamaServer, LlamaServer]) -> None:
    """Each of the shared model servers has an address of its own and offers the model by its short name."""
    first, second = llama_servers
    assert first.url != second.url
    for server in llama_servers:
        models = httpx2.get(f"{server.url}/v1/models", trust_env=False).json()["data"]
        assert [model["id"] for model in models] == [MODEL]


def test_llama_server_comes_back_at_its_port(start_llama: Callable[..., LlamaServer]) -> None:
    """A killed model server refuses connections, and another one can take its port at once."""
    server = start_llama()
    server.kill()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{server.url}/health", trust_env=False)

    again = start_llama(port=int(server.url.rpartition(":")[2]))
    assert again.url == server.url
    assert httpx2.get(f"{again.url}/health", trust_env=False).is_success


def test_llama_server_says_why_it_cannot_start(
    llama_servers: tuple[LlamaServer, LlamaServer], start_llama: Callable[..., LlamaServer]
) -> None:
    """A port in use gives the reason that llama.cpp gave."""
    taken = llama_servers[0].url.rpartition(":")[2]
    with pytest.raises(DemoError, match=f"could not start: .*port: {taken}"):
        start_llama(port=int(taken))


def read_until(demo: subprocess.Popen[str], beginning: str) -> None:
    """Read what the demo prints up to a line that begins so."""
    assert demo.stdout is not None
    assert any(line.startswith(beginning) for line in demo.stdout), "the demo ended too early"
