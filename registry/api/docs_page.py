"""`/docs`: the OpenAPI document for people, from this server alone.

A page of this server may change things here, so no script of another server may run in it.
"""

from __future__ import annotations

import importlib.resources
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
POLICY = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


class DocsPage:
    """Answers `GET /docs` and what the page loads.

    Args:
        title: Of the page.
    """

    def __init__(self, title: str) -> None:
        self._page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=title,
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="data:,",
            oauth2_redirect_url=None,
        )
        self._page.headers["content-security-policy"] = POLICY

    def add_to(self, router: APIRouter) -> None:
        """Add the paths."""
        router.add_route("/docs", self.page, include_in_schema=False)
        router.add_route("/docs/{name}", self.asset, include_in_schema=False)

    async def page(self, request: Request) -> Response:  # noqa: ARG002 -- a Starlette endpoint
        """`GET /docs`."""
        return self._page

    async def asset(self, request: Request) -> Response:
        """`GET /docs/{name}`: Swagger UI, as the package `fastapi-offline` brings it."""
        name = request.path_params["name"]
        if name not in ASSETS:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        content = (importlib.resources.files("fastapi_offline") / "static" / name).read_bytes()
        return Response(content, media_type=ASSETS[name], headers={"cache-control": "max-age=86400"})
