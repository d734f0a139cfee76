"""A log that perhaps nobody reads."""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import Iterator

import pytest

from registry.log_writer import LogWriter
from tests.polling import until


class Pipe:
    """A pipe that is full, as far as whole pages go.

    Attributes:
        write: Where the log goes.
        said: What was read from it.
    """

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self.write, False)
        try:
            while True:
                os.write(self.write, bytes(4096))
        except BlockingIOError:
            os.set_blocking(self.write, True)
        self.said = ""

    def lines(self) -> list[str]:
        """The lines that have come so far."""
        with contextlib.suppress(BlockingIOError):  # nothing more for now
            self.said += os.read(self._read, 2**20).replace(b"\0", b"").decode()
        return self.said.splitlines()

    def leave(self) -> None:
        """Read no more."""
        os.close(self._read)

    def close(self) -> None:
        """Let go of both ends."""
        os.close(self.write)
        os.close(self._read)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe that is full."""
    one = Pipe()
    yield one
    one.close()


def logger_of(writer: LogWriter) -> logging.Logger:
    """A logger of a writer's own."""
    logger = logging.getLogger("test of a log")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [writer]
    return logger


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_wait_until_they_are_read(pipe: Pipe, blocking: bool) -> None:
    """All come, in order, also if a program that shares the pipe has set it to never wait."""
    os.set_blocking(pipe.write, blocking)
    writer = LogWriter(pipe.write)
    for number in range(100):
        logger_of(writer).info("line %d", number)
    until(lambda: pipe.lines()[-1:] == ["line 99"], "all was written")
    writer.close()
    assert pipe.lines() == [f"line {number}" for number in range(100)]


def test_lines_too_many_are_dropped_and_counted(pipe: Pipe) -> None:
    """Who logs goes on; what is kept comes in order, then how many were not, then what is logged from then on."""
    writer = LogWriter(pipe.write, most=10)
    for number in range(50):
        logger_of(writer).info("line %d", number)
    until(lambda: "dropped" in "".join(pipe.lines()[-1:]), "it is told")
    *kept, told = pipe.lines()
    assert kept == [f"line {number}" for number in range(len(kept))]
    assert len(kept) in {10, 11}  # one is out of the queue as soon as it is being written
    assert told == f"{50 - len(kept)} lines of the log were dropped, since nobody read it"
    logger_of(writer).info("later")
    until(lambda: pipe.lines()[-1] == "later", "the log goes on")
    writer.close()


@pytest.mark.timeout(20)
def test_end_of_a_log_that_is_read(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end waits until what was logged before is written, and no longer."""
    monkeypatch.setattr("registry.log_writer.LAST_S", 1_000.0)
    pipe.lines()
    writer = LogWriter(pipe.write)
    for number in range(100):
        logger_of(writer).info("line %d", number)
    logging.shutdown([weakref.ref(writer)])
    writer.close()
    assert pipe.lines()[-1] == "line 99"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("most", [1, 1_000])
def test_end_of_a_log_that_nobody_reads(pipe: Pipe, most: int) -> None:
    """The end does not wait for ever, whether or not lines were dropped."""
    writer = LogWriter(pipe.write, most)
    for _ in range(10):
        logger_of(writer).info("line")
    writer.close()
    assert pipe.said == ""
    until(lambda: pipe.lines() and not writer._thread.is_alive(), "it ends when it is read")
    assert pipe.lines()[0] == "line"


def test_reader_that_has_left(pipe: Pipe) -> None:
    """A broken pipe is no error of who logs."""
    broken = Pipe()
    broken.leave()
    writer = LogWriter(broken.write)
    logger_of(writer).info("line")
    writer.close()
    os.close(broken.write)
    assert pipe.lines() == []


def test_mistake_in_a_log_call(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told on standard error, as by the handlers of `logging`, and the next line comes."""
    writer = LogWriter(pipe.write)
    logger_of(writer).info("line %d", "one")
    logger_of(writer).info("line %d", 2)
    until(lambda: pipe.lines() == ["line 2"], "the next line comes")
    writer.close()
    assert "Logging error" in capsys.readouterr().err
