"""What the registry's reads, leases, starts and memory cost, with many backends.

Reads go to the local copy of a worker process. If they are `fresh`, the owner brings that up to date before, or is asked
itself by a process that keeps none. Leases are taken where ten and where ten
thousand backends are registered, and beside them stand the same two steps (choose the least busy backend that has the
model and count a request on it; give it back) over a redis-server and under a manager's lock.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bench import lease_peers
from bench import registry_systems as systems
from bench.figures import Figure
from bench.fleet import Fleet
from bench.processes import Peers, cores, on_core
from bench.redis_peer import RedisServer, find_server
from bench.registry_figures import figures
from bench.timing import Sampler, in_rounds, loop_us, p50_us

SECONDS = 60.0

ROUNDS_SHARE = 0.5
"""Part of the time for what is measured in rounds; the rest goes into filling, starting and joining systems."""

READ_FLEET = Fleet(backends=1_000, models=1_000)
"""Each model on ten backends."""

FEW = Fleet(backends=10, models=10)
MANY = Fleet(backends=10_000, models=1_000)
"""Each model on a hundred backends."""


def run(seconds: float, seed: int) -> Iterator[Figure]:
    """Measure; takes some seconds longer than told if that is less than the systems need to be filled."""
    del seed  # nothing here is left to chance
    there, here = cores()[0], cores()[-1]
    with Peers() as processes:
        with on_core(there):
            samplers = _reads(processes) | _leases(processes)
        with on_core(here):
            rounds = in_rounds(samplers, seconds * ROUNDS_SHARE)
        yield from figures(rounds)
    yield from systems.reads_of_many_processes(READ_FLEET)
    yield from systems.memory()
    yield from systems.starts(MANY)


def _reads(processes: Peers) -> dict[str, Sampler]:
    registry = systems.filled(processes, READ_FLEET).registry
    systems.wait_for_copy(registry)
    id, model = READ_FLEET.id_of(0), READ_FLEET.model_of(0)
    plain = {view.id: view for view in registry.get_all_backends()}
    return {
        "dict": loop_us(lambda: plain.get(id)),
        "get_backend": loop_us(lambda: registry.get_backend(id)),
        "for_model": loop_us(lambda: registry.get_backends_for_model(model)),
        "fresh_get_backend": p50_us(lambda: registry.get_backend(id, fresh=True)),
        "fresh_for_model": p50_us(lambda: registry.get_backends_for_model(model, fresh=True)),
    }


def _leases(processes: Peers) -> dict[str, Sampler]:
    samplers: dict[str, Sampler] = {}
    server = find_server()
    if server is None:
        print("bench: there is no redis-server, so its figures are left out.", file=sys.stderr, flush=True)
    for name, fleet in (("few", FEW), ("many", MANY)):
        registry = systems.filled(processes, fleet).registry
        samplers[f"lease_{name}"] = p50_us(lease_peers.ours(registry, fleet.model_of(0)))
        samplers[f"manager_{name}"] = p50_us(lease_peers.ManagerLeases(processes, fleet).call)
        if server is not None:
            samplers[f"redis_{name}"] = p50_us(lease_peers.RedisLeases(RedisServer(processes, server), fleet).call)
    return samplers
