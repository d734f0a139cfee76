"""`/backends`: what is registered, how it is, and changes of it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from urllib.parse import quote

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

from registry.api.asked import AskedRegistry
from registry.api.conditions import MatchTags, PutConditions, Tags, etag
from registry.api.documented import CREATED, FOUND, WITH_BODY, WRITING, Responses, problems
from registry.api.parameters import BackendId, LabelFilter, ModelFilter, StatusFilter, TypeFilter, labels_of
from registry.api.patch import BackendPatch
from registry.errors import BackendNotFound, DuplicateBackend, RevisionMismatch
from registry.models import Backend, BackendList, BackendView

PATCH_TRIES = 50
"""How often a merge is done anew because somebody else changed the backend in the meantime."""


class Backends:
    """Answers questions about backends, and changes them.

    Args:
        registry: Asked each time: the next request may reach another gateway, and must not see an older
            state.
    """

    def __init__(self, registry: AskedRegistry) -> None:
        self._registry = registry
        # One merge after the other, so that only those of other processes get in each other's way.
        self._merging = asyncio.Lock()

    def add_to(self, router: APIRouter) -> None:
        """Add the paths."""
        add, all_of_them, one = router.add_api_route, "/backends", "/backends/{id:backend_id}"
        add(all_of_them, self.list, methods=["GET"], summary="List backends", responses=problems())
        add(
            all_of_them,
            self.add,
            methods=["POST"],
            summary="Add a backend",
            status_code=HTTPStatus.CREATED,
            responses={**CREATED, **problems(*WITH_BODY, 409)},
        )
        created: Responses = {201: {**CREATED[201], "model": BackendView}}
        add(one, self.get, methods=["GET"], summary="Show a backend", responses={**FOUND, **problems(404)})
        put: Responses = {**FOUND, **created, **problems(*WITH_BODY, 409, 412)}
        add(one, self.put, methods=["PUT"], summary="Add or replace a backend", responses=put)
        patched: Responses = {**FOUND, **problems(*WITH_BODY, 404, 412)}
        add(one, self.patch, methods=["PATCH"], summary="Change a backend", responses=patched)
        add(one, self.remove, methods=["DELETE"], summary="Remove a backend", responses=problems(*WRITING, 404, 412))
        acting: Responses = {**FOUND, **problems(*WRITING, 404)}
        add("/backends/{id:path}/drain", self.drain, methods=["POST"], summary="Drain a backend", responses=acting)
        add("/backends/{id:path}/undrain", self.undrain, methods=["POST"], summary="End a drain", responses=acting)

    async def list(
        self,
        label: LabelFilter,
        model: ModelFilter = None,
        status: StatusFilter = None,
        type: TypeFilter = None,
    ) -> BackendList:
        """All backends, or those that are all of what is given, in order of their arrival."""
        return await self._registry.list_backends(model=model, status=status, backend_type=type, label=labels_of(label))

    async def get(self, id: BackendId, response: Response) -> BackendView:
        """One backend."""
        return _shown(await self._present(id), response)

    async def add(self, backend: Backend, response: Response) -> BackendView:
        """Add a backend. One whose id is there already is left as it is: 409."""
        return _created(await self._registry.put_backend(backend, only_new=True), response)

    async def put(self, id: BackendId, backend: Backend, conditions: PutConditions, response: Response) -> BackendView:
        """Add a backend, or replace the whole configuration of the one that is there.

        It keeps its status unless one is given, and its counts and leases in any case.
        """
        if "id" in backend.model_fields_set and backend.id != id:
            raise HTTPException(HTTPStatus.CONFLICT, f"The body is of the backend {backend.id!r}, the path of {id!r}.")
        wanted = _named(backend, id)
        expected = await self._expected(id, conditions.match)
        excluded = conditions.none_match
        if expected is None:
            try:
                return _created(await self._registry.put_backend(wanted, only_new=True), response)
            except DuplicateBackend:
                if excluded is not None and (excluded.any or (await self._present(id)).revision in excluded.revisions):
                    raise _not_met(id) from None
        return _shown(await self._registry.put_backend(wanted, expected_revision=expected), response)

    async def patch(self, id: BackendId, patch: BackendPatch, match: MatchTags, response: Response) -> BackendView:
        """Change some of a backend's configuration; what is not given stays."""
        expected = await self._expected(id, match)
        if patch.needs_present:
            async with self._merging:
                return _shown(await self._merge(id, patch, expected), response)
        changes = patch.changes(None)
        return _shown(await self._registry.update_backend(id, **changes, expected_revision=expected), response)

    async def remove(self, id: BackendId, match: MatchTags) -> BackendView:
        """Remove a backend; answers with it as it was. Requests in flight on it go on."""
        expected = await self._expected(id, match)
        return await self._registry.remove_backend(id, expected_revision=expected)

    async def drain(self, id: BackendId, response: Response) -> BackendView:
        """Give a backend nothing new; what it has in flight it finishes."""
        return _shown(await self._registry.drain_backend(id), response)

    async def undrain(self, id: BackendId, response: Response) -> BackendView:
        """End the draining of a backend: the next check decides whether it is healthy."""
        return _shown(await self._registry.undrain_backend(id), response)

    async def _expected(self, id: str, match: Tags | None) -> int | None:
        """The revision that the backend must have, by `If-Match`."""
        if match is None or match.only is not None:
            return match and match.only
        present = await self._registry.get_backend(id, fresh=True)
        if present is None or not (match.any or present.revision in match.revisions):
            raise _not_met(id)
        return present.revision

    async def _merge(self, id: str, patch: BackendPatch, expected: int | None) -> BackendView:
        for _ in range(PATCH_TRIES):
            present = await self._present(id)
            # What is merged is of this revision, so it must not be written over another one.
            revision = present.revision if expected is None else expected
            try:
                return await self._registry.update_backend(id, **patch.changes(present), expected_revision=revision)
            except RevisionMismatch:
                if expected is not None:
                    raise
        raise HTTPException(
            HTTPStatus.SERVICE_UNAVAILABLE, f"Others change the backend {id!r} all the time.", {"Retry-After": "1"}
        )

    async def _present(self, id: str) -> BackendView:
        backend = await self._registry.get_backend(id, fresh=True)
        if backend is None:
            raise BackendNotFound(id)
        return backend


def _not_met(id: str) -> HTTPException:
    return HTTPException(HTTPStatus.PRECONDITION_FAILED, f"The backend {id!r} is not as the condition says.")


def _named(backend: Backend, id: str) -> Backend:
    """The backend under the id of the path; it is its name too, where none was given."""
    given = {name: getattr(backend, name) for name in backend.model_fields_set}
    return Backend(**{**given, "id": id})


def _shown(backend: BackendView, response: Response) -> BackendView:
    response.headers["ETag"] = etag(backend.revision)
    return backend


def _created(backend: BackendView, response: Response) -> BackendView:
    response.status_code = HTTPStatus.CREATED
    response.headers["Location"] = path_of(backend.id)
    return _shown(backend, response)


def path_of(id: str) -> str:
    """Where a backend is, for any client: one that resolves `..` in a path does not in `%2E%2E`.

    >>> path_of("gpu-1:8000/v1")
    '/backends/gpu-1%3A8000%2Fv1'
    >>> path_of("..")
    '/backends/%2E%2E'
    """
    return "/backends/" + (quote(id, safe="") if id.strip(".") else "%2E" * len(id))
