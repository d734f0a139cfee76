"""How requests of the control API are checked before FastAPI reads them, beyond what it checks itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, get_origin

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from registry.api.requests import refuse_without_key

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Longest body of a request here: reading it holds up the streams that the same process serves."""


class ControlRoute(APIRoute):
    """A route that refuses what it does not know: who changes something, parameters, media types of a body.

    The application has an `AdminKey` in `state.admin_key`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the checks."""
        handle = super().get_route_handler()
        accepted = _media_types(self) if self.body_field is not None else None
        # Whether each parameter may be given several times.
        known = {
            field.alias: get_origin(field.field_info.annotation) is list
            for dependant in (self.dependant, *self.dependant.dependencies)
            for field in dependant.query_params
        }

        reads = self.methods == {"GET"}

        async def checked(request: Request) -> Response:
            if not reads:
                refuse_without_key(request.app.state.admin_key, request.headers.get("authorization"))
            _refuse_unknown_parameters(request, known)
            if accepted is not None:
                await _refuse_other_bodies(request, accepted)
            return await handle(request)

        return checked


def _media_types(route: APIRoute) -> list[str]:
    assert route.methods is not None  # noqa: S101 -- every route here has some
    return [JSON, MERGE_PATCH] if "PATCH" in route.methods else [JSON]


def _refuse_unknown_parameters(request: Request, known: dict[str, bool]) -> None:
    given = Counter(name for name, _ in request.query_params.multi_items())
    wrong = [
        {
            "type": "extra_forbidden",
            "loc": ("query", name),
            "msg": "is given more than once" if name in known else "is not a parameter here",
        }
        for name, times in given.items()
        if name not in known or (times > 1 and not known[name])
    ]
    if wrong:
        raise RequestValidationError(wrong)


async def _refuse_other_bodies(request: Request, accepted: list[str]) -> None:
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request body is longer than {MAX_BODY_BYTES:,} bytes."
        )
    if not body:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The request has no body.")
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in accepted:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"The body must be {' or '.join(accepted)}, and it is {given or 'of no media type'}.",
            {"Accept-Patch" if MERGE_PATCH in accepted else "Accept": ", ".join(accepted)},
        )
