"""Named backends, registered and watched: a real owner, and small real HTTP servers that stand in for AI servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx2
import pytest

from registry import AsyncRegistry, Backend, BackendStatus, BackendView, DiscoverySource, Model, Supervisor
from registry.discovery.static import DOUBTS, ModelWatch, http_client, reconcile
from tests.registry.discovery.stand_in import ModelServer, answer, listing, model_server

STATIC = DiscoverySource.STATIC


@pytest.fixture(scope="module")
def running_supervisor() -> Iterator[Supervisor]:
    """One system for all tests of this module."""
    with Supervisor() as supervisor:
        yield supervisor


@pytest.fixture
def run(running_supervisor: Supervisor) -> Callable[[Callable[[AsyncRegistry], Coroutine[Any, Any, None]]], None]:
    """Runs an async test with an empty registry."""
    for view in running_supervisor.registry.get_all_backends(fresh=True):
        running_supervisor.registry.remove_backend(view.id)

    def run_one(test: Callable[[AsyncRegistry], Coroutine[Any, Any, None]]) -> None:
        async def with_registry() -> None:
            registry = AsyncRegistry(running_supervisor._handle.attach())
            try:
                async with asyncio.timeout(30):
                    await test(registry)
            finally:
                registry.close()

        asyncio.run(with_registry())

    return run_one


Run = Callable[[Callable[[AsyncRegistry], Coroutine[Any, Any, None]]], None]


async def view_of(registry: AsyncRegistry, id: str) -> BackendView:
    """A backend that is there."""
    view = await registry.get_backend(id, fresh=True)
    assert view is not None
    return view


def named(id: str, **fields: Any) -> Backend:
    """A backend as the operator names it."""
    return Backend(**{"id": id, "url": f"http://{id}:8000", "discovery_source": STATIC, **fields})


def test_reconcile_adds_what_is_named(run: Run) -> None:
    """Named backends are there afterwards, not asked yet."""

    async def test(registry: AsyncRegistry) -> None:
        await reconcile(registry, [named("a"), named("b")])
        views = await registry.get_all_backends(fresh=True)
        assert [(view.id, view.status, view.discovery_source) for view in views] == [
            ("a", BackendStatus.UNKNOWN, STATIC),
            ("b", BackendStatus.UNKNOWN, STATIC),
        ]

    run(test)


def test_reconcile_again_changes_nothing(run: Run) -> None:
    """Backends that are there already keep their models, their status and their counts, without a durable change."""

    async def test(registry: AsyncRegistry) -> None:
        await reconcile(registry, [named("a")])
        await registry.update_models("a", [Model(id="m")])
        await registry.update_status("a", BackendStatus.HEALTHY)
        lease = await registry.acquire("m")
        before, revision = await view_of(registry, "a"), registry.revision
        await reconcile(registry, [named("a")])
        assert await view_of(registry, "a") == before
        assert registry.revision == revision
        await registry.release(lease)

    run(test)


def test_reconcile_removes_what_is_named_no_more(run: Run) -> None:
    """A static backend that is not named any more goes; one that somebody added by hand stays."""

    async def test(registry: AsyncRegistry) -> None:
        await reconcile(registry, [named("a"), named("b")])
        await registry.add_backend(Backend(id="c", url="http://c"))
        await reconcile(registry, [named("b")])
        assert [view.id for view in await registry.get_all_backends(fresh=True)] == ["b", "c"]

    run(test)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://elsewhere"},
        {"name": "New"},
        {"priority": 7},
        {"weight": 3},
        {"max_concurrency": 4},
        {"labels": {"gpu": "a100"}},
        {"metadata": {"rack": "8"}},
    ],
)
def test_reconcile_replaces_what_has_changed(run: Run, change: dict[str, Any]) -> None:
    """A backend that is named otherwise than before is the new one afterwards."""

    async def test(registry: AsyncRegistry) -> None:
        await reconcile(registry, [named("a")])
        await reconcile(registry, [named("a", **change)])
        ((field, value),) = change.items()
        assert getattr(await view_of(registry, "a"), field) == value

    run(test)


def test_reconcile_leaves_a_hand_added_backend_of_the_same_id(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever added a backend by hand keeps it, and the log says so."""

    async def test(registry: AsyncRegistry) -> None:
        await registry.add_backend(Backend(id="a", url="http://by-hand"))
        await reconcile(registry, [named("a")])
        view = await view_of(registry, "a")
        assert (view.url, view.discovery_source) == ("http://by-hand", DiscoverySource.MANUAL)

    with caplog.at_level(logging.WARNING):
        run(test)
    assert "the backend a was added by hand before" in caplog.text


def watched(
    run: Run, server: ModelServer, test: Callable[[AsyncRegistry, ModelWatch], Coroutine[Any, Any, None]]
) -> None:
    """Run a test with a server that is registered as backend `a`."""

    async def with_watch(registry: AsyncRegistry) -> None:
        await server.start()
        await registry.add_backend(named("a", url=server.url))
        async with http_client() as client:
            client.timeout = httpx2.Timeout(0.3)
            await test(registry, ModelWatch(registry, client, {}))
        await server.stop()

    run(with_watch)


def test_answering_backend_becomes_healthy_with_its_models(run: Run) -> None:
    """One round of questions is enough for a backend to get requests."""

    async def test(registry: AsyncRegistry, watch: ModelWatch) -> None:
        await watch.ask_all()
        view = await view_of(registry, "a")
        assert (view.status, view.last_error) == (BackendStatus.HEALTHY, None)
        assert [model.id for model in view.models] == ["m", "n"]
        assert (await registry.acquire("n")).backend == "a"

    watched(run, ModelServer(listing("m", "n")), test)


