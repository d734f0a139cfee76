"""`/backends`: what is registered and how it is."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.api.reading import ReadableRegistry
from registry.kinds import BackendStatus
from registry.models import BackendView


class Backends:
    """Answers questions about backends.

    Args:
        registry: Asked each time: the next request may reach another gateway, and must not see an older
            state.
    """

    def __init__(self, registry: ReadableRegistry) -> None:
        self._registry = registry

    async def list(self, request: Request) -> Response:
        """`GET /backends`, with `?model=` and `?status=` to choose."""
        model = request.query_params.get("model")
        status = _status(request.query_params.get("status"))
        # The revision is read first: whoever then asks for the changes since may see one twice, but misses
        # none.
        revision = (await self._registry.metrics()).revision
        backends = [
            backend.model_dump(mode="json")
            for backend in await self._registry.get_all_backends()
            if (status is None or backend.status == status) and (model is None or _offers(backend, model))
        ]
        return JSONResponse({"backends": backends, "revision": revision})

    async def get(self, request: Request) -> Response:
        """`GET /backends/{id}`."""
        backend_id = request.path_params["id"]
        backend = await self._registry.get_backend(backend_id)
        if backend is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"No backend has the id {backend_id!r}.")
        return JSONResponse(backend.model_dump(mode="json"))


def _offers(backend: BackendView, model_id: str) -> bool:
    return any(model.id == model_id for model in backend.models)


def _status(given: str | None) -> BackendStatus | None:
    if given is None:
        return None
    try:
        return BackendStatus(given)
    except ValueError:
        known = ", ".join(status.value for status in BackendStatus)
        message = f"{given!r} is not a status; there are: {known}."
        raise HTTPException(HTTPStatus.BAD_REQUEST, message) from None
