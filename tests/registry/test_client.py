"""The message API: the same behaviour of both faces, on every event loop, against a real owner process."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import pydoc
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any, cast

import pytest
import uvloop

from actors.errors import CallTimeout, CommandInvalid, MessageTooLarge, OutcomeUnknown, SystemStopped
from registry import (
    AsyncRegistry,
    Backend,
    BackendNotFound,
    BackendStatus,
    DuplicateBackend,
    InvalidField,
    LeaseNotFound,
    Model,
    ModelNotFound,
    NoBackendAvailable,
    Outcome,
    Registry,
    Supervisor,
)
from registry.operations import Operations, operation
from tests.actors.faces import SilentOwner
from tests.polling import until

Behaviour = Callable[[AsyncRegistry], Coroutine[Any, Any, None]]

A = Backend(url="http://a:8000", id="a", models=(Model(id="m"),), status=BackendStatus.HEALTHY)
B = Backend(url="http://b:8000", id="b", models=(Model(id="m"), Model(id="n")), status=BackendStatus.HEALTHY)


class Awaited:
    """The blocking face with operations that can be awaited, so that one behaviour fits both."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        blocking = getattr(self._registry, name)
        if not isinstance(getattr(Operations, name, None), operation) and name != "owner_statistics":
            return blocking

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return blocking(*args, **kwargs)

        return awaited

    @asynccontextmanager
    async def lease(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with self._registry.lease(*args, **kwargs) as lease:
            yield lease


@pytest.fixture(scope="module")
def running_supervisor() -> Iterator[Supervisor]:
    """One system for all tests of this module."""
    with Supervisor() as supervisor:
        yield supervisor


@pytest.fixture
def supervisor(running_supervisor: Supervisor) -> Iterator[Supervisor]:
    """The system with nothing in it; at the end of each test nothing is held any more."""
    registry = running_supervisor.registry
    for view in registry.get_all_backends(fresh=True):
        registry.remove_backend(view.id)
    yield running_supervisor
    until(lambda: not registry.get_leases(), "all leases are given back")


def owner_pid(supervisor: Supervisor) -> int:
    """The process id of the owner at this moment."""
    pid = supervisor.processes()[0].pid
    assert pid is not None
    return pid


def run_on(face: str, behaviour: Behaviour, supervisor: Supervisor) -> None:
    """Run a behaviour with a session of its own on one of the faces."""
    channel = supervisor._handle.attach()

    async def with_async_face() -> None:
        registry = AsyncRegistry(channel)
        try:
            async with asyncio.timeout(30):
                await behaviour(registry)
        finally:
            registry.close()

    async def with_blocking_face() -> None:
        registry = Registry(channel)
        try:
            await behaviour(cast("AsyncRegistry", Awaited(registry)))
        finally:
            registry.close()

    if face == "blocking":
        asyncio.run(with_blocking_face())
    elif face == "asyncio":
        asyncio.run(with_async_face())
    else:
        uvloop.run(with_async_face())


def on(*faces: str) -> Callable[[Behaviour], Callable[[str, Supervisor], None]]:
    """Make a test of a behaviour on these faces."""

    def decorate(behaviour: Behaviour) -> Callable[[str, Supervisor], None]:
        @functools.wraps(behaviour)
        def test(face: str, supervisor: Supervisor) -> None:
            run_on(face, behaviour, supervisor)

        del test.__wrapped__  # pytest must see this signature, not the behaviour's
        return cast("Callable[[str, Supervisor], None]", pytest.mark.parametrize("face", faces)(test))

    return decorate


on_every_face = on("blocking", "asyncio", "uvloop")
on_async_faces = on("asyncio", "uvloop")


@on_every_face
async def test_backends_can_be_added_read_and_removed(registry: AsyncRegistry) -> None:
    """What is added is read with its values, and removed with them."""
    assert await registry.get_all_backends() == []
    await registry.add_backend(A)
    await registry.add_backend(B)
    assert [view.id for view in await registry.get_all_backends()] == ["a", "b"]
    view = await registry.get_backend("b")
    assert view is not None
    assert (view.url, view.status, view.models) == (B.url, B.status, B.models)
    assert [one.id for one in await registry.get_backends_for_model("n")] == ["b"]
    assert (await registry.backend_count(), await registry.model_count()) == (2, 2)
    assert await registry.has_backend_url("HTTP://A:8000/") is True
    assert (await registry.remove_backend("b")).id == "b"
    assert await registry.get_backend("b") is None
    assert await registry.get_models() == ["m"]


@on_every_face
async def test_status_and_models_can_be_updated(registry: AsyncRegistry) -> None:
    """Updates are seen by whoever made them in the next read."""
    await registry.add_backend(A)
    await registry.update_status("a", BackendStatus.UNHEALTHY, "connection refused")
    await registry.update_models("a", [Model(id="x", context_length=9)])
    view = await registry.get_backend("a")
    assert view is not None
    assert (view.status, view.last_error) == (BackendStatus.UNHEALTHY, "connection refused")
    assert view.models == (Model(id="x", context_length=9),)
    assert await registry.get_healthy_backends() == []


@on_every_face
async def test_counters(registry: AsyncRegistry) -> None:
    """Counters give their new values."""
    await registry.add_backend(A)
    assert [await registry.increment_pending("a") for _ in range(2)] == [1, 2]
    assert await registry.decrement_pending("a") == 1
    assert await registry.increment_total_requests("a") == 1
    assert [await registry.update_latency("a", sample) for sample in (100, 200, 150)] == [100, 120, 126]
    view = await registry.get_backend("a")
    assert view is not None
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (1, 1, 126)


@on_every_face
async def test_revision_rises_with_durable_changes_only(registry: AsyncRegistry) -> None:
    """A durable change takes the next number, counting and reading take none."""
    await registry.add_backend(A)
    first = registry.revision
    await registry.increment_pending("a")
    await registry.get_backend("a")
    assert registry.revision == first
    await registry.update_status("a", BackendStatus.DRAINING)
    assert registry.revision == first + 1


@on_every_face
async def test_statistics_of_the_session_and_of_the_owner(registry: AsyncRegistry) -> None:
    """Both are snapshots, and agree on what both know."""
    await registry.add_backend(A)
    ours, owners = registry.statistics(), await registry.owner_statistics()
    assert (ours.asked, ours.answered, ours.unanswered) == (1, 1, 0)
    assert (owners.epoch, owners.revision) == (ours.epoch, ours.revision)
    assert owners.commands >= 1
    assert sum(owners.journal_ms.counts) >= 1


@on_every_face
async def test_acquire_and_release(registry: AsyncRegistry) -> None:
    """A lease is counted while it is held, and as one request when it is given back."""
    await registry.add_backend(A)
    lease = await registry.acquire("m", lease_s=60)
    assert (lease.backend, lease.url, lease.model) == ("a", "http://a:8000", "m")
    (held,) = await registry.get_leases()
    assert (held.id, round(held.age_s + held.remaining_s)) == (lease.id, 60)
    await registry.release(lease, latency_ms=7)
    view = await registry.get_backend("a", fresh=True)
    assert view is not None
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (0, 1, 7)


@on_every_face
async def test_lease_block(registry: AsyncRegistry) -> None:
    """A block holds a lease to its end and counts as a success."""
    await registry.add_backend(A)
    async with registry.lease("m") as lease:
        (held,) = await registry.get_leases()
        assert held.id == lease.id
    assert await registry.get_leases() == []
    assert [one.outcome for one in (await registry.metrics()).traffic] == [Outcome.OK]


@on_every_face
async def test_lease_block_that_fails(registry: AsyncRegistry) -> None:
    """An exception leaves the block as it is, and the lease is given back as a failure."""
    await registry.add_backend(A)
    with pytest.raises(ZeroDivisionError):
        async with registry.lease("m"):
            _ = 1 // 0
    assert await registry.get_leases() == []
    assert [one.outcome for one in (await registry.metrics()).traffic] == [Outcome.SERVER_ERROR]


@on_every_face
async def test_errors_are_typed_and_carry_their_fields(registry: AsyncRegistry) -> None:
    """A refusal arrives as the same class with the same details as the owner raised."""
    await registry.add_backend(A)
    with pytest.raises(DuplicateBackend, match=r"^backend already exists: a$") as duplicate:
        await registry.add_backend(A)
    assert duplicate.value.id == "a"
    for refused in (
        registry.remove_backend("x"),
        registry.update_status("x", BackendStatus.HEALTHY),
        registry.update_models("x", []),
        registry.increment_pending("x"),
        registry.decrement_pending("x"),
        registry.increment_total_requests("x"),
        registry.update_latency("x", 1),
    ):
        with pytest.raises(BackendNotFound, match=r"^backend not found: x$") as missing:
            await refused
        assert missing.value.id == "x"
    with pytest.raises(ModelNotFound) as unknown:
        await registry.acquire("x")
    assert (unknown.value.model, unknown.value.available) == ("x", ["m"])
    with pytest.raises(NoBackendAvailable) as unavailable:
        await registry.acquire("m", exclude=["a"])
    assert unavailable.value.model == "m"
    assert unavailable.value.retry_after_s > 0


@on_every_face
async def test_double_release(registry: AsyncRegistry) -> None:
    """A lease is given back once."""
    await registry.add_backend(A)
    lease = await registry.acquire("m")
    await registry.release(lease)
    with pytest.raises(LeaseNotFound) as refusal:
        await registry.release(lease)
    assert refusal.value.lease == lease.id


@on_every_face
async def test_wrong_values_name_their_field(registry: AsyncRegistry) -> None:
    """A value of a wrong type or out of its limits is refused with the name of its field, and changes nothing."""
    await registry.add_backend(A)
    revision = registry.revision
    wrong: Any = registry
    for refused, field in (
        (wrong.get_backend(7), "id"),
        (wrong.get_backend(""), "id"),
        (wrong.get_backend("i" * 513), "id"),
        (wrong.update_latency("a", "fast"), "latency_ms"),
        (wrong.update_latency("a", -1), "latency_ms"),
        (wrong.update_latency("a", 1.5), "latency_ms"),
        (wrong.update_status("a", "fine"), "status"),
        (wrong.update_status("a", BackendStatus.HEALTHY, "e" * 4_097), "error"),
        (wrong.acquire("m", lease_s=0), "lease_s"),
        (wrong.acquire(None), "model"),
        (wrong.acquire("m", exclude=[7]), "exclude[0]"),
    ):
        with pytest.raises(CommandInvalid) as refusal:
            await refused
        assert refusal.value.field == field
    assert registry.revision == revision
    assert await registry.get_leases() == []


@on_every_face
async def test_what_is_no_model_object_is_refused(registry: AsyncRegistry) -> None:
    """A name where a model or a backend is wanted is refused before it is sent, and the error says which."""
    await registry.add_backend(A)
    wrong: Any = registry
    for ask, arguments, reason in (
        (wrong.update_models, ("a", ["m"]), r"^models\[0\]: must be a Model, not 'm'$"),
        (wrong.update_models, ("a", "m"), r"^models\[0\]: must be a Model, not 'm'$"),
        (wrong.update_models, ("a", None), "^models: must be a list of Models, not None$"),
        (wrong.add_backend, ("b",), "^backend: must be a Backend, not 'b'$"),
        (wrong.put_backend, ({"id": "b"},), "^backend: must be a Backend, not "),
    ):
        with pytest.raises(InvalidField, match=reason):
            await ask(*arguments)


def test_a_registry_shows_its_session(running_supervisor: Supervisor) -> None:
    """Its representation is short, and says which session it is and whether that is over."""

    async def shown() -> tuple[str, str, int]:
        registry = await running_supervisor.async_registry()
        await registry.backend_count(fresh=True)
        before = repr(registry)
        registry.close()
        return before, repr(registry), registry.statistics().session

    registry = running_supervisor.registry
    registry.backend_count(fresh=True)
    assert repr(registry) == f"<Registry session {registry.statistics().session}>"
    open_one, closed_one, number = asyncio.run(shown())
    assert open_one == f"<AsyncRegistry session {number}>"
    assert closed_one == f"<AsyncRegistry session {number}, closed>"


def test_an_operation_is_an_unbound_method_of_its_class(running_supervisor: Supervisor) -> None:
    """It can be called with the registry as first argument, and its signature and help say what it takes and gives."""
    registry = running_supervisor.registry
    assert Registry.backend_count(registry, fresh=True) == registry.backend_count(fresh=True)
    rest = "id: 'str', *, fresh: 'bool' = False) -> 'BackendView | None'"
    assert str(inspect.signature(Registry.get_backend)) == f"(self, {rest}"
    assert str(inspect.signature(registry.get_backend)) == f"({rest}"
    assert f"get_backend(self, {rest}" in pydoc.plain(pydoc.render_doc(Registry.get_backend))
    no_registry: Any = "m"
    with pytest.raises(TypeError, match="acquire needs a registry as its first argument, not 'm'"):
        Registry.acquire(no_registry, "m")


@on_every_face
async def test_message_too_large_is_refused_at_the_sender(registry: AsyncRegistry) -> None:
    """A command over the queue's limit is not sent, and the next one is."""
    huge = [Model(id="m" * 1_000, name="n" * 1_000) for _ in range(9_000)]
    with pytest.raises(MessageTooLarge) as refusal:
        await registry.update_models("a", huge)
    assert refusal.value.size > refusal.value.limit
    assert await registry.backend_count() == 0


@on_every_face
async def test_closed_registry(registry: AsyncRegistry) -> None:
    """After `close` every call says that the session is over."""
    registry.close()
    with pytest.raises(SystemStopped):
        await registry.get_all_backends()
    registry.close()


@on_async_faces
async def test_cancelled_acquire_gives_its_lease_back(registry: AsyncRegistry) -> None:
    """A lease that is granted to a caller who was cancelled is given back by itself."""
    await registry.add_backend(A)
    waiting = asyncio.create_task(registry.acquire("m"))
    await asyncio.sleep(0)  # it is now on its way, and its answer is not here yet
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await registry.backend_count(fresh=True)  # answered after the grant, so the release is now on its way too
    assert await registry.get_leases() == []
    assert [(one.outcome, one.requests) for one in (await registry.metrics()).traffic] == [(Outcome.CANCELLED, 1)]


@on_async_faces
async def test_cancelled_lease_block(registry: AsyncRegistry) -> None:
    """Cancelling a block gives its lease back."""
    await registry.add_backend(A)
    held = asyncio.Event()

    async def hold() -> None:
        async with registry.lease("m"):
            held.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await held.wait()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert await registry.get_leases() == []


@on_async_faces
async def test_many_calls_at_once(registry: AsyncRegistry) -> None:
    """More calls than the window admits are all answered, each with its own number."""
    await registry.add_backend(A)
    numbers = await asyncio.gather(*(registry.increment_pending("a") for _ in range(3_000)))
    assert sorted(numbers) == list(range(1, 3_001))


@on_async_faces
async def test_release_nowait_is_done_before_what_follows(registry: AsyncRegistry) -> None:
    """Giving back without waiting is in order with the calls after it."""
    await registry.add_backend(A)
    for _ in range(50):
        registry.release_nowait(await registry.acquire("m"))
        assert await registry.get_leases() == []


@pytest.mark.parametrize("face", ["blocking", "asyncio", "uvloop"])
def test_call_to_a_stopped_owner_ends_at_its_deadline(face: str, supervisor: Supervisor) -> None:
    """A call that is not answered in time says that its fate is unknown, and leaves no lease behind."""
    supervisor.registry.add_backend(A)

    async def behaviour(registry: AsyncRegistry) -> None:
        assert await registry.backend_count() == 1
        os.kill(owner_pid(supervisor), signal.SIGSTOP)
        try:
            with pytest.raises(OutcomeUnknown):
                await registry.acquire("m", timeout=0.1)
        finally:
            os.kill(owner_pid(supervisor), signal.SIGCONT)
        assert await registry.backend_count(fresh=True) == 1
        assert await registry.get_leases() == []

    run_on(face, behaviour, supervisor)


@pytest.mark.parametrize("face", ["blocking", "asyncio", "uvloop"])
def test_grant_that_comes_too_late_is_given_back(face: str, supervisor: Supervisor) -> None:
    """An owner that comes back after the deadline of one call answers the next, and nothing is held for the first."""
    supervisor.registry.add_backend(A)

    async def behaviour(registry: AsyncRegistry) -> None:
        await registry.backend_count(fresh=True)
        os.kill(owner_pid(supervisor), signal.SIGKILL)
        # The next owner takes longer than this to start; the command waits in the queue and is resent to it.
        with pytest.raises((OutcomeUnknown, CallTimeout)):
            await registry.acquire("m", timeout=0.001)
        assert await registry.backend_count(fresh=True) == 1
        assert await registry.get_leases() == []

    run_on(face, behaviour, supervisor)


@pytest.mark.parametrize("face", ["blocking", "asyncio", "uvloop"])
def test_owner_that_is_killed_is_not_noticed(face: str, supervisor: Supervisor) -> None:
    """A session outlives the owner: its lease, its counts and its numbers go on, and nothing is counted twice."""
    supervisor.registry.add_backend(A)
    before = owner_pid(supervisor)

    async def behaviour(registry: AsyncRegistry) -> None:
        lease = await registry.acquire("m")
        numbers = [await registry.increment_pending("a") for _ in range(5)]
        revision = registry.revision
        os.kill(owner_pid(supervisor), signal.SIGKILL)
        numbers += [await registry.increment_pending("a") for _ in range(5)]
        assert numbers == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
        await registry.update_status("a", BackendStatus.DRAINING)
        assert registry.revision == revision + 1
        await registry.release(lease)
        assert (await registry.increment_pending("a"), await registry.get_leases()) == (11, [])

    run_on(face, behaviour, supervisor)
    assert owner_pid(supervisor) != before


def test_sessions_see_each_others_changes_and_keep_their_own_leases(supervisor: Supervisor) -> None:
    """What one session changes another reads; what it holds only it can give back."""
    first, second = supervisor.registry, Registry(supervisor._handle.attach())
    first.add_backend(A)
    assert [view.id for view in second.get_all_backends(fresh=True)] == ["a"]
    lease = first.acquire("m")
    with pytest.raises(LeaseNotFound):
        second.release(lease)
    first.release(lease)
    second.close()


def test_closing_gives_back_what_was_held(supervisor: Supervisor) -> None:
    """Leases and increments end with their session."""
    leaving = Registry(supervisor._handle.attach())
    leaving.add_backend(A)
    leaving.acquire("m")
    leaving.increment_pending("a")
    leaving.close()

    def pending() -> int:
        view = supervisor.registry.get_backend("a", fresh=True)
        assert view is not None
        return view.pending_requests

    until(lambda: pending() == 0, "the lease and the increment are given back")


def test_threads_share_one_registry(supervisor: Supervisor) -> None:
    """Eight threads count through one registry, and each gets its own answers."""
    registry = supervisor.registry
    registry.add_backend(A)
    numbers: list[list[int]] = [[] for _ in range(8)]
    begin = threading.Barrier(8)

    def count(own: list[int]) -> None:
        begin.wait()
        for _ in range(250):
            own.append(registry.increment_pending("a"))
            with registry.lease("m") as lease:
                assert lease.backend == "a"

    threads = [threading.Thread(target=count, args=(own,)) for own in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Leases of the others were pending at times too, so the numbers are not simply 1, 2, 3.
    assert all(1 <= number <= 8 * 251 for own in numbers for number in own)
    view = registry.get_backend("a", fresh=True)
    assert view is not None
    assert (view.pending_requests, view.total_requests) == (8 * 250, 8 * 250)
    for _ in range(8 * 250):
        registry.decrement_pending("a")


def test_threads_see_no_backend_come_and_go_halfway(supervisor: Supervisor) -> None:
    """While a backend is added and removed again and again, a reader sees it whole or not at all."""
    registry = supervisor.registry
    stop = threading.Event()
    broken: list[object] = []

    def read() -> None:
        while not stop.is_set():
            views = registry.get_backends_for_model("n", fresh=True)
            if any(view.models != B.models for view in views):
                broken.append(views)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(200):
        registry.add_backend(B)
        registry.remove_backend("b")
    stop.set()
    for reader in readers:
        reader.join()
    assert broken == []


def test_both_faces_have_the_same_operations() -> None:
    """An operation is written once and is on both faces, with a docstring."""
    operations = {name for name in dir(Operations) if isinstance(getattr(Operations, name), operation)}
    assert {"add_backend", "acquire", "release", "get_leases"} <= operations
    for name in operations:
        assert getattr(Registry, name) is getattr(AsyncRegistry, name)
        assert getattr(Registry, name).__doc__


def test_all_are_told_that_the_session_is_over_and_nobody_counts_that() -> None:
    """An error that can no longer be counted keeps nobody from being told."""

    async def scene(silent: SilentOwner) -> None:
        registry = AsyncRegistry(silent.workers_end)
        registry._client._readable()  # the window is open
        told: list[str] = []

        def refuse(error: object) -> None:
            told.append(type(error).__name__)
            registry.count_http_error(503)

        for name in ("a", "b", "c"):
            registry.perform_then(Operations.heartbeat.call(name), refuse)
        registry.close()
        assert told == ["SystemStopped"] * 3

    silent = SilentOwner()
    with closing(silent.end):
        uvloop.run(scene(silent))
