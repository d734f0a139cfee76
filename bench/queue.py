"""What it costs to ask the owner, beside a bare pipe and beside the standard library's ways; and what a kill does.

Round trips are measured with this process on one processor core and the process it talks to on another, as worker and
owner run in use; to be judged by where the kernel happens to put them would be chance. On one core for both, the time
that a sleeping core takes to wake is not in it: that is shown too, as what a round trip costs in work alone.

A lock is there for several processes at once, so the increment under a manager's lock is compared where several
processes increment at once; one alone is shown too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from statistics import median

from bench import kill_trials, peers
from bench.crowd import changes_a_second
from bench.figures import Figure, at_least, at_most
from bench.processes import Peers, cores, on_core
from bench.timing import Sampler, in_rounds, p50_us, ratio
from registry import Backend, Registry, Supervisor, Worker

SECONDS = 35.0

TRIALS = 20

TRIALS_SHARE = 0.35
"""Part of the time that the kill trials may take."""

IN_FLIGHT = 100
"""Changes that are asked for together where they are pipelined."""

_BACKEND = Backend(url="http://127.0.0.1:8000")


CROWD = 4
"""Processes that increment at the same time."""

Rounds = dict[str, list[float]]


def run(seconds: float) -> Iterator[Figure]:
    """Measure; takes some seconds longer than told if that is less than the processes need to start."""
    start = time.monotonic()
    there, here = cores()[0], cores()[-1]
    with Peers() as processes:
        crowds = _crowds(processes)
        with on_core(there):
            alone = _samplers(processes)
            samplers = {name: _on(here, sample) for name, sample in alone.items()}
            samplers |= {f"one_core_{name}": _on(there, alone[name]) for name in ("pipe", "ask", "manager")}
            samplers |= crowds
            rounds = in_rounds(samplers, seconds * (1 - TRIALS_SHARE) - (time.monotonic() - start))
    yield from _figures(rounds)
    yield from _kills(seconds - (time.monotonic() - start))


def _samplers(processes: Peers) -> dict[str, Sampler]:
    supervisor = _system(processes)
    return {
        "pipe": p50_us(peers.raw_pipes(processes)),
        "ask": p50_us(_ask(supervisor)),
        "message_queue": p50_us(peers.message_queue(processes)),
        "simple_queue": p50_us(peers.simple_queues(processes)),
        "mp_queue": p50_us(peers.standard_queues(processes)),
        "manager": p50_us(peers.ManagerCount(processes).increment),
        "pipelined": _pipelined(supervisor, processes),
    }


def _crowds(processes: Peers) -> dict[str, Sampler]:
    """Processes that increment at once; the kernel places them, for there are more of them than cores."""
    supervisor = _system(processes)
    workers = [supervisor.spawn(increment_for_ever, _BACKEND.id) for _ in range(CROWD)]
    count = peers.ManagerCount(processes)
    return {
        "crowd_ask": changes_a_second(processes, _pids(supervisor, workers), lambda: _pending(supervisor)),
        "crowd_manager": changes_a_second(processes, count.crowd(CROWD), count.read),
    }


def _system(processes: Peers) -> Supervisor:
    supervisor = processes.enter_context(Supervisor())
    supervisor.registry.add_backend(_BACKEND)
    return supervisor


def increment_for_ever(registry: Registry, id: str) -> None:
    """A worker of the crowd."""
    while True:
        registry.increment_pending(id)


def _pids(supervisor: Supervisor, workers: list[Worker]) -> list[int]:
    """The workers' process ids, once all of them have begun."""
    while not all(info.ready for info in supervisor.processes()):
        time.sleep(0.01)
    return [worker.pid or 0 for worker in workers]


def _pending(supervisor: Supervisor) -> int:
    backend = supervisor.registry.get_backend(_BACKEND.id)
    return 0 if backend is None else backend.pending_requests


def _on(core: int, sample: Sampler) -> Sampler:
    """The same with this process on a core of its own choice, wherever the others are."""

    def moved(seconds: float) -> float:
        with on_core(core):
            return sample(seconds)

    return moved


