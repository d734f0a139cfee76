"""Backends: which there are and how they are configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from registry import commands as c
from registry.kinds import BackendStatus, BackendType
from registry.models import Backend, BackendList, BackendView, Model
from registry.operations.calls import Call, all_checked, checked, listing, none, operation, reader, reading
from registry.state.records import BackendListing, BackendState

_bool = reader(bool)
_names = reader(list[str])
_counts = reader(tuple[int, int])
_state = reader(BackendState)
_state_or_none = reader(BackendState | None)
_states = reader(list[BackendState])
_listing = reader(BackendListing)


def _view(raw: msgspec.Raw) -> BackendView:
    return BackendView.of(_state(raw))


def _view_or_none(raw: msgspec.Raw) -> BackendView | None:
    state = _state_or_none(raw)
    return None if state is None else BackendView.of(state)


def _views(raw: msgspec.Raw) -> list[BackendView]:
    return [BackendView.of(state) for state in _states(raw)]


def _list(raw: msgspec.Raw) -> BackendList:
    return BackendList.of(_listing(raw))


class BackendOperations:
    """Operations on backends. What takes `fresh` is read from this process's own copy, up to date if that is set."""

    @operation
    @staticmethod
    def add_backend(backend: Backend) -> Call[None]:
        """Add a backend.

        Raises:
            DuplicateBackend: There is one of this id; it is left as it is.
        """
        return Call(c.AddBackend(checked("backend", backend, Backend).record()), none)

    @operation
    @staticmethod
    def put_backend(
        backend: Backend, *, expected_revision: int | None = None, only_new: bool = False
    ) -> Call[BackendView]:
        """Add a backend, or give the one of this id another configuration; its counts and leases stay.

        Args:
            backend: The whole configuration. One that is there keeps its status unless `status` is given here.
            expected_revision: Do it only if the backend is there and has this revision.
            only_new: Do it only if the backend is not there.

        Raises:
            RevisionMismatch: It has another revision, or is not there.
            DuplicateBackend: It is there, and `only_new` was given.
        """
        keep_status = "status" not in checked("backend", backend, Backend).model_fields_set
        return Call(c.PutBackend(backend.record(), keep_status, expected_revision, only_new), _view)

    @operation
    @staticmethod
    def update_backend(
        id: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        weight: int | None = None,
        max_concurrency: int | UnsetType | None = UNSET,
        metadata: Mapping[str, str] | None = None,
        expected_revision: int | None = None,
    ) -> Call[BackendView]:
        """Change what is given, as a whole or not at all.

        Args:
            id: The backend.
            name: For people.
            labels: All of its labels from now on.
            priority: Lower is preferred, where a policy looks at it.
            weight: How many requests it is given for each one of a backend of weight 1.
            max_concurrency: Most requests in flight on it; None for no limit.
            metadata: All of its metadata from now on.
            expected_revision: Do it only if the backend has this revision.

        Raises:
            BackendNotFound: There is none of this id.
            RevisionMismatch: It has another revision.
            CommandInvalid: A value is out of its limits.
        """
        command = c.UpdateBackend(
            id,
            name=UNSET if name is None else name,
            labels=UNSET if labels is None else dict(labels),
            priority=UNSET if priority is None else priority,
            weight=UNSET if weight is None else weight,
            max_concurrency=max_concurrency,
            metadata=UNSET if metadata is None else dict(metadata),
            expected_revision=expected_revision,
        )
        return Call(command, _view)

    @operation
    @staticmethod
    def remove_backend(id: str, *, expected_revision: int | None = None) -> Call[BackendView]:
        """Remove a backend; returns it as it was. Requests in flight on it go on.

        Args:
            id: The backend.
            expected_revision: Do it only if the backend has this revision.

        Raises:
            BackendNotFound: There is none of this id.
            RevisionMismatch: It has another revision.
        """
        return Call(c.RemoveBackend(id, expected_revision), _view)

    @operation
    @staticmethod
    def drain_backend(id: str) -> Call[BackendView]:
        """Give a backend nothing new; what it has in flight it finishes.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.DrainBackend(id), _view)

    @operation
    @staticmethod
    def undrain_backend(id: str) -> Call[BackendView]:
        """End the draining of a backend: the next check decides whether it is healthy. Nothing if it does not drain.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.UndrainBackend(id), _view)

    @reading
    @staticmethod
    def get_backend(id: str, *, fresh: bool = False) -> Call[BackendView | None]:  # noqa: ARG004 - for `reading`
        """A backend, or None."""
        return Call(c.GetBackend(id), _view_or_none, changes=False)

    @listing
    @staticmethod
    def get_all_backends(*, fresh: bool = False) -> Call[list[BackendView]]:  # noqa: ARG004 - for `reading`
        """All backends, in order of their arrival, at one moment."""
        return Call(c.GetBackends(), _views, changes=False)

    @listing
    @staticmethod
    def get_healthy_backends(*, fresh: bool = False) -> Call[list[BackendView]]:  # noqa: ARG004 - for `reading`
        """The backends that may be given requests."""
        return Call(c.GetBackends(status=BackendStatus.HEALTHY), _views, changes=False)

    @listing
    @staticmethod
    def get_backends_for_model(model_id: str, *, fresh: bool = False) -> Call[list[BackendView]]:  # noqa: ARG004 - for `reading`
        """The backends that have a model, whatever their status, in the order in which they came to have it."""
        return Call(c.GetBackends(model=model_id), _views, changes=False)

    @listing
    @staticmethod
    def list_backends(
        *,
        model: str | None = None,
        status: BackendStatus | None = None,
        backend_type: BackendType | None = None,
        label: Mapping[str, str] | None = None,
        fresh: bool = True,  # noqa: ARG004 - for `listing`
    ) -> Call[BackendList]:
        """The backends that are all of what is given, and the revision at that moment.

        Args:
            model: They have this model.
            status: They are in this status.
            backend_type: They are of this type.
            label: They have all these labels.
            fresh: Whether the copy that they are read from is brought up to date before.
        """
        command = c.ListBackends(model, status, backend_type, dict(label or {}))
        return Call(command, _list, changes=False)

    @listing
    @staticmethod
    def get_models(*, fresh: bool = False) -> Call[list[str]]:  # noqa: ARG004 - for `reading`
        """Sorted ids of the models that healthy backends have."""
        return Call(c.GetModels(), _names, changes=False)

    @reading
    @staticmethod
    def backend_count(*, fresh: bool = False) -> Call[int]:  # noqa: ARG004 - for `reading`
        """Number of backends."""
        return Call(c.CountAll(), lambda raw: _counts(raw)[0], changes=False)

    @reading
    @staticmethod
    def model_count(*, fresh: bool = False) -> Call[int]:  # noqa: ARG004 - for `reading`
        """Number of distinct models of all backends, whatever their status."""
        return Call(c.CountAll(), lambda raw: _counts(raw)[1], changes=False)

    @reading
    @staticmethod
    def has_backend_url(url: str, *, fresh: bool = False) -> Call[bool]:  # noqa: ARG004 - for `reading`
        """Whether a backend has this URL, in whatever spelling."""
        return Call(c.HasBackendUrl(url), _bool, changes=False)

    @operation
    @staticmethod
    def update_status(
        id: str, status: BackendStatus, error: str | None = None, *, keep_draining: bool = False
    ) -> Call[None]:
        """Note the result of a check, now; a healthy backend has no error.

        Args:
            id: The backend.
            status: Its status from now on.
            error: Why it is not healthy.
            keep_draining: Leave a backend that drains as it is: a check that was under way when an operator drained it
                must not undo that.

        Raises:
            BackendNotFound: There is none of this id.
        """
        return Call(c.UpdateStatus(id, status, error, keep_draining), none)

    @operation
    @staticmethod
    def update_models(id: str, models: Sequence[Model]) -> Call[None]:
        """Replace all models of a backend at once.

        Raises:
            BackendNotFound: There is none of this id.
            InvalidField: `models` is no list of models.
        """
        records = tuple(model.record() for model in all_checked("models", models, Model))
        return Call(c.UpdateModels(id, records), none)
