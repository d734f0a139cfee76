"""The figures of the queue benchmark, made from what its rounds measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.figures import Figure, at_least, at_most
from bench.kill_trials import Tally
from bench.rounds import Rounds

QUEUES = {"mp_queue": "multiprocessing.Queue", "ours": "MessageQueue"}


def figures(measured: Mapping[str, list[float]]) -> Iterator[Figure]:
    """The table, in its order; what was not measured is left out."""
    rounds = Rounds(measured)
    yield from _round_trips(rounds)
    yield from _one_core(rounds)
    yield from _crowds(rounds)
    yield from _batches(rounds)
    yield from _load(rounds)


def _round_trips(rounds: Rounds) -> Iterator[Figure]:
    queue = "a request and its answer over"
    yield rounds.one("pipe_ping_pong_p50", "pipe", "µs", "one byte there and back over two raw pipes")
    yield rounds.one("ask_p50", "ask", "µs", "Registry.increment_pending")
    yield rounds.compared("ask_over_pipe", "ask", "pipe", "how much dearer an ask is than the ping-pong", at_most(3))
    yield rounds.one("message_queue_p50", "message_queue", "µs", f"{queue} a MessageQueue")
    yield rounds.one("simple_queue_p50", "simple_queue", "µs", f"{queue} two multiprocessing.SimpleQueue")
    yield rounds.one("mp_queue_p50", "mp_queue", "µs", f"{queue} two multiprocessing.Queue")
    locked = "an increment in a Manager().dict under a Manager().Lock"
    yield rounds.one("manager_p50", "manager", "µs", locked)
    yield rounds.compared("manager_over_ask", "manager", "ask", "how much faster asking is than that", at_least(7))
    if "redis" in rounds:
        yield rounds.one("redis_p50", "redis", "µs", "redis-py HINCRBY, a redis-server on a unix socket")
        yield rounds.compared("redis_over_ask", "redis", "ask", "how much faster asking is than that", at_least(2))
        single = "the same with a client for one thread only"
        yield rounds.compared("redis_single_over_ask", "redis_single", "ask", single)
    if "xoscar" in rounds:
        yield rounds.one("xoscar_p50", "xoscar", "µs", "an increment in an actor of xoscar in another process")
        yield rounds.compared("xoscar_over_ask", "xoscar", "ask", "how much faster asking is than that")


def _one_core(rounds: Rounds) -> Iterator[Figure]:
    one_core = "both processes on one core"
    same = "the same ratio on one core"
    yield rounds.one("one_core_pipe_ping_pong_p50", "one_core_pipe", "µs", f"the ping-pong, {one_core}")
    yield rounds.one("one_core_ask_p50", "one_core_ask", "µs", f"the ask, {one_core}")
    yield rounds.compared("one_core_ask_over_pipe", "one_core_ask", "one_core_pipe", same)
    yield rounds.compared("one_core_manager_over_ask", "one_core_manager", "one_core_ask", same)
    if "one_core_redis" in rounds:
        yield rounds.compared("one_core_redis_over_ask", "one_core_redis", "one_core_ask", same)
        yield rounds.compared("one_core_redis_single_over_ask", "one_core_redis_single", "one_core_ask", same)


def _crowds(rounds: Rounds) -> Iterator[Figure]:
    crowd = "increments of 4 processes at once"
    faster = "how much faster asking is than that"
    yield rounds.one("asked_changes", "crowd_ask", "1/s", crowd)
    yield rounds.one("manager_changes", "crowd_manager", "1/s", f"{crowd}, Manager().dict under Manager().Lock")
    yield rounds.compared("crowd_manager_over_ask", "crowd_ask", "crowd_manager", faster)
    yield rounds.one("asked_changes_of_8", "big_crowd_ask", "1/s", "increments of 8 processes at once")
    together = "beside 1/p50 of one alone"
    alone = rounds.inverted("ask")
    yield alone.compared("together_over_alone", "big_crowd_ask", "ask", together, at_least(0.7))


def _batches(rounds: Rounds) -> Iterator[Figure]:
    yield rounds.one("gathered_changes", "gathered", "1/s", "AsyncRegistry, 100 asks in flight")
    yield rounds.one("pipelined_changes", "pipelined", "1/s", "AsyncRegistry.batch, atomic batches of 100")
    if "redis_pipelined" in rounds:
        more = "how many more changes a second are ours"
        yield rounds.one("redis_pipelined_changes", "redis_pipelined", "1/s", "redis-py, pipelines of 100")
        yield rounds.compared("pipelined_over_redis", "pipelined", "redis_pipelined", more, at_least(3))
    batches = "changes asked for in batches of 64"
    yield rounds.one("durable_changes", "durable", "1/s", f"durable {batches}, each stored in the journal")
    yield rounds.one("other_changes", "not_durable", "1/s", f"other {batches}")
    rate = "how fast the durable ones are beside the others"
    yield rounds.compared("durable_over_other", "durable", "not_durable", rate, at_least(0.5))


def _load(rounds: Rounds) -> Iterator[Figure]:
    yield rounds.one("ask_p50_of_1000_sessions", "ask_of_many", "µs", "the ask where 999 other sessions are idle")
    slower = "how much slower that is than with one session"
    yield rounds.compared("sessions_1000_over_1", "ask_of_many", "ask", slower, at_most(1.5))
    yield rounds.one("polite_p95", "polite", "µs", "95 % of one process's asks take at most this")
    # One ask of 50 KB takes the owner as long as several small ones, so a flood of those has no goal.
    for flood, what, goal in (("tells", "tells", at_most(2)), ("big_asks", "asks of 50 KB each", None)):
        beside = f"polite_beside_{flood}"
        yield rounds.one(f"{beside}_p95", beside, "µs", f"the same while another process floods the owner with {what}")
        yield rounds.compared(f"flood_of_{flood}", beside, "polite", "how much slower that is", goal)


def tally_figures(tallies: Mapping[str, Tally]) -> Iterator[Figure]:
    """How many trials each queue survived."""
    for name, tally in tallies.items():
        about = f"a waiting reader of a {QUEUES[name]} was killed, the next one got its message"
        yield Figure(f"{name}_survives_kill", tally.survived, f"of {tally.trials}", about=about)
