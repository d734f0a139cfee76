"""What the demo does, step by step."""

import signal
import time
from contextlib import ExitStack, closing

from demo.client import QUESTIONS, Answer, ask, ask_all, connect, models
from demo.crash import Crash, crash_in_mid_stream, wait_until_back
from demo.errors import DemoError, Stopped
from demo.llama import LlamaServer
from demo.report import answer_line, beginning, plural, show_backends
from demo.server import GATEWAYS, RegistryServer
from demo.waiting import wait_for

BACKENDS = 2
LEASES_TIMEOUT_S = 5.0


def start(stack: ExitStack) -> RegistryServer:
    """Start the model servers, then the registry in front of them.

    Args:
        stack: What stops them all, in reverse order.

    Raises:
        DemoError: One of them could not start.
    """
    print(f"Starting {BACKENDS} llama.cpp servers with SmolLM2-135M.")
    backends = [LlamaServer() for _ in range(BACKENDS)]
    for backend in backends:
        stack.callback(backend.stop)
        backend.launch()
    for backend in backends:
        backend.wait_ready()
        print(f"  {backend.url} is process {backend.pid}")

    print(f"Starting actor-registry serve with {GATEWAYS} gateway processes.")
    server = stack.enter_context(RegistryServer([backend.url for backend in backends]))
    begun = time.perf_counter()
    server.start()
    print(f"  {server.url} is ready after {time.perf_counter() - begun:.1f} s")
    return server


def show(server: RegistryServer) -> None:
    """Use the registry, break it, and sum up what was seen.

    Raises:
        DemoError: Something was not as it should be.
    """
    with closing(connect(server.url)) as client:
        names = models(client)
    if not names:
        raise DemoError("The registry offers no model.")
    model = names[0]
    print(f"Models: {', '.join(names)}")

    print(f"Sending {len(QUESTIONS)} chat completions, two at a time.")
    answers = []
    for answer in ask_all(server.url, model):
        answers.append(answer)
        print(answer_line(answer))

    crash = show_crash(server, model)

    show_backends(server.backends())
    print(verdict(answers, [crash], leases_left(server)))


def show_crash(server: RegistryServer, model: str) -> Crash:
    """Lose a gateway process in the middle of an answer, and see that nothing else is lost.

    Raises:
        DemoError: Something was.
    """
    print("Sending a ninth one, and SIGKILL to the gateway process that streams its answer.")
    crash = crash_in_mid_stream(server, model)
    backend, lost = crash.served.backend, crash.served.gateway
    print(f"  {lost} streamed {beginning(crash.text)} from {backend}; pending_requests = {crash.pending_before}")
    print(f"  killed; pending_requests = {crash.pending_after} after {crash.freed_ms:.0f} ms")
    print(f"  the client's stream ended with {crash.stream_end}")
    back = wait_until_back(server, lost)
    back_ms = (time.perf_counter() - crash.killed_at) * 1000
    print(f"  {lost.name} is back as process {back.pid} after {back_ms:.0f} ms")
    with closing(connect(server.url)) as client:
        print(answer_line(ask(client, model, len(QUESTIONS) + 2, QUESTIONS[0], stream=False)))
    return crash


def leases_left(server: RegistryServer) -> int:
    """How many leases are out once all requests are over, of which the client may know a moment earlier."""
    free = wait_for(lambda: 0 if server.leases() == 0 else None, LEASES_TIMEOUT_S)
    return server.leases() if free is None else free


def verdict(answers: list[Answer], crashes: list[Crash], leases: int) -> str:
    """The last line.

    Raises:
        DemoError: A figure is not what it must be.
    """
    used = len({answer.served.backend for answer in answers})
    line = (
        f"demo: {len(answers)} of {len(QUESTIONS)} answered, {plural(used, 'backend')} used, "
        f"{plural(len(crashes), 'process')} killed, {plural(leases, 'lease')} left"
    )
    if len(answers) != len(QUESTIONS) or used != BACKENDS or leases != 0:
        raise DemoError(f"This is not as it should be: {line.removeprefix('demo: ')}.")
    return line


def keep_serving(server: RegistryServer) -> None:
    """Serve until Ctrl-C.

    Raises:
        DemoError: The registry ended by itself.
    """
    body = '{"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hello!"}]}'
    print(f"\nStill serving at {server.url} until Ctrl-C. Try:")
    print(f"  curl {server.url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'")
    try:
        server.wait()
    except Stopped as error:
        if error.number != signal.SIGINT:
            raise
