"""A lease taken and given back: ours, and the same two steps over a redis-server and under a manager's lock.

All of them choose, of the backends that have a model, the one with the fewest requests in flight, count a request on it
in the same step, and count it down again once. Ours alone gives it back when the process that held it is killed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

from bench.fleet import Fleet
from bench.peers import manager
from bench.processes import Peers
from bench.redis_peer import RedisServer
from registry import Registry

LEASE_MS = 3_600_000

_ACQUIRE = """
local ids = redis.call('SMEMBERS', KEYS[1])
local counts = redis.call('HMGET', KEYS[2], unpack(ids))
local best, fewest = nil, nil
for i, id in ipairs(ids) do
    local count = tonumber(counts[i]) or 0
    if fewest == nil or count < fewest then best, fewest = id, count end
end
if best == nil then return false end
redis.call('HINCRBY', KEYS[2], best, 1)
redis.call('SET', KEYS[3], best, 'PX', ARGV[1])
return best
"""

_RELEASE = """
local id = redis.call('GETDEL', KEYS[2])
if id then redis.call('HINCRBY', KEYS[1], id, -1) end
return id
"""


def ours(registry: Registry, model: str) -> Callable[[], object]:
    """`acquire` and `release`."""

    def call() -> None:
        registry.release(registry.acquire(model))

    return call


class RedisLeases:
    """Two Lua scripts, so that choosing and counting are one step; a lease is a key that expires.

    Args:
        server: The server.
        fleet: The backends that are registered in it.
    """

    def __init__(self, server: RedisServer, fleet: Fleet) -> None:
        client = server.client()
        with client.pipeline(transaction=False) as pipeline:
            for model in range(fleet.models):
                pipeline.sadd(f"model:{fleet.model_of(model)}", *fleet.serving(model))
            pipeline.execute()
        self._acquire = client.register_script(_ACQUIRE)
        self._release = client.register_script(_RELEASE)
        self._model = f"model:{fleet.model_of(0)}"
        self._numbers = itertools.count()

    def call(self) -> None:
        """Take a lease and give it back."""
        lease = f"lease:{os.getpid()}:{next(self._numbers)}"
        self._acquire(keys=[self._model, "pending", lease], args=[LEASE_MS])
        self._release(keys=["pending", lease])


class ManagerLeases:
    """A `Manager().dict` of counts under a `Manager().Lock`.

    Args:
        peers: Ends the manager.
        fleet: The backends; which of them have the model is known to every process beforehand.
    """

    def __init__(self, peers: Peers, fleet: Fleet) -> None:
        server = manager(peers)
        self._lock = server.Lock()
        self._pending = server.dict(dict.fromkeys(fleet.ids(), 0))
        self._serving = fleet.serving(0)

    def call(self) -> None:
        """Take a lease and give it back."""
        with self._lock:
            counts = self._pending.copy()  # one message; to ask for each count would take one for each backend
            chosen = min(self._serving, key=counts.__getitem__)
            self._pending[chosen] = counts[chosen] + 1
        with self._lock:
            self._pending[chosen] = self._pending[chosen] - 1
