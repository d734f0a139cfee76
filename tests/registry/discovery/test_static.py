"""Named backends are registered, with a real owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from registry import AsyncRegistry, Backend, BackendStatus, BackendView, DiscoverySource, Model, Supervisor
from registry.discovery.static import reconcile

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


def test_a_backend_of_a_service_becomes_the_operators_when_it_is_named(run: Run) -> None:
    """It is static from then on; another start changes nothing of it."""

    async def test(registry: AsyncRegistry) -> None:
        await registry.add_backend(Backend(id="a", url="http://a:8000", discovery_source=DiscoverySource.SERVICE))
        await reconcile(registry, [named("a")])
        assert (await view_of(registry, "a")).discovery_source is STATIC
        revision = registry.revision
        await reconcile(registry, [named("a")])
        assert registry.revision == revision

    run(test)


async def register(registry: AsyncRegistry, name: str) -> None:
    """A service that is a backend registers itself."""
    await registry.register_service(
        name, host="127.0.0.1", port=8000, hostname="here", url="http://localhost:8000", metadata={"type": "openai-api"}
    )


def test_a_server_that_is_named_needs_no_backend_of_a_service(run: Run) -> None:
    """Under whatever id it is named; when it is not named any more, the service makes a backend again."""

    async def sources(registry: AsyncRegistry) -> list[tuple[str, DiscoverySource]]:
        return [(view.id, view.discovery_source) for view in await registry.get_all_backends(fresh=True)]

    async def test(registry: AsyncRegistry) -> None:
        await register(registry, "s")
        made = [("127.0.0.1:8000", DiscoverySource.SERVICE)]
        assert await sources(registry) == made
        await reconcile(registry, [named("mine", url="http://127.0.0.1:8000/v1")])
        assert await sources(registry) == [("mine", STATIC)]
        await reconcile(registry, [])
        assert await sources(registry) == made
        await registry.remove_service("s")
        assert await sources(registry) == []

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
