"""The figures of the registry benchmark, made from what its rounds measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.figures import Figure, at_most
from bench.rounds import Rounds


def figures(measured: Mapping[str, list[float]]) -> Iterator[Figure]:
    """The table, in its order; what was not measured is left out."""
    rounds = Rounds(measured)
    yield from _reads(rounds)
    yield from _leases(rounds)


def _reads(rounds: Rounds) -> Iterator[Figure]:
    fleet = "of 1,000 backends with 10 models each"
    times = "how many times a plain dict's get that is"
    yield rounds.one("dict_get", "dict", "µs", f"get in a plain dict {fleet}")
    yield rounds.one("get_backend", "get_backend", "µs", f"get_backend {fleet}, local copy", at_most(1))
    yield rounds.compared("get_backend_over_dict", "get_backend", "dict", times)
    hits = "get_backends_for_model, 10 hits"
    yield rounds.one("get_backends_for_model", "for_model", "µs", f"{hits}, local copy", at_most(10))
    yield rounds.compared("get_backends_for_model_over_dict", "for_model", "dict", times)
    yield rounds.one("fresh_get_backend", "fresh_get_backend", "µs", "get_backend, local copy brought up to date by the owner")
    asked = "local copy brought up to date by the owner; the specification allows 1 ms"
    yield rounds.one("fresh_get_backends_for_model", "fresh_for_model", "µs", f"{hits}, {asked}", at_most(1_000))


def _leases(rounds: Rounds) -> Iterator[Figure]:
    pair = "acquire and release,"
    few, many = "10 backends, all of which have the model", "10,000 backends, 100 of which have the model"
    yield rounds.one("lease_of_10", "lease_few", "µs", f"{pair} {few}")
    yield rounds.one("lease_of_10000", "lease_many", "µs", f"{pair} {many}")
    dearer = "how much dearer that is"
    yield rounds.compared("lease_10000_over_10", "lease_many", "lease_few", dearer, at_most(1.5))
    for peer, what in (("redis", "redis-py and a Lua script each"), ("manager", "Manager().dict under Manager().Lock")):
        for size, backends in (("few", few), ("many", many)):
            if f"{peer}_{size}" in rounds:
                count = 10 if size == "few" else 10_000
                yield rounds.one(
                    f"{peer}_lease_of_{count}", f"{peer}_{size}", "µs", f"the same over {what}, {backends}"
                )
                faster = "how much faster ours is"
                yield rounds.compared(f"{peer}_over_lease_of_{count}", f"{peer}_{size}", f"lease_{size}", faster)
