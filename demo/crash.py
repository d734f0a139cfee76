"""The ninth request: its gateway process is killed while the answer streams."""

import os
import signal
import time
from contextlib import closing
from dataclasses import dataclass

import httpx2
import openai
import psutil

from demo.client import Served, Stream, connect, told_as_sentence
from demo.errors import DemoError
from demo.server import Gateway, RegistryServer
from demo.waiting import wait_for

QUESTION = "Tell me a long story about a lighthouse keeper."
# Far more than can arrive before the kill.
MAX_TOKENS = 800
PIECES_BEFORE = 8
FREED_TIMEOUT_S = 5.0
BACK_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Crash:
    """What was seen of the death of a gateway process.

    Args:
        served: The backend and the gateway process that carried the stream.
        text: What had arrived before.
        pending_before: Requests in flight on the backend while the stream ran.
        killed_at: When the process was killed, in seconds of `time.perf_counter`.
        pending_after: Requests in flight there after the kill.
        freed_ms: From the kill until no request was in flight there, in milliseconds.
        stream_end: How the client noticed.
    """

    served: Served
    text: str
    pending_before: int
    killed_at: float
    pending_after: int
    freed_ms: float
    stream_end: str


def crash_in_mid_stream(server: RegistryServer, model: str) -> Crash:
    """Stream an answer, kill the gateway process that carries it, and see what becomes of the request.

    Args:
        server: The registry.
        model: The model to ask.

    Raises:
        DemoError: The request was not given back, or the kill was not noticed.
    """
    with closing(connect(server.url)) as client, told_as_sentence("The ninth request was not answered"):
        stream = Stream(client, model, QUESTION, max_tokens=MAX_TOKENS)
        with closing(stream):
            text = "".join(stream.next_text() for _ in range(PIECES_BEFORE))
            pending_before = server.pending(stream.served.backend)
            if stream.finished or pending_before < 1:
                raise DemoError("The ninth answer was over before its gateway process could be killed.")
            killed_at = time.perf_counter()
            kill(server, stream.served.gateway)
            pending_after = wait_until_free(server, stream.served.backend)
            freed_ms = (time.perf_counter() - killed_at) * 1000
            end = how_it_ends(stream)
            return Crash(stream.served, text, pending_before, killed_at, pending_after, freed_ms, end)


def kill(server: RegistryServer, gateway: Gateway) -> None:
    """Send SIGKILL to a gateway process and see it die.

    Raises:
        DemoError: The process is none of this registry's, or does not die.
    """
    family = {child.pid: child for child in psutil.Process(server.pid).children(recursive=True)}
    process = family.get(gateway.pid)
    if process is None:
        raise DemoError(f"Process {gateway.pid}, named in an answer, does not belong to the registry.")
    os.kill(process.pid, signal.SIGKILL)
    try:
        process.wait(FREED_TIMEOUT_S)
    except psutil.TimeoutExpired as error:
        raise DemoError(f"Process {gateway.pid} did not die of SIGKILL.") from error


def wait_until_free(server: RegistryServer, backend: str) -> int:
    """Wait until no request is in flight on a backend, and return the number seen, which is 0.

    Raises:
        DemoError: Requests were still in flight after some seconds.
    """
    pending = wait_for(lambda: 0 if server.pending(backend) == 0 else None, FREED_TIMEOUT_S)
    if pending is None:
        raise DemoError(
            f"{server.pending(backend)} requests are still counted on {backend} "
            f"{FREED_TIMEOUT_S:.0f} seconds after their gateway process was killed."
        )
    return pending


def how_it_ends(stream: Stream) -> str:
    """Read the rest of a stream whose gateway process is dead; returns the name of the error it ends with.

    Raises:
        DemoError: It ends as if nothing had happened.
    """
    try:
        while stream.next_text():
            pass
    except (openai.OpenAIError, httpx2.HTTPError) as error:
        return type(error).__name__
    raise DemoError("The stream of the killed gateway process ended as if nothing had happened.")


def wait_until_back(server: RegistryServer, lost: Gateway) -> Gateway:
    """Wait until a new process answers under the name of a killed one.

    Args:
        server: The registry.
        lost: The killed process.

    Raises:
        DemoError: None came.
    """

    def successor() -> Gateway | None:
        server.check_alive()
        seen = server.gateways_at_work()
        return next((one for one in seen if one.name == lost.name and one.pid != lost.pid), None)

    back = wait_for(successor, BACK_TIMEOUT_S)
    if back is None:
        raise DemoError(f"{lost.name} did not come back within {BACK_TIMEOUT_S:.0f} seconds.")
    return back
