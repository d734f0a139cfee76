"""What it costs to ask the owner, beside a bare pipe and beside the standard library's ways; and what a kill does.

Round trips are measured with both processes on one processor core: that is what they cost in instructions, system
calls and changes of process, and it is the same from run to run. On two cores, and even more where the kernel moves
the processes about, most of a round trip is the time that a sleeping core takes to wake, which says nothing of the
software and differs several times over from one moment to the next. It is shown too, without a goal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from statistics import median

from bench import kill_trials, peers
from bench.figures import Figure, at_least, at_most
from bench.processes import Peers, cores, on_core
from bench.timing import Sampler, in_rounds, p50_us, ratio
from registry import AsyncRegistry, Backend, Supervisor

SECONDS = 35.0

TRIALS = 20

TRIALS_SHARE = 0.35
"""Part of the time that the kill trials may take."""

IN_FLIGHT = 100
"""Changes that are asked for together where they are pipelined."""

_BACKEND = Backend(url="http://127.0.0.1:8000")


def run(seconds: float) -> Iterator[Figure]:
    """Measure; takes some seconds longer than told if that is less than the processes need to start."""
    start = time.monotonic()
    here, *elsewhere = reversed(cores())
    with on_core(here), Peers() as processes:
        samplers = _samplers(processes)
        if elsewhere:
            for name in ("pipe", "ask"):
                samplers[f"{name}_two_cores"] = _moved(samplers[name], elsewhere[-1])
        spent_s = time.monotonic() - start
        rounds = in_rounds(samplers, seconds * (1 - TRIALS_SHARE) - spent_s)
    yield from _figures(rounds)
    if elsewhere:
        yield from _figures_of_two_cores(rounds["pipe_two_cores"], rounds["ask_two_cores"])
    yield from _kills(seconds - (time.monotonic() - start))


def _samplers(processes: Peers) -> dict[str, Sampler]:
    supervisor = processes.enter_context(Supervisor())
    supervisor.registry.add_backend(_BACKEND)
    return {
        "pipe": p50_us(peers.raw_pipes(processes)),
        "ask": p50_us(_ask(supervisor)),
        "message_queue": p50_us(peers.message_queue(processes)),
        "simple_queue": p50_us(peers.simple_queues(processes)),
        "mp_queue": p50_us(peers.standard_queues(processes)),
        "manager": p50_us(peers.manager(processes)),
        "pipelined": _pipelined(supervisor, processes),
    }


def _moved(sample: Sampler, core: int) -> Sampler:
    """The same with this process on another core than all the others."""

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

    async def join() -> AsyncRegistry:
        return AsyncRegistry(supervisor._handle.attach())  # noqa: SLF001 - no public call gives an asyncio session yet

    registry = runner.run(join())

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


def _figures(rounds: dict[str, list[float]]) -> Iterator[Figure]:
    p50 = {name: median(values) for name, values in rounds.items()}
    dearer = ratio(rounds["ask"], rounds["pipe"])
    faster = ratio(rounds["manager"], rounds["ask"])
    queue = "a request and its answer over two multiprocessing."
    yield Figure("pipe_ping_pong_p50", p50["pipe"], "µs", about="one byte there and back over two raw pipes")
    yield Figure("ask_p50", p50["ask"], "µs", about="Registry.increment_pending")
    yield Figure("ask_over_pipe", dearer, "x", goal=at_most(3), about="how much dearer an ask is than the ping-pong")
    yield Figure("message_queue_p50", p50["message_queue"], "µs", about="a request and its answer over a MessageQueue")
    yield Figure("simple_queue_p50", p50["simple_queue"], "µs", about=f"{queue}SimpleQueue")
    yield Figure("mp_queue_p50", p50["mp_queue"], "µs", about=f"{queue}Queue")
    yield Figure("manager_increment_p50", p50["manager"], "µs", about="Manager().dict under Manager().Lock")
    yield Figure("manager_over_ask", faster, "x", goal=at_least(7), about="how much faster an ask is than that")
    yield Figure("pipelined_changes", p50["pipelined"], "1/s", about=f"AsyncRegistry, {IN_FLIGHT} in flight")


def _figures_of_two_cores(pipe: list[float], ask: list[float]) -> Iterator[Figure]:
    yield Figure("two_cores_pipe_ping_pong_p50", median(pipe), "µs", about="the ping-pong between two cores")
    yield Figure("two_cores_ask_p50", median(ask), "µs", about="the ask between two cores")
    yield Figure("two_cores_ask_over_pipe", ratio(ask, pipe), "x", about="the same ratio between two cores")


def _kills(seconds: float) -> Iterator[Figure]:
    makers = {"mp_queue": kill_trials.standard_queue, "ours": kill_trials.message_queue}
    tallies = kill_trials.run(makers, TRIALS, seconds)
    for name, what in (("mp_queue", "multiprocessing.Queue"), ("ours", "MessageQueue")):
        tally = tallies[name]
        about = f"a waiting reader of a {what} was killed, the next one got its message"
        yield Figure(f"{name}_survives_kill", tally.survived, f"of {tally.trials}", about=about)
