"""Ask a server for its models, as every OpenAI-compatible one answers it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import msgspec
from pydantic import ValidationError

from registry.models import Model

TIMEOUT_S = 5.0
MAX_BYTES = 4 * 1024 * 1024


class BackendDown(Exception):
    """A server did not give its models.

    Attributes:
        certain: Whether nobody listens there, so that asking again at once would be no use.
    """

    def __init__(self, reason: str, *, certain: bool = False) -> None:
        super().__init__(reason)
        self.certain = certain


class _Entry(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    meta: dict[str, Any] | None = None


class _Models(msgspec.Struct):
    data: list[_Entry]


async def ask_models(client: httpx2.AsyncClient, url: str, api_key: str | None) -> list[Model]:
    """The models of the server at `url`, in its order, each once.

    Raises:
        BackendDown: It cannot be reached, is too slow, or answers something else; says what.
    """
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    body = bytearray()
    try:
        # The client's own timeout is for each read: a server that sends a byte now and then would never reach it.
        async with (
            asyncio.timeout(TIMEOUT_S),
            client.stream("GET", f"{url.removesuffix('/v1')}/v1/models", headers=headers) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                raise BackendDown(f"GET /v1/models answered {response.status_code}")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise BackendDown(f"GET /v1/models answered more than {MAX_BYTES:,} bytes")
    except httpx2.ConnectError as error:
        raise BackendDown(f"no connection: {_root_cause(error)}", certain=True) from error
    except (httpx2.TimeoutException, TimeoutError) as error:
        raise BackendDown(f"no answer within {TIMEOUT_S:.0f} s") from error
    except httpx2.HTTPError as error:
        raise BackendDown(f"{type(error).__name__}: {error}") from error
    return _read(bytes(body))


def _root_cause(error: BaseException) -> str:
    """What the operating system said, without what the libraries made of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error)


def _read(body: bytes) -> list[Model]:
    """The models in an answer.

    >>> _read(b'{"data": [{"id": "m", "max_model_len": 8192}, {"id": "m"}]}')[0].context_length
    8192
    """
    models: dict[str, Model] = {}
    try:
        for entry in msgspec.json.decode(body, type=_Models).data:
            models.setdefault(entry.id, _model(entry))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValidationError) as error:
        raise BackendDown(f"GET /v1/models answered something else: {str(error).splitlines()[0]}") from error
    return list(models.values())


def _model(entry: _Entry) -> Model:
    # vLLM and SGLang say `max_model_len`; llama.cpp says what the model was trained for.
    length = entry.max_model_len or (entry.meta or {}).get("n_ctx_train")
    if isinstance(length, int) and 0 < length < 2**31:
        return Model(id=entry.id, context_length=length)
    return Model(id=entry.id)
