"""The registry's public models: what goes in and out at the edges, as JSON and in Python."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from actors.forks import LINEAGE
from actors.history import StoredStep
from registry.errors import InvalidField
from registry.kinds import BackendRole, BackendStatus, BackendType, Connection, DiscoverySource
from registry.state.records import (
    MAX_CONCURRENCY,
    MAX_LABELS,
    MAX_METADATA,
    MAX_MODELS,
    MAX_WEIGHT,
    BackendListing,
    BackendRecord,
    BackendState,
    HeldLease,
    ModelRecord,
)
from registry.urls import MAX_URL_CHARS, URL_PATTERN, id_from_url, normalise_url


def _url(value: str) -> str:
    try:
        return normalise_url(value)
    except InvalidField as error:
        raise ValueError(error.reason) from error


Url = Annotated[
    str, Field(min_length=1, max_length=MAX_URL_CHARS, json_schema_extra={"pattern": URL_PATTERN}), AfterValidator(_url)
]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Text = Annotated[str, Field(max_length=4096)]


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Strict, so that a mistyped one is told and not guessed: "5" is no number, and 1 is not true. But 5.0 is 5, in JSON.
_WHOLE = BeforeValidator(_whole)
Flag = Annotated[bool, Field(strict=True)]
Tokens = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1), _WHOLE]
Priority = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1), _WHOLE]
Weight = Annotated[int, Field(strict=True, ge=1, le=MAX_WEIGHT), _WHOLE]
Concurrency = Annotated[int, Field(strict=True, ge=1, le=MAX_CONCURRENCY), _WHOLE]
Labels = Annotated[dict[Name, Text], Field(max_length=MAX_LABELS)]
Metadata = Annotated[dict[Name, Text], Field(max_length=MAX_METADATA)]


class Model(BaseModel):
    """A model that a backend has.

    Attributes:
        id: What requests ask for, such as `llama3:70b`.
        name: For people; the id unless given.
        context_length: Longest context in tokens.
        supports_vision: Whether it takes images.
        supports_tools: Whether it calls functions.
        supports_json_mode: Whether it can be held to JSON.
        max_output_tokens: Longest answer in tokens, if there is a limit of its own.

    >>> Model(id="llama3:70b").name
    'llama3:70b'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=1024)]
    name: Annotated[str, Field(max_length=1024)] = ""
    context_length: Tokens = 4096
    supports_vision: Flag = False
    supports_tools: Flag = False
    supports_json_mode: Flag = False
    max_output_tokens: Tokens | None = None

    @model_validator(mode="after")
    def _name_is_id_unless_given(self) -> Self:
        if not self.name:
            object.__setattr__(self, "name", self.id)
        return self

    def record(self) -> ModelRecord:
        """The compact form for the owner."""
        return ModelRecord(**self.model_dump())


class Backend(BaseModel):
    """An AI server to be added.

    Attributes:
        url: Its base address, `http` or `https`, without the API's `/v1`.
        id: Its id; what stands after the scheme of the URL unless given.
        name: For people; the id unless given.
        backend_type: What software it runs.
        models: What it has.
        status: Only a healthy backend is given requests.
        priority: Lower is preferred, where a policy looks at it.
        discovery_source: How it became known.
        metadata: Whatever else is known of it. No secrets: it is stored and shown.
        labels: To choose backends by in lists.
        weight: How many requests it is given for each one of a backend of weight 1.
        max_concurrency: Most requests in flight on it; None for no limit.
        role: Which part of a request it does.
        connection: How it is spoken to.

    >>> Backend(url="http://127.0.0.1:8001/", models=[Model(id="m")]).id
    '127.0.0.1:8001'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Url
    id: Annotated[str, Field(max_length=512)] = ""
    name: Annotated[str, Field(max_length=512)] = ""
    backend_type: BackendType = BackendType.GENERIC
    models: Annotated[Sequence[Model], Field(max_length=MAX_MODELS), AfterValidator(tuple)] = ()
    status: BackendStatus = BackendStatus.UNKNOWN
    priority: Priority = 0
    discovery_source: DiscoverySource = DiscoverySource.MANUAL
    metadata: Metadata = {}
    labels: Labels = {}
    weight: Weight = 1
    max_concurrency: Concurrency | None = None
    role: BackendRole = BackendRole.REGULAR
    connection: Connection = Connection.HTTP

    @model_validator(mode="after")
    def _id_from_url_unless_given(self) -> Self:
        if not self.id:
            object.__setattr__(self, "id", id_from_url(self.url)[:512])
        if not self.name:
            object.__setattr__(self, "name", self.id)
        return self

    def record(self) -> BackendRecord:
        """The compact form for the owner."""
        return msgspec.convert(self.model_dump(), BackendRecord)


class BackendView(BaseModel):
    """A backend at one moment: an immutable snapshot.

    Attributes:
        last_health_check: When it was last checked, or added (UTC).
        last_error: Why it is not healthy, if that is known.
        pending_requests: Requests in flight at that moment.
        total_requests: Requests that have ended since it was added.
        avg_latency_ms: Moving average of whole requests; 0 before the first.
        revision: Number of the latest durable change of this backend; counts and checks are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    url: str
    backend_type: BackendType
    status: BackendStatus
    last_health_check: datetime
    last_error: str | None = None
    models: tuple[Model, ...]
    priority: int
    pending_requests: int
    total_requests: int
    avg_latency_ms: int
    discovery_source: DiscoverySource
    metadata: dict[str, str]
    labels: dict[str, str] = {}
    weight: int = 1
    max_concurrency: int | None = None
    role: BackendRole = BackendRole.REGULAR
    connection: Connection = Connection.HTTP
    revision: int = 0

    @classmethod
    def of(cls, state: BackendState) -> Self:
        """The view of what the owner hands out (which it has checked before)."""
        record = state.record
        return cls.model_construct(
            id=record.id,
            name=record.name,
            url=record.url,
            backend_type=record.backend_type,
            status=record.status,
            last_health_check=datetime.fromtimestamp(record.last_health_check_s, UTC),
            last_error=record.last_error,
            models=tuple(Model.model_construct(**msgspec.structs.asdict(model)) for model in record.models),
            priority=record.priority,
            pending_requests=state.pending_requests,
            total_requests=state.total_requests,
            avg_latency_ms=state.avg_latency_ms,
            discovery_source=record.discovery_source,
            metadata=record.metadata,
            labels=record.labels,
            weight=record.weight,
            max_concurrency=record.max_concurrency,
            role=record.role,
            connection=record.connection,
            revision=record.revision,
        )


