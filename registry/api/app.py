"""The FastAPI application and its paths."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from registry.api.admin_key import AdminKey
from registry.api.asked import AskedRegistry
from registry.api.backends import Backends
from registry.api.changes import Changes
from registry.api.docs_page import DocsPage
from registry.api.documented import document
from registry.api.documented_services import SERVICE_SCHEMAS, service_paths
from registry.api.exposition import MetricsPage
from registry.api.leases import Leases
from registry.api.probes import Probes
from registry.api.refusals import answer_errors
from registry.api.requests import AsSent
from registry.api.routes import ControlRoute
from registry.api.status import StatusPage
from registry.version import installed_version


def create_app(
    registry: AskedRegistry, *, leaving: asyncio.Event, admin_key: str | None = None, open_services: bool = False
) -> FastAPI:
    """Make the control plane.

    Args:
        registry: What it shows and changes.
        leaving: Set when this process takes no new clients any more: then it is not ready, and watches end.
        admin_key: The key that every change needs; None lets everybody change things.
        open_services: Whether services need no key, as the document says; the gateway answers for them.
    """
    app = FastAPI(
        title="actor-registry",
        description="The control plane: backends, leases, and what changed.",
        version=installed_version(),
        docs_url=None,
        redoc_url=None,
        # A path means one thing; guessing at another one would send a client away with the wrong host behind a
        # proxy.
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.admin_key = AdminKey(admin_key)
    app.add_middleware(AsSent)
    answer_errors(app)
    app.router.route_class = ControlRoute
    for part in (Backends(registry), Leases(registry), Changes(registry, leaving), StatusPage(registry)):
        part.add_to(app.router)
    app.add_route("/", _to_docs, include_in_schema=False)
    probes = Probes(registry, leaving)
    app.add_route("/livez", probes.live, include_in_schema=False)
    app.add_route("/readyz", probes.ready, include_in_schema=False)
    app.add_route("/metrics", MetricsPage(registry).get, include_in_schema=False)
    DocsPage(app.title).add_to(app.router)
    has_key = admin_key is not None
    services = service_paths(need_key=has_key and not open_services)
    complete = document(app, has_key=has_key, others=services, schemas=SERVICE_SCHEMAS)
    app.openapi = complete  # type: ignore[method-assign]  # as FastAPI's guide does
    return app


async def _to_docs(request: Request) -> Response:  # noqa: ARG001 -- a Starlette endpoint
    """`GET /`: whoever looks in with a browser finds what there is."""
    return RedirectResponse("/docs", HTTPStatus.FOUND)
