"""The public models: JSON, defaults, limits, and that they fit the owner's records."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, ValidationError

from registry import commands as c
from registry.kinds import BackendStatus, BackendType, DiscoverySource, Outcome
from registry.models import Backend, BackendView, Model
from registry.state.records import MAX_METADATA, MAX_MODELS, BackendRecord, BackendState, ModelRecord
from tests.registry.state.driver import State
from tests.registry.systems import WHOLE_BACKEND, WHOLE_MODEL


def view() -> BackendView:
    """A view as a client makes it of what the owner hands out."""
    record = msgspec.structs.replace(WHOLE_BACKEND.record(), last_health_check_s=1_750_000_000.25, last_error="slow")
    return BackendView.of(BackendState(record, pending_requests=3, total_requests=2**40, avg_latency_ms=126))


@pytest.mark.parametrize("kind", [BackendType, BackendStatus, DiscoverySource, Outcome])
def test_enum_serialization(kind: type[StrEnum]) -> None:
    """Every word is lower case in JSON, and is read from it again."""
    for member in kind:
        assert member.value == member.name.lower()
        assert json.loads(json.dumps(member)) == member.value
        assert kind(member.value) is member


def test_model_default_values() -> None:
    """A model needs only an id; all keys are in its JSON, also the empty one."""
    assert json.loads(Model(id="m").model_dump_json()) == {
        "id": "m",
        "name": "m",
        "context_length": 4096,
        "supports_vision": False,
        "supports_tools": False,
        "supports_json_mode": False,
        "max_output_tokens": None,
    }


def test_backend_json_roundtrip() -> None:
    """A backend read from its JSON is equal to it; its words are lower case."""
    text = WHOLE_BACKEND.model_dump_json()
    assert Backend.model_validate_json(text) == WHOLE_BACKEND
    assert json.loads(text)["backend_type"] == "vllm"
    assert json.loads(text)["status"] == "unhealthy"


def test_view_of_a_state() -> None:
    """A view shows the record's fields and the counts, and is valid although it is made without checks."""
    seen = view()
    for field in ("id", "name", "url", "backend_type", "status", "models", "priority", "discovery_source", "metadata"):
        assert getattr(seen, field) == getattr(WHOLE_BACKEND, field)
    assert (seen.pending_requests, seen.total_requests, seen.avg_latency_ms) == (3, 2**40, 126)
    assert seen.last_health_check == datetime.fromtimestamp(1_750_000_000.25, UTC)
    assert seen.last_error == "slow"
    assert BackendView.model_validate(seen.model_dump()) == seen


def test_backend_view_json_keys() -> None:
    """The JSON of a view has the specification's keys, with a time that ends in Z."""
    shown = json.loads(view().model_dump_json())
    assert set(shown) == {
        *("id", "name", "url", "backend_type", "status", "last_health_check", "last_error", "models", "priority"),
        *("pending_requests", "total_requests", "avg_latency_ms", "discovery_source", "metadata", "labels"),
        *("weight", "max_concurrency", "role", "connection", "revision"),
    }
    assert shown["last_health_check"] == "2025-06-15T15:06:40.250000Z"


@pytest.mark.parametrize(
    ("public", "record", "own"),
    [(Model, ModelRecord, set()), (Backend, BackendRecord, {"last_health_check_s", "last_error", "revision"})],
)
def test_records_have_the_fields_of_the_models(
    public: type[BaseModel], record: type[msgspec.Struct], own: set[str]
) -> None:
    """The owner's records and the public models do not drift apart."""
    assert set(record.__struct_fields__) - own == set(public.model_fields)


def test_record_of_a_model_and_back() -> None:
    """A model is the same after its way through the owner's form, also through the wire."""
    wire = msgspec.msgpack.encode(WHOLE_BACKEND.record())
    record = msgspec.msgpack.decode(wire, type=BackendRecord)
    assert record == WHOLE_BACKEND.record()
    assert [Model(**msgspec.structs.asdict(model)) for model in record.models] == list(WHOLE_BACKEND.models)


@pytest.mark.parametrize(
    ("cls", "fields", "at"),
    [
        (Model, {"id": ""}, "id"),
        (Model, {"id": "m" * 1_025}, "id"),
        (Model, {}, "id"),
        (Model, {"id": 7}, "id"),
        (Model, {"id": "m", "context_length": -1}, "context_length"),
        (Model, {"id": "m", "context_length": 2**31}, "context_length"),
        (Model, {"id": "m", "max_output_tokens": -1}, "max_output_tokens"),
        (Model, {"id": "m", "contextlength": 1}, "contextlength"),
        (Backend, {}, "url"),
        (Backend, {"url": "ftp://x"}, "url"),
        (Backend, {"url": "http://u:p@x"}, "url"),
        (Backend, {"url": "http://x", "id": "i" * 513}, "id"),
        (Backend, {"url": "http://x", "name": "n" * 513}, "name"),
        (Backend, {"url": "http://x", "priority": 2**31}, "priority"),
        (Backend, {"url": "http://x", "status": "HEALTHY"}, "status"),
        (Backend, {"url": "http://x", "backend_type": "VLLM"}, "backend_type"),
        (Backend, {"url": "http://x", "discovery_source": "guessed"}, "discovery_source"),
        (Backend, {"url": "http://x", "metadata": {str(n): "" for n in range(MAX_METADATA + 1)}}, "metadata"),
        (Backend, {"url": "http://x", "metadata": {"k": "v" * 4_097}}, "metadata"),
        (Backend, {"url": "http://x", "metadata": {"k": 1}}, "metadata"),
        (Backend, {"url": "http://x", "models": [WHOLE_MODEL] * (MAX_MODELS + 1)}, "models"),
        (Backend, {"url": "http://x", "api_key": "made-up"}, "api_key"),
    ],
)
def test_limits(cls: type[BaseModel], fields: dict[str, Any], at: str) -> None:
    """A field out of its limits, of a wrong type or unknown is refused by name."""
    with pytest.raises(ValidationError) as refusal:
        cls.model_validate(fields)
    assert {error["loc"][0] for error in refusal.value.errors()} == {at}


@pytest.mark.parametrize("host", ["h", "0/"])
def test_fields_at_their_limits_fit_the_owner(host: str) -> None:
    """What a public model accepts, the owner understands, up to the last character; also where it makes it longer."""
    widest = Backend(
        url=f"http://{host}".ljust(2048, "h"),
        models=(Model(id="m" * 1_024, context_length=2**31 - 1, max_output_tokens=0),),
        priority=-(2**31),
        metadata={"k" * 512: "v" * 4_096},
    )
    wire = msgspec.msgpack.encode(widest.record())
    State().apply(c.AddBackend(widest.record()))
    assert msgspec.msgpack.decode(wire, type=BackendRecord) == widest.record()


@pytest.mark.parametrize("public", [WHOLE_MODEL, WHOLE_BACKEND])
def test_models_are_immutable(public: BaseModel) -> None:
    """Nobody changes a model in place and wonders why the registry does not know."""
    with pytest.raises(ValidationError):
        public.id = "other"  # type: ignore[attr-defined]  # the point
    with pytest.raises(ValidationError):
        view().pending_requests = 0