class BackendList(BaseModel):
    """Some backends at one moment.

    Attributes:
        revision: Number of the latest durable change at that moment.
        backends: In order of their arrival.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    backends: tuple[BackendView, ...]

    @classmethod
    def of(cls, listing: BackendListing) -> Self:
        """The list of what the owner hands out (which it has checked before)."""
        return cls.model_construct(
            revision=listing.revision, backends=tuple(BackendView.of(state) for state in listing.backends)
        )


class LeaseView(BaseModel):
    """A lease at one moment: who has a request in flight on which backend.

    Attributes:
        id: Its number.
        backend: Id of the backend.
        model: The model asked for.
        session: Number of the session that holds it.
        holder: Name of that session's process, as in the history; empty if nobody knows it.
        age_s: Seconds since it was granted.
        remaining_s: Seconds until it is taken back by itself; below 0 if that is overdue by a moment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    backend: str
    model: str
    session: int
    holder: str
    age_s: float
    remaining_s: float

    @classmethod
    def of(cls, held: HeldLease) -> Self:
        """The view of what the owner hands out."""
        return cls.model_construct(**msgspec.structs.asdict(held))


class RowChange(BaseModel):
    """What became of one record of the durable state.

    Attributes:
        table: The table that it is in, such as `backends`.
        key: Its key there.
        before: What it was; None if it was not there.
        after: What it is; None if it is not there any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    key: Any
    before: Any
    after: Any


class Change(BaseModel):
    """One durable change: what a command did, or an atomic batch, or an event.

    Attributes:
        revision: Its number; they rise by one.
        at: When it was made (UTC).
        session: The session that made it; 0 for the owner itself.
        by: The name of that session's process, such as `gateway-1` or `attached pid 4711`; empty if nobody knows it.
        cause: What made it: the command's name, `Batch`, `tick` or `session_ended`.
        rows: The records that it changed, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    at: datetime
    session: int
    by: str
    cause: str
    rows: tuple[RowChange, ...]

    @classmethod
    def of(cls, step: StoredStep) -> Self:
        """The change that a step of the history stands for."""
        return cls.model_construct(
            revision=step.revision,
            at=datetime.fromtimestamp(step.wall_s, UTC),
            session=step.session,
            by=step.by,
            cause=step.cause,
            rows=tuple(
                RowChange.model_construct(table=row.table, key=row.key, before=row.before, after=row.after)
                for row in step.changes
            ),
        )


class Lease(msgspec.Struct, frozen=True):
    """The right to have one request in flight on one backend, until it is released.

    Attributes:
        id: Its number.
        backend: Id of the backend.
        url: The backend's base address.
        model: The model asked for.
        deadline_s: Instant on `CLOCK_MONOTONIC` when it ends by itself.
        generation: See `actors.forks`: the process that holds it.
    """

    id: int
    backend: str
    url: str
    model: str
    deadline_s: float
    generation: int = msgspec.field(default_factory=lambda: LINEAGE.generation)

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one that holds it; then to release it here does nothing."""
        return self.generation != LINEAGE.generation
