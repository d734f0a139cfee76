"""What is recorded outlives the process that recorded it, and nothing is taken for more than it tells."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from actors.errors import OutcomeUnknown
from registry.errors import BackendNotFound
from tests.forking import forked
from tests.linearizability.history import Operation, Recorder, read
from tests.linearizability.model import partitions
from tests.polling import until


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    """With its arguments, its result or refusal, and instants around it, in order."""
    before = time.monotonic_ns()
    recorder = Recorder(tmp_path / "h")
    assert recorder.record("add", ("a", ("x", "y"), None), lambda: [1, ["b"]]) == [1, ["b"]]

    def refuse() -> None:
        raise BackendNotFound("a")

    assert recorder.record("get", (), refuse) is None
    recorder.close()
    added, got = read(tmp_path / "h", 7)
    instants = [before, added.called_ns, added.returned_ns, got.called_ns, got.returned_ns, time.monotonic_ns()]
    assert instants == sorted(one for one in instants if one is not None)
    assert added == Operation(7, "add", ("a", ("x", "y"), None), added.called_ns, added.returned_ns, (1, ("b",)))
    assert got == Operation(7, "get", (), got.called_ns, got.returned_ns, None, "BackendNotFound")


def test_what_a_killed_process_was_doing_is_unknown(tmp_path: Path) -> None:
    """Its call is there, and that nobody knows more."""
    recorder = Recorder(tmp_path / "h")

    def live() -> None:
        recorder.record("first", (), lambda: 1)
        recorder.record("second", (2,), signal.pause)

    with forked(live) as process:
        until(lambda: len(list(read(tmp_path / "h", 1))) == 2, "its second call")
        process.kill()
    recorder.close()
    first, second = read(tmp_path / "h", 1)
    assert first.is_known
    assert second == Operation(1, "second", (2,), second.called_ns)
    assert not second.is_known


@pytest.mark.parametrize("kept", [1, 10])
def test_line_that_was_not_finished_tells_nothing(tmp_path: Path, kept: int) -> None:
    """Half a return is none, and half a call was never sent."""
    recorder = Recorder(tmp_path / "h")
    recorder.record("first", (), lambda: 1)
    called, returned = (tmp_path / "h").read_bytes().splitlines(keepends=True)
    (tmp_path / "h").write_bytes(called + returned[:kept])
    assert [one.is_known for one in read(tmp_path / "h", 1)] == [False]
    (tmp_path / "h").write_bytes(called[:kept])
    assert list(read(tmp_path / "h", 1)) == []
    recorder.close()


def test_error_that_tells_nothing_is_not_recorded_as_an_answer(tmp_path: Path) -> None:
    """Without an answer of the owner the operation stays unknown, and the process fails."""
    recorder = Recorder(tmp_path / "h")

    def ask() -> None:
        raise OutcomeUnknown

    with pytest.raises(OutcomeUnknown):
        recorder.record("first", (), ask)
    recorder.close()
    assert [one.is_known for one in read(tmp_path / "h", 1)] == [False]


def test_history_is_divided_by_backend() -> None:
    """Each operation is in the part of its backend, the end of a process in all parts."""
    of_a = [Operation(1, "get_backend", ("a",), 1), Operation(1, "acquire", ("a/x",), 2)]
    of_b = [Operation(2, "release", (7, "b", None), 3), Operation(2, "get_backends_for_model", ("b/y",), 4)]
    end = Operation(1, "end", (), 5)
    assert partitions([*of_a, end, *of_b]) == [[*of_a, end], [*of_b, end]]


@pytest.mark.parametrize("name", ["get_all_backends", "get_healthy_backends", "backend_count", "acquire"])
def test_operation_on_all_backends_leaves_a_history_whole(name: str) -> None:
    """One that sees several backends at one moment ties their parts together."""
    history = [
        Operation(1, "get_backend", ("a",), 1),
        Operation(1, name, ("x",) if name == "acquire" else (), 2),
        Operation(1, "get_backend", ("b",), 3),
    ]
    assert partitions(history) == [history]