def test_backend_that_is_down_at_first_becomes_healthy_later(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A backend that does not run yet is unhealthy with a reason, is told once, and is healthy once it answers."""
    server = ModelServer(listing("m"))

    async def test(registry: AsyncRegistry, watch: ModelWatch) -> None:
        await server.stop()
        await watch.ask_all()
        await watch.ask_all()
        view = await view_of(registry, "a")
        assert view.status is BackendStatus.UNHEALTHY
        assert "no connection" in str(view.last_error)
        await server.start()
        await watch.ask_all()
        view = await view_of(registry, "a")
        assert (view.status, view.last_error, [model.id for model in view.models]) == (
            BackendStatus.HEALTHY,
            None,
            ["m"],
        )

    with caplog.at_level(logging.WARNING):
        watched(run, server, test)
    assert [record.levelname for record in caplog.records if "is not available" in record.message] == ["WARNING"]


def test_a_question_that_is_under_way_does_not_end_a_drain(run: Run) -> None:
    """Whatever its answer is: the backend drains until somebody undrains it."""
    server = ModelServer(None)

    async def test(registry: AsyncRegistry, watch: ModelWatch) -> None:
        asking = asyncio.create_task(watch.ask_all())
        while not server.requests:
            await registry.backend_count(fresh=True)
        await registry.drain_backend("a")
        await asking
        view = await view_of(registry, "a")
        assert (view.status, view.last_error) == (BackendStatus.DRAINING, None)
        await registry.undrain_backend("a")
        await watch.ask_all()
        assert (await view_of(registry, "a")).status is BackendStatus.UNHEALTHY

    watched(run, server, test)


def test_backend_that_dies_becomes_unhealthy_at_once(run: Run) -> None:
    """A refused connection leaves no doubt; the models stay known, so that the error for clients is the right one."""
    server = ModelServer(listing("m"))

    async def test(registry: AsyncRegistry, watch: ModelWatch) -> None:
        await watch.ask_all()
        await server.stop()
        await watch.ask_all()
        view = await view_of(registry, "a")
        assert view.status is BackendStatus.UNHEALTHY
        assert [model.id for model in view.models] == ["m"]
        await server.start()

    watched(run, server, test)


@pytest.mark.parametrize("reply", [None, answer(b"", "500 Internal Server Error"), answer(b"garbage")])
def test_doubts_about_a_healthy_backend(run: Run, reply: bytes | None) -> None:
    """A healthy backend that is slow or answers nonsense is given the benefit of the doubt, a few times in a row."""
    server = ModelServer(listing("m"))

    async def test(registry: AsyncRegistry, watch: ModelWatch) -> None:
        seen = []
        for round_number in range(2 * DOUBTS + 1):
            server.reply = listing("m") if round_number in {0, DOUBTS} else reply
            await watch.ask_all()
            seen.append((await view_of(registry, "a")).status)
        assert set(seen[:-1]) == {BackendStatus.HEALTHY}
        await watch.ask_all()
        view = await view_of(registry, "a")
        assert view.status is BackendStatus.UNHEALTHY
        assert view.last_error

    watched(run, server, test)


def test_draining_backend_is_left_alone(run: Run) -> None:
    """A backend that an operator drains is not asked, and does not become healthy by itself."""
    server = ModelServer(listing("m"))

    async def test(registry: AsyncRegistry, watch: ModelWatch) -> None:
        await registry.update_status("a", BackendStatus.DRAINING)
        await watch.ask_all()
        assert (await view_of(registry, "a")).status is BackendStatus.DRAINING
        assert server.requests == []

    watched(run, server, test)


def test_key_goes_only_to_its_backend(run: Run) -> None:
    """Each backend gets its own key, and one without a key gets none."""

    async def test(registry: AsyncRegistry) -> None:
        async with model_server(listing("m")) as one, model_server(listing("m")) as two, http_client() as client:
            await registry.add_backend(named("one", url=one.url))
            await registry.add_backend(named("two", url=two.url))
            await ModelWatch(registry, client, {one.url: "sk-one"}).ask_all()
            assert "sk-one" in one.requests[0]
            assert "sk-one" not in two.requests[0]

    run(test)


def test_one_slow_backend_keeps_no_other_waiting(run: Run) -> None:
    """All backends are asked at the same time."""

    async def test(registry: AsyncRegistry) -> None:
        async with model_server(None) as slow, model_server(listing("m")) as quick, http_client() as client:
            await registry.add_backend(named("slow", url=slow.url))
            await registry.add_backend(named("quick", url=quick.url))
            asking = asyncio.create_task(ModelWatch(registry, client, {}).ask_all())
            async with asyncio.timeout(10):
                while (await view_of(registry, "quick")).status is not BackendStatus.HEALTHY:  # noqa: ASYNC110 - polls
                    await asyncio.sleep(0)
            assert not asking.done()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    run(test)


def test_backend_that_is_removed_while_it_is_asked(run: Run) -> None:
    """What is found of a backend that is gone meanwhile is dropped."""
    server = ModelServer(listing("m"))

    async def test(registry: AsyncRegistry, watch: ModelWatch) -> None:
        view = await view_of(registry, "a")
        await registry.remove_backend("a")
        watch._doubts["a"] = 0
        await watch._ask(view)
        assert await registry.get_all_backends(fresh=True) == []

    watched(run, server, test)
