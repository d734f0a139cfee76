"""The Starlette application and its paths."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from actors.errors import ActorsError, CommandInvalid
from registry.api.backends import Backends
from registry.api.exposition import MetricsPage
from registry.api.probes import Probes
from registry.api.problems import PROBLEM_JSON, problem_body
from registry.api.reading import ReadableRegistry


def create_app(registry: ReadableRegistry, *, is_draining: Callable[[], bool]) -> Starlette:
    """Make the control plane.

    Args:
        registry: What it shows.
        is_draining: Whether this process takes no new clients any more; then it is not ready.
    """
    probes = Probes(registry, is_draining)
    backends = Backends(registry)
    app = Starlette(
        routes=[
            Route("/health", probes.health),
            Route("/livez", probes.live),
            Route("/readyz", probes.ready),
            Route("/metrics", MetricsPage(registry).get),
            Route("/backends", backends.list),
            Route("/backends/{id:path}", backends.get),
        ],
        exception_handlers={HTTPException: _http_problem, ActorsError: _registry_problem},
    )
    # A path means one thing; guessing at another one would send a client away with the wrong host behind a
    # proxy.
    app.router.redirect_slashes = False
    return app


async def _http_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"There is nothing at {request.url.path}."
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        detail = f"{request.method} is not allowed for {request.url.path}."
    return _problem(error.status_code, detail, headers)


async def _registry_problem(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- a Starlette handler
    if isinstance(error, CommandInvalid):
        return _problem(HTTPStatus.BAD_REQUEST, str(error), {})
    detail = f"The registry does not answer: {error}"
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "1"})


def _problem(status: int, detail: str, headers: dict[str, str]) -> Response:
    return Response(problem_body(status, detail), status, headers, media_type=PROBLEM_JSON)