def _ask(supervisor: Supervisor) -> Callable[[], object]:
    registry = supervisor.registry
    id = _BACKEND.id

    def increment() -> None:
        registry.increment_pending(id)

    return increment


def _pipelined(supervisor: Supervisor, processes: Peers) -> Sampler:
    """Gives changes a second: so many in flight, and when all are answered as many again."""
    runner = processes.enter_context(asyncio.Runner())
    id = _BACKEND.id

    registry = runner.run(supervisor.async_registry())

    async def leave() -> None:
        registry.close()

    processes.callback(lambda: runner.run(leave()))

    async def change(seconds: float) -> float:
        start = time.perf_counter()
        changes = 0
        while (taken_s := time.perf_counter() - start) < seconds:
            await asyncio.gather(*(registry.increment_pending(id) for _ in range(IN_FLIGHT)))
            changes += IN_FLIGHT
        return changes / taken_s

    return lambda seconds: runner.run(change(seconds))


def _figures(rounds: Rounds) -> Iterator[Figure]:
    p50 = {name: median(values) for name, values in rounds.items()}
    dearer = ratio(rounds["ask"], rounds["pipe"])
    faster = ratio(rounds["crowd_ask"], rounds["crowd_manager"])
    queue = "a request and its answer over two multiprocessing."
    crowd = f"increments of {CROWD} processes at once"
    yield Figure("pipe_ping_pong_p50", p50["pipe"], "µs", about="one byte there and back over two raw pipes")
    yield Figure("ask_p50", p50["ask"], "µs", about="Registry.increment_pending")
    yield Figure("ask_over_pipe", dearer, "x", goal=at_most(3), about="how much dearer an ask is than the ping-pong")
    yield Figure("message_queue_p50", p50["message_queue"], "µs", about="a request and its answer over a MessageQueue")
    yield Figure("simple_queue_p50", p50["simple_queue"], "µs", about=f"{queue}SimpleQueue")
    yield Figure("mp_queue_p50", p50["mp_queue"], "µs", about=f"{queue}Queue")
    yield Figure("asked_changes", p50["crowd_ask"], "1/s", about=crowd)
    yield Figure("manager_changes", p50["crowd_manager"], "1/s", about=f"{crowd}, Manager().dict under Manager().Lock")
    yield Figure("manager_over_ask", faster, "x", goal=at_least(7), about="how much faster asking is than that")
    yield Figure("manager_increment_p50", p50["manager"], "µs", about="the same by one process alone")
    yield Figure("manager_alone_over_ask", ratio(rounds["manager"], rounds["ask"]), "x", about="alone, how much faster")
    yield Figure("pipelined_changes", p50["pipelined"], "1/s", about=f"AsyncRegistry, {IN_FLIGHT} in flight")
    yield from _figures_of_one_core(rounds)


def _figures_of_one_core(rounds: Rounds) -> Iterator[Figure]:
    pipe, ask, manager = (rounds[f"one_core_{name}"] for name in ("pipe", "ask", "manager"))
    yield Figure("one_core_pipe_ping_pong_p50", median(pipe), "µs", about="the ping-pong, both processes on one core")
    yield Figure("one_core_ask_p50", median(ask), "µs", about="the ask, both processes on one core")
    yield Figure("one_core_ask_over_pipe", ratio(ask, pipe), "x", about="the same ratio on one core")
    yield Figure("one_core_manager_alone_over_ask", ratio(manager, ask), "x", about="the same ratio on one core")


def _kills(seconds: float) -> Iterator[Figure]:
    makers = {"mp_queue": kill_trials.standard_queue, "ours": kill_trials.message_queue}
    tallies = kill_trials.run(makers, TRIALS, seconds)
    for name, what in (("mp_queue", "multiprocessing.Queue"), ("ours", "MessageQueue")):
        tally = tallies[name]
        about = f"a waiting reader of a {what} was killed, the next one got its message"
        yield Figure(f"{name}_survives_kill", tally.survived, f"of {tally.trials}", about=about)
