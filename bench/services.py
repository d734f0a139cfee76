"""What the service registry over HTTP can take, beside an aiohttp server with a dict and a lock that does the same.

Both run on the same cores as the eight connections that ask them, one after the other in each round. Ours answers with
two gateway processes and one owner. After that a thousand backends are probed, and the processor time of all processes
of the server is counted.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import urllib.request
from collections.abc import Iterator

from bench import service_systems as systems
from bench.figures import Figure, at_least, at_most
from bench.http_load import CONNECTIONS, Load
from bench.processes import Peers
from bench.rounds import Rounds
from bench.timing import Sampler, in_rounds, percentile

SECONDS = 90.0

ROUNDS_SHARE = 0.5
"""Part of the time for what is measured in rounds; the rest goes into probing."""

SERVICES = 1_000
BACKENDS = 1_000
INTERVAL_S = 30.0
SHORTEST_PROBING_S = 3.0
"""In less time the kernel, which counts hundredths of a second, may have nothing to tell."""

SETTLED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.2
NO_PROBES_S = 3_600.0
"""While requests are counted nothing is probed: the other server does not do it either."""

WORK = ("heartbeat", "register", "change", "list")

LEAST = {"heartbeat": 1.5, "register": 1.5, "list": 1.5}
"""So many times as many it shall be. A registration that changes something is on the disk before it is answered, which
the other server does not do at all."""


def run(seconds: float, seed: int) -> Iterator[Figure]:
    """Measure; takes some seconds longer than told for starting and filling the servers."""
    del seed  # nothing here is left to chance
    yield from _requests(seconds * ROUNDS_SHARE)
    yield from _probing(max(SHORTEST_PROBING_S, min(INTERVAL_S, seconds * (1 - ROUNDS_SHARE))))


# -- requests ------------------------------------------------------------------------------------------------


def _requests(seconds: float) -> Iterator[Figure]:
    with Peers() as processes:
        loads = {"ours": systems.close_with(processes, Load(systems.OurServer(processes, (), NO_PROBES_S).port))}
        if importlib.util.find_spec("aiohttp") is None:
            print(
                "bench: aiohttp is not installed, so its figures are left out (`make bench` installs it).",
                file=sys.stderr,
            )
        else:
            loads["aiohttp"] = systems.close_with(processes, Load(systems.aiohttp_server(processes)))
        samplers: dict[str, Sampler] = {}
        for name, load in loads.items():
            _fill(load)
            for work, requests in _work().items():
                samplers[f"{work}_{name}"] = load.a_second(work, systems.endless(requests))
        for load in loads.values():
            load.latencies_ns.pop("fill")
        rounds = Rounds(in_rounds(samplers, seconds))
        for work in WORK:
            yield from _figures(rounds, loads, work)


def _figures(rounds: Rounds, loads: dict[str, Load], work: str) -> Iterator[Figure]:
    about = {
        "heartbeat": f"heartbeats of {SERVICES:,} services over {CONNECTIONS} connections",
        "register": f"registrations of {SERVICES // 2:,} services, each there already and in the same words",
        "change": f"registrations of {SERVICES // 2:,} services, each there already and changed by it",
        "list": f"GET /services?healthy=true, {SERVICES:,} services in each answer",
    }[work]
    for name, load in loads.items():
        yield rounds.one(f"{work}s_{name}", f"{work}_{name}", "1/s", f"{about}, {name}")
        p99_ms = percentile(load.latencies_ns[work], 99) / 1e6
        yield Figure(f"{work}_p99_{name}", p99_ms, "ms", about="99 % of them are answered within")
    if "aiohttp" in loads:
        ratio = f"{work}s_over_aiohttp"
        goal = at_least(LEAST[work]) if work in LEAST else None
        yield rounds.compared(ratio, f"{work}_ours", f"{work}_aiohttp", "how many times as many", goal)


def _work() -> dict[str, list[bytes]]:
    """The requests of each kind."""
    heartbeat = "POST /services/{}/heartbeat"
    return {
        "heartbeat": [_request(heartbeat.format(_name(number))) for number in range(SERVICES)],
        "register": [_registration(number) for number in range(0, SERVICES, 2)],
        "change": [_registration(number, started) for started in range(2, 4) for number in range(1, SERVICES, 2)],
        "list": [_request("GET /services?healthy=true")],
    }


def _fill(load: Load) -> None:
    """Register all services once."""
    fill = load.a_second("fill", systems.endless([_registration(number) for number in range(SERVICES)]))
    while len(load.latencies_ns["fill"]) < SERVICES:
        fill(LOOK_EVERY_S)


def _name(number: int) -> str:
    return f"service-{number}"


def _registration(number: int, started: int = 1) -> bytes:
    port = 10_000 + number
    body = {
        "name": _name(number),
        "host": "127.0.0.1",
        "hostname": "127.0.0.1",
        "port": port,
        "url": f"http://127.0.0.1:{port}",
        "status": "running",
        "metadata": {"type": "InfiniLM", "babysitter": "enhanced", "started_at": f"2026-01-0{started}T00:00:00"},
    }
    return _request("POST /services", json.dumps(body).encode())


def _request(start: str, body: bytes = b"") -> bytes:
    head = f"{start} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


# -- probing -------------------------------------------------------------------------------------------------


def _probing(seconds: float) -> Iterator[Figure]:
    with Peers() as processes:
        port = systems.model_server(processes)
        urls = [f"http://127.0.0.1:{port}/{number}" for number in range(BACKENDS)]
        server = systems.OurServer(processes, urls, INTERVAL_S)
        _wait_until_probed(server.url)
        before_s, start = server.processor_s(), time.monotonic()
        time.sleep(seconds)
        used_s, passed_s = server.processor_s() - before_s, time.monotonic() - start
        about = f"all processes of the server while it probes {BACKENDS:,} backends, each every {INTERVAL_S:.0f} s"
        yield Figure("probing_1000", used_s / passed_s * 100, "% of a core", goal=at_most(10), about=about)


def _wait_until_probed(url: str) -> None:
    """Wait until all are healthy."""
    end = time.monotonic() + SETTLED_WITHIN_S
    healthy = 0
    while time.monotonic() < end:
        with urllib.request.urlopen(f"{url}/status", timeout=SETTLED_WITHIN_S) as answer:  # noqa: S310 - our own server
            healthy = json.load(answer)["backends"].get("healthy", 0)
        if healthy == BACKENDS:
            return
        time.sleep(LOOK_EVERY_S)
    raise TimeoutError(f"{healthy:,} of {BACKENDS:,} backends were healthy after {SETTLED_WITHIN_S:.0f} s")
